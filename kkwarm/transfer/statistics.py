"""Means and paired differences over questions and seeds, with intervals, tests and verdicts in words.

Scores are arrays of shape (seeds, questions): the mean over the samples of a question, for one training seed. Questions
are the sampling unit: samples of one question never count as independent. Seeds are replicates crossed with questions,

    score[s, q] = mean + seed[s] + question[q] + rest[s, q],

and the variance of the mean is (MS_seed + MS_question - MS_rest) / (seeds * questions), its degrees of freedom by
Satterthwaite's approximation (F. E. Satterthwaite, Biometrics 2, 1946). Two seeds alone estimate a variance badly, so
the seeds' mean squares of a study are moderated towards each other: see `moderation`. In a study too small for that,
MS_seed counts at least as much as MS_rest, with its few degrees of freedom; left out where it is smaller, false gains
were up to 14%. With one seed the interval covers questions and sampling only, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from kkwarm.transfer.flips import flip_test
from kkwarm.transfer.moderation import Prior, moderate, prior, seed_variance

__all__ = ["Estimate", "Paired", "Prior", "Word", "holm", "interval", "paired", "prior", "seed_variance", "word"]

Scores = npt.NDArray[np.float64]
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
class Paired:
    """A difference on the same questions. `low`, `high`: 95% interval; `inner`: 90% interval, for two one-sided tests.

    `test` names the test that gave `p`.
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


def interval(scores: Scores, moderated: Prior | None = None) -> Estimate:
    """The mean of `scores` (seeds, questions) with Wilson's interval at the effective number of questions.

    :raises ValueError: there is no question.
    """
    seeds, questions = _shape(scores)
    mean = float(scores.mean())
    variance, df = _variance([scores], moderated)
    base = mean * (1 - mean)
    # All right or all wrong shows no spread: Wilson at the number of questions says how little that means.
    effective = questions if variance <= 0 or base <= 0 else base / variance
    z = _quantile(0.5 + LEVEL / 2, df)
    centre = (mean + z * z / (2 * effective)) / (1 + z * z / effective)
    half = z / (1 + z * z / effective) * math.sqrt(base / effective + z * z / (4 * effective**2))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Estimate(mean, math.sqrt(max(variance, 0.0)), min(low, mean), max(high, mean), questions, seeds)


def paired(strata: Sequence[tuple[Scores, Scores]], moderated: Prior | None = None) -> Paired:
    """Second minus first, each pair of shape (seeds, questions) on the same questions; several strata weigh the same.

    The test: with one seed, all sign flips of the questions' differences (their centre must be 0 under the null),
    which is McNemar's exact test where every score is 0 or 1; with several seeds, t from the crossed model.

    :raises ValueError: shapes differ, or there is no question.
    """
    differences = []
    for first, second in strata:
        if first.shape != second.shape:
            raise ValueError(f"scores of shapes {first.shape} and {second.shape} cannot be paired")
        differences.append(np.asarray(second, float) - np.asarray(first, float))
    seeds = _shape(differences[0])[0]
    value = float(np.mean([d.mean() for d in differences]))
    variance, df = _variance([_padded(d) for d in differences], moderated)
    stderr = math.sqrt(max(variance, 0.0))
    half, inner = (_quantile(q, df) * stderr for q in (0.5 + LEVEL / 2, LEVEL))
    p, test = _test(differences, value, stderr, df)
    return Paired(
        value, stderr, max(-1.0, value - half), min(1.0, value + half), (value - inner, value + inner), p, test,
        sum(d.shape[1] for d in differences), seeds,
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


def word(difference: Paired, margin: float, p: float | None = None) -> Word:
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


def _variance(strata: Sequence[Scores], moderated: Prior | None) -> tuple[float, float]:
    """Variance of the mean of the strata's means, and its degrees of freedom."""
    weight = 1 / len(strata)
    seeds = strata[0].shape[0]
    terms: list[tuple[float, float]] = []  # (contribution to the variance, its degrees of freedom)
    within = 0.0
    for x in strata:
        questions = x.shape[1]
        if questions < 2:
            continue
        rows, columns = x.mean(axis=1, keepdims=True), x.mean(axis=0, keepdims=True)
        of_questions = seeds * float(columns.var(ddof=1))
        terms.append((weight**2 * of_questions / (seeds * questions), questions - 1))
        if seeds > 1:
            rest = float(((x - rows - columns + x.mean()) ** 2).sum()) / ((seeds - 1) * (questions - 1))
            within += weight**2 * rest / (seeds * questions)
            terms.append((-(weight**2) * rest / (seeds * questions), (seeds - 1) * (questions - 1)))
    if seeds > 1 and terms:
        of_means = float(np.mean([x.mean(axis=1) for x in strata], axis=0).var(ddof=1))
        df = float(seeds - 1)
        if moderated is not None:
            of_means, df = moderate(of_means, df, moderated)
        if moderated is None or not moderated.lent:
            # Two or three seeds that happen to agree do not show that seeds do: the little they know stays in.
            terms.append((max(of_means / seeds, within), df))
        else:
            # Where training adds nothing, the seeds' term and the rest's estimate the same; they then cancel.
            more = of_means / seeds > within * (1 + 1e-9)
            terms = [*terms, (of_means / seeds, df)] if more else [t for t in terms if t[0] > 0]
    variance = sum(v for v, _ in terms)
    weighted = sum(v * v / d for v, d in terms if d > 0 and math.isfinite(d))
    return variance, (variance * variance / weighted if weighted > 0 else math.inf)


def _quantile(level: float, df: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(level) if math.isinf(df) else stdtrit(max(df, 1.0), level))


def _test(differences: Sequence[Scores], value: float, stderr: float, df: float) -> tuple[float, str]:
    from scipy.special import ndtr, stdtr

    if differences[0].shape[0] == 1:
        return flip_test([d[0] for d in differences])
    if stderr == 0:
        return (1.0 if value == 0 else 0.0), "t over questions and seeds"
    score = -abs(value) / stderr
    p = 2 * float(ndtr(score) if math.isinf(df) else stdtr(max(df, 1.0), score))
    return min(1.0, p), "t over questions and seeds"
