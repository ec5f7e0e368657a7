"""Reads answers of tables: verifiers for text and numbers, and the options that the answer column names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from kkwarm.data import normalise
from kkwarm.errors import KkwarmError, unknown_name
from kkwarm.plugins import registry
from kkwarm.types import Example, Response, Status, Verdict, Verifier

# -- verifiers ---------------------------------------------------------------------------------------------------------

# A table's name for a verifier -> the registered one. `choice` expects letters, and the options' texts in `meta`.
ALIASES: Mapping[str, str] = {"choice": "mmlu_pro"}
_NUMBER = re.compile(r"([-+−]?)[$€£]?((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,40})(?:\.[0-9]{1,40})?|\.[0-9]{1,40})%?")


def find_verifier(name: str, kind: str, tolerance: float) -> Verifier:
    """The verifier of this kind: ``text``, ``number``, ``choice``, ``math``, or any that a plugin registers.

    :param name: the domain's name, for verifiers of the kinds ``text`` and ``number``.
    """
    own: dict[str, Callable[[Example, Response], Verdict]] = {"text": TextCheck(), "number": NumberCheck(tolerance)}
    if kind in own:
        return Verifier(name, own[kind], tolerance=tolerance if kind == "number" else 0.0)
    verifiers = registry().verifiers
    if ALIASES.get(kind, kind) not in verifiers:
        raise unknown_name("verifier", kind, [*own, *ALIASES, *verifiers])
    return verifiers[ALIASES.get(kind, kind)]


@dataclass(frozen=True, slots=True)
class TextCheck:
    """Compares texts without case, white space, a final full stop and surrounding quotes."""

    def __call__(self, example: Example, response: Response) -> Verdict:
        answer = _normalize_text(_answer_text(response))
        if not answer:
            return Verdict(Status.UNPARSED, reason="the answer is empty")
        gold = example.answer if isinstance(example.answer, list) else [example.answer]
        accepted = [_normalize_text(str(a)) for a in gold]
        status = Status.CORRECT if answer in accepted else Status.WRONG
        return Verdict(status, answer[:200], "" if status is Status.CORRECT else f"expected {accepted[0][:80]}")


@dataclass(frozen=True, slots=True)
class NumberCheck:
    """Compares numbers up to an absolute `tolerance`.

    A number may have thousands commas, a sign, a currency before it or a percent sign after it.
    """

    tolerance: float = 0.0

    def __call__(self, example: Example, response: Response) -> Verdict:
        answer = parse_number(_answer_text(response))
        if answer is None:
            return Verdict(Status.UNPARSED, reason="the answer is not one number")
        gold = parse_number(str(example.answer))
        if gold is None:
            raise KkwarmError(f"the answer of {example.id} is not a number: {example.answer!r}")
        status = Status.CORRECT if abs(answer - gold) <= Decimal(str(self.tolerance)) else Status.WRONG
        return Verdict(status, str(answer), "" if status is Status.CORRECT else f"expected {gold}")


def parse_number(text: str) -> Decimal | None:
    """The number that the whole text is, or None. A percent sign is ignored: 50% is 50."""
    text = text.strip().removesuffix(".").strip()
    match = _NUMBER.fullmatch(text) if len(text) < 100 else None
    if match is None:
        return _parse_scientific(text)
    return Decimal(("-" if match[1] in ("-", "−") else "") + match[2].replace(",", ""))


def _parse_scientific(text: str) -> Decimal | None:
    if not re.fullmatch(r"[-+]?[0-9]{1,20}(?:\.[0-9]{1,20})?[eE][-+]?[0-9]{1,2}", text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _answer_text(response: Response) -> str:
    """The text inside the answer tags, or the last line of free text."""
    text = (response.answer or "").strip()
    return text if response.tagged or not text else text.splitlines()[-1]


def _normalize_text(text: str) -> str:
    return normalise(text).removesuffix(".").strip("\"'“”‘’ ")


# -- options -----------------------------------------------------------------------------------------------------------

LETTERS = "ABCDEFGHIJ"
OptionParser = Callable[[Any, Sequence[str]], str]
"""(value of the answer column, the options' texts) -> the letter of the option, "" if the value names none."""


def read_options(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """The options' texts: from one column with a list (or ``{"text": [...]}``, as in ARC), or from several columns."""
    value = row[columns[0]]
    if len(columns) == 1 and isinstance(value, dict) and isinstance(value.get("text"), list):
        value = value["text"]
    if len(columns) == 1 and isinstance(value, list):
        return ["" if v is None else str(v) for v in value]
    return [str(row[c]) for c in columns]


def find_bad_option(texts: Sequence[str]) -> str:
    """Why an answer could not name each option by its text, "" if it can: an option is empty, or two read the same."""
    plain = [" ".join(text.split()) for text in texts]
    if not all(plain):
        return "an option is empty"
    return "two options have the same text" if len(set(plain)) < len(plain) else ""


def _by_text(answer: Any, texts: Sequence[str]) -> str:
    text = str(answer).strip()
    return LETTERS[texts.index(text)] if texts.count(text) == 1 else ""


def _by_letter(answer: Any, texts: Sequence[str]) -> str:
    text = str(answer).strip().upper()
    return text if len(text) == 1 and text in LETTERS[: len(texts)] else ""


def _by_index(answer: Any, texts: Sequence[str]) -> str:
    text = str(answer).strip()
    return LETTERS[int(text)] if text.isascii() and text.isdecimal() and int(text) < len(texts) else ""


PARSERS: dict[str, OptionParser] = {"letter": _by_letter, "text": _by_text, "index": _by_index}


def select_option_parser(answers: Sequence[tuple[Any, Sequence[str]]], name: str | None) -> OptionParser:
    """The parser called `name`, otherwise the only one that fits all rows. Integers are indices from 0.

    If none fits all rows, it is the one that fits most, so that the other rows can be reported.

    :raises KkwarmError: two parsers fit all rows and give different options.
    """
    if name is not None:
        return PARSERS[name]
    if answers and all(isinstance(a, int) and not isinstance(a, bool) for a, _ in answers):
        return _by_index
    letters = {key: [parse(a, texts) for a, texts in answers] for key, parse in PARSERS.items()}
    fitting = {key: column for key, column in letters.items() if all(column)}
    if len({tuple(column) for column in fitting.values()}) > 1:
        raise KkwarmError(
            f"its answers can be read as {' and as '.join(fitting)}, which give different options",
            hint='set answer_is to "text", "letter" or "index" (from 0)',
        )
    best = max(letters, key=lambda key: sum(map(bool, letters[key])))
    return PARSERS[next(iter(fitting), best)]
