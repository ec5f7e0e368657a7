"""RLVR's rollout, in the order in which it happens: prompts, completions, verdicts, rewards, step metrics.

Completions come from the evaluation's backend and verdicts from its judge, so a completion has the same text, the same
end and the same verdict in training as in evaluation.
"""

from __future__ import annotations

import copy
import math
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kkwarm.progress import GenerationNote
from kkwarm.schema.settings import RlvrConfig
from kkwarm.train import distributed
from kkwarm.types import Completion, Example, Status, Verdict
from kkwarm.verify import Judge
from kkwarm.verify.rewards import Reward, RewardError, TaskReward

if TYPE_CHECKING:
    from kkwarm.train.grpo import Prompts, RlvrPlan


class Rollout:
    """Generates completions for trl's GRPOTrainer and rewards them.

    `generate` is trl's ``rollout_func`` and `reward` its reward function. trl passes the extra fields that the first
    returns (``generated``, ``verdict``) to the second. With vLLM, trl generates, and `reward` gets token ids only.

    :param network: the policy before trl wraps it.
    """

    def __init__(self, plan: RlvrPlan, prompts: Prompts, judge: Judge, network: Any) -> None:
        from kkwarm.backends.text import end_tokens

        self._plan, self._prompts, self._judge = plan, prompts, judge
        self._copy = _generation_copy(network, plan.config)
        tokenizer = prompts.tokenizer
        ends = end_tokens(tokenizer, network, max(len(tokenizer), network.get_output_embeddings().weight.shape[0]))
        self._end_ids = frozenset(int(i) for i in ends.nonzero()[0])
        self.metrics: StepMetrics | None = None  # of the last generation
        self.first_error = ""  # why the verifier failed for the first time
        self._records: list[RolloutRecord] = []
        self.note = GenerationNote()  # shown beside the bar of the training

    def generate(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """A completion of each prompt. Those that are complete are verified while others are still being generated."""
        from kkwarm.train.trainer_setup import unwrap_policy

        indices = trainer.batch_examples
        completions: dict[int, Completion] = {}
        verdicts: dict[int, Future[Verdict]] = {}
        policy = unwrap_policy(trainer)
        training = policy.training
        policy.eval()
        with BackgroundVerifier(self._verify) as verifier:
            for row, completion in self._complete(prompts, self.generator(policy), trainer.state.global_step):
                completions[row] = completion
                verdicts[row] = verifier.submit(self._plan.examples[indices[row]], completion)
        policy.train(training)
        rows = range(len(prompts))
        return {
            "prompt_ids": [self._prompts.ids[i] for i in indices],
            "completion_ids": [list(completions[row].token_ids or ()) for row in rows],
            "logprobs": None,
            "generated": [completions[row] for row in rows],
            "verdict": [verdicts[row] for row in rows],
        }

    def _complete(self, prompts: list[str], network: Any, step: int) -> Iterator[tuple[int, Completion]]:
        """(row of `prompts`, completion) pairs, in the order in which they are finished.

        The randomness of a completion depends only on the seed, the step and its row among those of all processes.
        So a resumed run, or another number of processes, generates the same completions.
        """
        from kkwarm.backends.base import Request
        from kkwarm.backends.hf import HFBackend

        group, stop = self._plan.config.generations, self._prompts.protocol.stop
        offset = distributed.rank() * len(prompts)  # rows of the processes before this one
        rows_of: dict[str, list[int]] = {}  # of each prompt's group
        for row in range(len(prompts)):
            at = offset + row
            rows_of.setdefault(f"{step}/0/{at - at % group}", []).append(row)
        requests = [
            Request(key, prompts[rows[0]], tuple((offset + row) % group for row in rows), stop)
            for key, rows in rows_of.items()
        ]
        backend = HFBackend("policy", "", self._prompts.tokenizer, network, on_tokens=self.note.add_tokens)
        self.note.start("generating", len(prompts), self._plan.max_tokens)
        for request, index, completion in backend.generate(requests, self._plan.sampling):
            self.note.add_sample(completion.n_tokens or 0)
            rows = rows_of[request.key]
            split = self._prompts.renderer.split_reasoning(completion, request.prompt)
            yield rows[index - (offset + rows[0]) % group], split

    def generator(self, policy: Any) -> Any:
        """The network that generates: the policy, or a copy with the policy's current weights."""
        import torch

        if self._copy is None:
            return policy
        with torch.no_grad():
            for target, source in zip(self._copy.parameters(), policy.parameters(), strict=True):
                target.copy_(_gather_parameter(source))
        return self._copy

    def reward(
        self,
        completion_ids: list[list[int]],
        example: list[int],
        generated: list[Completion] | None = None,
        verdict: list[Future[Verdict]] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float]:
        """The reward of each completion.

        :raises KkwarmError: the environment does not allow verification (it has no sandbox, for instance).
        :raises RewardError: a reward cannot be used, in this process or another.
        """
        examples = [self._plan.examples[i] for i in example]
        if generated is None or verdict is None:
            generated = [self._completion(ids, i) for ids, i in zip(completion_ids, example, strict=True)]
            verdicts = self._verify(list(zip(examples, generated, strict=True)))
        else:
            verdicts = [future.result() for future in verdict]
        rewards = self._rewards(list(zip(examples, generated, verdicts, strict=True)))
        records = distributed.all_gather(
            [
                RolloutRecord.of(e, c, v, r, keep_text=self._plan.config.keep_rollouts)
                for e, c, v, r in zip(examples, generated, verdicts, rewards, strict=True)
            ]
        )
        self._records += records
        self.first_error = self.first_error or next((r.error for r in records if r.error), "")
        self.metrics = StepMetrics.of(records, self._plan.config.generations)
        if log_metric is not None:  # for trl's trackers
            for name, share in self.metrics.status.items():
                log_metric(f"status/{name}", share)
            log_metric("accuracy", self.metrics.accuracy)
            for kind in ("rewards", "metrics"):
                for name, mean in getattr(self.metrics, kind).items():
                    log_metric(f"{kind}/{name}", mean)
        return [r.total for r in rewards]

    def _rewards(self, items: Sequence[tuple[Example, Completion, Verdict]]) -> list[Reward]:
        """The rewards, unless one of them cannot be used in any process: then all processes stop."""
        rewards, errors = [], []
        try:
            rewards = TaskReward.of(self._plan.task, self._plan.config.reward_weights)(items)
        except RewardError as err:
            errors = [err]
        for error in distributed.all_gather(errors):
            raise error
        return rewards

    def _verify(self, pairs: Sequence[tuple[Example, Completion]]) -> list[Verdict]:
        return self._judge.verify(self._plan.verifier, self._plan.protocol, pairs)

    def _completion(self, ids: list[int], example: int) -> Completion:
        plan, prompts = self._plan, self._prompts
        completion = completion_from_ids(
            ids, prompts.tokenizer, stop=prompts.protocol.stop, end_ids=self._end_ids, max_tokens=plan.max_tokens
        )
        return prompts.renderer.split_reasoning(completion, prompts.texts[example])

    def take_records(self) -> list[RolloutRecord]:
        """The records of all processes since the last call."""
        records, self._records = self._records, []
        return records


@dataclass(frozen=True)
class RolloutRecord:
    """One completion of a step, with its verdict. The texts are empty where rollouts are not kept."""

    id: str
    completion: str
    finish: str
    status: str
    reward: float
    tokens: int
    error: str = ""  # why the verifier failed
    reasoning: str | None = None  # as in `Completion`
    rewards: Mapping[str, float] = field(default_factory=dict)  # the parts of the reward
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the verdict

    @classmethod
    def of(cls, example: Example, c: Completion, v: Verdict, reward: Reward, *, keep_text: bool) -> RolloutRecord:
        text, error = c.text if keep_text else "", v.reason if v.status is Status.ERROR else ""
        return cls(
            *(example.id, text, c.finish_reason, v.status.value, reward.total, c.n_tokens or 0, error),
            reasoning=c.reasoning if keep_text else None,
            rewards=dict(reward.parts),
            metrics=dict(v.metrics),
        )

    def fields(self) -> dict[str, Any]:
        """For ``rollouts.jsonl``."""
        fields = {name: getattr(self, name) for name in ("id", "completion", "finish", "status", "reward")}
        fields |= {name: value for name in ("rewards", "metrics") if (value := getattr(self, name))}
        return fields if self.reasoning is None else {**fields, "reasoning": self.reasoning}


@dataclass(frozen=True)
class StepMetrics:
    """What one generation gave. Shares are of its completions; `no_signal` is the share of groups with equal rewards.

    `reward` and `length` (tokens) are means. `at_token_limit` counts every completion that ended at the token limit,
    the status ``truncated`` only those that had given no answer by then. `rewards` and `metrics` hold the means of the
    parts of the reward and of the verdicts' metrics, by name; a completion without one counts 0.
    """

    reward: float
    accuracy: float
    status: dict[str, float]
    no_signal: float
    length: float
    at_token_limit: float
    rewards: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Sequence[RolloutRecord], group: int) -> StepMetrics:
        """:param group: completions of each prompt, which follow each other in `records`."""
        n = len(records)
        rewards = [r.reward for r in records]
        groups = [rewards[i : i + group] for i in range(0, n, group)]
        counts = Counter(r.status for r in records)
        return cls(
            reward=math.fsum(rewards) / n,
            accuracy=counts[Status.CORRECT.value] / n,
            status={name: round(count / n, 6) for name, count in sorted(counts.items())},
            no_signal=sum(len(set(g)) == 1 for g in groups) / len(groups),
            length=sum(r.tokens for r in records) / n,
            at_token_limit=sum(r.finish == "length" for r in records) / n,
            rewards=_means([r.rewards for r in records]),
            metrics=_means([r.metrics for r in records]),
        )

    def fields(self) -> dict[str, Any]:
        """For ``log.jsonl``. A task whose reward has no parts, or whose verdicts have no metrics, has no such field."""
        fields = {k: v if isinstance(v, dict) else round(v, 6) for k, v in vars(self).items()}
        return {k: v for k, v in fields.items() if v != {}}


