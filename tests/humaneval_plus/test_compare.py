"""Comparison by evalplus's rules, and the differences."""

import math
import time
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kkwarm_humaneval_plus.compare import is_floats, outputs_equal


def same(result: Any, expected: Any, atol: float = 0, *, exact: bool = True, oracle: str = "") -> bool:
    return outputs_equal(oracle, [], result, expected, atol, exact=exact)


@pytest.mark.parametrize(
    ("result", "expected", "atol", "right"),
    [
        (1, 1, 0, True),
        (True, 1, 0, True),  # Python's own equality, as in evalplus
        (2.0, 2, 0, True),
        ([1, 2], (1, 2), 0, False),
        ([1, 2], [1, 2, 3], 0, False),
        (0.1 + 0.2, 0.3, 0, True),  # a float output brings a tolerance of 1e-6
        ([0.1 + 0.2], [0.3], 0, True),
        (0.3001, 0.3, 0, False),
        ([0.1 + 0.2, "a"], [0.3, "a"], 0, False),  # not all floats: exact
        (1, 1.0000001, 0, False),  # types must agree where a tolerance is used
        (1.05, 1.0, 0.1, True),
        (float("inf"), float("inf"), 0, True),
        (float("inf"), 1.0, 0.1, False),
        (1.0, float("inf"), 0.1, False),
        (float("nan"), float("nan"), 0.1, False),
        (10**400, 1.0, 0.1, False),
        (None, 0.0, 0.1, False),
        ("1.0", 1.0, 0.1, False),
        ([[1.0, 2.0]], [[1.0, 2.0 + 1e-9]], 1e-6, True),
        ([[1.0]], [[1.0, 1.0]], 1e-6, False),  # numpy would stretch it
        ({1: 2}, {1: 2}, 0, True),
    ],
)
def test_cases(result: Any, expected: Any, atol: float, right: bool) -> None:
    assert same(result, expected, atol) is right


def test_numpy_floats_get_no_tolerance() -> None:
    assert same(0.1 + 0.2, 0.3)
    assert not same(0.1 + 0.2, 0.3, exact=False)
    assert same(0.3, 0.3, exact=False)


def test_any_root_is_accepted() -> None:
    assert outputs_equal("root", [[-4.0, 0.0, 1.0]], 2.0, -2.0, 1e-4, exact=True)
    assert outputs_equal("root", [[-4.0, 0.0, 1.0]], -2, 2.0, 1e-4, exact=True)
    for wrong in (1.9, None, "2", math.nan, math.inf, True, [2.0], 10**400):
        assert not outputs_equal("root", [[-4.0, 0.0, 1.0]], wrong, 2.0, 1e-4, exact=True)


def test_as_sets() -> None:
    assert same([2, 1, 1], (1, 2), oracle="set") and same("ba", "ab", oracle="set") and same([], (), oracle="set")
    for wrong in ([1], [1, 2, 3], None, 1, [[1], [2]], [1.5, 2]):
        assert not same(wrong, (1, 2), oracle="set")
    began = time.process_time()
    assert not same([i * (2**61 - 1) for i in range(100_000)], (1, 2), oracle="set")
    assert time.process_time() - began < 5, "numbers that share a hash"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=6), st.floats(1e-9, 1e-3))
def test_agrees_with_numpy_on_lists_of_floats(values: list[float], shift: float) -> None:
    numpy = pytest.importorskip("numpy")
    shifted = [v + shift for v in values]
    pairs = list(zip(shifted, values, strict=True))
    assume(all(abs(abs(a - b) - (1e-6 + 1e-7 * abs(b))) > 1e-12 * (1 + abs(b)) for a, b in pairs))
    assert same(shifted, values) == bool(shifted == values or numpy.allclose(shifted, values, rtol=1e-7, atol=1e-6))


def test_is_floats() -> None:
    assert is_floats(1.0) and is_floats([1.0, 2.0]) and is_floats((1.0,))
    assert not is_floats([]) and not is_floats([1.0, 2]) and not is_floats(1)
