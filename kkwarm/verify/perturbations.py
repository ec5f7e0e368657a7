"""Answers that are almost the gold answer and still wrong, by the kind of gold: a number, words, a list.

Each function gives answers without tags. They yield nothing where the gold is of another kind, or where what is near
it might be right too (a program, an expression).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

__all__ = ["as_python", "beyond", "glued", "numbers", "part", "rearranged"]

_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,30})?")
_WORDS = re.compile(r"\w+(?: \w+)+")
_FIGURES = re.compile(r"-?[0-9]+(?: -?[0-9]+)+")
_TUPLE = re.compile(r"\(([^()]+,[^()]+)\)")
_LONGEST = 80  # characters of a gold answer that is one expression or phrase


def beyond(gold: str, answers: Iterable[str], tolerance: float) -> Iterator[str]:
    """Those of the answers that are no number within `tolerance` of the gold one."""
    for answer in answers:
        both = _NUMBER.fullmatch(gold) and _NUMBER.fullmatch(answer)
        if not both or abs(Decimal(answer) - Decimal(gold)) > Decimal(str(tolerance)):
            yield answer


def numbers(gold: str, tolerance: float = 0.0) -> Iterator[str]:
    """Other numbers: the sign, a digit, a power of ten, a little more than `tolerance` off. Catches `abs`, `round`,
    wide tolerances, figures picked out of the text."""
    if not _NUMBER.fullmatch(gold):
        return
    value, allowed = Decimal(gold), Decimal(str(tolerance))
    last_digit = Decimal(1).scaleb(int(value.as_tuple().exponent))
    far = [-value, value * 10, Decimal(gold.replace(".", "")), Decimal(gold.lstrip("-")[::-1].strip("."))]
    near = [value + sign * (allowed + step) for step in (last_digit, Decimal("0.001"), value / 128) for sign in (1, -1)]
    yield from beyond(gold, [f"{other:f}" for other in dict.fromkeys(far + near)], tolerance)


def part(gold: str) -> Iterator[str]:
    """A piece of the gold answer. Catches a verifier with its arguments swapped: ``answer in gold``."""
    if _NUMBER.fullmatch(gold):
        if "." not in gold and len(gold.lstrip("-")) > 1:  # of a decimal, a piece may be its rounding
            yield from (gold[:-1], gold.lstrip("-")[1:])
    elif _FIGURES.fullmatch(gold):
        yield gold.rpartition(" ")[0]
    elif len(gold) >= 4 and gold.replace(" ", "").isalpha():
        yield from (gold[:1], gold[:2], gold[1:-1])


def glued(gold: str) -> Iterator[str]:
    """The gold answer with more written onto it. Catches patterns without an end, and letters or figures dropped."""
    if not gold or "\n" in gold or len(gold) > _LONGEST:
        return
    yield from (f"{gold}abc", f"{gold}7")
    if _NUMBER.fullmatch(gold):
        yield f"9{gold.lstrip('-')}"
    elif gold.isalpha():
        yield f"un{gold}"


def rearranged(gold: str) -> Iterator[str]:
    """The same parts in another order or number. Catches comparison as sets, or as sorted lists."""
    if _FIGURES.fullmatch(gold):
        yield from _unless(gold, " ".join(reversed(gold.split())))
    if _WORDS.fullmatch(gold) or _FIGURES.fullmatch(gold):
        yield f"{gold} {gold.split()[-1]}"
    elif (inner := _TUPLE.fullmatch(gold)) is not None:
        parts = [p.strip() for p in inner[1].split(",")]
        yield from _unless(f"({', '.join(parts)})", f"({', '.join(reversed(parts))})")
    elif len(gold) >= 3 and gold.isalpha():
        yield from _unless(gold, gold[::-1])


def as_python(gold: str) -> Iterator[str]:
    """Programs for the gold answer. Catches `eval`."""
    if _NUMBER.fullmatch(gold):
        yield from (f"[{gold}][0]", f"sum([{gold}])", f"{gold} if True else 0", f"(lambda: {gold})()")
    elif len(gold) <= _LONGEST and not re.search(r"['\\\n]", gold):
        yield f"''.join(['{gold}'])"


def _unless(gold: str, other: str) -> Iterator[str]:
    if gold.casefold() != other.casefold():
        yield other