def _means(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for row in values for name in row})
    return {name: round(math.fsum(row.get(name, 0.0) for row in values) / len(values), 6) for name in names}


class BackgroundVerifier:
    """Verifies completions in a thread of its own. Use as a context manager; leaving it does not wait for verdicts."""

    def __init__(self, verify: Callable[[Sequence[tuple[Example, Completion]]], list[Verdict]]) -> None:
        self._verify = verify
        self._queue: queue.SimpleQueue[tuple[Example, Completion, Future[Verdict]] | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        # A daemon thread, so that an interrupted run does not wait for a verdict.
        threading.Thread(target=self._work, name="verifier", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._queue.put(None)

    def submit(self, example: Example, completion: Completion) -> Future[Verdict]:
        """The verdict, as a future. It raises what the verification raised."""
        future: Future[Verdict] = Future()
        self._queue.put((example, completion, future))
        return future

    def _work(self) -> None:
        ended = False
        while not ended:
            items = [self._queue.get()]
            while not self._queue.empty():
                items.append(self._queue.get())
            ended = None in items
            batch = [item for item in items if item is not None]
            try:
                verdicts = self._verify([(example, completion) for example, completion, _ in batch]) if batch else []
                for (_, _, future), verdict in zip(batch, verdicts, strict=True):
                    future.set_result(verdict)
            except BaseException as err:
                for _, _, future in batch:
                    future.set_exception(err)


def completion_from_ids(
    ids: list[int], tokenizer: Any, *, stop: Sequence[str], end_ids: frozenset[int], max_tokens: int
) -> Completion:
    """The completion that the hf backend would have made of these token ids."""
    from kkwarm.backends.text import cut_at_stop, decode

    ended = bool(ids) and ids[-1] in end_ids
    text = decode(tokenizer, ids[:-1] if ended else ids)
    cut = cut_at_stop(text, stop)
    if cut is not None or ended:
        return Completion(text if cut is None else cut, len(ids), "stop", tuple(ids))
    return Completion(text, len(ids), "length" if len(ids) >= max_tokens else "stop", tuple(ids))


def _generation_copy(network: Any, config: RlvrConfig) -> Any:
    """The copy of the policy that generates, or None where the policy itself or vLLM does.

    A bf16 copy is faster than fp32 weights under autocast, and sharded weights cannot generate at all.
    """
    import torch

    from kkwarm.train.trainer_setup import shards_weights, uses_bf16, uses_cuda

    gpu, bf16 = uses_cuda(config), uses_bf16(config)
    if config.vllm != "none" or not (shards_weights() or (gpu and bf16 and not config.lora)):
        return None
    device = f"cuda:{distributed.local_rank()}" if gpu else "cpu"
    return copy.deepcopy(network).to(dtype=torch.bfloat16 if bf16 else torch.float32, device=device).eval()


def _gather_parameter(parameter: Any) -> Any:
    """A parameter that may be sharded, as a whole. All processes call this in the same order."""
    if hasattr(parameter, "full_tensor"):  # FSDP2
        return parameter.full_tensor()
    if hasattr(parameter, "ds_id"):  # ZeRO-3
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.data.clone()
    return parameter
