"""Compares results with expected outputs by evalplus's rules (evalplus/eval/__init__.py, `unsafe_execute`).

There are four deliberate differences. Correct answers to HumanEval/32 pass (evalplus 0.3.1 does not record them). A
tolerance for a float output does not apply to later outputs of other types. Two rules of MBPP+ are stricter, because
evalplus's rules accept code that computes nothing: for Mbpp/164 it accepts any result (here: the answer under either
reading of "sum of divisors"), for Mbpp/295 always 0 (here: only for numbers below 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["is_floats", "outputs_equal"]

_RTOL = 1e-7
_FLOAT_ATOL = 1e-6


def outputs_equal(oracle: str, args: list[Any], result: Any, expected: Any, atol: float, *, exact: bool) -> bool:
    """Compares by the named rule; "" is equality within `atol`.

    :param exact: the result had a built-in type. The tolerance applies only then, not to a numpy float.
    """
    if oracle == "root":
        return _is_root(args[0], result, atol)
    try:
        if oracle == "set":
            if _same_set(result, expected):
                return True
        elif result == expected:
            return True
        if oracle in _ALTERNATIVES and _ALTERNATIVES[oracle](args, result, atol):
            return True
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        return False
    if atol == 0 and is_floats(expected):
        atol = _FLOAT_ATOL
    if atol == 0 or not exact or type(result) is not type(expected):
        return False
    return _close(result, expected, atol)


def is_floats(value: Any) -> bool:
    """Whether the value is a float, or a non-empty list or tuple of floats."""
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(v, float) for v in value)
    return isinstance(value, float)


def _same_set(result: Any, expected: Any) -> bool:
    """``set(result) == set(expected)``, without a set of the candidate's values, whose hashes may all collide."""
    expected_set = set(expected)
    result_set = set()
    for value in result:
        if value not in expected_set:
            return False
        result_set.add(value)
    return len(result_set) == len(expected_set)


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
    """Whether `x` is any root of the polynomial (evalplus's `_poly`)."""
    if type(x) not in (int, float):
        return False
    try:
        return abs(sum(c * math.pow(x, i) for i, c in enumerate(coefficients))) <= atol
    except (OverflowError, ValueError):
        return False


def _same_divisor_sums(args: list[Any], result: Any, atol: float) -> bool:
    """Mbpp/164: a number may also count among its own divisors."""
    a, b = args
    return type(result) is bool and result == (_sigma(a) == _sigma(b))


def _sigma(n: int) -> int:
    return sum(d + (n // d if d * d != n else 0) for d in range(1, math.isqrt(n) + 1) if n % d == 0)


def _no_proper_divisor(args: list[Any], result: Any, atol: float) -> bool:
    """Mbpp/295: 1 has no proper divisor, although the canonical solution counts one."""
    return bool(args[0] < 2 and result == 0)


def _surface_area(args: list[Any], result: Any, atol: float) -> bool:
    """Mbpp/581: the height may also be that of the pyramid instead of that of its sides."""
    base, height = args
    area = base**2 + 2 * base * math.sqrt((base / 2) ** 2 + height**2)
    return type(result) in (int, float) and abs(result - round(area)) <= atol


def _digit_distance(args: list[Any], result: Any, atol: float) -> bool:
    """Mbpp/558: the shorter number may also be padded with zeros."""
    a, b = (str(n) for n in args)
    width = max(len(a), len(b))
    return bool(result == sum(abs(int(x) - int(y)) for x, y in zip(a.zfill(width), b.zfill(width), strict=True)))


# Readings of a task that are correct besides the canonical solution's.
_ALTERNATIVES: dict[str, Callable[[list[Any], Any, float], bool]] = {
    "divisor_sums": _same_divisor_sums,
    "proper_divisors": _no_proper_divisor,
    "surface_area": _surface_area,
    "digit_distance": _digit_distance,
}
