"""StudyData made by hand: four conditions, three domains, three seeds."""

from collections.abc import Callable

import numpy as np
import pytest

from kkwarm.analysis.cells import Cell
from kkwarm.analysis.study_data import Condition, Roles, StudyData
from kkwarm.analysis.training import Curve

DOMAINS = ("puzzles", "sums", "programs")
ROWS = (
    Condition("base", None, ("base",)),
    Condition("warmed", "base", ("base", "warm")),
    Condition("base + RLVR", "base", ("base", "rlvr")),
    Condition("warmed + RLVR", "base + RLVR", ("base", "warm", "rlvr")),
)
ACCURACY = {
    "base": (0.4, 0.4, 0.4),
    "warmed": (0.8, 0.7, 0.6),
    "base + RLVR": (0.4, 0.4, 0.6),
    "warmed + RLVR": (0.8, 0.7, 0.8),
}


def cell(condition: str, domain: str, accuracy: float, rng: np.random.Generator, n: int = 1200) -> Cell:
    scores = (rng.random((3, n)) < accuracy).astype(float)
    ids = tuple(f"{domain}/{i:04}" for i in range(n))
    right = int(scores.sum())
    status = {"correct": right, "wrong": 3 * n - right - 5, "truncated": 5}
    return Cell(
        condition,
        domain,
        (0, 1, 2),
        ids,
        ids,
        scores,
        3 * n,
        status,
        {"version": 1},
        reasoning_rate=accuracy,
        lengths=(12.0, 40.0),
    )


def curve(condition: str, seed: int, start: float) -> Curve:
    accuracy = tuple(min(1.0, start + i / 60 + seed / 100) for i in range(30))
    return Curve(condition, seed, tuple(range(1, 31)), tuple(2.5 * a - 0.5 for a in accuracy), accuracy)


@pytest.fixture
def make() -> Callable[..., StudyData]:
    def material(title: str = "A study", state: str = "done", **accuracy: tuple[float, ...]) -> StudyData:
        rng = np.random.default_rng(0)
        values = {**ACCURACY, **{k.replace("_plus_", " + "): v for k, v in accuracy.items()}}
        cells = {(c, d): cell(c, d, a, rng) for c, row in values.items() for d, a in zip(DOMAINS, row, strict=True)}
        forced = {("base", d): cell("base", d + "+forced", 0.9, rng) for d in DOMAINS}
        starts = (("base + RLVR", 0.3), ("warmed + RLVR", 0.6))
        return StudyData(
            title=title,
            conditions=ROWS,
            domains=DOMAINS,
            cells=cells,
            forced=forced,
            curves=tuple(curve(c, s, start) for c, start in starts for s in (0, 1, 2)),
            roles=(Roles("base", "warmed", "base + RLVR", "warmed + RLVR", "programs", "puzzles"),),
            note="Elicitation at toy scale.",
            state=state,
            progress={"done": 3, "steps": 9},
        )

    return material
