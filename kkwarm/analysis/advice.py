"""What would decide the changes that are not decided: more seeds or more questions, and about how many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

__all__ = ["advice", "enough"]

MANY = 10  # times as many as there are: more than that is said to be out of reach


def advice(changes: Sequence[Mapping[str, Any]], margin: float) -> str:
    """One line, empty where all changes are decided. `changes`: as the report's matrix has them.

    The number is the median of what they need, each if it is what it is estimated to be. That many decide most of them,
    not half (`advice_simulation` among the benchmarks): `enough` is careful.
    """
    left = [c for c in changes if c["verdict"] == "underpowered"]
    if not left:
        return ""
    shares = [c["of_seeds"] for c in left if c["of_seeds"] is not None]
    share = median(shares) if shares else 0.0
    by = "seeds" if share > 0.5 else "questions"
    needed = median(enough(c, margin, len(changes), by) for c in left)
    most = MANY * median(c[by] for c in left)
    number = f"more than {most:,.0f}" if needed > most else f"about {math.ceil(needed):,}"
    said = f"{len(left)} of {len(changes)} changes are underpowered"
    if shares:
        said += f"; {share:.0%} of their squared error (the median) is between seeds"
    other = "questions hardly" if by == "seeds" else "or more samples"
    return f"{said}: {number} {by} would decide most, {other}"


def enough(change: Mapping[str, Any], margin: float, family: int, by: str) -> float:
    """The number of `by` (``seeds`` or ``questions``) with which a change would be a gain, loss or tie, if it is what
    it is estimated to be; infinity where none is enough. What more seeds take off the questions' part, by drawing each
    question more often, is not counted.

    :param family: comparisons that p-values are corrected for, by Holm: for all of them here.
    """
    from scipy.special import ndtri

    size, squared = abs(float(change["estimate"])), float(change["stderr"]) ** 2
    # By p, not by the standard error: with few seeds the test is warier than that.
    called = float(ndtri(1 - change["p"] / 2) / ndtri(1 - 0.025 / family)) * float(change["stderr"])
    wanted = max(called, (margin - size) / float(ndtri(0.95))) ** 2
    seeds_part = squared * (change["of_seeds"] or 0.0)
    shrinks, stays = (seeds_part, squared - seeds_part) if by == "seeds" else (squared - seeds_part, seeds_part)
    if wanted <= stays:
        return math.inf
    return float(change[by]) * max(1.0, shrinks / (wanted - stays))
