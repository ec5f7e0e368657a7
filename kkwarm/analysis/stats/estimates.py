"""Means and paired differences over questions and seeds, with intervals, tests and verdicts.

Scores are arrays of shape (seeds, questions): the mean over the samples of a question, for one training seed. Questions
are the sampling unit: samples of one question never count as independent. Seeds are replicates crossed with questions,

    score[s, q] = mean + seed[s] + question[q] + residual[s, q],

and the variance of the mean is MS_question / (seeds * questions) + variance[seed] / seeds. Two or three seeds estimate
the second term badly, so `seed_variance` gives its whole distribution, estimated from all conditions of a study, and
intervals and tests are averaged over it: Student's t with the degrees of freedom of the questions, mixed over the
possible seed variances. With one seed the interval covers questions and sampling only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kkwarm.analysis.stats.permutation import sign_flip_test
from kkwarm.analysis.stats.seed_variance import Scores, SeedEffect, SeedVariance, estimate_seed_variances

Outcome = Literal["gain", "loss", "tie", "underpowered"]
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its standard error (clustered by question, over seeds) and a 95% interval."""

    value: float
    stderr: float
    low: float
    high: float
    questions: int
    seeds: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval; None where it has no width."""
        return (self.low, self.high) if self.high - self.low > 1e-9 else None


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A difference on the same questions, as a fraction.

    `low`, `high`: 95% interval; `interval_90`: 90% interval, for two one-sided tests. `test` names the test that gave
    `p`. `seed_share`: the share of the squared standard error that comes from seeds, which more seeds would lower and
    more questions would not; 0 with one seed, which cannot show it.
    """

    value: float
    stderr: float
    low: float
    high: float
    interval_90: tuple[float, float]
    p: float
    test: str
    questions: int
    seeds: int
    seed_share: float = 0.0


def estimate_mean(scores: Scores, seed_variance: SeedVariance | None = None) -> Estimate:
    """The mean of `scores` (seeds, questions) with Wilson's interval at the effective number of questions. Scores that
    are not all in 0..1 have a symmetric interval; where they are all equal, it has no width.

    :param seed_variance: estimated from the whole study; None estimates it from these scores alone.
    :raises ValueError: there is no question.
    """
    seeds, questions = _shape(scores)
    mean = float(scores.mean())
    start, scale = _unit_range(scores)
    unit = (scores - start) / scale
    error = _error_distribution([unit], [unit], seed_variance, [SeedEffect.single(unit)])
    if (start, scale) != (0.0, 1.0):
        half = scale * error.half_width(LEVEL)
        return Estimate(mean, scale * error.stderr, mean - half, mean + half, questions, seeds)
    variance = mean * (1 - mean)
    # Scores that are all 0 or all 1 have no variance: use Wilson's interval at the number of questions.
    effective, z, half = float(questions), _quantile(0.5 + LEVEL / 2, error.df), error.half_width(LEVEL)
    if half > 1e-12 and variance > 0:  # less is the noise of summing equal scores
        effective, z = variance / error.stderr**2, half / error.stderr
    center = (mean + z * z / (2 * effective)) / (1 + z * z / effective)
    half = z / (1 + z * z / effective) * math.sqrt(variance / effective + z * z / (4 * effective**2))
    low, high = max(0.0, center - half), min(1.0, center + half)
    return Estimate(mean, error.stderr, min(low, mean), max(high, mean), questions, seeds)


def paired_difference(
    strata: Sequence[tuple[Scores, Scores]],
    seed_variance: SeedVariance | None = None,
    effects: Sequence[SeedEffect] | None = None,
) -> PairedDifference:
    """Second minus first, averaged over strata (such as domains) with equal weights.

    With one seed the test flips the signs of the questions' differences (their center is 0 under the null hypothesis),
    which is McNemar's exact test where every score is 0 or 1. With several seeds it is a t-test of the crossed model.

    :param strata: pairs of scores of shape (seeds, questions) on the same questions.
    :param seed_variance: of the difference, estimated from the whole study; None estimates it from these scores alone.
    :param effects: the seed effect of each stratum; None: seeds vary on both sides.
    :raises ValueError: shapes differ, or there is no question.
    """
    differences = []
    for first, second in strata:
        if first.shape != second.shape:
            raise ValueError(f"scores of shapes {first.shape} and {second.shape} cannot be paired")
        differences.append(np.asarray(second, float) - np.asarray(first, float))
    seeds = _shape(differences[0])[0]
    value = float(np.mean([d.mean() for d in differences]))
    effects = effects or [SeedEffect.difference(*s) for s in strata]
    error = _error_distribution(differences, [_padded(d) for d in differences], seed_variance, effects)
    half, half_90 = error.half_width(LEVEL), error.half_width(2 * LEVEL - 1)
    if seeds == 1:
        p, test = sign_flip_test([d[0] for d in differences])
    else:  # the larger p-value: a test is never more certain than the interval
        p = max(error.p_value(value), error.p_value(value, conservative=True))
        test = "t over questions and seeds"
    return PairedDifference(
        value, error.stderr, max(-1.0, value - half), min(1.0, value + half), (value - half_90, value + half_90), p,
        test, sum(d.shape[1] for d in differences), seeds, error.seed_share,
    )  # fmt: skip


