"""The variance between training seeds, estimated from all conditions of a study.

Two or three seeds alone estimate a variance badly. The model: a seed shifts a condition's accuracy on each domain by a
normal amount with standard deviation `sd`; the shifts correlate by `rho` between domains (negative where a seed gains
on one domain what it loses on another); sampling adds noise that the questions show. A domain whose accuracy is near 0
or 1 is shifted less: by `sd` at an accuracy of 50%, elsewhere as an even shift on the logit scale would. With one sd
for all, a domain at 50% beside others at 15 and 85% had most of the false gains.

How much seeds vary is a property of the condition (a recipe that sometimes collapses) more than of the domain, and
conditions of one study are similar: given the study's typical sd, a condition's variance follows a scaled inverse chi
square distribution, as in limma (G. K. Smyth, Stat. Appl. Genet. Mol. Biol. 3, 2004), with 0.5 to 4 degrees of freedom.
More are excluded: half a dozen conditions cannot show that they are equal, and where they are not, false gains come
from the one that varies most.

All parameters are integrated over grids, so that what few seeds leave uncertain stays uncertain. With point estimates
instead, coverage of the 95% intervals reached 99%, or false gains doubled. `benchmarks/transfer_simulation.py` measures
coverage and false gains.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

# Standard deviation of a seed's shift at an accuracy of 50%: 0, or 0.2 to 40 percentage points.
_SD = np.concatenate([[0.0], np.geomspace(0.002, 0.4, 27)])
_TYPICAL_SD = np.geomspace(0.002, 0.4, 18)
_RHO = np.array([-0.25, 0.0, 0.15, 0.5, 0.95, 0.99])
_PRIOR_DF = np.array([0.5, 1.0, 2.0, 4.0])  # degrees of freedom that the other conditions contribute
_CONSERVATIVE_DF = 1  # index of the value that tests use: false gains come from a condition unlike the others
# Prior: even odds that seeds do not differ at all; otherwise typically by some points, rarely by more than 15. Chosen
# together with the grids, so that 95% intervals cover the truth in 93 to 97% of studies of each kind of
# `benchmarks/transfer_simulation.py`.
_ZERO_WEIGHT, _PRIOR_POWER, _PRIOR_SCALE = 1.0, 0.7, 0.06
_RHO_WEIGHTS, _DF_WEIGHTS = np.array([2.0, 1.0, 0.5, 1.0, 1.0, 2.0]), np.array([2.0, 1.0, 2.0, 1.0])
_MIN_SAMPLING_VARIANCE = 1e-8  # where no answer differs between seeds
_MIN_SCALE = 0.1  # even where all answers are right, another seed may be wrong


@dataclass(frozen=True, slots=True)
class SeedVariance:
    """The posterior of a condition's seed variance. `weights`: of each (sd, rho) of the grid, summing to 1.

    `conservative`: the same under the assumptions that seeds differ (possibly little) and that conditions are less
    similar. Tests use it: with few noisy questions the data cannot exclude a seed variance of 0, and without it up to
    8% of studies without a change had a gain or loss, not 5%.
    """

    weights: Scores
    conservative: Scores

    def variances_of_mean(self, scales: Sequence[float], *, conservative: bool = False) -> tuple[Scores, Scores]:
        """The possible variances between seeds of the mean over domains, and the probability of each.

        :param scales: `SeedEffect.variance_scale` of each domain.
        """
        posterior = self.conservative if conservative else self.weights
        shares = np.asarray(scales, float) / len(scales)
        if len(shares) == 1:
            variances, weights = _SD**2 * shares[0] ** 2, posterior.sum(axis=1)
        else:
            rho = _rho(len(shares))
            factor = (1 - rho) * (shares**2).sum() + rho * shares.sum() ** 2
            variances, weights = (_SD[:, None] ** 2 * factor).ravel(), posterior.ravel()
        likely = weights > 1e-9
        return variances[likely], weights[likely] / weights[likely].sum()


@dataclass(frozen=True, slots=True)
class SeedEffect:
    """How the training seeds shift one domain.

    `scores`: (seeds, questions), whose means over questions differ between seeds. `variance_scale`: the size of a
    seed's shift on this domain, relative to one at an accuracy of 50%: 4p(1 - p), as on the logit scale.
    `seeds_differ`: some answer differs between seeds.
    """

    scores: Scores
    variance_scale: float
    seeds_differ: bool

    @classmethod
    def single(cls, scores: Scores) -> SeedEffect:
        """Of one condition's accuracy."""
        return cls(scores, _variance_scale(scores), _seeds_differ(scores))

    @classmethod
    def difference(cls, first: Scores, second: Scores) -> SeedEffect:
        """Of the difference of two trained conditions."""
        return cls(second - first, _variance_scale(first, second), _seeds_differ(second - first))

    @classmethod
    def vs_fixed_baseline(cls, fixed: Scores, second: Scores) -> SeedEffect:
        """Of the difference of a trained condition and a checkpoint that is the same for all seeds: only the trained
        condition varies across seeds.

        Equal seeds sample with equal random numbers, so both share some sampling noise. The checkpoint's residuals
        show it, and as far as the condition's residuals follow them it is subtracted. The plain difference would add
        the checkpoint's own noise, equal in all conditions, which looks like a seed variance of all of them, or none.
        """
        fixed_noise, noise = _residuals(fixed), _residuals(second)
        slope = float((fixed_noise * noise).sum()) / max(float((fixed_noise**2).sum()), 1e-12)
        return cls(second - slope * fixed, _variance_scale(second), _seeds_differ(second))


