"""Means and paired differences over questions and seeds, with intervals, tests and verdicts in words.

Scores are arrays of shape (seeds, questions): the mean over the samples of a question, for one training seed. Questions
are the sampling unit: samples of one question never count as independent. Seeds are replicates crossed with questions,

    score[s, q] = mean + seed[s] + question[q] + rest[s, q],

and the variance of the mean is MS_question / (seeds * questions) + variance[seed] / seeds. Two or three seeds estimate
the second badly, so `spread` gives its whole distribution, learnt from all of a study, and intervals and tests are
averaged over it: Student's t of the questions' degrees of freedom, mixed over what the seeds' variance may be.
With one seed the interval covers questions and sampling only, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kkwarm.analysis.stats.permutation import flip_test
from kkwarm.analysis.stats.seed_variance import Moved, Scores, Spread, spreads

__all__ = ["Estimate", "PairedDifference", "Word", "holm", "interval", "paired", "word"]

Word = Literal["gain", "loss", "tie", "underpowered"]
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean in 0..1 with its standard error (clustered by question, over seeds) and a 95% interval."""

    value: float
    stderr: float
    low: float
    high: float
    questions: int
    seeds: int


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A difference on the same questions. `low`, `high`: 95% interval; `inner`: 90% interval, for two one-sided tests.

    `test` names the test that gave `p`. `of_seeds`: the share of the squared error that more seeds would lower, not
    more questions; 0 with one seed, which does not tell.
    """

    value: float
    stderr: float
    low: float
    high: float
    inner: tuple[float, float]
    p: float
    test: str
    questions: int
    seeds: int
    of_seeds: float = 0.0


def interval(scores: Scores, spread: Spread | None = None) -> Estimate:
    """The mean of `scores` (seeds, questions) with Wilson's interval at the effective number of questions.

    :param spread: how much seeds differ, by the whole study; by these scores alone where it is not given.
    :raises ValueError: there is no question.
    """
    seeds, questions = _shape(scores)
    mean = float(scores.mean())
    error = _error([scores], [scores], spread, [Moved.alone(scores)])
    base = mean * (1 - mean)
    # All right or all wrong shows no spread: Wilson at the number of questions says how little that means.
    effective, z, half = float(questions), _quantile(0.5 + LEVEL / 2, error.df), error.half(LEVEL)
    if half > 0 and base > 0:
        effective, z = base / error.stderr**2, half / error.stderr
    centre = (mean + z * z / (2 * effective)) / (1 + z * z / effective)
    half = z / (1 + z * z / effective) * math.sqrt(base / effective + z * z / (4 * effective**2))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Estimate(mean, error.stderr, min(low, mean), max(high, mean), questions, seeds)


def paired(
    strata: Sequence[tuple[Scores, Scores]], spread: Spread | None = None, moved: Sequence[Moved] | None = None
) -> PairedDifference:
    """Second minus first, each pair of shape (seeds, questions) on the same questions; several strata weigh the same.

    The test: with one seed, all sign flips of the questions' differences (their centre must be 0 under the null),
    which is McNemar's exact test where every score is 0 or 1; with several seeds, t from the crossed model.

    :param spread: how much the differences differ between seeds, by the whole study; by these alone where not given.
    :param moved: what seeds move of each stratum; where it is not given, both sides.
    :raises ValueError: shapes differ, or there is no question.
    """
    differences = []
    for first, second in strata:
        if first.shape != second.shape:
            raise ValueError(f"scores of shapes {first.shape} and {second.shape} cannot be paired")
        differences.append(np.asarray(second, float) - np.asarray(first, float))
    seeds = _shape(differences[0])[0]
    value = float(np.mean([d.mean() for d in differences]))
    error = _error(differences, [_padded(d) for d in differences], spread, moved or [Moved.between(*s) for s in strata])
    half, inner = error.half(LEVEL), error.half(2 * LEVEL - 1)
    if seeds == 1:
        p, test = flip_test([d[0] for d in differences])
    else:  # never surer than the interval
        p, test = max(error.p(value), error.p(value, wary=True)), "t over questions and seeds"
    return PairedDifference(
        value, error.stderr, max(-1.0, value - half), min(1.0, value + half), (value - inner, value + inner), p, test,
        sum(d.shape[1] for d in differences), seeds, error.of_seeds,
    )  # fmt: skip


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (S. Holm, Scand. J. Statist. 6, 1979), in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


def word(difference: PairedDifference, margin: float, p: float | None = None) -> Word:
    """The verdict: gain or loss where p (adjusted, if given) is at most 0.05; tie where the 90% interval lies within
    the margin (two one-sided tests at 5%); else underpowered.
    """
    if (difference.p if p is None else p) <= 1 - LEVEL + 1e-12:
        return "gain" if difference.value > 0 else "loss"
    low, high = difference.inner
    return "tie" if -margin < low and high < margin else "underpowered"


# -- inside ------------------------------------------------------------------------------------------------------------


def _shape(scores: Scores) -> tuple[int, int]:
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"scores must have shape (seeds, questions), at least one of each, not {scores.shape}")
    return scores.shape[0], scores.shape[1]


def _padded(differences: Scores) -> Scores:
    """With one discordant question more on each side, so that few discordant questions do not look like certainty.

    For one sample and one seed this is the variance of D. Bonett and R. Price, J. Educ. Behav. Stat. 37, 2012; beyond
    that, the added questions differ as much as the discordant ones do on average (root mean square), one that differs
    wholly counted among them: a few small differences do not show that there are no large ones.
    """
    columns = differences.mean(axis=0)
    columns = columns[np.abs(columns) > 1e-12]
    ends = np.full((differences.shape[0], 1), np.sqrt((1.0 + (columns**2).sum()) / (1 + columns.size)))
    return np.hstack([differences, ends, -ends])


@dataclass(frozen=True, slots=True)
class _Error:
    """The error of a mean: Student's t of `df` degrees of freedom, of each standard error that it may have.

    `wary`: errors and weights for tests. `of_seeds`: the seeds' share of the squared standard error.
    """

    errors: Scores
    weights: Scores
    wary: tuple[Scores, Scores]
    df: float
    of_seeds: float

    @property
    def stderr(self) -> float:
        return math.sqrt(float((self.weights * self.errors**2).sum()))

    def p(self, value: float, *, wary: bool = False) -> float:
        """The chance of an error at least as far from 0, on either side."""
        from scipy.special import ndtr, stdtr

        if value == 0:
            return 1.0
        errors, weights = self.wary if wary else (self.errors, self.weights)
        score = -abs(value) / np.maximum(errors, 1e-300)
        tails = ndtr(score) if math.isinf(self.df) else stdtr(max(self.df, 1.0), score)
        return min(1.0, 2 * float((weights * tails).sum()))

    def half(self, level: float) -> float:
        """Half the width of the interval of this level; 0 where there probably is no error at all."""
        from scipy.optimize import brentq

        z = _quantile(0.5 + level / 2, self.df)
        low, high = (z * float(e) for e in (self.errors.min(), self.errors.max()))
        if high - low < 1e-12:
            return high
        low, high = low * 0.9999, high * 1.0001  # a mixture of nearly one error ends at a bracket's end
        if self.p(max(low, 1e-12)) <= 1 - level:
            return low
        return float(brentq(lambda half: self.p(half) - (1 - level), max(low, 1e-12), high, xtol=1e-6))


def _error(scores: Sequence[Scores], padded: Sequence[Scores], spread: Spread | None, moved: Sequence[Moved]) -> _Error:
    """The error of the mean of the strata's means; `padded`: what the questions' part is taken from."""
    seeds, count = len(scores[0]), len(scores)
    terms = [
        (float(x.mean(axis=0).var(ddof=1)) / (x.shape[1] * count**2), x.shape[1] - 1) for x in padded if x.shape[1] > 1
    ]
    of_questions = sum(v for v, _ in terms)
    weighted = sum(v * v / df for v, df in terms)
    df = of_questions**2 / weighted if weighted > 0 else math.inf  # F. E. Satterthwaite, Biometrics 2, 1946
    known = None if seeds == 1 else spread or spreads({"": moved})[""]
    rooms = [m.room for m in moved]

    def mixed(*, wary: bool) -> tuple[Scores, Scores]:
        variances, weights = (np.zeros(1), np.ones(1)) if known is None else known.of_mean(rooms, wary=wary)
        return variances / seeds, weights

    (seeds_part, weights), (wary_part, wary_weights) = mixed(wary=False), mixed(wary=True)
    between = float((weights * seeds_part).sum())
    share = between / (of_questions + between) if between > 0 else 0.0
    wary = np.sqrt(of_questions + wary_part), wary_weights
    return _Error(np.sqrt(of_questions + seeds_part), weights, wary, df, share)


def _quantile(level: float, df: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(level) if math.isinf(df) else stdtrit(max(df, 1.0), level))
