"""Pairs of formulas in x, printed by sympy: close ones that differ at a real number, and unreduced fractions."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

__all__ = ["different_formulas", "unreduced_fraction"]

_POINTS = ("0.31", "-0.37", "1.73", "-1.61", "5.19", "-5.87", "23.4", "-29.3", "113.7", "-127.1")


@lru_cache(maxsize=1)
def _sympy() -> Any:
    import sympy

    return sympy


def _leaf(rng: random.Random, x: Any) -> Any:
    return rng.choice((x, _sympy().Integer(rng.choice((2, 3, 5, 7))), x + 1, 2 * x))


def _formula(rng: random.Random, x: Any, depth: int) -> Any:
    sympy = _sympy()
    if depth == 0:
        return _leaf(rng, x)
    a = _formula(rng, x, depth - 1)
    b = _leaf(rng, x)
    sums = (a + b, a * b, a - b, a / (b**2 + 1), a**2)
    return rng.choice((*sums, sympy.sqrt(a**2 + 1), sympy.Abs(a), sympy.sin(a), sympy.exp(-(a**2))))


def _changed(rng: random.Random, formula: Any, x: Any) -> Any:
    sympy = _sympy()
    k = rng.choice((1, 2, 3, 40))
    tiny = sympy.Rational(1, 10**k)
    large = (
        formula + k, -formula, formula.subs(x, sympy.Abs(x)), formula.subs(x, -x), sympy.Abs(formula), 2 * formula,
        formula.subs(x, x + k), formula + sympy.Abs(x - k) - (x - k), formula * x / sympy.Abs(x), sympy.floor(formula),
        formula.subs(x, 2 * x), sympy.sqrt(formula**2), formula.subs(x, 1 / x), formula + sympy.Abs(x + k) - x - k,
    )  # fmt: skip
    return rng.choice((*large, formula + tiny, formula + tiny**2 * x, formula * (1 + tiny)))


def _differ(a: Any, b: Any, x: Any) -> bool:
    """Whether b has another value than a, or none, at a point where a has a real value."""
    sympy = _sympy()
    for point in _POINTS:
        u, v = (e.subs(x, sympy.Rational(point)).evalf(40) for e in (a, b))
        if not (u.is_Float or u.is_Integer or u.is_Rational):
            continue
        if not (v.is_Float or v.is_Integer or v.is_Rational):
            return True
        if abs(u - v) > sympy.Float("1e-30", 40) * max(1, abs(u)):
            return True
    return False


def different_formulas(rng: random.Random) -> tuple[str, str] | None:
    """A formula and one that is close to it and differs, in LaTeX; None where the change made no difference."""
    sympy = _sympy()
    x = sympy.Symbol("x", real=True)
    formula = _formula(rng, x, rng.choice((1, 2, 3)))
    other = _changed(rng, formula, x)
    if not formula.has(x) or not other.has(x) or not _differ(formula, other, x):
        return None
    gold, answer = (sympy.latex(e, ln_notation=True) for e in (formula, other))
    return None if gold == answer else (gold, answer)


def unreduced_fraction(rng: random.Random) -> tuple[str, str]:
    """A polynomial, and a fraction that would have to be reduced to give it, in LaTeX."""
    sympy = _sympy()
    x = sympy.Symbol("x", real=True)
    polynomial = sympy.expand((x + rng.choice((2, -3, 5))) * rng.choice((x - 4, x + 1, sympy.Integer(3))))
    factor = rng.choice((x, x + 7, x - 1, 2 * x, x**2 + 1))
    top, bottom, gold = (sympy.latex(e) for e in (sympy.expand(polynomial * factor), factor, polynomial))
    return gold, rng.choice((f"\\frac{{{top}}}{{{bottom}}}", f"({top})/({bottom})", f"({top})({bottom})^{{-1}}"))
