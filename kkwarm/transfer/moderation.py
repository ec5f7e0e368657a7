"""How much training seeds differ, learnt from a whole study: two or three seeds alone estimate a variance badly.

The seeds' mean squares are moderated towards each other as in limma (G. K. Smyth, Stat. Appl. Genet. Mol. Biol. 3,
2004). How much training varies belongs to the condition (a recipe that sometimes collapses) more than to the domain, so
a condition's domains are pooled before conditions lend to each other: `by_condition`. A seed that is good on one domain
is often good on the others too; then they count as fewer (`_pooled`). A few variances of one or two degrees of freedom
say little about how alike conditions are. So a variance is drawn towards the others by as much as they seem alike, but
its degrees of freedom grow only by what is sure: taken at their estimate, studies of two seeds and unequal conditions
had twice the false gains (`benchmarks/transfer_simulation.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Prior", "by_condition", "moderate", "prior", "seed_variance"]

Scores = npt.NDArray[np.float64]
_CONFIDENCE = 1.282  # standard errors: a one-sided limit of 90%


@dataclass(frozen=True, slots=True)
class Prior:
    """What the other comparisons of a study say about the variance between seeds: its size, that weighs `df` degrees.

    `sure`: the lower 90% limit of `df`, which is what a moderated variance gains. `pooled`: the degrees of freedom that
    all of them have together; no moderated variance can be worth more. `lent`: it may show that seeds do not differ;
    a condition's own cannot, nor what others lend to two seeds (5.4% false gains of simulated studies, not 5%).
    """

    variance: float
    df: float
    sure: float
    pooled: float
    lent: bool = True


def seed_variance(strata: Sequence[tuple[Scores | float, Scores]]) -> tuple[float, int]:
    """Variance between seeds of the mean difference, and its degrees of freedom: what `prior` pools.

    A first of 0 gives the variance of the second alone.
    """
    means = np.mean([(b - a).mean(axis=1) for a, b in strata], axis=0)
    return (float(means.var(ddof=1)), len(means) - 1) if len(means) > 1 else (0.0, 0)


def prior(variances: Sequence[tuple[float, float]]) -> Prior | None:
    """The prior of variances (value, degrees of freedom), fitted by the moments of their logarithms (Smyth, 2004).

    None where fewer than three can be used. Variances of exactly 0 (a condition without training, or equal runs) are
    left out: they say nothing about training.
    """
    from scipy.special import polygamma, psi

    used = [(v, d) for v, d in variances if v > 0 and d > 0]
    if len(used) < 3:
        return None
    v, d = (np.array(column, float) for column in zip(*used, strict=True))
    centred = np.log(v) - psi(d / 2) + np.log(d / 2)
    chance = float(polygamma(1, d / 2).mean())  # the variance of a logarithm where all true variances are equal
    error = math.sqrt(float(polygamma(3, d / 2).mean()) / len(d) + 2 * chance**2 / (len(d) - 1))
    spread = float(centred.var(ddof=1)) - chance
    sure = _degrees(spread + _CONFIDENCE * error)
    total = float(d.sum())
    mean = float(np.average(v, weights=d))
    if spread <= 0:
        return Prior(mean, math.inf, sure, total)
    df = _degrees(spread)
    fitted = math.exp(float(centred.mean()) + float(psi(df / 2)) - math.log(df / 2))
    # Where spreads are unequal the fitted location lies below their mean, and false gains come from the largest.
    return Prior(max(fitted, mean), df, sure, total)


def by_condition(pairs: Mapping[tuple[str, str], tuple[Scores, Scores]]) -> dict[tuple[str, str], Prior | None]:
    """The prior of each comparison (condition, domain): its condition's variance over all domains, moderated by the
    other conditions' where there are three or more; None with one seed.
    """
    grouped: dict[tuple[str, int], list[Scores]] = {}
    for (condition, _), (first, second) in pairs.items():
        means = (second - first).mean(axis=1)
        grouped.setdefault((condition, len(means)), []).append(means - means.mean())
    deviations = {key: np.array(rows) for key, rows in grouped.items() if key[1] > 1}  # each (domains, seeds)
    shared = _shared(list(deviations.values()))
    pooled = {key: _pooled(x, shared) for key, x in deviations.items()}
    of_all = prior(list(pooled.values()))
    found: dict[tuple[str, str], Prior | None] = {}
    for (condition, domain), (first, _) in pairs.items():
        own = pooled.get((condition, len(first)))
        if own is None or own[0] <= 0:
            found[condition, domain] = of_all if own is not None else None
            continue
        variance, df = own if of_all is None else moderate(*own, of_all)
        rest = max(df - (len(first) - 1), 0.0)  # the comparison's own seeds are added again where it is tested
        found[condition, domain] = Prior(variance, rest, rest, df, lent=of_all is not None and len(first) > 2)
    return found


def _pooled(deviations: Scores, shared: float) -> tuple[float, float]:
    domains, seeds = deviations.shape
    df = domains * (seeds - 1)
    return float((deviations**2).sum() / df), df / (1 + (domains - 1) * shared**2)


def _shared(deviations: Sequence[Scores]) -> float:
    """How far a seed's deviations agree between domains: their correlation, at least 0. Conditions that vary more weigh
    more: they show it best, and false gains come from them.
    """
    own = sum(float((x**2).sum()) * (len(x) - 1) for x in deviations)
    crossed = sum(float((x.sum(axis=0) ** 2).sum() - (x**2).sum()) for x in deviations)
    return max(0.0, crossed / own) if own else 0.0


def moderate(variance: float, df: float, moderated: Prior) -> tuple[float, float]:
    """A variance and its degrees of freedom, with what the prior adds."""
    mixed = moderated.variance
    if not math.isinf(moderated.df):
        mixed = (moderated.df * moderated.variance + df * variance) / (moderated.df + df)
    # Never below its own variance: a condition that really varies more than the others must keep its wide interval.
    return max(variance, mixed), max(df, min(moderated.sure + df, moderated.pooled))


def _degrees(spread: float) -> float:
    """Degrees of freedom of a prior whose logarithms vary by `spread` (infinite where they do not)."""
    return 2 * _trigamma_inverse(spread) if spread > 0 else math.inf


def _trigamma_inverse(value: float) -> float:
    """x with trigamma(x) = value, by Newton's method on 1 / trigamma (Smyth, 2004, appendix)."""
    from scipy.special import polygamma

    if value > 1e7:
        return float(1 / math.sqrt(value))
    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        now = float(polygamma(1, x))
        move = now * (1 - now / value) / float(polygamma(2, x))
        x += move
        if -move / x < 1e-8:
            break
    return x
