"""Verifiers for tables: a text, a number. Others are taken from what plugins register, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from kkwarm.data import normalise
from kkwarm.errors import KkwarmError, unknown_name
from kkwarm.plugins import registry
from kkwarm.types import Example, Response, Status, Verdict, Verifier

__all__ = ["ALIASES", "NumberCheck", "TextCheck", "read_number", "verifier"]

# What a table calls a verifier -> the registered one. `choice` wants letters and, in `meta`, the options' texts.
ALIASES: Mapping[str, str] = {"choice": "mmlu_pro"}
_NUMBER = re.compile(r"([-+−]?)[$€£]?((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,40})(?:\.[0-9]{1,40})?|\.[0-9]{1,40})%?")


def verifier(name: str, kind: str, tolerance: float) -> Verifier:
    """The verifier that the kind names: ``text``, ``number``, ``choice``, ``math``, or any that a plugin registers.

    :param name: the domain's, for the verifiers made here.
    :raises KkwarmError: no such verifier.
    """
    own: dict[str, Callable[[Example, Response], Verdict]] = {"text": TextCheck(), "number": NumberCheck(tolerance)}
    if kind in own:
        return Verifier(name, own[kind], tolerance=tolerance if kind == "number" else 0.0)
    known = registry().verifiers
    if ALIASES.get(kind, kind) not in known:
        raise unknown_name("verifier", kind, [*own, *ALIASES, *known])
    return known[ALIASES.get(kind, kind)]


@dataclass(frozen=True, slots=True)
class TextCheck:
    """The answer is one of the example's, but for case, white space, a final full stop and quotes around it."""

    def __call__(self, example: Example, response: Response) -> Verdict:
        answer = _bare(_answer(response))
        if not answer:
            return Verdict(Status.UNPARSED, reason="no text")
        right = [_bare(str(a)) for a in _listed(example.answer)]
        status = Status.CORRECT if answer in right else Status.WRONG
        return Verdict(status, answer[:200], "" if status is Status.CORRECT else f"asked for: {right[0][:80]}")


@dataclass(frozen=True, slots=True)
class NumberCheck:
    """The answer is one number, no further from the example's than `tolerance`: digits, maybe with thousands commas,
    a sign, a currency before it or a per cent sign behind it."""

    tolerance: float = 0.0

    def __call__(self, example: Example, response: Response) -> Verdict:
        answer = read_number(_answer(response))
        if answer is None:
            return Verdict(Status.UNPARSED, reason="not one number")
        gold = read_number(str(example.answer))
        if gold is None:
            raise KkwarmError(f"the answer of {example.id} is no number: {example.answer!r}")
        status = Status.CORRECT if abs(answer - gold) <= Decimal(str(self.tolerance)) else Status.WRONG
        return Verdict(status, str(answer), "" if status is Status.CORRECT else f"asked for: {gold}")


def read_number(text: str) -> Decimal | None:
    """The number that the text is, or None. A per cent sign is passed over: 50% is 50."""
    text = text.strip().removesuffix(".").strip()
    found = _NUMBER.fullmatch(text) if len(text) < 100 else None
    if found is None:
        return _scientific(text)
    return Decimal(("-" if found[1] in ("-", "−") else "") + found[2].replace(",", ""))


def _scientific(text: str) -> Decimal | None:
    if not re.fullmatch(r"[-+]?[0-9]{1,20}(?:\.[0-9]{1,20})?[eE][-+]?[0-9]{1,2}", text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _answer(response: Response) -> str:
    """What is to be read: the inside of the tags, or the last line of free text."""
    text = (response.answer or "").strip()
    return text if response.tagged or not text else text.splitlines()[-1]


def _listed(answer: object) -> list[object]:
    return answer if isinstance(answer, list) else [answer]


def _bare(text: str) -> str:
    return normalise(text).removesuffix(".").strip("\"'“”‘’ ")
