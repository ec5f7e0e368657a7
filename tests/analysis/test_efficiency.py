"""Sample efficiency: curves made monotone, examples saved, and what the intervals say of starts never reached."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kkwarm.analysis.cells import Cell
from kkwarm.analysis.efficiency import examples_needed, sample_efficiency
from kkwarm.analysis.study_data import Condition, Roles, StudyData

COUNTS = (10, 25, 50, 100)
ROLES = Roles("base", "warmed", "base + RLVR 100", "warmed + RLVR 100", "programs", "puzzles")


def cell(condition: str, accuracy: float, rng: np.random.Generator, questions: int, seeds: int) -> Cell:
    scores = (rng.random((seeds, questions)) < accuracy).astype(float)
    ids = tuple(f"{i:05}" for i in range(questions))
    return Cell(condition, "programs", tuple(range(seeds)), ids, ids, scores, scores.size, {}, {"version": 1})


def study_data(base: list[float], warmed: list[float], questions: int = 2000, seeds: int = 3) -> StudyData:
    rng = np.random.default_rng(7)
    named = {
        start: [start, *(f"{start} + RLVR {n}" for n in COUNTS[: len(accuracy) - 1])]
        for start, accuracy in (("base", base), ("warmed", warmed))
    }
    accuracies = {"base": base, "warmed": warmed}
    cells = {
        (name, "programs"): cell(name, a, rng, questions, seeds)
        for start, names in named.items()
        for name, a in zip(names, accuracies[start], strict=True)
    }
    grids = {f"{s} + RLVR": {n: f"{s} + RLVR {n}" for n in COUNTS} for s in ("base", "warmed")}
    conditions = tuple(Condition(name) for name, _ in cells)
    return StudyData("x", conditions, ("programs",), cells, roles=(ROLES,), grids=grids)


def test_needed_is_interpolated() -> None:
    assert examples_needed(0.5, [0, 10, 50], np.array([0.1, 0.3, 0.7])) == pytest.approx(30)
    assert examples_needed(0.05, [0, 10, 50], np.array([0.1, 0.3, 0.7])) == 0
    assert math.isinf(examples_needed(0.8, [0, 10, 50], np.array([0.1, 0.3, 0.7])))


def test_a_dip_is_taken_for_noise() -> None:
    # Isotonic regression pools 0.6 and 0.4: both count as 0.5.
    assert examples_needed(0.5, [0, 10, 50], np.array([0.1, 0.6, 0.4])) == pytest.approx(10)
    assert math.isinf(examples_needed(0.55, [0, 10, 50], np.array([0.1, 0.6, 0.4])))


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_level_never_needs_less(accuracy: list[float], one: float, other: float) -> None:
    counts = [0, *COUNTS]
    low, high = sorted((one, other))
    assert examples_needed(low, counts, np.array(accuracy)) <= examples_needed(high, counts, np.array(accuracy))


def test_examples_saved() -> None:
    (entry,) = sample_efficiency(study_data([0.2, 0.3, 0.4, 0.5, 0.6], [0.4, 0.5, 0.6, 0.7, 0.8]))
    assert [p.examples for p in entry.base.points] == [0, *COUNTS]
    row = next(r for r in entry.saved if r.examples == 100)  # the base's 0.6 is the warmed start's at 25
    assert row.level == pytest.approx(0.6, abs=0.02)
    assert row.saved == pytest.approx(75, abs=6)
    assert row.ci[0] < row.saved < row.ci[1]
    assert row.verdict == "saves"
    assert row.reached == 1


def test_a_start_that_is_better_without_any_example_needs_none() -> None:
    (entry,) = sample_efficiency(study_data([0.2, 0.3, 0.4, 0.5, 0.6], [0.8] * 5))
    assert [r.warmed for r in entry.saved] == [0, 0, 0, 0]
    assert entry.saved[-1].saved == pytest.approx(100)


def test_a_level_that_is_never_reached_is_said() -> None:
    (entry,) = sample_efficiency(study_data([0.2, 0.3, 0.4, 0.5, 0.6], [0.1] * 5))
    row = entry.saved[-1]
    assert (row.warmed, row.saved, row.reached, row.verdict) == (None, None, 0, "costs")
    assert row.ci == (None, None)


def test_few_questions_decide_nothing() -> None:
    (entry,) = sample_efficiency(
        study_data([0.4, 0.5, 0.5, 0.5, 0.5], [0.4, 0.5, 0.5, 0.5, 0.5], questions=20, seeds=1)
    )
    assert {r.verdict for r in entry.saved} == {"undecided"}


def test_a_flat_base_is_not_credited_with_examples_it_did_not_need() -> None:
    # The base is where it ends up after 10 examples: the warm-up cannot save 100.
    (entry,) = sample_efficiency(study_data([0.2, 0.6, 0.6, 0.6, 0.6], [0.9] * 5))
    assert entry.saved[-1].base < 101
    (exact,) = sample_efficiency(study_data([0.0, 1.0, 1.0, 1.0, 1.0], [1.0] * 5))
    assert [r.saved for r in exact.saved] == [10, 10, 10, 10]


def test_an_ordinary_study_has_no_such_curve() -> None:
    made = study_data([0.2, 0.3], [0.4, 0.5])
    assert sample_efficiency(made) == []


@pytest.mark.slow
def test_coverage_of_the_interval() -> None:
    """The truth (75) lies in the interval in most repetitions; a loose bound, for speed: 30 repetitions."""
    inside = 0
    made = study_data([0.2, 0.3, 0.4, 0.5, 0.6], [0.4, 0.5, 0.6, 0.7, 0.8], questions=10)
    for repeat in range(30):
        rng = np.random.default_rng(repeat)
        cells = {
            k: cell(c.condition, a, rng, 300, 3)
            for (k, c), a in zip(made.cells.items(), [0.2, 0.3, 0.4, 0.5, 0.6, 0.4, 0.5, 0.6, 0.7, 0.8], strict=True)
        }
        (entry,) = sample_efficiency(
            StudyData("x", made.conditions, ("programs",), cells, roles=(ROLES,), grids=made.grids)
        )
        low, high = entry.saved[-1].ci
        inside += low <= 75 <= high
    assert inside >= 26