def difference_interval(first: Scores, second: Scores) -> tuple[float, float, float]:
    """The mean of second minus first, and its 95% interval, for values of any scale; without a test.

    Values beyond 0..1 are scaled to it: the questions that keep the interval from being too narrow differ by 1
    (`_padded`), and seeds shift accuracies.
    """
    start, scale = _unit_range(np.stack([first, second]))
    first, second = (first - start) / scale, (second - start) / scale
    difference = second - first
    error = _error_distribution([difference], [_padded(difference)], None, [SeedEffect.difference(first, second)])
    value, half = float(difference.mean()), error.half_width(LEVEL)
    return scale * value, scale * max(-1.0, value - half), scale * min(1.0, value + half)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (S. Holm, Scand. J. Statist. 6, 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def decide(difference: PairedDifference, margin: float, p: float | None = None) -> Outcome:
    """The verdict on a difference: gain or loss where the p-value is at most 0.05; tie where the 90% interval lies
    within the equivalence margin (two one-sided tests at 5%); underpowered otherwise.

    :param margin: equivalence margin, as a fraction.
    :param p: the adjusted p-value; None uses the one of the difference.
    """
    if (difference.p if p is None else p) <= 1 - LEVEL + 1e-12:
        return "gain" if difference.value > 0 else "loss"
    low, high = difference.interval_90
    return "tie" if -margin < low and high < margin else "underpowered"


def _shape(scores: Scores) -> tuple[int, int]:
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"scores must have shape (seeds, questions), at least one of each, not {scores.shape}")
    return scores.shape[0], scores.shape[1]


def _unit_range(values: Scores) -> tuple[float, float]:
    """Where the range of the values starts, and its length; 0 and 1 where all are in 0..1."""
    low, high = float(values.min()), float(values.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high - low or 1.0)


def _padded(differences: Scores) -> Scores:
    """Adds one discordant question on each side, so that few discordant questions do not look like certainty.

    For one sample and one seed this is the variance of D. Bonett and R. Price, J. Educ. Behav. Stat. 37, 2012. Beyond
    that, the added questions differ as much as the discordant ones do on average (root mean square, counting one that
    differs by 1): a few small differences do not rule out large ones.
    """
    columns = differences.mean(axis=0)
    columns = columns[np.abs(columns) > 1e-12]
    ends = np.full((differences.shape[0], 1), np.sqrt((1.0 + (columns**2).sum()) / (1 + columns.size)))
    return np.hstack([differences, ends, -ends])


@dataclass(frozen=True, slots=True)
class _ErrorDistribution:
    """The error of a mean: a mixture of Student's t with `df` degrees of freedom over possible standard errors.

    `conservative`: errors and weights for tests. `seed_share`: the share of seeds in the squared standard error.
    """

    errors: Scores
    weights: Scores
    conservative: tuple[Scores, Scores]
    df: float
    seed_share: float

    @property
    def stderr(self) -> float:
        return math.sqrt(float((self.weights * self.errors**2).sum()))

    def p_value(self, value: float, *, conservative: bool = False) -> float:
        """The two-sided probability of an error at least as far from 0 as `value`."""
        from scipy.special import ndtr, stdtr

        if value == 0:
            return 1.0
        errors, weights = self.conservative if conservative else (self.errors, self.weights)
        score = -abs(value) / np.maximum(errors, 1e-300)
        tails = ndtr(score) if math.isinf(self.df) else stdtr(max(self.df, 1.0), score)
        return min(1.0, 2 * float((weights * tails).sum()))

    def half_width(self, level: float) -> float:
        """Half the width of the interval of this level; 0 where an error of 0 is likely enough."""
        from scipy.optimize import brentq

        z = _quantile(0.5 + level / 2, self.df)
        low, high = (z * float(e) for e in (self.errors.min(), self.errors.max()))
        if high - low < 1e-12:
            return high
        low, high = low * 0.9999, high * 1.0001  # where nearly all weight is on one error, the root is at an end
        if self.p_value(max(low, 1e-12)) <= 1 - level:
            return low
        return float(brentq(lambda half: self.p_value(half) - (1 - level), max(low, 1e-12), high, xtol=1e-6))


def _error_distribution(
    scores: Sequence[Scores],
    padded: Sequence[Scores],
    seed_variance: SeedVariance | None,
    effects: Sequence[SeedEffect],
) -> _ErrorDistribution:
    """The error of the mean of the strata's means. `padded`: the scores that give the variance over questions."""
    seeds, count = len(scores[0]), len(scores)
    terms = [
        (float(x.mean(axis=0).var(ddof=1)) / (x.shape[1] * count**2), x.shape[1] - 1) for x in padded if x.shape[1] > 1
    ]
    question_part = sum(v for v, _ in terms)
    weighted = sum(v * v / df for v, df in terms)
    df = question_part**2 / weighted if weighted > 0 else math.inf  # F. E. Satterthwaite, Biometrics 2, 1946
    distribution = None if seeds == 1 else seed_variance or estimate_seed_variances({"": effects})[""]
    scales = [e.variance_scale for e in effects]

    def seed_part(*, conservative: bool) -> tuple[Scores, Scores]:
        if distribution is None:
            return np.zeros(1), np.ones(1)
        variances, weights = distribution.variances_of_mean(scales, conservative=conservative)
        return variances / seeds, weights

    (variances, weights), (high_variances, high_weights) = seed_part(conservative=False), seed_part(conservative=True)
    between = float((weights * variances).sum())
    share = between / (question_part + between) if between > 0 else 0.0
    conservative = np.sqrt(question_part + high_variances), high_weights
    return _ErrorDistribution(np.sqrt(question_part + variances), weights, conservative, df, share)


def _quantile(level: float, df: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(level) if math.isinf(df) else stdtrit(max(df, 1.0), level))
