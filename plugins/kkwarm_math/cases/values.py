r"""Random gold answers with their values, other notations of them, and expressions that still have to be worked out.

Nothing here uses the verifier under test. Values are sympy numbers, compared exactly.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import factorial
from typing import Any

__all__ = ["Number", "equal", "near", "notation", "number", "unfinished", "whole"]


@lru_cache(maxsize=1)
def _sympy() -> Any:
    import sympy

    return sympy


@dataclass(frozen=True, slots=True)
class Number:
    """A number in LaTeX, its exact value in sympy, and its kind."""

    latex: str
    value: Any
    kind: str


def equal(a: Number, b: Number) -> bool:
    """Whether two values are the same: exactly where both are rational, else by sympy at 60 digits."""
    difference = a.value - b.value
    if difference.is_Rational:
        return bool(difference == 0)
    return bool(abs(difference.evalf(60, maxn=2_000)) < _sympy().Float("1e-50", 60))


# -- gold answers ------------------------------------------------------------------------------------------------------


def whole(n: int) -> Number:
    return Number(str(n), _sympy().Integer(n), "integer")


def _signed(rng: random.Random, n: int) -> int:
    return -n if not rng.randrange(4) else n


def _integer(rng: random.Random) -> Number:
    n = rng.choice((7, 42, 3, 0, 1, 2, 10, 12, 36, 100, 1024, 10080, 58500, 6290000, 1000000, 9, 64, 720))
    return whole(_signed(rng, n if rng.randrange(2) else rng.randrange(2, 20_000)))


def _fraction(rng: random.Random) -> Number:
    top, bottom = rng.choice(((1, 2), (1, 3), (2, 3), (3, 4), (7, 12), (5, 4), (22, 7), (143, 99), (1, 6), (17, 50)))
    value = Fraction(top, bottom)
    sign = rng.choice(("", "", "-"))
    latex = f"{sign}\\frac{{{value.numerator}}}{{{value.denominator}}}"
    return Number(latex, _sympy().Rational(value.numerator, value.denominator) * (-1 if sign else 1), "fraction")


def _decimal(rng: random.Random) -> Number:
    text = rng.choice(("0.5", "2.75", "0.0672", "13.04", "-1.25", "104.3"))
    return Number(text, _sympy().Rational(text), "decimal")


def _surd(rng: random.Random) -> Number:
    a, b = rng.choice((1, 2, 3, 11, -2)), rng.choice((2, 3, 5, 13))
    head = {1: "", -1: "-"}.get(a, str(a))
    return Number(f"{head}\\sqrt{{{b}}}", a * _sympy().sqrt(b), "surd")


def _pi(rng: random.Random) -> Number:
    a, b = rng.choice(((1, 1), (4, 1), (1, 4), (2, 3), (16, 1), (9, 2)))
    top = "\\pi" if a == 1 else f"{a}\\pi"
    latex = top if b == 1 else f"\\frac{{{top}}}{{{b}}}"
    return Number(latex, _sympy().pi * a / b, "multiple of pi")


def _logarithm(rng: random.Random) -> Number:
    n = rng.choice((2, 3, 5, 10))
    return Number(f"\\ln {n}", _sympy().log(n), "logarithm")


def _exponential(rng: random.Random) -> Number:
    n = rng.choice((2, 3, 5))
    return Number(f"e^{n}", _sympy().E ** n, "exponential")


def _complex(rng: random.Random) -> Number:
    a, b = rng.choice((1, 3, 5, -2)), rng.choice((2, 4, 9, -3))
    return Number(f"{a} {'+' if b > 0 else '-'} {abs(b)}i", a + b * _sympy().I, "complex number")


_NUMBERS: tuple[Callable[[random.Random], Number], ...] = (
    _integer, _integer, _fraction, _decimal, _surd, _pi, _logarithm, _exponential, _complex,
)  # fmt: skip


def number(rng: random.Random, *, rational: bool = False) -> Number:
    """A random gold answer that is one number."""
    return rng.choice(_NUMBERS[:4] if rational else _NUMBERS)(rng)


# -- other notations of the same number --------------------------------------------------------------------------------


def notation(rng: random.Random, gold: Number) -> str:
    """Another way to write the number, which a reader must accept."""
    forms = _NOTATIONS[gold.kind](gold)
    text = rng.choice(forms)
    for _ in range(rng.choice((0, 0, 1)) if any(c.isdigit() for c in text) else 0):
        fonts = [f for f in _FONTS if "(" not in f] if re.search("[ ,~]", text) else _FONTS  # (1,161) is a pair
        text = rng.choice(fonts).replace("#", text)
    return text


_FONTS = ("{#}", "\\textcolor{red}{#}", "\\underline{#}", "\\displaystyle #", "\\left(#\\right)", "\\mathbf{#}", "= #")
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def _integer_forms(gold: Number) -> list[str]:
    n = int(gold.value)
    sign, size = "-" if n < 0 else "", abs(n)
    forms = [str(n), f"\\text{{{n}}}", f"\\mathrm{{{n}}}", f"{{{n}}}", f"x = {n}", f"x={n}", f"n = {n}"]
    if n < 0:
        forms += [f"\u2212{size}", f"- {size}"]
    if size >= 1_000:
        for mark in (",", "{,}", "\\,", " ", ",\\!", "~"):
            forms.append(sign + f"{size:,}".replace(",", mark))
    if 0 <= n < len(_WORDS):
        forms += [_WORDS[n], f"\\text{{{_WORDS[n]}}}", _WORDS[n].capitalize()]
    digits = str(size).rstrip("0")
    if size >= 1_000 and len(digits) < 5:
        head = digits[0] + ("." + digits[1:] if digits[1:] else "")
        power = len(str(size)) - 1
        forms += [f"{sign}{head}e{power}", f"{sign}{head} \\times 10^{power}", f"{sign}{head}\\cdot 10^{{{power}}}"]
    return forms


def _fraction_forms(gold: Number) -> list[str]:
    p, q = int(gold.value.p), int(gold.value.q)
    sign, top = "-" if p < 0 else "", abs(p)
    forms = [
        f"{sign}\\frac{{{top}}}{{{q}}}", f"{sign}\\dfrac{{{top}}}{{{q}}}", f"{sign}\\tfrac{{{top}}}{{{q}}}",
        f"{p}/{q}", f"{sign}{{{top} \\over {q}}}", f"\\frac{{{p}}}{{{q}}}", f"x = {sign}\\frac{{{top}}}{{{q}}}",
        f"{sign}\\frac{{\\mathrm{{{top}}}}}{{{q}}}",
    ]  # fmt: skip
    if top < 10 and q < 10:
        forms.append(f"{sign}\\frac{top}{q}")
    if top > q:
        forms.append(f"{sign}{top // q}\\frac{{{top % q}}}{{{q}}}")
    bottom = q
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    if bottom == 1:
        forms.append(f"{sign}{_sympy().Float(_sympy().Rational(top, q), 8)!s}".rstrip("0"))
    elif q == 3:
        forms.append(f"{sign}{top // q}.\\overline{{{top % q * 3}}}")
    elif q == 99:
        forms.append(f"{sign}{top // q}.\\overline{{{top % q:02}}}")
    return forms


def _decimal_forms(gold: Number) -> list[str]:
    text, value = gold.latex, gold.value
    forms = [text, f"\\frac{{{value.p}}}{{{value.q}}}", f"\\text{{{text}}}", f"x = {text}", f"{text}0"]
    if text.startswith("0."):
        forms.append(text[1:])
    return forms


def _surd_forms(gold: Number) -> list[str]:
    text = gold.latex
    head, _, rest = text.partition("\\sqrt{")
    inside = rest.rstrip("}")
    times = f"{head}*" if head not in ("", "-") else head
    forms = [text, f"{times}sqrt({inside})", f"{head}\u221a{inside}"]
    if len(inside) == 1:
        forms.append(f"{head}\\sqrt{inside}")
    if head not in ("", "-"):
        forms += [
            f"{head} \\cdot \\sqrt{{{inside}}}",
            f"{head}\\,\\sqrt{{{inside}}}",
            f"{head}\\times\\sqrt{{{inside}}}",
        ]
    return forms


def _pi_forms(gold: Number) -> list[str]:
    ratio = gold.value / _sympy().pi
    p, q = int(ratio.p), int(ratio.q)
    top = "" if p == 1 else str(p)
    forms = [gold.latex, gold.latex.replace("\\pi", "\u03c0")]
    if q == 1:
        return [*forms, f"{top}*pi" if top else "pi", f"{top} \\cdot \\pi" if top else "\\pi", f"{top}\\,\\pi"]
    return [
        *forms,
        f"{top}\u03c0/{q}",
        f"{top}\\pi/{q}",
        f"\\frac{{{p}}}{{{q}}}\\pi",
        f"{top + '*' if top else ''}pi/{q}",
    ]


def _logarithm_forms(gold: Number) -> list[str]:
    n = gold.latex.removeprefix("\\ln ")
    return [
        gold.latex, f"ln {n}", f"\\ln({n})", f"\\ln{{{n}}}", f"ln({n})", f"\\log_e {n}", f"\\operatorname{{ln}} {n}",
        f"\\mathrm{{ln}}({n})", f"\\log_{{e}}{{{n}}}",
    ]  # fmt: skip


def _exponential_forms(gold: Number) -> list[str]:
    n = gold.latex.removeprefix("e^")
    return [f"e^{n}", f"e^{{{n}}}", f"\\mathrm{{e}}^{n}", f"\\exp({n})", f"exp({n})", f"\\text{{e}}^{{{n}}}", f"e**{n}"]


def _complex_forms(gold: Number) -> list[str]:
    a, b = (int(part) for part in gold.value.as_real_imag())
    sign = "+" if b > 0 else "-"
    lead = "" if b > 0 else "-"
    return [
        gold.latex, f"{a}{sign}{abs(b)}i", f"{a} {sign} {abs(b)}\\mathrm{{i}}",
        f"{lead}{abs(b)}i {'+' if a > 0 else '-'} {abs(a)}", f"{a} {sign} {abs(b)} i", f"{a}{sign}{abs(b)}*i",
    ]  # fmt: skip


_NOTATIONS: dict[str, Callable[[Number], list[str]]] = {
    "integer": _integer_forms,
    "fraction": _fraction_forms,
    "decimal": _decimal_forms,
    "surd": _surd_forms,
    "multiple of pi": _pi_forms,
    "logarithm": _logarithm_forms,
    "exponential": _exponential_forms,
    "complex number": _complex_forms,
}


# -- numbers that differ a little, or a lot ----------------------------------------------------------------------------


def near(rng: random.Random) -> tuple[Number, Number]:
    """Two numbers, equal or so close that floating point cannot tell them apart."""
    return rng.choice(_PAIRS)(rng)


def _tiny_powers(rng: random.Random) -> tuple[Number, Number]:
    sympy = _sympy()
    n, base = rng.choice((99, 100, 60, 150, 200, 365)), rng.choice((2, 3, 10))
    m = n + rng.choice((1, 0, 2, 7))

    def make(k: int) -> Number:
        return Number(f"1-{base}^{{-{k}}}", 1 - sympy.Rational(1, base**k), "near")

    return make(n), make(m)


def _factorials(rng: random.Random) -> tuple[Number, Number]:
    n = rng.choice((30, 100, 2003))
    m = n + rng.choice((1, 0))

    def make(k: int) -> Number:
        return Number(f"\\frac{{1}}{{{k}!}}", _sympy().Rational(1, factorial(k)), "near")

    return make(n), make(m)


def _large(rng: random.Random) -> tuple[Number, Number]:
    n = rng.choice((64, 70, 100, 127))
    value = 2**n
    other = value + rng.choice((1, 0, -1, 2))
    return Number(f"2^{{{n}}}", _sympy().Integer(value), "near"), whole(other)


def _long_integers(rng: random.Random) -> tuple[Number, Number]:
    n = 10 ** rng.choice((16, 17, 20, 30)) + rng.choice((1, 3, 7))
    return whole(n), whole(n + rng.choice((1, 0, -1)))


def _long_decimals(rng: random.Random) -> tuple[Number, Number]:
    places = rng.choice((17, 18, 20, 25))
    digits = rng.choice(("1", "3", "6"))
    texts = [f"0.5{'0' * (places - 2)}{digits}", f"0.5{'0' * (places - 2)}{rng.choice(('2', digits))}"]
    a, b = (Number(text, _sympy().Rational(text), "near") for text in texts)
    return a, b


def _fractions(rng: random.Random) -> tuple[Number, Number]:
    n = 10 ** rng.choice((9, 12, 18)) + 7
    m = n + rng.choice((1, 0))

    def make(k: int) -> Number:
        return Number(f"\\frac{{{k - 2}}}{{{k}}}", _sympy().Rational(k - 2, k), "near")

    return make(n), make(m)


def _small(rng: random.Random) -> tuple[Number, Number]:
    power = rng.choice((9, 12, 15, 20, 30))
    a, b = rng.choice((5, 6, 7)), rng.choice((5, 8, 6))

    def make(k: int) -> Number:
        return Number(f"{k} \\times 10^{{-{power}}}", _sympy().Rational(k, 10**power), "near")

    return make(a), make(b)


_PAIRS: tuple[Callable[[random.Random], tuple[Number, Number]], ...] = (
    _tiny_powers, _factorials, _large, _long_integers, _long_decimals, _fractions, _small,
)  # fmt: skip


# -- work that is left to be done --------------------------------------------------------------------------------------


def unfinished(rng: random.Random, n: int) -> tuple[str, Any]:
    """An expression with the value of an integer that nobody has worked out, and sympy's value of it."""
    sympy = _sympy()
    k = rng.choice((1, 2, 3, 7, 10))
    x = sympy.Symbol("x")
    made: list[tuple[str, Callable[[], Any]]] = [
        (f"{n - k}+{k}", lambda: sympy.Integer(n - k) + k),
        (f"{n + k}-{k}", lambda: sympy.Integer(n + k) - k),
        (f"x+{n}-x", lambda: x + n - x),
        (f"{n}\\sin^2x+{n}\\cos^2x", lambda: sympy.trigsimp(n * sympy.sin(x) ** 2 + n * sympy.cos(x) ** 2)),
        (f"{n} \\cdot 1", lambda: sympy.Integer(n)),
        (f"{n}+0", lambda: sympy.Integer(n)),
        (f"{n}+0\\cdot x", lambda: sympy.Integer(n) + 0 * x),
        (f"{n}^1", lambda: sympy.Integer(n) ** 1),
        (f"\\frac{{{n}x}}{{x}}", lambda: sympy.Integer(n)),
        (f"\\int_0^{{{n}}} 1\\,dx", lambda: sympy.integrate(1, (x, 0, n))),
        (f"\\log_{{10}} 10^{{{n}}}", lambda: sympy.log(sympy.Integer(10) ** n, 10)),
        (f"\\max({n}, {n - k})", lambda: sympy.Max(n, n - k)),
        (f"\\lfloor {n}.5 \\rfloor", lambda: sympy.floor(sympy.Rational(2 * n + 1, 2))),
        (f"{n}\\cdot i^4", lambda: n * sympy.I**4),
        (f"-{n}i^2" if n > 0 else f"{-n}i^2", lambda: -n * sympy.I**2),
        (f"({n - k}) + ({k})", lambda: sympy.Integer(n)),
        (f"{n}(2-1)", lambda: sympy.Integer(n)),
        (f"{2 * n} \\div 2", lambda: sympy.Integer(2 * n) / 2),
        (f"\\frac{{{k * n}}}{{{k}}}", lambda: sympy.Integer(k * n) / k),
        (f"{k * n}/{k}", lambda: sympy.Integer(k * n) / k),
        (f"\\frac{{{n - k}+{k}}}{{1}}", lambda: sympy.Integer(n)),
        (f"{n}\\cdot 5^0", lambda: n * sympy.Integer(5) ** 0),
        (f"{n}^{{5^0}}", lambda: sympy.Integer(n) ** (sympy.Integer(5) ** 0)),
        (f"{n}\\cdot 1^{{235423523}}", lambda: sympy.Integer(n)),
        (f"{n} \\tan 45^\\circ", lambda: n * sympy.tan(sympy.pi / 4)),
        (f"{n + 2}-\\sqrt{{4}}", lambda: n + 2 - sympy.sqrt(4)),
        (f"\\begin{{pmatrix}}{n}&1\\end{{pmatrix}}\\begin{{pmatrix}}1\\\\0\\end{{pmatrix}}", lambda: sympy.Integer(n)),
        (f"{n + 1}-\\cos 0", lambda: n + 1 - sympy.cos(0)),
        (f"{n} - 0!+1", lambda: sympy.Integer(n)),
        (f"{n}\\%\\cdot 100", lambda: sympy.Integer(n)),
        (f"\\lim_{{x\\to {n}}} x", lambda: sympy.limit(x, x, n)),
    ]
    if n > 0:
        made += [
            (f"\\sqrt{{{n * n}}}", lambda: sympy.sqrt(n * n)),
            (f"|-{n}|", lambda: sympy.Abs(-n)),
            (f"\\sqrt{{({n + k}-{k})^2}}", lambda: sympy.sqrt(n**2)),
            (f"\\binom{{{n}}}{{1}}", lambda: sympy.binomial(n, 1)),
            (f"\\sqrt[3]{{{n**3}}}", lambda: sympy.root(n**3, 3)),
            (f"e^{{\\ln {n}}}", lambda: sympy.exp(sympy.log(n))),
            (f"\\gcd({n}, {2 * n})", lambda: sympy.gcd(n, 2 * n)),
            (f"\\sum_{{j=1}}^{{{n}}} 1", lambda: sympy.Integer(n)),
        ]
        factors = [d for d in (2, 3, 5, 7) if n % d == 0 and n > d]
        made += [(f"{d}\\cdot{n // d}", lambda: sympy.Integer(n)) for d in factors]
        made += [(f"{d}({n // d})", lambda: sympy.Integer(n)) for d in factors]
    if n > 3 and (root := sympy.perfect_power(n)):
        made.append((f"{root[0]}^{{{root[1]}}}", lambda: sympy.Integer(root[0]) ** root[1]))
    text, value = rng.choice(made)
    return text, value()


def choose_other(rng: random.Random, gold: Number, made: Sequence[Number]) -> Number | None:
    """One of the numbers that sympy finds to differ from the gold answer."""
    other = rng.choice(list(made))
    return None if equal(gold, other) else other
