"""RLVR's training curves: reading them, smoothing them, and how many steps one start saves over another."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kkwarm.errors import KkwarmError

__all__ = ["Curve", "efficiency", "logged_steps", "read_curve", "smooth"]

WINDOW = 5  # steps: a step's few prompts make single values jump
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """One RLVR run: the mean reward and the share of correct completions of each step's rollouts."""

    condition: str
    seed: int
    steps: tuple[int, ...]
    reward: tuple[float, ...]
    accuracy: tuple[float, ...]


def read_curve(log: Path, condition: str, seed: int) -> Curve | None:
    """The curve of a ``log.jsonl``; None where there is no step yet.

    :raises KkwarmError: a line before the last is no JSON object.
    """
    rows = logged_steps(log, "reward")
    if not rows:
        return None
    steps = tuple(sorted(rows))
    return Curve(
        condition,
        seed,
        steps,
        tuple(float(rows[s]["reward"]) for s in steps),
        tuple(float(rows[s].get("accuracy", math.nan)) for s in steps),
    )


def logged_steps(log: Path, needed: str) -> dict[int, dict[str, Any]]:
    """The rows of a log that have the field `needed`, by step; none where there is no file. A step logged twice (after
    a resume) counts once, as logged last.

    :raises KkwarmError: a line before the last is no JSON object.
    """
    rows: dict[int, dict[str, Any]] = {}
    try:
        lines = log.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return rows
    for number, raw in enumerate(lines, 1):
        try:
            row = json.loads(raw)
            if needed in row and "step" in row:
                rows[int(row["step"])] = row
        except (ValueError, TypeError):
            if number == len(lines) and not raw.endswith(b"\n"):
                break  # being written right now
            raise KkwarmError(
                f"{log}, line {number}: not a JSON object", hint="the log was edited or damaged"
            ) from None
    return rows


def smooth(values: Sequence[float]) -> Values:
    """The running mean of the last `WINDOW` values, fewer at the start."""
    total = np.concatenate([[0.0], np.cumsum(np.asarray(values, float))])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - WINDOW)
    return np.asarray((total[ends] - total[starts]) / (ends - starts), float)


def efficiency(base: Sequence[Curve], warmed: Sequence[Curve]) -> dict[str, Any]:
    """How RLVR from the warmed start compares with RLVR from the base at equal steps.

    ``advantage``: mean over the common steps of the difference in accuracy (share of correct rollouts), one value for
    each seed; it is the area between the curves. ``level``: where the base's curves end (mean of their last `WINDOW`
    steps). ``steps_base``, ``steps_warmed``: the first step at which the mean smoothed curve is there, None if never.

    :raises KkwarmError: no seed has both curves.
    """
    pairs = [(b, w) for b in base for w in warmed if b.seed == w.seed]
    if not pairs:
        raise KkwarmError("no seed has an RLVR curve from both starts")
    count = min(min(len(b.steps), len(w.steps)) for b, w in pairs)
    curves = np.array([[_accuracy(b)[:count], _accuracy(w)[:count]] for b, w in pairs])  # (seeds, 2, steps)
    advantage = (curves[:, 1] - curves[:, 0]).mean(axis=1)
    mean_base, mean_warmed = (smooth(curves[:, i].mean(axis=0)) for i in (0, 1))
    level = float(mean_base[-1])
    steps = pairs[0][0].steps
    return {
        "advantage": [float(a) for a in advantage],
        "seeds": [b.seed for b, _ in pairs],
        "steps": count,
        "level": level,
        "steps_base": _first(mean_base, level, steps),
        "steps_warmed": _first(mean_warmed, level, steps),
        "start_base": float(mean_base[0]),
        "start_warmed": float(mean_warmed[0]),
        "final_warmed": float(mean_warmed[-1]),
    }


def _accuracy(curve: Curve) -> Sequence[float]:
    if any(math.isnan(a) for a in curve.accuracy):
        raise KkwarmError(f"the RLVR log of {curve.condition!r}, seed {curve.seed}, has no accuracy")
    return curve.accuracy


def _first(values: Values, level: float, steps: Sequence[int]) -> int | None:
    reached = np.flatnonzero(values >= level - 1e-12)
    return int(steps[int(reached[0])]) if reached.size else None
