"""Stopping early without fooling oneself: looking at the figures again and again, and stopping when they please, makes
false gains out of chance. Two rules that may be looked at:

`ConfidenceSequence`, for one score: a confidence sequence by betting, for sampling without replacement (I. Waudby-Smith and
A. Ramdas, J. R. Stat. Soc. B 86, 2024). Its interval holds the score that the *whole* benchmark would give, at all
times at once with 95%, whatever the reason to stop. No normal approximation: bounded values in random order will do.

`Decision`, between two checkpoints: a group-sequential test with O'Brien and Fleming's spending of the error (K. Lan
and D. DeMets, Biometrika 70, 1983). It asks about the questions that the benchmark stands for, as `kkwarm compare`
does, looks after each twentieth of the questions, and costs next to no power against one look at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from kkwarm.analysis.stats.estimates import LEVEL, Word, paired

__all__ = ["ConfidenceSequence", "Decision", "Look", "boundaries", "looks"]

Values = npt.NDArray[np.float64]
GRID = 2001  # candidate scores; the interval is widened to the next ones outside
CAUTION = 0.75  # a bet never stakes more than this part of the capital
EVERY, LEAST = 20, 30  # looks of a decision: so many, none before so many questions


class ConfidenceSequence:
    """The interval of a finite benchmark's mean score after each question, valid at all times at once.

    Each candidate score is a gambler's claim: two bets, that the score is higher and that it is lower, multiply a
    capital that can grow only where the candidate is false. One whose capital has ever passed 1 / (1 - level) is out.

    :param total: questions of the benchmark.
    :param target: the half-width that is wanted; bets are sized for it. It affects sharpness, never validity.
    """

    def __init__(self, total: int, target: float, level: float = LEVEL) -> None:
        if total < 1 or not 0 < target < 1:
            raise ValueError(f"a benchmark of at least 1 question and a target in 0..1, not {total} and {target}")
        self.total, self.target = total, target
        self._threshold = math.log(2 / (1 - level))  # half of the error for each side
        self._candidates = np.linspace(0.0, 1.0, GRID)
        self._up = np.zeros(GRID)
        self._down = np.zeros(GRID)
        self._out = np.zeros(GRID, bool)
        self._sum, self._squares, self.count = 0.0, 0.0, 0

    def add(self, values: Sequence[float] | Values) -> None:
        """The scores of the next questions, each in 0..1, in random order.

        :raises ValueError: a score is outside, or there are more of them than questions.
        """
        for value in values:
            if not 0 <= value <= 1 or self.count >= self.total:
                raise ValueError(f"score {value} of question {self.count + 1} of {self.total}")
            self._bet(float(value))

    def _bet(self, value: float) -> None:
        left = self.total - self.count
        # What the questions left must average if the candidate is the score of all of them.
        rest = (self.total * self._candidates - self._sum) / left
        self._out |= (rest < -1e-9) | (rest > 1 + 1e-9)
        rest = rest.clip(0.0, 1.0)
        # From the past alone: its mean and variance, as if one question more had scored 1/2.
        mean = (0.5 + self._sum) / (self.count + 1)
        variance = max((0.25 + self._squares - 2 * mean * self._sum + self.count * mean**2) / (self.count + 1), 1e-4)
        stake = self.target * self.total / left / variance
        with np.errstate(divide="ignore"):
            self._up += np.log1p(np.minimum(stake, CAUTION / rest) * (value - rest))
            self._down += np.log1p(-np.minimum(stake, CAUTION / (1 - rest)) * (value - rest))
        self._out |= np.maximum(self._up, self._down) >= self._threshold
        self._sum, self._squares, self.count = self._sum + value, self._squares + value**2, self.count + 1

    @property
    def interval(self) -> tuple[float, float]:
        """Lowest and highest score that the whole benchmark may still give."""
        if self.count == self.total:
            return self._sum / self.total, self._sum / self.total
        inside = np.flatnonzero(~self._out)
        if not inside.size:  # all candidates out (in 5% of cases at most): between the two that went last
            mean = self._sum / self.count
            return max(0.0, mean - 1 / GRID), min(1.0, mean + 1 / GRID)
        low, high = max(0, int(inside[0]) - 1), min(GRID - 1, int(inside[-1]) + 1)
        seen, left = self._sum / self.total, (self.total - self.count) / self.total
        lowest = min(max(float(self._candidates[low]), seen), seen + left)
        return lowest, max(lowest, min(float(self._candidates[high]), seen + left))

    @property
    def reached(self) -> bool:
        """Whether the interval is as narrow as was wanted."""
        low, high = self.interval
        return (high - low) / 2 <= self.target


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a decision says. `word` is None where it has to go on. `low`, `high`: the repeated interval,
    which holds the difference at all looks at once with 95%.
    """

    questions: int
    value: float
    low: float
    high: float
    p: float
    level: float
    word: Word | None


