r"""Finds answers that are not evaluated, such as a copy of the question's formula or a sum that is not added up.

For a computer algebra system ``26^2-24^2`` equals 100. A model that copies formulas from the questions would then be
right now and then, and RLVR would reinforce that.
"""

from __future__ import annotations

import re
from functools import lru_cache

from kkwarm_math.latex import MATH_SEGMENT, equation_sides, normal_form

__all__ = ["find_unevaluated"]

# Functions by kind. If the gold answer has one of a kind, the answer may have others of it (a log in another base).
_KINDS = {
    "trigonometry": r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?(?![A-Za-z])",
    "logarithms": r"\\(?:log|ln|lg|exp)(?![A-Za-z])",
    "counting": r"\\(?:[dt]?binom|choose)(?![A-Za-z])|!",
    "a choice": r"\\(?:min|max|gcd|lcm)(?![A-Za-z])",
    "rounding": r"\\[lr](?:floor|ceil)(?![A-Za-z])",
    "an absolute value": r"\|[^|]+\||\\lvert(?![A-Za-z])|\\vert.*\\vert(?![A-Za-z])",
    "a limit": r"\\(?:sum|prod|int|lim)(?![A-Za-z])",
    "a remainder": r"\\[bp]?mod(?![A-Za-z])",
    "a determinant": r"\\det(?![A-Za-z])",
}
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in _KINDS.items()}
_COMMANDS = re.compile(r"\\(?:[dt]?frac|sqrt|cdot|times|div|left|right|pi)(?![A-Za-z])")
_OPERATION = re.compile(r"(?<=[0-9)}])(?:[-+*]|\\(?:cdot|times|div)(?![A-Za-z]))(?=[-0-9({\\])")
_SCIENTIFIC = re.compile(r"-?[0-9.]+\\(?:times|cdot)10\^(?:[0-9]|\{-?[0-9]+\})")
_ROOT = re.compile(r"\\sqrt|\^\{?\(?-?(?:\\frac|[0-9]*[./])")
_FORMULA = re.compile(r"[-+*/^(!|=]|\\[A-Za-z]")
_QUOTIENT = re.compile(r"(-?)([0-9]+)/([0-9]+)")
_NEUTRAL = re.compile(r"^(?:1\\cdot|1\\times|0\+)|(?:\+0|-0|\\cdot1|\\times1|/1)$")


def find_unevaluated(gold: str, answer: str, question: str, *, number: bool) -> str:
    """What is not evaluated in an answer, "" if nothing. `gold` and `answer` are normal forms.

    :param number: whether the gold answer is a plain number.
    """
    if gold == answer:
        return ""
    last = equation_sides(answer)[-1]
    for kind, pattern in _PATTERNS.items():
        if pattern.search(last) and not pattern.search(gold):
            return kind
    if number and _ROOT.search(last):
        return "a root"
    closed = not re.search("[A-Za-z]", _COMMANDS.sub("", last))
    if number and closed and _OPERATION.search(last) and not _SCIENTIFIC.fullmatch(last):
        return "arithmetic"
    copied = {_simplify(last), _simplify(answer)} & (_formulas(question) - {_simplify(gold)})
    return "a formula of the question" if copied else ""


@lru_cache(maxsize=512)
def _formulas(question: str) -> frozenset[str]:
    """The question's formulas and the sides of its equations, without single numbers and names."""
    formulas = set()
    for match in MATH_SEGMENT.finditer(question):
        text = next(g for g in match.groups() if g is not None).strip().rstrip(".,;:?")
        formulas |= {_simplify(normal_form(part)) for part in (text, *equation_sides(text))}
    return frozenset(f for f in formulas if len(f) > 2 and _FORMULA.search(f.lstrip("-")))


def _simplify(text: str) -> str:
    r"""Removes enclosing brackets and neutral operations (times one, plus zero), and writes 8/22 as `\frac`."""
    while True:
        before = text
        text = _NEUTRAL.sub("", text)
        if text[:1] == "(" and text[-1:] == ")" and _is_enclosed(text):
            text = text[1:-1]
        if text == before:
            return _QUOTIENT.sub(r"\1\\frac{\2}{\3}", text) if _QUOTIENT.fullmatch(text) else text


def _is_enclosed(text: str) -> bool:
    depth = 0
    for i, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return i == len(text) - 1
    return False
