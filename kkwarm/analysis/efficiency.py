"""Sample efficiency: accuracy against the number of RLVR examples from both starts, and how many the warm-up saves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kkwarm.analysis.cells import Cell, pair
from kkwarm.analysis.stats.estimates import interval
from kkwarm.analysis.stats.seed_variance import Scores, Spread
from kkwarm.analysis.study_data import Roles, StudyData
from kkwarm.errors import KkwarmError

__all__ = ["at_equal_examples", "needed", "sample_efficiency"]

DRAWS = 2_000
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Point:
    examples: int
    cell: Cell


def sample_efficiency(material: StudyData, spread: Mapping[str, Spread | None] | None = None) -> list[dict[str, Any]]:
    """One entry for each domain of RLVR that was trained with several numbers of examples from both starts.

    ``starts``: for base and warmed, ``points`` with ``examples``, ``accuracy``, ``ci`` (95%), ``by_seed``. ``saved``:
    for each number of examples the accuracy (``level``) that the base reaches with it, the examples that each start
    needs for it (``base``, ``warmed``: None where it never gets there), their difference (``saved``), its 95% interval
    (a bound of None: not reached), the share of bootstrap draws that reach it (``reached``), and a ``verdict``: saves,
    costs, undecided, corrected for the number of entries (Bonferroni).
    """
    found = []
    for roles in material.roles:
        starts = [
            _points(material, start, trained, roles.on)
            for start, trained in ((roles.base, roles.base_rlvr), (roles.warmed, roles.warmed_rlvr))
        ]
        if min(map(len, starts)) > 2:  # two points are a difference, and the matrix has it
            found.append(_entry(roles, starts[0], starts[1], spread or {}))
    return found


def needed(level: float, examples: Sequence[int], accuracy: Values) -> float:
    """The least number of examples at which a curve reaches `level`, interpolated; infinite where it never does.

    The curve is made monotone first (isotonic regression): more examples are not taken to do harm.
    """
    return _least(level, examples, _monotone(accuracy))


def at_equal_examples(material: StudyData, roles: Roles) -> tuple[list[int], dict[str, tuple[Scores, Scores]]] | None:
    """The numbers of examples that RLVR was given from both starts, and for each domain that is evaluated for all of
    them what each question scored on average over them: (seeds, questions) of base and warmed start. None where there
    are not two such numbers.

    :raises KkwarmError: on the domain of RLVR they cannot be paired, or other questions or seeds were evaluated for one
        number than for another.
    """
    counts, own = _averaged(material, roles, roles.on)
    if len(counts) < 2:
        return None
    found = {roles.on: own}
    for domain in material.domains:
        try:
            there, scores = _averaged(material, roles, domain)
        except KkwarmError:
            continue  # the matrix says so
        if there == counts:
            found[domain] = scores
    return counts, found


# -- inside ------------------------------------------------------------------------------------------------------------


def _points(material: StudyData, start: str, trained: str, on: str) -> list[_Point]:
    """A start without RLVR (0 examples) and its conditions of RLVR, those that are evaluated, by number of examples."""
    grid = next((g for g in material.grids.values() if trained in g.values()), {})
    named = {0: start, **grid}
    cells = {n: material.cells.get((name, on)) for n, name in sorted(named.items())}
    return [_Point(n, cell) for n, cell in cells.items() if cell is not None and cell.ids]


def _averaged(material: StudyData, roles: Roles, domain: str) -> tuple[list[int], tuple[Scores, Scores]]:
    """The numbers above 0 that both starts have on a domain, and the questions' scores averaged over them."""
    base, warmed = (
        {p.examples: p.cell for p in _points(material, start, trained, domain)}
        for start, trained in ((roles.base, roles.base_rlvr), (roles.warmed, roles.warmed_rlvr))
    )
    counts = sorted((base.keys() & warmed.keys()) - {0})
    pairs = [pair(base[n], warmed[n]) for n in counts]
    if len({(cell.ids, cell.seeds) for n in counts for cell in (base[n], warmed[n])}) > 1:
        raise KkwarmError("not every number of examples is evaluated on the same questions and seeds yet")
    none = np.zeros((0, 0))
    one, other = (np.mean([p[side] for p in pairs], axis=0) if pairs else none for side in (0, 1))
    return counts, (one, other)


def _monotone(accuracy: Values) -> Values:
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(accuracy).x, float)


