"""Rollouts and their rewards: generation by the benchmark's backend, judgement by the benchmark's judge.

So a completion has the same text, the same end and the same verdict in training as in evaluation.
"""

from __future__ import annotations

import math
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kkwarm.train import distributed
from kkwarm.types import Completion, Example, Format, Rewards, Sampling, Status, Verdict, Verifier
from kkwarm.verify import Judge

__all__ = ["BackgroundVerifier", "Reward", "Rollouts", "StepMetrics", "same", "whole"]


@dataclass
class StepMetrics:
    """What one generation gave. Shares are of its completions; `no_signal` of its groups."""

    reward: float
    accuracy: float
    status: dict[str, float]
    no_signal: float
    length: float
    truncated: float

    def fields(self) -> dict[str, Any]:
        return {k: v if isinstance(v, dict) else round(v, 6) for k, v in vars(self).items()}


def same(rewards: Sequence[float]) -> bool:
    """Whether a group of rewards gives no signal: every advantage is 0."""
    return all(r == rewards[0] for r in rewards)


class BackgroundVerifier:
    """Judges completions in a thread of its own, while others are still being generated."""

    def __init__(self, judge: Callable[[Sequence[tuple[Example, Completion]]], list[Verdict]]) -> None:
        self._judge = judge
        self._empty()

    def _empty(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[int, Example, Completion] | None] = queue.SimpleQueue()
        self._verdicts: dict[int, Verdict] = {}
        self._failed: BaseException | None = None
        self._thread: threading.Thread | None = None

    def add(self, place: int, example: Example, completion: Completion) -> None:
        if self._thread is None:  # a daemon: an interrupted run does not wait for a verdict
            self._thread = threading.Thread(target=self._work, name="docket", daemon=True)
            self._thread.start()
        self._waiting.put((place, example, completion))

    def verdicts(self) -> dict[int, Verdict]:
        """All verdicts by place, once the last has been given; the docket is empty then.

        :raises KkwarmError: the environment does not allow judging (no sandbox, say).
        """
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()
        found, failed = self._verdicts, self._failed
        self._empty()
        if failed is not None:
            raise failed
        return found

    def _work(self) -> None:
        ended = False
        while not ended:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            ended = None in batch
            cases = [case for case in batch if case is not None]
            try:
                judged = self._judge([(example, completion) for _, example, completion in cases]) if cases else []
                self._verdicts.update(zip((place for place, _, _ in cases), judged, strict=True))
            except BaseException as err:  # `verdicts` raises it where it can be seen
                self._failed = err
                return


