"""What would decide the changes that are not decided."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from kkwarm.analysis.advice import advice, enough

BY = st.sampled_from(["seeds", "questions"])


def change(estimate: float, stderr: float, of_seeds: float | None, verdict: str = "underpowered") -> dict[str, Any]:
    p = 2 * float(ndtr(-abs(estimate) / stderr))
    told = {"estimate": estimate, "stderr": stderr, "p": p, "of_seeds": of_seeds, "verdict": verdict}
    return {**told, "seeds": 3, "questions": 100}


def test_by_hand() -> None:
    """A change of 10 points is called alone at a standard error of 10 / 1.96 points: 4 times as many halve it."""
    error = 0.2 / 1.959964
    assert enough(change(0.1, error, None), 0.05, 1, "questions") == pytest.approx(400, rel=1e-5)
    assert enough(change(0.1, error, 1.0), 0.05, 1, "seeds") == pytest.approx(12, rel=1e-5)
    assert enough(change(0.0, 0.1 / 1.644854, 0.0), 0.05, 1, "questions") == pytest.approx(400, rel=1e-5)  # a tie
    assert enough(change(0.1, error, 0.0), 0.05, 1, "seeds") == math.inf
    assert enough(change(0.1, error, 1.0), 0.05, 1, "questions") == math.inf


def test_a_test_that_is_warier_than_the_standard_error_needs_more() -> None:
    c = change(0.1, 0.2 / 1.959964, 0.0)
    wary = {**c, "p": 2 * c["p"]}
    assert enough(wary, 0.05, 1, "questions") > 1.5 * enough(c, 0.05, 1, "questions")


@given(st.floats(-0.5, 0.5), st.floats(0.001, 0.3), st.floats(0, 1), st.integers(1, 40), BY)
def test_never_fewer_than_there_are_and_more_for_a_larger_family(
    estimate: float, stderr: float, share: float, family: int, by: str
) -> None:
    c = change(estimate, stderr, share)
    needed = enough(c, 0.05, family, by)
    assert needed >= c[by]
    assert enough(c, 0.05, family + 1, by) >= needed * (1 - 1e-9)
    assert enough(c, 0.1, family, by) <= needed * (1 + 1e-9)  # a wider margin ties sooner


def test_one_line() -> None:
    error = 0.2 / 1.959964
    assert advice([change(0.1, error, 0.0, "gain")], 0.05) == ""
    said = advice([change(0.1, error, 1.0)], 0.05)
    assert said == (
        "1 of 1 changes are underpowered; 100% of their squared error (the median) is between seeds: "
        "about 12 seeds would decide most, questions hardly"
    )
    one = advice([change(0.1, error, None), change(0.5, 0.01, None, "gain")], 0.05)
    assert one.startswith("1 of 2 changes are underpowered: about 5") and one.endswith(
        "questions would decide most, or more samples"
    )
    assert "more than 1,000 questions would decide most" in advice([change(0.05, 0.2, 0.1)], 0.05)
