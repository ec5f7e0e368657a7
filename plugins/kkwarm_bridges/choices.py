"""Options of a table's rows, and which one the answer column means: one reading for the whole column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kkwarm.errors import KkwarmError

__all__ = ["LETTERS", "Read", "options", "reading"]

LETTERS = "ABCDEFGHIJ"
Read = Callable[[Any, Sequence[str]], str]


def options(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """The options' texts: a column with a list (or ``{"text": [...]}``, as ARC has it), or a column for each."""
    value = row[columns[0]]
    if len(columns) == 1 and isinstance(value, dict) and isinstance(value.get("text"), list):
        value = value["text"]
    if len(columns) == 1 and isinstance(value, list):
        return [str(v) for v in value]
    return [str(row[c]) for c in columns]


def _by_text(answer: Any, texts: Sequence[str]) -> str:
    text = str(answer).strip()
    return LETTERS[texts.index(text)] if texts.count(text) == 1 else ""


def _by_letter(answer: Any, texts: Sequence[str]) -> str:
    text = str(answer).strip().upper()
    return text if len(text) == 1 and text in LETTERS[: len(texts)] else ""


def _by_index(answer: Any, texts: Sequence[str]) -> str:
    text = str(answer).strip()
    return LETTERS[int(text)] if text.isascii() and text.isdecimal() and int(text) < len(texts) else ""


READINGS: dict[str, Read] = {"letter": _by_letter, "text": _by_text, "index": _by_index}


def reading(answers: Sequence[tuple[Any, Sequence[str]]], named: str | None) -> Read:
    """How the column is read: as `named`, else the one reading that fits all rows (numbers are indices from 0).

    Where none fits all, the one that fits most, so that the others can be named: it gives "" for them.

    :raises KkwarmError: two readings fit all rows and mean different options.
    """
    if named is not None:
        return READINGS[named]
    if answers and all(isinstance(a, int) and not isinstance(a, bool) for a, _ in answers):
        return _by_index
    read = {name: [how(a, texts) for a, texts in answers] for name, how in READINGS.items()}
    whole = {name: letters for name, letters in read.items() if all(letters)}
    if len({tuple(letters) for letters in whole.values()}) > 1:
        raise KkwarmError(
            f"its answers can be read as {' and as '.join(whole)}, and mean different options",
            hint='say which: answer_is = "text", "letter" or "index" (from 0)',
        )
    best = max(read, key=lambda name: sum(map(bool, read[name])))
    return READINGS[next(iter(whole), best)]
