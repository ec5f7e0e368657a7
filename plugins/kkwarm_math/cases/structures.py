r"""Tuples, lists, intervals, matrices and other structured answers: equal ones, and ones with another meaning."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from kkwarm_math.cases.values import unfinished

__all__ = ["Structured", "structured", "unfinished_part"]


class Structured(NamedTuple):
    """A gold answer with one that must be accepted or rejected."""

    gold: str
    answer: str
    accept: bool
    kind: str
    question: str = ""


def _two(rng: random.Random) -> tuple[int, int]:
    a, b = rng.choice((1, 2, 3, 5, -2)), rng.choice((4, 7, 9, 12))
    return a, b


def _spaced(rng: random.Random, text: str) -> str:
    return text.replace(",", rng.choice((",", ", ", " , ")))


def _tuple(rng: random.Random) -> Structured:
    a, b = _two(rng)
    gold = f"({a},{b})"
    if rng.randrange(2):
        answer = rng.choice(
            (gold, f"\\left({a},{b}\\right)", f"({a},\\;{b})", f"(x,y)=({a},{b})", f"\\big({a},{b}\\big)")
        )
        return Structured(gold, _spaced(rng, answer), True, "tuple")
    wrong = (
        f"({b},{a})", f"\\{{{a},{b}\\}}", f"({a},{b},{a})", f"({a})", f"({a},{-b})", f"({-a},{b})", f"({a},{b + 1})",
        f"-({a},{b})", f"({a},{b})({a},{b})", f"({a},{b}),({b},{a})", f"({a},{b}) or ({b},{a})", f"({a}{b})",
        f"({a},{b}x)", f"2({a},{b})", f"({a},{b})^2", f"({a},({b},{a}))", f"({a},{b})'", f"({a},)",
        f"(({a},{b}),{b})", f"(x,{b})", f"\\neq ({a},{b})",
    )  # fmt: skip
    return Structured(gold, _spaced(rng, rng.choice(wrong)), False, "tuple")


_OTHER_SEPARATORS = (
    " or ", " and ", "\\lor ", "\\land ", "\\text{ or }", "\\text{ and }", "\\text{, or }", "+", "-", "/", "|", ".",
    "..", "\\ldots ", "\\cdot ", "=", "<", ">", "\\le ", "\\ge ", " to ", "\\to ", "\\times ", "&", "\\mid ", ":",
    "\\pm ", "^", "_", "!", "'", "\\cup ", "\\cap ", "\\in ", " not ", "\\neq ", "\\choose ", "\\over ", "%", "\\$",
    "~or~", "\\equiv ", "*", "**", " mod ", " per ", "\\%,-", ",-", ",,", ",;+", "i,", "x,", "\\text{x},",
    "\\text{, not }", "\\circ ", "^\\circ,",
)  # fmt: skip
_OTHER_BRACKETS = (
    ("(", ""), ("", ")"), ("(", "\\}"), ("\\{", ")"), ("|", "|"), ("\\lfloor ", "\\rfloor "), ("-(", ")"), ("(", ")^2"),
    ("\\{", "\\}"), ("|(", ")|"), ("\\sqrt{", "}"), ("((", ")"), ("\\neg(", ")"), ("(", ")!"), ("f(", ")"), ("2[", "]"),
)  # fmt: skip


def _other_signs(rng: random.Random) -> Structured:
    """A tuple or an interval whose separator, or whose brackets, are others."""
    a, b = _two(rng)
    first, last = rng.choice((("(", ")"), ("[", "]"), ("(", "]"), ("[", ")")))
    parts = [str(a), str(b), "20"][: 3 if first + last == "()" and rng.randrange(2) else 2]
    gold = f"{first}{','.join(parts)}{last}"
    if rng.randrange(2):
        at = rng.randrange(1, len(parts))
        inside = ",".join(parts[:at]) + rng.choice(_OTHER_SEPARATORS) + ",".join(parts[at:])
        return Structured(gold, f"{first}{inside}{last}", False, "another separator")
    first, last = rng.choice(_OTHER_BRACKETS)
    return Structured(gold, f"{first}{','.join(parts)}{last}", False, "other brackets")


def _list(rng: random.Random) -> Structured:
    a, b = _two(rng)
    c = rng.choice((20, 31))
    items = [a, b] if rng.randrange(2) else [a, b, c]
    gold = ", ".join(map(str, items))
    if rng.randrange(2):
        rng.shuffle(items)
        frames = (", ".join, ",".join, " and ".join, " \\text{ and } ".join, "$, $".join, ", and ".join, ",\\ ".join)
        return Structured(gold, rng.choice(frames)([str(i) for i in items]), True, "list")
    last = items[-1]
    rest = [str(i) for i in items[:-1]]
    wrong = (
        ", ".join(rest), f"{gold}, {c + 1}", ", ".join([*rest, str(last + 1)]), ", ".join([*rest, str(-last)]),
        f"not {gold}", " - ".join(map(str, items)), f"all but {gold}", f"{gold}, \\ldots", f"{gold}, ...",
        f"-({gold})", f"\\pm {gold}", f"{gold}!", ", ".join([*rest, f"{last}x"]), "".join(map(str, items)),
        f"{gold}, x", f"{gold}, or neither", f"{gold}, \\text{{etc}}",
        f"not {items[0]}, {', '.join([*rest[1:], str(last)])}", ", ".join([*rest, f"> {last}"]), f"neither {gold}",
    )  # fmt: skip
    return Structured(gold, rng.choice(wrong), False, "list")


def _interval(rng: random.Random) -> Structured:
    a, b = _two(rng)
    left, right = rng.choice("[("), rng.choice("])")
    less, more = ("\\le " if left == "[" else "<"), ("\\le " if right == "]" else "<")
    gold = f"{left}{a},{b}{right}"
    if rng.randrange(2):
        great = "\\ge " if right == "]" else ">"
        great2 = "\\ge " if left == "[" else ">"
        forms = [
            gold,
            f"x\\in {gold}",
            f"\\left{left}{a},{b}\\right{right}",
            f"x \\in \\left{left}{a}, {b}\\right{right}",
        ]
        forms += [f"{a} {less} x {more} {b}", f"{b} {great} x {great2} {a}"]
        return Structured(gold, rng.choice(forms), True, "interval")
    flip = {"[": "(", "(": "[", "]": ")", ")": "]"}
    wrong = (
        f"{flip[left]}{a},{b}{right}", f"{left}{a},{b}{flip[right]}", f"{left}{b},{a}{right}",
        f"{left}{a},{b + 1}{right}", f"{left}{a},{b}{right}\\cup[20,21]", f"{left}{a},\\infty)", f"x\\notin {gold}",
        f"\\mathbb{{R}}\\setminus {gold}", f"{a} {less} x", f"x {more} {b}", f"{a} > x > {b}", f"{gold}^c",
        f"\\overline{{{gold}}}", f"-{gold}", f"{gold}, {gold}'", f"{a} {less} x {more} {b} + 1", f"x \\neq {gold}",
        f"{left}{a},{b}x{right}", f"{gold} \\setminus \\{{{a + 1}\\}}", f"{a} {less} x {more} {b}, x \\neq {a + 1}",
        f"not {gold}", f"{a} {less} x^2 {more} {b}", f"{a} {less} -x {more} {b}", f"\\{{{a},{b}\\}}",
        f"{gold}\\cap[20,21]", gold + "!" if left + right == "()" else f"{a},{b}",
    )  # fmt: skip
    return Structured(gold, rng.choice(wrong), False, "interval")


def _union(rng: random.Random) -> Structured:
    a, b = _two(rng)
    gold = f"(-\\infty,{a})\\cup({b},\\infty)"
    if rng.randrange(2):
        forms = (
            gold, f"({b},\\infty)\\cup(-\\infty,{a})", f"x<{a} \\text{{ or }} x>{b}",
            f"x \\in (-\\infty, {a}) \\cup ({b}, \\infty)", f"x > {b} or x < {a}",
            f"(-\\infty,{a}) \\cup ({b},+\\infty)",
        )  # fmt: skip
        return Structured(gold, rng.choice(forms), True, "union")
    wrong = (
        f"(-\\infty,{a}]\\cup({b},\\infty)", f"(-\\infty,{a})\\cap({b},\\infty)", f"({b},\\infty)",
        f"(-\\infty,{a})", f"({a},{b})", f"(-\\infty,{b})\\cup({a},\\infty)", f"x>{a} \\text{{ or }} x<{b}",
        f"(-\\infty,{a})\\cup({b + 1},\\infty)", f"x<{a} < x > {b}", f"(\\infty,{a})\\cup({b},\\infty)",
        f"{gold}\\cup\\{{{a}\\}}", f"x \\not\\in (-\\infty,{a})\\cup({b},\\infty)",
        f"(-\\infty,{a}) \\setminus ({b},\\infty)", f"(-\\infty,{a}),({b},{b + 1})", f"x \\le {a} or x > {b}",
    )  # fmt: skip
    return Structured(gold, rng.choice(wrong), False, "union")


def _matrix(rng: random.Random) -> Structured:
    a, b, c, d = 1, rng.choice((2, -3)), rng.choice((5, 0)), rng.choice((7, 8))

    def matrix(rows: list[list[object]], name: str = "pmatrix", end: str = " \\\\ ") -> str:
        return f"\\begin{{{name}}}{end.join(' & '.join(map(str, r)) for r in rows)}\\end{{{name}}}"

    rows: list[list[object]] = [[a, b], [c, d]] if rng.randrange(2) else [[a], [d]]
    gold = matrix(rows)
    if rng.randrange(2):
        answer = matrix(
            rows, rng.choice(("pmatrix", "bmatrix")), rng.choice((" \\\\ ", "\\\\", "\\\\[4pt]", " \\\\[1ex] "))
        )
        return Structured(gold, answer, True, "matrix")
    flat = [list(r) for r in zip(*rows, strict=True)]
    wrong = [matrix([[rows[0][0], *rows[0][1:]], [d, *rows[1][1:]]]) if len(rows[0]) > 1 else matrix([[d], [a]])]
    wrong += [
        matrix([*rows, rows[0]]), matrix(rows[:1]), matrix([[*r[:-1], f"{r[-1]}x"] for r in rows]), f"-{gold}",
        f"2{gold}", f"{gold}^2", f"{gold}^T", f"{gold}{gold}", f"{gold}+1", f"{gold}^{{-1}}",
        matrix([[*r[:-1], f"{r[-1]}+1"] for r in rows]), f"\\det {gold}", f"{gold} or 0",
    ]  # fmt: skip
    if flat != rows:
        wrong.append(matrix(flat))
    return Structured(gold, rng.choice(wrong), False, "matrix")


def _plus_minus(rng: random.Random) -> Structured:
    a, b = rng.choice((1, 3)), rng.choice((2, 5))
    root = f"\\sqrt{{{b}}}"
    plus, minus = f"{a}+{root}", f"{a}-{root}"
    gold = rng.choice((f"{a} \\pm {root}", f"{plus},{minus}"))
    if rng.randrange(2):
        forms = (f"{a} \\pm {root}", f"{plus}, {minus}", f"{minus},{plus}", f"{plus} and {minus}", f"{a} \\mp {root}",
                 f"{root}+{a}, -{root}+{a}", f"x = {a} \\pm {root}", f"{a}\u00b1\u221a{b}")  # fmt: skip
        return Structured(gold, rng.choice(forms), True, "plus-minus")
    wrong = (
        plus, minus, f"-{a} \\pm {root}", f"{a} \\pm {root} \\pm 1", f"{plus},{plus}", f"{a + 1} \\pm {root}",
        f"{plus}, -{root}", f"{a} \\pm {b}", f"\\pm {a}{root}", f"{plus}-{root}", f"{a} \\pm {root}i",
        f"\\pm({plus})", f"{plus} or not {minus}", f"\\pm {a} + {root}",
    )  # fmt: skip
    return Structured(gold, rng.choice(wrong), False, "plus-minus")


def _based(rng: random.Random) -> Structured:
    digits, base, word = rng.choice((("2516", 8, "eight"), ("1010", 2, "two"), ("431", 5, "five"), ("210", 3, "three")))
    gold = f"{digits}_{base}"
    if rng.randrange(2):
        forms = (
            f"{digits}_{{{base}}}",
            f"{digits}_{base}",
            f"{digits}_{{\\text{{{word}}}}}",
            f"\\text{{{digits}}}_{base}",
        )
        return Structured(gold, rng.choice(forms), True, "number base")
    value = int(digits, base)
    wrong = (
        digits, f"{digits}_{base + 1}", f"{value}", f"{digits}^{base}", f"{digits}_{{{base}}}_{base}", f"{digits}_x",
        f"-{digits}_{base}", f"{digits}{base}", f"{digits[::-1]}_{base}" if digits[::-1] != digits else digits,
        f"{digits}_{base}_2", f"{value}_{base}", f"{digits}_{base} + 1", f"{digits}_{base}!", f"{digits}_{base}0",
        f"{digits}/{base}",
    )  # fmt: skip
    return Structured(gold, rng.choice(wrong), False, "number base")


def _words(rng: random.Random) -> Structured:
    name, other = rng.choice((("Evelyn", "Carla"), ("Monday", "Friday"), ("even", "odd"), ("Navin", "Alice")))
    gold = f"\\text{{{name}}}"
    if rng.randrange(2):
        forms = (name, gold, f"\\textbf{{{name}}}", f"\\mathrm{{{name}}}", name.lower(), f"{name}.")
        return Structured(gold, rng.choice(forms), True, "word")
    wrong = (
        other, f"not {name}", f"{name} or {other}", f"{other}, {name}", name[::-1], name[:-1], f"{name}x",
        f"un{name}", f"{name}?", f"neither {name} nor {other}", f"\\text{{not {name}}}",
        f"\\text{{{name} or {other}}}", f"anyone but {name}", f"{name} 2", f"{name} is wrong",
        f"\\neg\\text{{{name}}}", f"{name}, not {other}s", f"after {name}", f"{name}/{other}",
    )  # fmt: skip
    return Structured(gold, rng.choice(wrong), False, "word")


def _choice(rng: random.Random) -> Structured:
    letter, other = rng.choice((("B", "C"), ("E", "A"), ("A", "D")))
    gold = f"\\text{{({letter})}}"
    if rng.randrange(2):
        forms = (
            f"({letter})",
            letter,
            f"\\text{{{letter}}}",
            f"\\textbf{{({letter})}}",
            f"\\mathrm{{({letter})}}",
            f"\\textbf{{({letter})}}\\ 5",
        )
        return Structured(gold, rng.choice(forms), True, "choice")
    wrong = (
        f"({other})", other, f"{letter} or {other}", f"not {letter}", f"({letter}) or ({other})", f"{letter}{other}",
        f"{letter}?", f"({other}), ({letter})", f"{letter}'", f"{letter}_1", f"{letter}^c", f"2{letter}",
        f"{letter}n apple", f"all but ({letter})", f"\\text{{({other})}}\\ {letter}", f"\\neg {letter}",
        f"({letter}{letter})", f"{letter}+{other}", f"{letter}, {other}",
    )  # fmt: skip
    return Structured(gold, rng.choice(wrong), False, "choice")


def _line(rng: random.Random) -> Structured:
    m, b = rng.choice((2, 3, -4)), rng.choice((1, 5, 7))
    gold = f"y = {m}x + {b}"
    if rng.randrange(2):
        forms = (
            gold,
            f"y={m}x+{b}",
            f"y = {b} + {m}x" if m > 0 else gold,
            f"y={m}\\cdot x+{b}",
            f"y = {m} x + {b}",
            f"y={m}*x+{b}",
        )
        return Structured(gold, rng.choice(forms), True, "equation")
    wrong = (
        f"y = {-m}x + {b}", f"y = {m}x - {b}", f"y = {m}x + {b + 1}", f"y < {m}x + {b}", f"y \\neq {m}x + {b}",
        f"x = {m}y + {b}", f"y = {m}x^2 + {b}", f"y = {m}x", f"y = {m}z + {b}", f"y^2 = {m}x + {b}",
        f"y = {m}x + {b}, y = 0", f"0 = {m}x + {b}", f"y + {m}x = {b}", f"y = {m}x + {b} + 1", f"y = {m}x + {b}i",
        f"y = {b}x + {m}", f"-y = {m}x + {b}", f"y = {m}x + {b} = 0", f"2y = {m}x + {b}", f"y = |{m}x + {b}|",
        f"y \\ge {m}x + {b}", f"y = {m}x + {b}x",
    )  # fmt: skip
    return Structured(gold, rng.choice(wrong), False, "equation")


def _polynomial(rng: random.Random) -> Structured:
    p, q = rng.choice((3, 5, -4)), rng.choice((2, 7, 11))
    sign = "+" if p > 0 else "-"
    gold = f"x^2{sign}{abs(p)}x+{q}"
    if rng.randrange(2):
        forms = (
            gold, f"x^{{2}} {sign} {abs(p)}x + {q}", f"x**2{sign}{abs(p)}*x+{q}", f"{q}{sign}{abs(p)}x+x^2",
            f"{q}+x^2{sign}{abs(p)}x", f"x^2 {sign} {abs(p)} \\cdot x + {q}", f"x\u00b2{sign}{abs(p)}x+{q}",
        )  # fmt: skip
        return Structured(gold, rng.choice(forms), True, "polynomial")
    wrong = (
        f"x^2{sign}{abs(p)}x-{q}", f"x^2{sign}{abs(p) + 1}x+{q}", f"x^3{sign}{abs(p)}x+{q}", f"x^2{sign}{abs(p)}x",
        f"y^2{sign}{abs(p)}y+{q}", f"x^2{sign}{abs(p)}+{q}", f"2x^2{sign}{abs(p)}x+{q}", f"x^2{sign}{abs(p)}x+{q}x",
        f"-({gold})", f"({gold})^2", f"{gold}+1", f"{gold}+x-x", f"{gold}!", f"x_2{sign}{abs(p)}x+{q}",
        f"x^2{sign}{abs(p)}x+{q} or 0", f"{gold} \\neq 0", f"({gold})({gold})", f"x2{sign}{abs(p)}x+{q}", f"{gold}i",
        f"\\frac{{1}}{{{gold}}}", f"x^2{sign}{abs(p)}x^{q}",
    )  # fmt: skip
    return Structured(gold, rng.choice(wrong), False, "polynomial")


def _order(rng: random.Random) -> Structured:
    terms = ["f(4)", "f(1)", "f(2)"]
    gold = ">".join(terms)
    if rng.randrange(2):
        return Structured(
            gold, rng.choice((gold, " > ".join(terms), "<".join(reversed(terms)), " \\gt ".join(terms))), True, "order"
        )
    swapped = rng.choice((["f(1)", "f(4)", "f(2)"], ["f(2)", "f(1)", "f(4)"], ["f(4)", "f(2)", "f(1)"], terms[:2]))
    wrong = (
        ">".join(swapped),
        "<".join(terms),
        ",".join(terms),
        f"{gold}>f(3)",
        "\\ge ".join(terms),
        "=".join(terms),
        f"not {gold}",
    )
    return Structured(gold, rng.choice(wrong), False, "order")


def _ratio(rng: random.Random) -> Structured:
    a, b = rng.choice(((3, 2), (1, 4), (5, 3)))
    gold = f"{a}:{b}"
    if rng.randrange(2):
        forms = (gold, f"{a} : {b}", f"{a}{{:}}{b}", f"{a}\\colon {b}")
        return Structured(gold, rng.choice(forms), True, "ratio")
    wrong = (
        f"{b}:{a}",
        f"{a}:{b}:1",
        f"{a}:{b + 1}",
        f"{a}{b}",
        f"{a}:{b}!",
        f"-{a}:{b}",
        f"not {a}:{b}",
        f"{a}:{b}x",
        f"{a}.{b}",
        f"({a},{b})",
    )
    return Structured(gold, rng.choice(wrong), False, "ratio")


# A gold answer with a unit, then notations of the same unit.
_UNITS: tuple[tuple[str, ...], ...] = tuple(
    tuple(form.strip() for form in line.split("|"))
    for line in r"""
    #\text{ cm} | # cm | #\ \text{cm} | #\,\mathrm{cm} | #cm | # centimeters | #\text{ centimeters}
    #\text{ cm}^2 | #cm^2 | #\ cm^2 | # square centimeters | #\text{ cm}^{2} | #\text{ square centimeters}
    #\text{ m} | # meters | #\,\text{m} | # m
    \$# | $\$#$ | # dollars | #\text{ dollars} | \$ #
    #\text{ cents} | # cents | #\text{ cent}
    #\% | #% | # percent | #\text{ percent} | $#\%$
    #^\circ | #^{\circ} | #° | # degrees | #\text{ degrees}
    #\text{ hours} | # hours | #\text{ h} | # hr
    #\text{ minutes} | # min | # minutes
    #\text{ mph} | # mph | #\text{ miles per hour}
    #\text{ kg} | # kg | # kilograms
    """.strip().split("\n")
)


def _unit(rng: random.Random) -> Structured:
    n = rng.choice((36, 15, 42, 70))
    forms = _UNITS[index := rng.randrange(len(_UNITS))]
    gold = forms[0]
    if rng.randrange(2):
        return Structured(gold.replace("#", str(n)), rng.choice((*forms, "#")).replace("#", str(n)), True, "unit")
    others = _UNITS[:index] + _UNITS[index + 1 :]
    wrong = rng.choice(
        (*rng.choice(others), f"{forms[0]} squared", f"{forms[0]}^4", "#\\text{ furlongs per}", f"not {forms[0]}")
    )
    if rng.randrange(4) == 0:
        return Structured(gold.replace("#", str(n)), rng.choice(forms).replace("#", str(n + 1)), False, "unit")
    return Structured(gold.replace("#", str(n)), wrong.replace("#", str(n)), False, "unit")


_ALL: tuple[Callable[[random.Random], Structured], ...] = (
    _tuple, _list, _interval, _union, _matrix, _plus_minus, _based, _words, _choice, _line, _polynomial, _order,
    _ratio, _unit, _unit, _other_signs,
)  # fmt: skip


def structured(rng: random.Random) -> Structured:
    """A random structured gold answer with an answer to it."""
    return rng.choice(_ALL)(rng)


def unfinished_part(rng: random.Random, n: int) -> tuple[Structured, bool]:
    """A gold answer with the integer in it, an unfinished answer, and whether sympy finds them equal."""
    text, value = unfinished(rng, n)
    frames = (
        ("#", "#"), ("(#,4)", "tuple"), ("[#,1000000]", "interval"), ("\\{#,1000003\\}", "set"),
        ("#,1000003", "list"), ("\\begin{pmatrix}# \\\\ 4\\end{pmatrix}", "matrix"), ("x=#", "equation"),
        ("(4,#)", "tuple"), ("(-\\infty,#]", "interval"), ("\\frac{#}{1000003}", "fraction"), ("(#,4,9)", "tuple"),
    )  # fmt: skip
    frame, name = rng.choice(frames)
    kind = "unfinished" if name == "#" else f"unfinished {name}"
    return Structured(frame.replace("#", str(n)), frame.replace("#", text), False, kind), bool(value == n)
