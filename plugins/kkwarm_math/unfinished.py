r"""Finds answers that leave the work to be done: a copy of the question's formula, a sum that is not added up.

For a computer algebra system ``26^2-24^2`` is as good an answer as 100: whoever copies formulas out of the questions
would be right now and then, and RLVR would find that out.
"""

from __future__ import annotations

import re
from functools import lru_cache

from kkwarm_math.latex import SEGMENT, key, sides

__all__ = ["unfinished"]

# Functions by kind: where the gold answer has one of a kind, an answer may have others of it (a log in another base).
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
_WORK = {kind: re.compile(pattern) for kind, pattern in _KINDS.items()}
_COMMANDS = re.compile(r"\\(?:[dt]?frac|sqrt|cdot|times|div|left|right|pi)(?![A-Za-z])")
_OPERATION = re.compile(r"(?<=[0-9)}])(?:[-+*]|\\(?:cdot|times|div)(?![A-Za-z]))(?=[-0-9({\\])")
_SCIENTIFIC = re.compile(r"-?[0-9.]+\\(?:times|cdot)10\^(?:[0-9]|\{-?[0-9]+\})")
_ROOT = re.compile(r"\\sqrt|\^\{?\(?-?(?:\\frac|[0-9]*[./])")
_FORMULA = re.compile(r"[-+*/^(!|=]|\\[A-Za-z]")
_QUOTIENT = re.compile(r"(-?)([0-9]+)/([0-9]+)")
_IDLE = re.compile(r"^(?:1\\cdot|1\\times|0\+)|(?:\+0|-0|\\cdot1|\\times1|/1)$")


def unfinished(gold: str, answer: str, question: str, *, number: bool) -> str:
    """What an answer leaves to be done, "" where it leaves nothing; `gold` and `answer` are keys.

    :param number: the gold answer is a plain number.
    """
    if gold == answer:
        return ""
    last = sides(answer)[-1]
    for kind, pattern in _WORK.items():
        if pattern.search(last) and not pattern.search(gold):
            return kind
    if number and _ROOT.search(last):
        return "a root"
    closed = not re.search("[A-Za-z]", _COMMANDS.sub("", last))
    if number and closed and _OPERATION.search(last) and not _SCIENTIFIC.fullmatch(last):
        return "arithmetic"
    copied = {_bare(last), _bare(answer)} & (_formulas(question) - {_bare(gold)})
    return "a formula of the question" if copied else ""


@lru_cache(maxsize=512)
def _formulas(question: str) -> frozenset[str]:
    """What the question writes between dollars, whole and by sides of equations, without single numbers and names."""
    found = set()
    for match in SEGMENT.finditer(question):
        text = next(g for g in match.groups() if g is not None).strip().rstrip(".,;:?")
        found |= {_bare(key(part)) for part in (text, *sides(text))}
    return frozenset(f for f in found if len(f) > 2 and _FORMULA.search(f.lstrip("-")))


def _bare(text: str) -> str:
    r"""Without brackets around the whole, and without what changes nothing (times one, plus zero); 8/22 as `\frac`."""
    while True:
        before = text
        text = _IDLE.sub("", text)
        if text[:1] == "(" and text[-1:] == ")" and _closes_last(text):
            text = text[1:-1]
        if text == before:
            return _QUOTIENT.sub(r"\1\\frac{\2}{\3}", text) if _QUOTIENT.fullmatch(text) else text


def _closes_last(text: str) -> bool:
    depth = 0
    for i, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return i == len(text) - 1
    return False
