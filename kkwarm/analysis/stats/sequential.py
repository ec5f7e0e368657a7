"""Valid early stopping: rules that keep their error rate however often the figures are inspected.

`ConfidenceSequence`, for one score: a confidence sequence by betting, for sampling without replacement (I. Waudby-Smith
and A. Ramdas, J. R. Stat. Soc. B 86, 2024). With 95% probability its interval holds the score of the *whole* benchmark
at all times at once, whatever the reason to stop. It assumes bounded scores in random order, not normality.

`GroupSequentialTest`, between two checkpoints: O'Brien and Fleming's spending of the error (K. Lan and D. DeMets,
Biometrika 70, 1983). Like `kkwarm compare`, it is about the questions that the benchmark stands for. It tests after
each twentieth of the questions, and loses almost no power against one test at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from kkwarm.analysis.stats.estimates import LEVEL, Outcome, paired_difference

Values = npt.NDArray[np.float64]
GRID = 2001  # candidate scores; the interval is widened to the next candidates outside
MAX_STAKE = 0.75  # a bet never stakes more than this share of the capital
INTERIM_TESTS, MIN_QUESTIONS = 20, 30  # number of interim tests; none before this many questions


class ConfidenceSequence:
    """The interval of a finite benchmark's mean score after each question, valid at all times at once.

    For each candidate score there are two bets, that the true score is higher and that it is lower; their capital can
    grow systematically only where the candidate is false. A candidate is rejected once its capital has passed
    2 / (1 - level).

    :param total: number of questions of the benchmark.
    :param target: the half-width to reach, as a fraction; the bets are sized for it. It affects efficiency, never
        validity.
    """

    def __init__(self, total: int, target: float, level: float = LEVEL) -> None:
        if total < 1 or not 0 < target < 1:
            raise ValueError(f"total must be at least 1 and target in 0..1, not {total} and {target}")
        self.total, self.target = total, target
        self._threshold = math.log(2 / (1 - level))  # half of the error on each side
        self._candidates = np.linspace(0.0, 1.0, GRID)
        self._up = np.zeros(GRID)
        self._down = np.zeros(GRID)
        self._rejected = np.zeros(GRID, bool)
        self._sum, self._squares, self.count = 0.0, 0.0, 0

    def add(self, values: Sequence[float] | Values) -> None:
        """Adds the scores of the next questions, each in 0..1, in random order."""
        for value in values:
            if not 0 <= value <= 1 or self.count >= self.total:
                raise ValueError(f"score {value} of question {self.count + 1} of {self.total}")
            self._bet(float(value))

    def _bet(self, value: float) -> None:
        left = self.total - self.count
        # The mean that the remaining questions must have if the candidate is the score of all questions.
        rest = (self.total * self._candidates - self._sum) / left
        self._rejected |= (rest < -1e-9) | (rest > 1 + 1e-9)
        rest = rest.clip(0.0, 1.0)
        # Mean and variance of the past questions, as if one more question had scored 1/2.
        mean = (0.5 + self._sum) / (self.count + 1)
        variance = max((0.25 + self._squares - 2 * mean * self._sum + self.count * mean**2) / (self.count + 1), 1e-4)
        stake = self.target * self.total / left / variance
        with np.errstate(divide="ignore"):
            self._up += np.log1p(np.minimum(stake, MAX_STAKE / rest) * (value - rest))
            self._down += np.log1p(-np.minimum(stake, MAX_STAKE / (1 - rest)) * (value - rest))
        self._rejected |= np.maximum(self._up, self._down) >= self._threshold
        self._sum, self._squares, self.count = self._sum + value, self._squares + value**2, self.count + 1

    @property
    def interval(self) -> tuple[float, float]:
        """The lowest and highest score that the whole benchmark may still have."""
        if self.count == self.total:
            return self._sum / self.total, self._sum / self.total
        inside = np.flatnonzero(~self._rejected)
        if not inside.size:  # all candidates are rejected (in 5% of cases at most)
            mean = self._sum / self.count
            return max(0.0, mean - 1 / GRID), min(1.0, mean + 1 / GRID)
        low, high = max(0, int(inside[0]) - 1), min(GRID - 1, int(inside[-1]) + 1)
        scored, left = self._sum / self.total, (self.total - self.count) / self.total
        lowest = min(max(float(self._candidates[low]), scored), scored + left)
        return lowest, max(lowest, min(float(self._candidates[high]), scored + left))

    @property
    def reached(self) -> bool:
        """Whether the half-width of the interval is at most the target."""
        low, high = self.interval
        return (high - low) / 2 <= self.target


@dataclass(frozen=True, slots=True)
class InterimResult:
    """The result of one interim test. `verdict` is None where the test has to continue. `low`, `high`: the repeated
    confidence interval, which holds the difference at all tests at once with 95% probability; `tie_low`, `tie_high`:
    with 90%, for two one-sided tests. `level`: the two-sided level of this test. Differences are fractions.
    """

    questions: int
    value: float
    low: float
    high: float
    tie_low: float
    tie_high: float
    p: float
    level: float
    verdict: Outcome | None


class GroupSequentialTest:
    """Decides between gain, loss and tie of two checkpoints as early as the error allowed at each test permits.

    :param total: number of questions; after the last one the verdict is always decided.
    :param margin: equivalence margin, as a fraction.
    :param family: tests that run at once and share the error.
    """

    def __init__(self, total: int, margin: float, family: int = 1) -> None:
        self.total, self.margin = total, margin
        self.counts = interim_counts(total)
        fractions = tuple(n / total for n in self.counts)
        alpha = 1 - LEVEL
        self._difference_bounds = dict(zip(self.counts, boundaries(fractions, alpha / family), strict=True))
        self._tie_bounds = dict(zip(self.counts, boundaries(fractions, 2 * alpha / family), strict=True))

    def test(self, first: Values, second: Values) -> InterimResult:
        """Tests after a number of questions in `counts`; scores of shape (questions,), in random order."""
        from scipy.special import ndtr

        n = len(first)
        if n not in self._difference_bounds:
            raise ValueError(f"tests are after {', '.join(map(str, self.counts))} questions, not after {n}")
        difference = paired_difference([(first[None, :], second[None, :])])
        bound = self._difference_bounds[n]
        level = 2 * float(ndtr(-bound))
        half, half_tie = bound * difference.stderr, self._tie_bounds[n] * difference.stderr
        verdict: Outcome | None = None
        value = difference.value
        if difference.p <= level:
            verdict = "gain" if value > 0 else "loss"
        elif -self.margin < value - half_tie and value + half_tie < self.margin:
            verdict = "tie"
        elif n == self.total:
            verdict = "underpowered"
        intervals = (value - half, value + half, value - half_tie, value + half_tie)
        return InterimResult(n, value, *intervals, difference.p, level, verdict)


def interim_counts(total: int) -> tuple[int, ...]:
    """The numbers of questions after which a group-sequential test is evaluated."""
    counts = {math.ceil(total * j / INTERIM_TESTS) for j in range(1, INTERIM_TESTS + 1)}
    return tuple(sorted(n for n in counts if n >= min(MIN_QUESTIONS, total)))


@lru_cache(maxsize=64)
def boundaries(fractions: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """Two-sided critical values at information `fractions` (rising to 1), by the spending 4 (1 - Phi(z / sqrt(t))),
    z the 1 - alpha / 4 quantile.

    The recursion of P. Armitage, C. McPherson and B. Rowe (J. R. Stat. Soc. A 132, 1969): the density of Brownian
    motion that has not crossed a boundary, propagated from test to test on a grid.

    :raises ValueError: the fractions do not rise, or do not lie in 0..1.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    if any(b <= a for a, b in zip((0.0, *fractions), fractions, strict=False)) or fractions[-1] > 1 + 1e-12:
        raise ValueError(f"fractions must rise within 0..1, not {fractions}")
    z = float(ndtri(1 - alpha / 4))
    spent, before = 0.0, 0.0
    grid, mass = np.zeros(1), np.ones(1)  # positions of the motion, and their probabilities
    bounds = []
    for t in fractions:
        sd = math.sqrt(t - before)
        now = 4 * float(ndtr(-z / math.sqrt(t)))
        target = max(now - spent, 1e-300)

        def excess(
            bound: float, grid: Values = grid, mass: Values = mass, sd: float = sd, goal: float = target
        ) -> float:
            return float(mass @ (ndtr((grid - bound) / sd) + ndtr((-bound - grid) / sd))) - goal

        bound = float(brentq(excess, 0.0, 40.0 * math.sqrt(t), xtol=1e-10))
        bounds.append(bound / math.sqrt(t))
        points = np.linspace(-bound, bound, 801)
        weights = np.full(801, points[1] - points[0])
        weights[[0, -1]] /= 2
        density = np.exp(-0.5 * ((points[:, None] - grid[None, :]) / sd) ** 2) @ mass / (sd * math.sqrt(2 * math.pi))
        grid, mass = points, density * weights
        spent, before = now, t
    return tuple(bounds)
