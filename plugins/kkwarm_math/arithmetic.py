"""Values of expressions: exact where they are rational, with mpmath otherwise.

Two expressions are compared at 40 digits with a relative tolerance of 1e-12, at several points where they have
letters. A difference that small must also vanish at a precision that resolves every number written in both, so that
``1 - 2^{-99}`` is not ``1 - 2^{-100}``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from typing import Any

from kkwarm_math.expression import Node, Unreadable, walk

__all__ = [
    "INFINITY",
    "approximates",
    "equal_everywhere",
    "exact_value",
    "infinite_sign",
    "letters_of",
    "numeric_value",
    "proportional",
    "written_decimal",
]

INFINITY = Node("constant", "infinity")
APPROXIMATION_PLACES = 6  # digits behind the point from which on a decimal may stand for another number
MAX_BITS = 200_000
MAX_FACTORIAL = 3_000
ACCENTS = ("bar", "vec", "hat", "overrightarrow", "overleftrightarrow")


class TooLarge(Unreadable):
    """A number is too large to be computed."""


def infinite_sign(node: Node) -> int:
    sign = 1
    while node.kind == "negative":
        sign, node = -sign, node.args[0]
    if node == INFINITY:
        return sign
    if any(p == INFINITY for p in walk(node)):
        raise Unreadable("arithmetic with infinity")
    return 0


def written_decimal(node: Node) -> tuple[Fraction, int] | None:
    """The value of a written-out decimal and its digits behind the point."""
    sign = 1
    while node.kind == "negative":
        sign, node = -sign, node.args[0]
    return (sign * node.value[0], node.value[1]) if node.kind == "decimal" else None


def approximates(answer: Node, gold: Fraction | Node, *, places: int = APPROXIMATION_PLACES) -> bool:
    """Whether a decimal is the gold number correctly rounded, to at least `places`; a terminating one is exact."""
    found = written_decimal(answer)
    if found is None or found[1] < places:
        return False
    value, places = found
    if isinstance(gold, Fraction):
        if _terminates(gold):
            return False
        return abs(gold - value) <= Fraction(1, 2 * 10**places)
    import mpmath

    with mpmath.workdps(40 + places):
        exact = numeric_value(gold, {})
        if abs(mpmath.im(exact)) > mpmath.mpf(10) ** -(20 + places):
            return False
        return bool(
            abs(mpmath.re(exact) - mpmath.mpf(value.numerator) / value.denominator) <= mpmath.mpf(10) ** -places / 2
        )


def _terminates(value: Fraction) -> bool:
    bottom = value.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom == 1


def letters_of(node: Node) -> frozenset[str]:
    return frozenset(_letter_names(node))


def _letter_names(node: Node) -> Iterator[str]:
    if node.kind == "letter":
        yield node.value
    elif node.kind == "subscript" or (node.kind == "call" and node.value in ACCENTS):
        yield repr(node)
    else:
        for child in node.args:
            yield from _letter_names(child)


def exact_value(node: Node) -> Fraction | None:
    """The value of a rational expression, exactly; None where it is not rational, or too large to be written out."""
    kind, args = node.kind, node.args
    if kind in ("number", "mixed", "scientific"):
        return node.value  # type: ignore[no-any-return]
    if kind == "decimal":
        return node.value[0]  # type: ignore[no-any-return]
    if kind not in ("negative", "sum", "product", "quotient", "power", "factorial", "percent"):
        return None
    values = [exact_value(a) for a in args]
    if any(v is None for v in values):
        return None
    known: list[Fraction] = [v for v in values if v is not None]
    if sum(v.numerator.bit_length() + v.denominator.bit_length() for v in known) > MAX_BITS:
        return None
    if kind == "negative":
        return -known[0]
    if kind == "sum":
        return sum(known, Fraction(0))
    if kind == "product":
        total = Fraction(1)
        for v in known:
            total *= v
        return total
    if kind == "quotient":
        return known[0] / known[1]
    if kind == "percent":
        return known[0] / 100
    if kind == "factorial":
        return _factorial(known[0])
    return _exact_power(*known)


def _factorial(value: Fraction) -> Fraction | None:
    if value.denominator != 1 or value < 0:
        raise Unreadable("the factorial of a number that is not a whole one")
    return Fraction(math.factorial(int(value))) if value <= MAX_FACTORIAL else None


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1:
        return None
    if base == 0 and exponent <= 0:
        raise ZeroDivisionError
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if size * abs(exponent) > MAX_BITS and abs(base) not in (0, 1):
        return None
    if abs(base) in (0, 1):
        return base if exponent % 2 else Fraction(base != 0)
    return Fraction(base ** int(exponent))


# -- numerical comparison ---------------------------------------------------------------------------------------------

_SEEDS = (  # fixed points: positive, then of both signs
    (1.3718281, 2.7182459, 0.5772157, 3.3027756, 1.9318517),
    (0.6931472, 1.6449341, 2.2360680, 0.9159656, 3.6055513),
    (2.5029079, 0.3275823, 1.2020569, 2.8284271, 0.7642236),
    (-1.7320508, 0.8346268, -2.6457513, 1.4513692, -0.2614972),
    (-0.4142136, -1.6180340, 0.3678794, -2.0946400, 1.1173420),
    (-17.320508, 23.140693, -9.8696044, 31.006277, -12.566371),
    (-187.32051, -143.06927, 219.86960, -310.06277, 125.66371),
    # Further periods of sines whose arguments are fractions of a letter.
    (112.31193, -73.827427, 58.119464, 97.389372, -36.128316),
    (-41.887902, 391.91368, -104.45820, 77.754418, 219.38052),
    (283.29641, 52.621677, -47.909288, -258.39600, 66.759132),
)
_REQUIRED = 7  # of these points; a number that is too large at the others does not make a formula unreadable
_SCALES = (1.0, 8.0, 8.0, 90.0)  # of the further points, besides one that the numbers of the formulas give
# Functions without kinks and branches.
_SMOOTH = ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "exp")


def _points(letters: Sequence[str]) -> Iterator[dict[str, float]]:
    for number, seeds in enumerate(_SEEDS):
        yield {name: seeds[i % 5] + 0.0371 * (i // 5) * (number + 1) for i, name in enumerate(letters)}


def _more_points(letters: Sequence[str], largest: float) -> Iterator[dict[str, float]]:
    """Points for formulas that are equal at `_points` by chance where signs decide, as in ``|sin x|`` and ``sin x``.

    :param largest: the largest number in the formulas: ``|x - 500|`` changes its sign there.
    """
    rng = random.Random(0)
    scales = (*_SCALES, min(3 * largest, 1e6))
    for number in range(12 * len(scales)):
        scale = scales[number % len(scales)]
        yield {name: rng.uniform(-scale, scale) for name in letters}


def _largest_number(*nodes: Node) -> float:
    values = (exact_value(part) for node in nodes for part in walk(node) if part.kind in ("number", "decimal"))
    return max((float(abs(value)) for value in values if value is not None and abs(value) < 10**6), default=1.0)


def _is_smooth(node: Node) -> bool:
    """Whether a formula is one analytic function, which another one seldom equals at several points by chance."""
    if node.kind == "power":
        base, exponent = node.args
        whole = (value := exact_value(exponent)) is not None and value.denominator == 1
        return (whole and _is_smooth(base)) or (not letters_of(base) and _is_smooth(exponent))
    if node.kind == "call":
        return not letters_of(node) or (node.value in _SMOOTH and all(map(_is_smooth, node.args)))
    return not letters_of(node) or (
        node.kind in ("letter", "negative", "sum", "product", "quotient", "percent") and all(map(_is_smooth, node.args))
    )


def equal_everywhere(a: Node, b: Node, letters: Sequence[str]) -> bool:
    import mpmath

    tested = 0
    smooth = not letters or (_is_smooth(a) and _is_smooth(b))
    points: Iterable[dict[str, float]] = _points(letters) if letters else [{}]
    if not smooth:
        points = chain(points, _more_points(letters, _largest_number(a, b)))
    for number, point in enumerate(points):
        with mpmath.workdps(40):
            try:
                x, y = numeric_value(a, point), numeric_value(b, point)
            except ZeroDivisionError:
                if not letters:
                    raise
                continue
            except TooLarge:
                if number < _REQUIRED:
                    raise
                continue
            if letters and number >= 3 and abs(mpmath.im(x)) > mpmath.mpf(10) ** -25:
                continue  # outside the real domain of the gold answer, branches of roots and logarithms may differ
            if not _close(x, y):
                return False
        tested += 1
    if not tested:
        raise Unreadable("it is defined nowhere that was tried")
    return _vanishes(a, b, letters)


def _close(x: Any, y: Any) -> bool:
    import mpmath

    if not (mpmath.isfinite(x) and mpmath.isfinite(y)):
        raise ZeroDivisionError
    return bool(abs(x - y) <= mpmath.mpf(10) ** -12 * max(abs(x), abs(y)) or x == y)


def _vanishes(a: Node, b: Node, letters: Sequence[str]) -> bool:
    """Whether the difference is zero at a precision that resolves every number written in both."""
    import mpmath

    digits = min(60 + 2 * (_digits(a) + _digits(b)), 20_000)
    point = next(_points(letters)) if letters else {}
    with mpmath.workdps(digits):
        x, y = numeric_value(a, point), numeric_value(b, point)
        return bool(abs(x - y) <= mpmath.mpf(10) ** -(digits - 20) * max(abs(x), abs(y), mpmath.mpf(10) ** -digits))


def _digits(node: Node) -> int:
    """Decimal digits that the numbers of an expression need, their powers and factorials written out."""
    value = exact_value(node)
    if value is not None:
        return int(0.302 * max(value.numerator.bit_length(), value.denominator.bit_length())) + 1
    if node.kind == "power" and (exponent := exact_value(node.args[1])) is not None:
        return min(int(abs(exponent)) * (_digits(node.args[0]) + 1), 10_000)
    return sum(_digits(a) for a in node.args) if node.args else 1


def proportional(a: Node, b: Node, *, positive: bool = False) -> bool:
    """Whether b is a constant multiple of a, other than zero."""
    import mpmath

    letters = sorted(letters_of(a) | letters_of(b))
    ratios = []
    with mpmath.workdps(50):
        for point in _points(letters):
            try:
                x, y = numeric_value(a, point), numeric_value(b, point)
            except ZeroDivisionError:
                continue
            if abs(x) < mpmath.mpf(10) ** -30:
                continue
            ratios.append(y / x)
        if len(ratios) < 3 or abs(ratios[0]) < mpmath.mpf(10) ** -30:
            return False
        if positive and not mpmath.re(ratios[0]) > 0:
            return False
        return all(abs(r - ratios[0]) <= mpmath.mpf(10) ** -25 * abs(ratios[0]) for r in ratios)


def numeric_value(node: Node, point: dict[str, float]) -> Any:
    """The value of an expression with mpmath, at the precision in force.

    :raises TooLarge: a number would be too large.
    """
    import mpmath

    kind = node.kind
    if kind in ("number", "mixed", "scientific", "decimal"):
        value = node.value[0] if kind == "decimal" else node.value
        return mpmath.mpf(value.numerator) / value.denominator
    if kind == "letter":
        return mpmath.mpf(point[node.value])
    if kind in ("subscript",) or (kind == "call" and node.value in ACCENTS):
        return mpmath.mpf(point[repr(node)])
    if kind == "constant":
        if node.value == "infinity":
            raise Unreadable("arithmetic with infinity")
        return {"pi": mpmath.pi, "e": mpmath.e, "i": mpmath.mpc(0, 1)}[node.value] * 1
    if kind == "call":
        return _call(node, point)
    args = [numeric_value(a, point) for a in node.args if isinstance(a, Node)]
    if kind == "negative":
        return -args[0]
    if kind == "sum":
        return mpmath.fsum(args)
    if kind == "product":
        return mpmath.fprod(args)
    if kind == "quotient":
        if args[1] == 0:
            raise ZeroDivisionError
        return args[0] / args[1]
    if kind == "percent":
        return args[0] / 100
    if kind == "factorial":
        if abs(args[0]) > 20_000:
            raise TooLarge("a factorial is too large")
        return mpmath.factorial(args[0])
    if kind == "unit":
        return args[0] * mpmath.pi / 180
    if kind == "power":
        return _power(*args)
    raise Unreadable(f"a {kind} is no number")


def _power(base: Any, exponent: Any) -> Any:
    import mpmath

    if base == 0:
        if mpmath.re(exponent) <= 0:
            raise ZeroDivisionError
        return mpmath.mpf(0)
    if abs(exponent) > 10**9 or abs(exponent * mpmath.log(base)) > 10**7:
        raise TooLarge("a power is too large")
    return mpmath.power(base, exponent)


def _call(node: Node, point: dict[str, float]) -> Any:
    import mpmath

    name = node.value
    args = [numeric_value(a, point) for a in node.args]
    if name == "sqrt":
        return mpmath.sqrt(args[0])
    if name == "root":
        if args[1] == 0:
            raise ZeroDivisionError
        odd = args[1] == int(mpmath.re(args[1])) and int(mpmath.re(args[1])) % 2
        if odd and mpmath.im(args[0]) == 0 and mpmath.re(args[0]) < 0:
            return -_power(-args[0], 1 / args[1])
        return _power(args[0], 1 / args[1]) if args[0] != 0 else mpmath.mpf(0)
    if name == "abs":
        return abs(args[0])
    if name in ("ln", "log"):
        if args[0] == 0 or (len(args) > 1 and args[1] in (0, 1)):
            raise ZeroDivisionError
        return mpmath.log(args[0]) / (mpmath.log(args[1]) if len(args) > 1 else 1)
    if name in ("floor", "ceil"):
        return getattr(mpmath, name)(mpmath.re(args[0]))
    if name == "binom":
        if any(abs(a) > 20_000 for a in args):
            raise TooLarge("a binomial coefficient is too large")
        return mpmath.binomial(*args)
    if (function := _trigonometry().get(name)) is not None:
        if abs(args[0]) > 10**6:
            raise TooLarge("an angle is too large")
        return function(args[0])
    raise Unreadable(f"the function {name} is not read")


@lru_cache(maxsize=1)
def _trigonometry() -> dict[str, Callable[[Any], Any]]:
    import mpmath

    names = "sin cos tan cot sec csc sinh cosh tanh"
    inverse = {"arcsin": mpmath.asin, "arccos": mpmath.acos, "arctan": mpmath.atan, "arccot": mpmath.acot}
    return {name: getattr(mpmath, name) for name in names.split()} | inverse