def estimate_seed_variances(conditions: Mapping[Key, Sequence[SeedEffect]]) -> dict[Key, SeedVariance | None]:
    """The seed variance of each condition, given the data of all conditions; None for a condition with one seed.

    :param conditions: the seed effects of each condition, one for each domain.
    """
    results: dict[Key, SeedVariance | None] = dict.fromkeys(conditions)
    likelihoods = {
        key: _likelihood(effects) for key, effects in conditions.items() if any(len(e.scores) > 1 for e in effects)
    }
    conditional = _conditional_prior()
    marginals = {key: np.einsum("tas,sr->tar", conditional, each) for key, each in likelihoods.items()}
    prior = _log_prior()
    # Runs whose answers are all equal were not trained separately: they carry no information about the others.
    logs = {
        key: np.log(np.maximum(m, 1e-300))
        for key, m in marginals.items()
        if any(e.seeds_differ for e in conditions[key])
    }
    total = prior + sum(logs.values(), np.zeros(1))
    for key, each in likelihoods.items():
        # The posterior of typical sd, degrees of freedom and correlation from all other conditions.
        others = total - logs[key] if key in logs else prior
        only = [_CONSERVATIVE_DF]
        weights, conservative = (
            np.einsum("tar,tas->sr", np.exp(part - part.max()), given) * each
            for part, given in ((others, conditional), (others[:-1, only], conditional[:-1, only]))
        )
        results[key] = SeedVariance(weights / weights.sum(), conservative / conservative.sum())
    return results


def _likelihood(effects: Sequence[SeedEffect]) -> Scores:
    """Of each (sd, rho), relative to the largest. Domains with other numbers of seeds count as independent."""
    total = np.zeros((len(_SD), len(_RHO)))
    for seeds in {len(e.scores) for e in effects} - {1}:
        group = [e for e in effects if len(e.scores) == seeds]
        scales, count = np.array([e.variance_scale for e in group]), len(group)
        shifts = np.array([e.scores.mean(axis=1) - e.scores.mean() for e in group])  # (domains, seeds)
        noise = np.diag([max(_sampling_variance(e.scores), _MIN_SAMPLING_VARIANCE) for e in group])
        rho = _rho(count)[:, None, None]
        correlation = (1 - rho) * np.eye(count) + rho * np.ones((count, count))
        covariance = _SD[:, None, None, None] ** 2 * (correlation * np.outer(scales, scales)) + noise
        total -= 0.5 * (seeds - 1) * np.linalg.slogdet(covariance)[1]
        total -= 0.5 * np.einsum("srij,ji->sr", np.linalg.inv(covariance), shifts @ shifts.T)
    return np.asarray(np.exp(total - total.max()), float)


def _rho(count: int) -> Scores:
    """The grid of correlations between `count` domains, which cannot all be below -1 / (count - 1)."""
    return np.asarray(np.maximum(_RHO, -0.75 / max(count - 1, 1)), float)


def _residuals(scores: Scores) -> Scores:
    """Scores without their seeds' and questions' means: sampling noise."""
    rest = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0, keepdims=True) + scores.mean()
    return np.asarray(rest, float)


def _sampling_variance(scores: Scores) -> float:
    """The variance of a seed's mean due to sampling."""
    seeds, questions = scores.shape
    if questions < 2:
        return 0.0
    return float((_residuals(scores) ** 2).sum() / ((seeds - 1) * (questions - 1) * questions))


def _seeds_differ(scores: Scores) -> bool:
    return not bool((scores == scores[:1]).all())


def _variance_scale(*accuracies: Scores) -> float:
    p = float(np.mean([a.mean() for a in accuracies]))
    return max(4 * p * (1 - p), _MIN_SCALE)


@cache
def _conditional_prior() -> Scores:
    """The probability of each sd of the grid, given the study's typical sd and the degrees of freedom: shape
    (typical sd + 1, degrees of freedom, sd). The last typical value means that seeds do not differ.
    """
    from scipy.special import chdtrc

    logs = np.log(_SD[1:])
    edges = np.exp(np.concatenate([[logs[0] - (logs[1] - logs[0]) / 2], (logs[1:] + logs[:-1]) / 2]))
    below = chdtrc(_PRIOR_DF[:, None], _TYPICAL_SD[:, None, None] ** 2 * _PRIOR_DF[:, None] / edges**2)
    ends = np.zeros((*below.shape[:2], 1)), np.ones((*below.shape[:2], 1))
    probabilities = np.diff(np.concatenate([ends[0], below, ends[1]], axis=-1), axis=-1)
    return np.concatenate([probabilities, np.broadcast_to(_SD == 0, (1, *probabilities.shape[1:]))])


@cache
def _log_prior() -> Scores:
    """The logarithm of the prior weight of each typical sd (and of none), degrees of freedom and rho."""
    typical = _TYPICAL_SD**_PRIOR_POWER * np.exp(-0.5 * (_TYPICAL_SD / _PRIOR_SCALE) ** 2)
    weights = np.append(typical / typical.sum(), _ZERO_WEIGHT)[:, None, None] * _DF_WEIGHTS[:, None] * _RHO_WEIGHTS
    return np.asarray(np.log(weights), float)
