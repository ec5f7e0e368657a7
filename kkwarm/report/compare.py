"""Two runs on the same questions, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.report.load import load
from kkwarm.transfer.analyse import changed_cells
from kkwarm.transfer.material import Material

__all__ = ["compare"]


def compare(first: Path, second: Path, *, margin: float, common: bool) -> dict[str, Any]:
    """The comparison as one JSON document: ``benchmarks[NAME]`` with ``a``, ``b``, ``change`` (Holm over benchmarks),
    and the questions that flipped (``only_a``: right in A only, by the majority of its samples).

    :raises KkwarmError: no benchmark is in both, or what is in both cannot be paired.
    """
    material: Material = load([first, second], margin=margin)
    a, b = (c.name for c in material.conditions)
    shared = [d for d in material.domains if (a, d) in material.cells and (b, d) in material.cells]
    if not shared:
        raise KkwarmError(
            f"{first} and {second} share no benchmark",
            hint="bench both checkpoints on the same domains",
        )
    rows = changed_cells(material, a, b, shared, common=common)
    return {
        "a": str(first),
        "b": str(second),
        "state": material.state,
        "margin": margin,
        "benchmarks": rows,
        "method": "Paired by question; exact McNemar test for single samples, sign-flip permutation for several; "
        f"p by Holm over {len(rows)} benchmark(s); tie: 90% interval within {100 * margin:g} points.",
    }