def _least(level: float, examples: Sequence[int], monotone: Values) -> float:
    reached = np.flatnonzero(monotone >= level - 1e-12)
    if not reached.size:
        return math.inf
    k = int(reached[0])
    if k == 0:
        return float(examples[0])
    share = (level - monotone[k - 1]) / (monotone[k] - monotone[k - 1])
    return float(examples[k - 1] + min(1.0, share) * (examples[k] - examples[k - 1]))


def _entry(
    roles: Roles, base: list[_Point], warmed: list[_Point], spread: Mapping[str, Spread | None]
) -> dict[str, Any]:
    return {
        "on": roles.on,
        "starts": {
            "base": {"condition": roles.base, "points": [_shown(p, spread) for p in base]},
            "warmed": {"condition": roles.warmed, "points": [_shown(p, spread) for p in warmed]},
        },
        "saved": _saved(base, warmed),
    }


def _shown(point: _Point, spread: Mapping[str, Spread | None]) -> dict[str, Any]:
    e = interval(point.cell.scores, spread.get(point.cell.condition))
    return {
        "examples": point.examples,
        "condition": point.cell.condition,
        "accuracy": e.value,
        "ci": [e.low, e.high],
        "by_seed": [float(row.mean()) for row in point.cell.scores],
    }


def _saved(base: list[_Point], warmed: list[_Point]) -> list[dict[str, Any]]:
    """For each number of examples, how many the warmed start saves; the interval resamples questions and seeds."""
    points = [*base, *warmed]
    scores = _common([p.cell for p in points])
    if scores is None:
        return []
    rng = np.random.default_rng(20250513)
    _, seeds, questions = scores.shape
    by_seed, by_question = _weights(rng, seeds), _weights(rng, questions)
    draws = np.einsum("ds,psq,dq->dp", by_seed, scores, by_question, optimize=True)
    examples = [p.examples for p in base], [p.examples for p in warmed]
    means = scores.mean(axis=(1, 2))
    rows = []
    for k in range(1, len(base)):
        at, level = _needs(means, k, examples)
        drawn = np.array([_needs(draw, k, examples)[0] for draw in draws])
        saved = np.sort(drawn[:, 0] - drawn[:, 1])
        low, high = _middle(saved, 0.05)
        surely = _middle(saved, 0.05 / (len(base) - 1))
        rows.append(
            {
                "examples": base[k].examples,
                "level": level,
                "base": at[0],
                "warmed": _finite(at[1]),
                "saved": _finite(at[0] - at[1]),
                "ci": [_finite(low), _finite(high)],
                "reached": float(np.isfinite(saved).mean()),
                "verdict": "saves" if surely[0] > 0 else "costs" if surely[1] < 0 else "undecided",
            }
        )
    return rows


def _middle(ordered: Values, outside: float) -> tuple[float, float]:
    """The interval that leaves out this share of the draws, half on each side."""
    cut = int(outside / 2 * len(ordered))
    return float(ordered[cut]), float(ordered[len(ordered) - 1 - cut])


def _weights(rng: np.random.Generator, count: int) -> Values:
    """Of `count` units in each draw of the bootstrap, stretched by sqrt(count / (count - 1)): plain resampling of three
    seeds has two thirds of their variance (J. N. K. Rao and C. F. J. Wu, J. Am. Stat. Assoc. 83, 1988).
    """
    drawn = rng.multinomial(count, [1 / count] * count, DRAWS) / count
    return np.asarray(1 / count + math.sqrt(count / max(count - 1, 1)) * (drawn - 1 / count), float)


def _needs(means: Values, k: int, examples: tuple[Sequence[int], Sequence[int]]) -> tuple[tuple[float, float], float]:
    """The examples that base and warmed start need for what the base reaches at its point `k`, and that level.

    Where the base's curve is flat it needs fewer than that point has: what the warm-up saves is counted from there.
    """
    count = len(examples[0])
    base, warmed = _monotone(means[:count]), _monotone(means[count:])
    level = float(base[k])
    return (_least(level, examples[0], base), _least(level, examples[1], warmed)), level


def _common(cells: Sequence[Cell]) -> Values | None:
    """Scores of shape (cells, seeds, questions) on the seeds and questions that all have; None where none is shared."""
    seeds = sorted(set.intersection(*(set(c.seeds) for c in cells)))
    ids = sorted(set.intersection(*(set(c.ids) for c in cells)))
    if not seeds or not ids or any(c.protocol != cells[0].protocol for c in cells):
        return None
    rows = []
    for cell in cells:
        places = {i: n for n, i in enumerate(cell.ids)}
        rows.append(cell.scores[np.ix_([cell.seeds.index(s) for s in seeds], [places[i] for i in ids])])
    return np.stack(rows)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
