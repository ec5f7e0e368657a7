"""What training seeds move in a study, and how much: of its rows, and of what one row is above another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from kkwarm.analysis.stats.seed_variance import Moved, Scores, Spread, spreads
from kkwarm.analysis.study_data import StudyData

__all__ = ["Strata", "moved", "of_changes", "of_rows"]

Key = TypeVar("Key", bound=Hashable)
Strata = Sequence[tuple[Scores, Scores]]


def moved(material: StudyData, first: str, strata: Strata) -> list[Moved]:
    """What seeds move of each stratum: only the second row, where the first is one checkpoint for all of them."""
    fixed = any(c.name == first and len(c.chain) == 1 for c in material.conditions)
    return [(Moved.above if fixed else Moved.between)(*s) for s in strata]


def of_changes(material: StudyData, rows: Mapping[tuple[str, str], Strata]) -> dict[tuple[str, str], Spread | None]:
    """The spread of each (first, second) row, given those of all."""
    return _apart(material, {key: (key, moved(material, key[0], strata)) for key, strata in rows.items()})


def of_rows(material: StudyData) -> dict[str, Spread | None]:
    """The spread of each row's accuracy, given those of all."""
    rows: dict[str, list[Moved]] = {}
    for (name, _), found in material.cells.items():
        if found.ids:
            rows.setdefault(name, []).append(Moved.alone(found.scores))
    return _apart(material, {name: ((name,), cells) for name, cells in rows.items()})


def _apart(material: StudyData, rows: Mapping[Key, tuple[Sequence[str], Sequence[Moved]]]) -> dict[Key, Spread | None]:
    """What was never trained says nothing about what was."""
    made = {c.name for c in material.conditions if c.chain[1:]}
    trained = {key: cells for key, (names, cells) in rows.items() if made & {*names}}
    others = {key: cells for key, (_, cells) in rows.items() if key not in trained}
    return {**spreads(trained), **spreads(others)}
