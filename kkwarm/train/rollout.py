"""Rollouts and their rewards: generation by the benchmark's backend, judgement by the benchmark's judge.

So a completion has the same text, the same end and the same verdict in training as in evaluation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from kkwarm.types import Completion, Example, Format, Rewards, Sampling, Status, Verdict, Verifier
from kkwarm.verify import Judge

__all__ = ["Reward", "Rollouts", "Round", "same"]


@dataclass
class Round:
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


class Rollouts:
    """trl's `rollout_func` on the hf backend: shared prefill, finished rows leave, stop strings end a completion.

    The randomness of a completion depends on (seed, step, place) only, so a resumed run draws the same ones.

    :param network: the policy before trl changes it.
    :param copied: a bf16 copy generates, refreshed at every step, and not the policy itself (GPU, bf16 activations).
    """

    def __init__(
        self, network: Any, tokenizer: Any, sampling: Sampling, stop: tuple[str, ...], *, copied: bool
    ) -> None:
        import copy

        import torch

        self._tokenizer, self._sampling, self._stop = tokenizer, sampling, stop
        self._copy = copy.deepcopy(network).to(torch.bfloat16).eval() if copied else None
        self.last: list[Completion] = []

    def __call__(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        from kkwarm.backends.base import Request
        from kkwarm.backends.hf import HFBackend
        from kkwarm.backends.text import token_ids

        policy = trainer.accelerator.unwrap_model(trainer.model)
        policy = policy.get_base_model() if hasattr(policy, "get_base_model") else policy
        training = policy.training
        policy.eval()
        backend = HFBackend("policy", "", self._tokenizer, self._refreshed(policy))
        where = f"{trainer.state.global_step}/{trainer.accelerator.process_index}"
        requests, first = [], 0
        starts = {}
        for prompt, same_prompt in groupby(prompts):
            size = len(list(same_prompt))
            key = f"{where}/{first}"
            starts[key] = first
            requests.append(Request(key, prompt, tuple(range(size)), self._stop))
            first += size
        done: list[Completion | None] = [None] * len(prompts)
        for request, index, completion in backend.generate(requests, self._sampling):
            done[starts[request.key] + index] = completion
        policy.train(training)
        self.last = [c for c in done if c is not None]
        assert len(self.last) == len(prompts)
        return {
            "prompt_ids": token_ids(self._tokenizer, prompts),
            "completion_ids": [list(c.token_ids or ()) for c in self.last],
            "logprobs": None,
        }

    def _refreshed(self, policy: Any) -> Any:
        import torch

        if self._copy is None:
            return policy
        with torch.no_grad():
            for mine, theirs in zip(self._copy.parameters(), policy.parameters(), strict=True):
                mine.copy_(theirs)
        return self._copy


@dataclass
class Reward:
    """trl's reward function: the verdicts of a generation, by the reward table.

    :param rollouts: where the completions come from; None: trl generated them (vLLM), and only ids are known.
    """

    examples: Sequence[Example]
    verifier: Verifier
    format: Format
    table: Rewards
    court: Judge
    tokenizer: Any
    group: int
    limit: int
    rollouts: Rollouts | None = None
    ends: frozenset[int] = frozenset()
    last: Round | None = None
    kept: list[dict[str, Any]] = field(default_factory=list)
    keep: bool = False
    errors: str = ""
    __name__ = "verdict"

    def __call__(
        self, prompts: list[str], completions: list[str], completion_ids: list[list[int]], **columns: Any
    ) -> list[float]:
        examples = [self.examples[i] for i in columns["example"]]
        made = self.rollouts.last if self.rollouts is not None else [self._read(ids) for ids in completion_ids]
        verdicts = self.court.judge(self.verifier, self.format, list(zip(examples, made, strict=True)))
        rewards = [self.table.of(v.status) for v in verdicts]
        self._count(made, verdicts, rewards)
        log_metric = columns.get("log_metric")
        if log_metric is not None and self.last is not None:  # for trl's trackers
            for name, share in self.last.status.items():
                log_metric(f"status/{name}", share)
            log_metric("accuracy", self.last.accuracy)
        if self.keep:
            self.kept += [
                {"id": e.id, "completion": c.text, "finish": c.finish_reason, "status": v.status.value, "reward": r}
                for e, c, v, r in zip(examples, made, verdicts, rewards, strict=True)
            ]
        return rewards

    def _count(self, made: Sequence[Completion], verdicts: Sequence[Verdict], rewards: Sequence[float]) -> None:
        n = len(rewards)
        groups = [rewards[i : i + self.group] for i in range(0, n, self.group)]
        counts = Counter(v.status.value for v in verdicts)
        failed = next((v.reason for v in verdicts if v.status is Status.ERROR), "")
        self.errors = self.errors or failed
        self.last = Round(
            reward=math.fsum(rewards) / n,
            accuracy=counts[Status.CORRECT.value] / n,
            status={name: round(k / n, 6) for name, k in sorted(counts.items())},
            no_signal=sum(map(same, groups)) / len(groups),
            length=sum(c.n_tokens or 0 for c in made) / n,
            truncated=sum(c.finish_reason == "length" for c in made) / n,
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
