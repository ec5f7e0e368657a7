"""Counts the evaluated questions that a condition was trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from kkwarm.analysis.cells import Cell

CellKey = tuple[str, str]


def count_contaminated(
    overlaps: Mapping[str, Iterable[Mapping[str, Any]]], cells: Mapping[CellKey, Cell]
) -> dict[CellKey, int]:
    """The number of questions of each cell that its condition was trained on.

    :param overlaps: by condition, the ``contamination`` entries of its runs' manifests. All questions of a domain that
        has no cell yet are counted.
    """
    counts: dict[CellKey, int] = {}
    for condition, entries in overlaps.items():
        ids: dict[str, set[str]] = defaultdict(set)
        for entry in entries:
            ids[entry["domain"]].add(entry["id"])
        for domain, trained in ids.items():
            own = [d for c, d in cells if c == condition and domain in (d, d.partition(":")[0])]
            for name in own:
                if shared := len(trained.intersection(cells[condition, name].ids)):
                    counts[condition, name] = shared
            if not own:
                counts[condition, domain] = len(trained)
    return counts
