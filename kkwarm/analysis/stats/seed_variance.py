"""How much training seeds differ, learnt from a whole study: two or three seeds alone estimate a variance badly.

A condition's seed moves its domains by normal amounts of standard deviation `sd`, which correlate by `rho` between
domains (a seed that is good on one is often good on the others too; what it gains on one it may lose on another, so rho
may be below 0); sampling adds noise that the questions tell. A domain that is nearly solved, or not at all, moves less:
by `sd` at an accuracy of 50%, elsewhere as what moves evenly on the logit scale. With one sd for all, a domain at 50%
beside some at 15 and 85% had most of the false gains. How much seeds vary belongs to the condition (a recipe that
sometimes collapses) more than to the domain, and conditions of one study are alike, though not equal: given the
study's typical sd, a condition's variance follows a scaled inverse chi square, as in limma (G. K. Smyth, Stat. Appl.
Genet. Mol. Biol. 3, 2004), of half a degree of freedom to 4. More are left out: half a dozen conditions cannot show
that they are alike, and where they are not, false gains come from the one that varies most. Everything is summed over
grids, so that what few seeds leave open stays open: with point estimates, 95% intervals held the truth in up to 99%, or
false gains were twice as many. What these do: `transfer_simulation` among the benchmarks.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["Moved", "Scores", "Spread", "spreads"]

Scores = npt.NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

# Shares of correct answers at 50%: a seed may move them by nothing, or by 0.2 to 40 points.
_SD = np.concatenate([[0.0], np.geomspace(0.002, 0.4, 27)])
_TYPICAL = np.geomspace(0.002, 0.4, 18)
_RHO = np.array([-0.25, 0.0, 0.15, 0.5, 0.95, 0.99])
_ALIKE = np.array([0.5, 1.0, 2.0, 4.0])  # degrees of freedom that the other conditions are worth
_WARY = 1  # place of the one that tests take: a condition that differs from the others is where false gains come from
# Before any data: seeds do not differ at all (even odds), or typically by some points, hardly by more than 15. Chosen,
# with the grids, so that 95% intervals hold the truth in 93 to 97% of studies of each kind of `transfer_simulation`.
_NONE, _POWER, _SCALE = 1.0, 0.7, 0.06
_OF_RHO, _OF_ALIKE = np.array([2.0, 1.0, 0.5, 1.0, 1.0, 2.0]), np.array([2.0, 1.0, 2.0, 1.0])
_LEAST = 1e-8  # variance of sampling where no answer differs between seeds
_ROOM = 0.1  # at the least: also where all is right, another seed may be wrong


@dataclass(frozen=True, slots=True)
class Spread:
    """What is known of how much seeds differ. `weights`: of each (sd, rho) of the grid; they sum to 1.

    `wary`: the same where seeds are taken to differ, though it may be little, and conditions to be less alike. Tests
    use it: few noisy questions make no difference likely where there is one, and with it up to 8% of studies without a
    change had a gain or loss, not 5%.
    """

    weights: Scores
    wary: Scores

    def of_mean(self, rooms: Sequence[float], *, wary: bool = False) -> tuple[Scores, Scores]:
        """Variances between seeds of the mean over domains that are possible, and how likely each is.

        :param rooms: of each domain, as `Moved.room`.
        """
        chosen, each = self.wary if wary else self.weights, np.asarray(rooms, float) / len(rooms)
        if len(each) == 1:
            variances, weights = _SD**2 * each[0] ** 2, chosen.sum(axis=1)
        else:
            rho = _rho(len(each))
            shared = (1 - rho) * (each**2).sum() + rho * each.sum() ** 2
            variances, weights = (_SD[:, None] ** 2 * shared).ravel(), chosen.ravel()
        kept = weights > 1e-9
        return variances[kept], weights[kept] / weights[kept].sum()


@dataclass(frozen=True, slots=True)
class Moved:
    """What a condition's training seeds move on one domain.

    `scores`: (seeds, questions); their means over questions tell how much. `room`: how far a seed moves this domain, of
    how far it does at an accuracy of 50%: 4p(1 - p), as on the logit scale. `apart`: the seeds differ in some answer.
    """

    scores: Scores
    room: float
    apart: bool

    @classmethod
    def alone(cls, scores: Scores) -> Moved:
        """The accuracy of one condition."""
        return cls(scores, _room(scores), _differ(scores))

    @classmethod
    def between(cls, first: Scores, second: Scores) -> Moved:
        """How far two trained conditions are apart."""
        return cls(second - first, _room(first, second), _differ(second - first))

    @classmethod
    def above(cls, fixed: Scores, second: Scores) -> Moved:
        """How far a trained condition is above a checkpoint that is one for all seeds: seeds move the former only.

        The checkpoint's scores say how lucky the draws of a seed were, as far as both share them (equal seeds draw
        equal random numbers): that much is taken off. The difference itself would have the checkpoint's noise besides,
        the same in all conditions, which looks as if all their seeds differed, or none's.
        """
        luck, noise = _rest(fixed), _rest(second)
        shared = float((luck * noise).sum()) / max(float((luck**2).sum()), 1e-12)
        return cls(second - shared * fixed, _room(second), _differ(second))


def spreads(rows: Mapping[Key, Sequence[Moved]]) -> dict[Key, Spread | None]:
    """The spread of each condition, given those of all: None with one seed.

    :param rows: by condition, what its seeds move, a domain each.
    """
    found: dict[Key, Spread | None] = dict.fromkeys(rows)
    known = {key: _likelihood(cells) for key, cells in rows.items() if any(len(c.scores) > 1 for c in cells)}
    given = _given_typical()
    marginals = {key: np.einsum("tas,sr->tar", given, each) for key, each in known.items()}
    before = _before()
    # Runs that are equal to the last answer were not trained apart: they say nothing about others, nor others of them.
    logs = {key: np.log(np.maximum(m, 1e-300)) for key, m in marginals.items() if any(c.apart for c in rows[key])}
    total = before + sum(logs.values(), np.zeros(1))
    for key, each in known.items():
        # Of the typical sd, likeness and correlation, by what all but this condition say.
        others = total - logs[key] if key in logs else before
        weights, wary = (
            np.einsum("tar,tas->sr", np.exp(part - part.max()), chances) * each
            for part, chances in ((others, given), (others[:-1, [_WARY]], given[:-1, [_WARY]]))
        )
        found[key] = Spread(weights / weights.sum(), wary / wary.sum())
    return found


def _likelihood(cells: Sequence[Moved]) -> Scores:
    """Of each (sd, rho), relative to the largest. Domains with other numbers of seeds count as independent."""
    total = np.zeros((len(_SD), len(_RHO)))
    for seeds in {len(c.scores) for c in cells} - {1}:
        group = [c for c in cells if len(c.scores) == seeds]
        rooms, count = np.array([c.room for c in group]), len(group)
        moved = np.array([c.scores.mean(axis=1) - c.scores.mean() for c in group])  # (domains, seeds)
        noise = np.diag([max(_noise(c.scores), _LEAST) for c in group])
        rho = _rho(count)[:, None, None]
        shape = (1 - rho) * np.eye(count) + rho * np.ones((count, count))
        covariance = _SD[:, None, None, None] ** 2 * (shape * np.outer(rooms, rooms)) + noise
        total -= 0.5 * (seeds - 1) * np.linalg.slogdet(covariance)[1]
        total -= 0.5 * np.einsum("srij,ji->sr", np.linalg.inv(covariance), moved @ moved.T)
    return np.asarray(np.exp(total - total.max()), float)


def _rho(count: int) -> Scores:
    """The grid's correlations between `count` domains: they can all be negative by 1 / (count - 1) at the most."""
    return np.asarray(np.maximum(_RHO, -0.75 / max(count - 1, 1)), float)