class Rollouts:
    """trl's `rollout_func` on the hf backend: shared prefill, finished rows leave, stop strings end a completion.

    The randomness of a completion depends on (seed, step, place) only: a resumed run draws the same ones, and so do
    several processes that share a step.

    :param network: the policy before trl changes it.
    :param generations: completions of each prompt.
    :param copied: (dtype, device) of a copy that generates, refreshed at every step; None: the policy itself does.
    """

    def __init__(
        self, network: Any, tokenizer: Any, sampling: Sampling, stop: tuple[str, ...], generations: int, copied: Any
    ) -> None:
        import copy

        self._tokenizer, self._sampling, self._stop, self._generations = tokenizer, sampling, stop, generations
        self._copy = copy.deepcopy(network).to(dtype=copied[0], device=copied[1]).eval() if copied else None
        self.last: list[Completion] = []
        self.examples: list[Example] = []  # those of the next prompts, where known
        self.background: BackgroundVerifier | None = None

    def __call__(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        from kkwarm.backends.text import token_ids
        from kkwarm.train.engine import policy_of

        policy = policy_of(trainer)
        training = policy.training
        policy.eval()
        done: list[Completion | None] = [None] * len(prompts)
        for place, completion in self._drawn(prompts, self.refreshed(policy), trainer.state.global_step):
            done[place] = completion
            if self.background is not None and len(self.examples) == len(prompts):
                self.background.add(place, self.examples[place], completion)
        policy.train(training)
        self.last = [c for c in done if c is not None]
        assert len(self.last) == len(prompts)
        return {
            "prompt_ids": token_ids(self._tokenizer, prompts),
            "completion_ids": [list(c.token_ids or ()) for c in self.last],
            "logprobs": None,
        }

    def _drawn(self, prompts: list[str], policy: Any, step: int) -> Iterator[tuple[int, Completion]]:
        """(place among `prompts`, completion) as they are finished."""
        from kkwarm.backends.base import Request
        from kkwarm.backends.hf import HFBackend

        backend = HFBackend("policy", "", self._tokenizer, policy)
        before = distributed.rank() * len(prompts)  # places of the processes before this one
        wanted: dict[str, list[int]] = {}
        for place in range(len(prompts)):
            at = before + place
            wanted.setdefault(f"{step}/0/{at - at % self._generations}", []).append(place)
        requests = [
            Request(key, prompts[at[0]], tuple((before + place) % self._generations for place in at), self._stop)
            for key, at in wanted.items()
        ]
        for request, index, completion in backend.generate(requests, self._sampling):
            group = wanted[request.key]
            yield group[index - (before + group[0]) % self._generations], completion

    def refreshed(self, policy: Any) -> Any:
        """The network that generates, with the policy's weights."""
        import torch

        if self._copy is None:
            return policy
        with torch.no_grad():
            for mine, theirs in zip(self._copy.parameters(), policy.parameters(), strict=True):
                mine.copy_(whole(theirs))
        return self._copy


def whole(parameter: Any) -> Any:
    """A parameter that may be held in shards, put together. All processes call it in the same order."""
    if hasattr(parameter, "full_tensor"):  # FSDP2
        return parameter.full_tensor()
    if hasattr(parameter, "ds_id"):  # ZeRO-3
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.data.clone()
    return parameter


@dataclass
class Reward:
    """trl's reward function: the verdicts of a generation, by the reward table.

    :param rollouts: where the completions come from; None: trl generated them (vLLM), and only ids are known.
    """

    examples: Sequence[Example]
    verifier: Verifier
    format: Format
    table: Rewards
    judge: Judge
    tokenizer: Any
    group: int
    limit: int
    rollouts: Rollouts | None = None
    ends: frozenset[int] = frozenset()
    last: StepMetrics | None = None
    kept: list[dict[str, Any]] = field(default_factory=list)
    keep: bool = False
    errors: str = ""
    __name__ = "verdict"

    def __post_init__(self) -> None:
        if self.rollouts is not None:
            self.rollouts.background = BackgroundVerifier(
                lambda pairs: self.judge.verify(self.verifier, self.format, pairs)
            )

    def __call__(
        self, prompts: list[str], completions: list[str], completion_ids: list[list[int]], **columns: Any
    ) -> list[float]:
        examples = [self.examples[i] for i in columns["example"]]
        made = self.rollouts.last if self.rollouts is not None else [self._read(ids) for ids in completion_ids]
        verdicts = self._judged(examples, made)
        rewards = [self.table.for_status(v.status) for v in verdicts]
        self.last = self._round(made, verdicts, rewards)
        log_metric = columns.get("log_metric")
        if log_metric is not None:  # for trl's trackers
            for name, share in self.last.status.items():
                log_metric(f"status/{name}", share)
            log_metric("accuracy", self.last.accuracy)
        if self.keep:
            self.kept += distributed.all_gather(
                [
                    {"id": e.id, "completion": c.text, "finish": c.finish_reason, "status": v.status.value, "reward": r}
                    for e, c, v, r in zip(examples, made, verdicts, rewards, strict=True)
                ]
            )
        return rewards

    def _judged(self, examples: Sequence[Example], made: Sequence[Completion]) -> list[Verdict]:
        background = self.rollouts.background if self.rollouts is not None else None
        early = background.verdicts() if background is not None else {}
        if len(early) == len(made):
            return [early[i] for i in range(len(made))]
        return self.judge.verify(self.verifier, self.format, list(zip(examples, made, strict=True)))

    def _round(self, made: Sequence[Completion], verdicts: Sequence[Verdict], rewards: Sequence[float]) -> StepMetrics:
        """What the completions of all processes gave."""
        told = [
            (v.status.value, v.reason if v.status is Status.ERROR else "", r, c.n_tokens or 0, c.finish_reason)
            for c, v, r in zip(made, verdicts, rewards, strict=True)
        ]
        told = distributed.all_gather(told)
        n = len(told)
        everything = [reward for _, _, reward, _, _ in told]
        groups = [everything[i : i + self.group] for i in range(0, n, self.group)]
        counts = Counter(status for status, *_ in told)
        self.errors = self.errors or next((reason for _, reason, *_ in told if reason), "")
        return StepMetrics(
            reward=math.fsum(everything) / n,
            accuracy=counts[Status.CORRECT.value] / n,
            status={name: round(k / n, 6) for name, k in sorted(counts.items())},
            no_signal=sum(map(same, groups)) / len(groups),
            length=sum(tokens for *_, tokens, _ in told) / n,
            truncated=sum(finish == "length" for *_, finish in told) / n,
        )

    def _read(self, ids: list[int]) -> Completion:
        """What the hf backend would have made of these tokens."""
        from kkwarm.backends.text import cut_at_stop

        ended = bool(ids) and ids[-1] in self.ends
        text = str(
            self.tokenizer.decode(
                ids[:-1] if ended else ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
        cut = cut_at_stop(text, self.format.stop)
        if cut is not None or ended:
            return Completion(text if cut is None else cut, len(ids), "stop", tuple(ids))
        return Completion(text, len(ids), "length" if len(ids) >= self.limit else "stop", tuple(ids))
