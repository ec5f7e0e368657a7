"""Marks what a leak touches: cells of questions that were trained on, and the changes and claims made of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from kkwarm.analysis.cells import Cell
from kkwarm.analysis.study_data import StudyData

__all__ = ["evaluated_overlaps", "mark"]

Place = tuple[str, str]


def evaluated_overlaps(
    overlaps: Mapping[str, Iterable[Mapping[str, Any]]], cells: Mapping[Place, Cell]
) -> dict[Place, int]:
    """How many questions of each cell its condition was trained on.

    :param leaks: for each condition what its runs' manifests tell. A domain that has no cell (yet) counts as a whole.
    """
    found: dict[Place, int] = {}
    for condition, told in overlaps.items():
        ids: dict[str, set[str]] = defaultdict(set)
        for overlap in told:
            ids[overlap["domain"]].add(overlap["id"])
        for domain, trained in ids.items():
            own = [d for c, d in cells if c == condition and domain in (d, d.partition(":")[0])]
            for name in own:
                if shared := len(trained.intersection(cells[condition, name].ids)):
                    found[condition, name] = shared
            if not own:
                found[condition, domain] = len(trained)
    return found


def mark(document: dict[str, Any], material: StudyData) -> None:
    """Sets ``leaked`` in the report's document: in a cell, the number of its questions that were trained on; in a
    change or claim, whether such a cell is in it.
    """
    for condition, row in document["matrix"].items():
        for domain, cell in row.items():
            cell["leaked"] = material.overlaps.get((condition, domain), 0)
    for row in document["matrix"].values():
        for domain, cell in row.items():
            if cell["change"] is not None:
                other = document["matrix"].get(cell["change"]["baseline"], {}).get(domain, {})
                cell["change"]["leaked"] = bool(cell["leaked"] or other.get("leaked"))
    roles = {c for r in material.roles for c in (r.base, r.warmed, r.base_rlvr, r.warmed_rlvr)}
    touched = {domain for condition, domain in material.overlaps if condition in roles}
    for claim in document["claims"]:
        claim["leaked"] = bool(touched.intersection(claim.get("domains") or material.domains))