def _rest(scores: Scores) -> Scores:
    """What is left of scores without their seeds' and questions' means: the noise of sampling."""
    rest = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0, keepdims=True) + scores.mean()
    return np.asarray(rest, float)


def _noise(scores: Scores) -> float:
    """Variance of a seed's mean by sampling."""
    seeds, questions = scores.shape
    if questions < 2:
        return 0.0
    return float((_rest(scores) ** 2).sum() / ((seeds - 1) * (questions - 1) * questions))


def _differ(scores: Scores) -> bool:
    return not bool((scores == scores[:1]).all())


def _room(*accuracies: Scores) -> float:
    p = float(np.mean([a.mean() for a in accuracies]))
    return max(4 * p * (1 - p), _ROOM)


@cache
def _given_typical() -> Scores:
    """The chance of each sd of the grid, given a study's typical sd and how alike conditions are: (typical + 1, alike,
    sd). The last typical one is that seeds do not differ.
    """
    from scipy.special import chdtrc

    logs = np.log(_SD[1:])
    edges = np.exp(np.concatenate([[logs[0] - (logs[1] - logs[0]) / 2], (logs[1:] + logs[:-1]) / 2]))
    below = chdtrc(_ALIKE[:, None], _TYPICAL[:, None, None] ** 2 * _ALIKE[:, None] / edges**2)
    ends = np.zeros((*below.shape[:2], 1)), np.ones((*below.shape[:2], 1))
    chances = np.diff(np.concatenate([ends[0], below, ends[1]], axis=-1), axis=-1)
    return np.concatenate([chances, np.broadcast_to(_SD == 0, (1, *chances.shape[1:]))])


@cache
def _before() -> Scores:
    """The logarithm of the prior weight of each typical sd (and of none), likeness and rho."""
    typical = _TYPICAL**_POWER * np.exp(-0.5 * (_TYPICAL / _SCALE) ** 2)
    weights = np.append(typical / typical.sum(), _NONE)[:, None, None] * _OF_ALIKE[:, None] * _OF_RHO
    return np.asarray(np.log(weights), float)
