"""The reward of a verdict. RLVR, `try`, `score`, `bench`, `rescore`, `verify` and `check` all compute it here."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Self

from kkwarm.errors import KkwarmError, describe_error, shorten, unknown_name
from kkwarm.types import Completion, Example, RewardFunction, Rewards, Status, Task, Verdict
from kkwarm.verify.calls import TimeLimitExceeded, time_limit

TIME_LIMIT = 10.0  # seconds that one call of a reward function may take
_PARTIAL = (Status.WRONG, Status.TIMEOUT)  # an answer was read, so it may earn partial credit
_ROUNDING = 1e-9  # by which a sum of parts may exceed a limit, relative to it


class RewardError(KkwarmError):
    """A reward that cannot be used; the message names the domain and the example."""


@dataclass(frozen=True, slots=True)
class Reward:
    """The reward of one completion. `parts` by name, which it is the sum of; empty where it has none."""

    total: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskReward:
    """The reward of a task's completions: by its table, with partial credit, or by its function.

    :param name: the task's name, for messages.
    :param weights: factors of the function's parts, by name; 1 for the others.
    """

    name: str
    table: Rewards = field(default_factory=Rewards)
    function: RewardFunction | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Task, weights: Mapping[str, float] | None = None) -> Self:
        """The reward of a task."""
        return cls(task.name, task.rewards, task.reward, weights or {})

    @property
    def graded(self) -> bool:
        """Whether the reward depends on more than the status."""
        return self.function is not None or bool(self.table.partial)

    def __call__(self, items: Sequence[tuple[Example, Completion, Verdict]]) -> list[Reward]:
        """The reward of each completion, in order.

        :raises RewardError: a reward is not finite, or more than its status may earn; or the function raised, took
            longer than 10 s, or returned something else than numbers; or no reward has a part that `weights` names.
        """
        if not self.graded:
            return [self._from_table(example, verdict) for example, _, verdict in items]
        rewards = []
        with time_limit(TIME_LIMIT) as call:
            for example, completion, verdict in items:
                try:
                    rewards.append(call(self._compute, example, completion, verdict))
                except TimeLimitExceeded:
                    raise self._error(example, verdict, f"is not known after {TIME_LIMIT:g} s") from None
        self._check_weights(rewards)
        return rewards

    def stored(self, items: Sequence[tuple[Example, Completion, Verdict]]) -> list[float | None]:
        """What samples store as their reward: None where it depends on the status only."""
        return [r.total for r in self(items)] if self.graded else [None] * len(items)

    def _from_table(self, example: Example, verdict: Verdict) -> Reward:
        reward = self.table.for_status(verdict.status)
        if not math.isfinite(reward):
            raise self._error(example, verdict, f"is not finite: {reward}")
        return Reward(reward)

    def _compute(self, example: Example, completion: Completion, verdict: Verdict) -> Reward:
        base = self._from_table(example, verdict)
        if verdict.status is Status.ERROR:  # the verifier failed, so its metrics mean nothing
            return base
        if self.function is None:
            return self._check(example, verdict, Reward(self._partial_credit(example, verdict, base.total)))
        returned = self._call(example, completion, verdict)
        values: Mapping[object, object] = returned if isinstance(returned, Mapping) else {"": returned}
        parts = {
            name: float(value) * self.weights.get(name, 1.0) + 0.0
            for name, value in values.items()
            if isinstance(name, str) and isinstance(value, Real)
        }
        if not parts or len(parts) < len(values):
            raise self._error(example, verdict, f"is {shorten(returned)}, neither a number nor a dict of numbers")
        if self.weights and "" in parts:
            raise self._error(example, verdict, f"is {shorten(returned)}, without parts that could have a weight")
        for name, value in parts.items():
            if not math.isfinite(value):
                raise self._error(example, verdict, f"is not finite: {value}", part=name)
        return self._check(example, verdict, Reward(math.fsum(parts.values()), {} if "" in parts else parts))

    def _partial_credit(self, example: Example, verdict: Verdict, base: float) -> float:
        if verdict.status not in _PARTIAL:
            return base
        share = verdict.metrics.get(self.table.partial, 0.0)
        if not 0 <= share <= 1:
            problem = f"needs the metric {self.table.partial!r} from 0 to 1, but it is {share:g}"
            raise self._error(example, verdict, problem)
        return base + share * (self.table.correct - base)

    def _call(self, example: Example, completion: Completion, verdict: Verdict) -> object:
        assert self.function is not None
        # Token ids are not stored with samples, so a reward must not depend on them.
        further = (replace(completion, token_ids=None),) if _takes_completion(self.function) else ()
        try:
            return self.function(replace(verdict, metrics=dict(verdict.metrics)), copy.deepcopy(example), *further)
        except (Exception, SystemExit) as err:
            raise self._error(example, verdict, f"cannot be computed: {describe_error(err)}") from err

    def _check(self, example: Example, verdict: Verdict, reward: Reward) -> Reward:
        """Checks that the reward is no more than the status of the verdict may earn."""
        status, total, correct = verdict.status, reward.total, self.table.correct
        limit = correct if status in (Status.CORRECT, *_PARTIAL) else self.table.for_status(status)
        if not total <= limit + _ROUNDING * max(1.0, abs(limit)):
            name = "correct" if limit == correct else str(status)
            raise self._error(example, verdict, f"is {total:g}, above the reward of {name} ({limit:g})")
        if status in _PARTIAL and total >= correct:
            raise self._error(example, verdict, f"is {total:g}, as much as a correct answer may earn")
        return reward

    def _check_weights(self, rewards: Sequence[Reward]) -> None:
        """Checks that the parts that have a weight exist. A reward has no parts where the verifier failed."""
        parts = {name for reward in rewards for name in reward.parts}
        for name in self.weights:
            if parts and name not in parts:
                err = unknown_name("part", name, parts)
                raise RewardError(f"the reward of {self.name}: {err.message}", hint=err.hint)

    def _error(self, example: Example, verdict: Verdict, problem: str, *, part: str = "") -> RewardError:
        what = f"part {part!r} of the reward" if part else "the reward"
        return RewardError(
            f"{what} of {self.name} for example {example.id} (verdict {verdict.status}) {problem}",
            hint="correct the domain's rewards; `kkwarm check` tests them",
        )


def _takes_completion(function: RewardFunction) -> bool:
    """Whether the function takes the completion as its third argument."""
    try:
        inspect.signature(function).bind("verdict", "example", "completion")
    except (TypeError, ValueError):
        return False
    return True
