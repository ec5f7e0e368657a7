"""Whether a result equals the expected output, by evalplus's rules (evalplus/eval/__init__.py, `unsafe_execute`).

Two differences, both on purpose: HumanEval/32's right answers pass (evalplus 0.3.1 forgets to note that they did), and
a tolerance that one float output brought in does not stay for later outputs of other types.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["equal", "is_floats"]

_RTOL = 1e-7
_FLOAT_ATOL = 1e-6


def equal(entry: str, args: list[Any], result: Any, expected: Any, atol: float, *, exact: bool) -> bool:
    """`exact`: the result's own type was built-in (a numpy float is no float where a tolerance is needed)."""
    if entry == "find_zero":
        return _is_root(args[0], result, atol)
    try:
        if result == expected:
            return True
    except RecursionError:
        return False
    if atol == 0 and is_floats(expected):
        atol = _FLOAT_ATOL
    if atol == 0 or not exact or type(result) is not type(expected):
        return False
    return _close(result, expected, atol)


def is_floats(value: Any) -> bool:
    """A float, or a list or tuple of nothing but floats."""
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(v, float) for v in value)
    return isinstance(value, float)


def _close(a: Any, b: Any, atol: float) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_close(x, y, atol) for x, y in zip(a, b, strict=True))
    if not isinstance(a, int | float | complex) or not isinstance(b, int | float | complex):
        return False
    try:
        return a == b or bool(abs(a - b) <= atol + _RTOL * abs(b) < math.inf)
    except OverflowError:
        return False


def _is_root(coefficients: list[float], x: Any, atol: float) -> bool:
    """evalplus's `_poly`: any root will do."""
    if type(x) not in (int, float):
        return False
    try:
        return abs(sum(c * math.pow(x, i) for i, c in enumerate(coefficients))) <= atol
    except (OverflowError, ValueError):
        return False
