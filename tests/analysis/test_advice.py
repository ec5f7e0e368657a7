"""What would decide the differences that are not decided."""

import math
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from kkwarm.analysis.changes import advise
from kkwarm.analysis.stats.estimates import PairedDifference
from kkwarm.analysis.stats.power import required_count

BY = st.sampled_from(["seeds", "questions"])
ERROR = 0.2 / 1.959964


def difference(value: float, stderr: float, seed_share: float = 0.0, seeds: int = 3) -> PairedDifference:
    p = 2 * float(ndtr(-abs(value) / stderr))
    return PairedDifference(value, stderr, 0.0, 0.0, (0.0, 0.0), p, "t", 100, seeds, seed_share)


def test_by_hand() -> None:
    """A difference of 10 points is significant at a standard error of 10 / 1.96 points: 4 times as many halve it."""
    assert required_count(difference(0.1, ERROR), 0.05, 1, "questions") == pytest.approx(400, rel=1e-5)
    assert required_count(difference(0.1, ERROR, 1.0), 0.05, 1, "seeds") == pytest.approx(12, rel=1e-5)
    tie = difference(0.0, 0.1 / 1.644854)
    assert required_count(tie, 0.05, 1, "questions") == pytest.approx(400, rel=1e-5)
    assert required_count(difference(0.1, ERROR), 0.05, 1, "seeds") == math.inf
    assert required_count(difference(0.1, ERROR, 1.0), 0.05, 1, "questions") == math.inf


def test_a_test_that_is_more_conservative_than_the_standard_error_needs_more() -> None:
    d = difference(0.1, ERROR)
    conservative = replace(d, p=2 * d.p)
    assert required_count(conservative, 0.05, 1, "questions") > 1.5 * required_count(d, 0.05, 1, "questions")


@given(st.floats(-0.5, 0.5), st.floats(0.001, 0.3), st.floats(0, 1), st.integers(1, 40), BY)
def test_never_fewer_than_there_are_and_more_for_a_larger_family(
    value: float, stderr: float, share: float, family: int, by: Literal["seeds", "questions"]
) -> None:
    d = difference(value, stderr, share)
    needed = required_count(d, 0.05, family, by)
    assert needed >= getattr(d, by)
    assert required_count(d, 0.05, family + 1, by) >= needed * (1 - 1e-9)
    assert required_count(d, 0.1, family, by) <= needed * (1 + 1e-9)  # a wider margin is reached sooner


def test_one_line() -> None:
    assert advise([(difference(0.1, ERROR), "gain")], 0.05) == ""
    assert advise([(difference(0.1, ERROR, 1.0), "underpowered")], 0.05) == (
        "1 of 1 changes are underpowered, and 100% of their squared error comes from the seeds: "
        "about 12 seeds would decide most; more questions would hardly help"
    )
    one_seed = (difference(0.1, ERROR, seeds=1), "underpowered")
    one = advise([one_seed, (difference(0.5, 0.01, seeds=1), "gain")], 0.05)
    assert one.startswith("1 of 2 changes are underpowered: about 5")
    assert one.endswith("questions per domain would decide most; more samples per question help too")
    many = advise([(difference(0.05, 0.2, 0.1), "underpowered")], 0.05)
    assert "more than 1,000 questions per domain would decide most" in many