class Decision:
    """Gain, loss or tie between two checkpoints, as early as the error allowed at each look permits.

    :param total: questions that there are; at the last one the decision is what `word` says.
    :param family: decisions made at once, between which the error is shared.
    """

    def __init__(self, total: int, margin: float, family: int = 1) -> None:
        self.total, self.margin = total, margin
        self.at = looks(total)
        fractions = tuple(n / total for n in self.at)
        alpha = 1 - LEVEL
        self._differ = dict(zip(self.at, boundaries(fractions, alpha / family), strict=True))
        self._tie = dict(zip(self.at, boundaries(fractions, 2 * alpha / family), strict=True))

    def look(self, first: Values, second: Values) -> Look:
        """After so many questions, one of `at`, in random order; scores of shape (questions,).

        :raises ValueError: it is not the time to look.
        """
        from scipy.special import ndtr

        n = len(first)
        if n not in self._differ:
            raise ValueError(f"looks are after {', '.join(map(str, self.at))} questions, not after {n}")
        found = paired([(first[None, :], second[None, :])])
        reach = self._differ[n]
        level = 2 * float(ndtr(-reach))
        half, inner = reach * found.stderr, self._tie[n] * found.stderr
        said: Word | None = None
        if found.p <= level:
            said = "gain" if found.value > 0 else "loss"
        elif -self.margin < found.value - inner and found.value + inner < self.margin:
            said = "tie"
        elif n == self.total:
            said = "underpowered"
        return Look(n, found.value, found.value - half, found.value + half, found.p, level, said)


def looks(total: int) -> tuple[int, ...]:
    """After how many questions a decision is looked at."""
    found = {math.ceil(total * j / EVERY) for j in range(1, EVERY + 1)}
    return tuple(sorted(n for n in found if n >= min(LEAST, total)))


@lru_cache(maxsize=64)
def boundaries(fractions: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """Two-sided critical values at information `fractions` (rising to 1), by the spending 4 (1 - Phi(z / sqrt(t))),
    z the 1 - alpha / 4 quantile.

    The recursion of P. Armitage, C. McPherson and B. Rowe (J. R. Stat. Soc. A 132, 1969): the density of Brownian
    motion that no look has stopped, carried from look to look on a grid.

    :raises ValueError: the fractions do not rise, or do not lie in 0..1.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    if any(b <= a for a, b in zip((0.0, *fractions), fractions, strict=False)) or fractions[-1] > 1 + 1e-12:
        raise ValueError(f"fractions must rise within 0..1, not {fractions}")
    z = float(ndtri(1 - alpha / 4))
    spent, before = 0.0, 0.0
    grid, mass = np.zeros(1), np.ones(1)  # where the motion is, and how likely
    found = []
    for t in fractions:
        sd = math.sqrt(t - before)
        now = 4 * float(ndtr(-z / math.sqrt(t)))
        target = max(now - spent, 1e-300)

        def excess(bound: float, grid: Values = grid, mass: Values = mass, sd: float = sd, by: float = target) -> float:
            return float(mass @ (ndtr((grid - bound) / sd) + ndtr((-bound - grid) / sd))) - by

        bound = float(brentq(excess, 0.0, 40.0 * math.sqrt(t), xtol=1e-10))
        found.append(bound / math.sqrt(t))
        points = np.linspace(-bound, bound, 801)
        weights = np.full(801, points[1] - points[0])
        weights[[0, -1]] /= 2
        density = np.exp(-0.5 * ((points[:, None] - grid[None, :]) / sd) ** 2) @ mass / (sd * math.sqrt(2 * math.pi))
        grid, mass = points, density * weights
        spent, before = now, t
    return tuple(found)
