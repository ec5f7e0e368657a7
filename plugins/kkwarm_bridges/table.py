"""``PATH.toml``: a data set with question and answer columns as a domain, without Python.

::

    data = "trivia.jsonl"          # a file or folder beside this file, or an id on the hub
    question = "question"
    answer = "answer"
    verifier = "text"
    train = 100                    # held out of the rows by content; or the name of a split
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kkwarm.data import holdout
from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.schema.document import ConfigError, Document, Problems, validate
from kkwarm.schema.document import read as read_config
from kkwarm.types import Domain, Example, Rewards, Sampling, Split
from kkwarm_bridges import rows
from kkwarm_bridges.answers import read_number, verifier
from kkwarm_bridges.choices import LETTERS, Read, options, reading

__all__ = ["Table", "domain", "load"]

_SHOWN = 5  # rows named for each kind of problem


class Table(BaseModel):
    """What the file says. `question`, `answer`, `id`, `facet` name columns.

    :param data: a file or folder, relative to the TOML file, or an id on the hub; `config` is the hub's.
    :param test: the split to evaluate on (of a folder or the hub).
    :param train: the split to train on, or how many of the test split's rows are held out for that.
    :param choices: the column with the list of options, or the columns with one option each.
    :param answer_is: how `answer` names the right option; needed only where two readings fit all rows.
    :param answer_pattern: an expression whose first group, in its last match, is the answer (``#### (.*)``).
    :param prompt: the question's text, with ``{column}`` for any column; `choices` are appended as ``A. text``.
    :param tolerance: how far a number may be off (verifier ``number``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str
    question: str = "question"
    answer: str = "answer"
    verifier: str = "text"
    config: str | None = None
    test: str = "test"
    train: str | int = 0
    id: str | None = None
    facet: str | None = None
    choices: str | tuple[str, ...] | None = None
    answer_is: Literal["letter", "index", "text"] | None = None
    answer_pattern: str | None = None
    prompt: str | None = None
    format: str = "think-answer"
    description: str = ""
    tolerance: float = Field(0.0, ge=0)
    rewards: Rewards = Rewards()
    sampling: Sampling = Sampling()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the options."""
        return (self.choices,) if isinstance(self.choices, str) else self.choices or ()


def domain(name: str) -> Domain:
    """The domain that the file `name` describes; its data is read when it is loaded.

    :raises KkwarmError: the file cannot be read; all its problems are named at once, with their lines.
    """
    document = read_config(name)
    table = _checked(document)

    def loaded() -> list[Example]:
        return list(load(name, table))

    return Domain(
        name,
        loaded,
        verifier(name, table.verifier, table.tolerance),
        gold=_gold,
        description=table.description or f"rows of {table.data}",
        format=table.format,
        rewards=table.rewards,
        sampling=table.sampling,
        facet=table.facet,
    )


def _checked(document: Document) -> Table:
    problems = document.problems()
    table = validate(Table, document.data, problems)
    _judged_together(document.data, problems)
    problems.raise_any()
    assert table is not None
    return table


def _judged_together(data: Mapping[str, Any], problems: Problems) -> None:
    """What types alone do not tell. Values of a wrong type are named already."""
    kind, fmt, train = data.get("verifier", "text"), data.get("format"), data.get("train")
    pattern, prompt = data.get("answer_pattern"), data.get("prompt")
    if isinstance(kind, str):
        try:
            verifier(problems.where, kind, 0.0)
        except KkwarmError as err:
            problems.add(("verifier",), str(err))
    formats = registry().formats
    if isinstance(fmt, str) and fmt not in formats:
        problems.add(("format",), f"there is no format {fmt!r}; {', '.join(sorted(formats))}")
    if isinstance(train, str) and train == data.get("test", "test"):
        problems.add(("train",), "is the split that is evaluated on")
    if isinstance(train, int) and train < 0:
        problems.add(("train",), "cannot be negative")
    if ("choices" in data) != (kind == "choice"):
        problems.add(("choices",), 'goes with verifier = "choice", and with no other')
    if isinstance(pattern, str):
        try:
            if not re.compile(pattern).groups:
                problems.add(("answer_pattern",), "has no group, such as in '#### (.*)'")
        except re.error as err:
            problems.add(("answer_pattern",), f"not a regular expression: {err}")
    if isinstance(prompt, str):
        try:
            _fields(prompt)
        except ValueError as err:
            problems.add(("prompt",), f"{err}; braces of the text itself are doubled: {{{{ }}}}")


@lru_cache(maxsize=8)
def load(where: str, table: Table) -> tuple[Example, ...]:
    """The examples.

    :raises KkwarmError: the data cannot be had; columns or values are missing or unfit: all of them are named.
    """
    test = _examples(where, table, table.test, _rows(where, table, table.test), "test")
    if isinstance(table.train, str):
        return (*test, *_examples(where, table, table.train, _rows(where, table, table.train), "train"))
    if table.train >= len(test):
        raise KkwarmError(f"{where}: train = {table.train} leaves none of {len(test)} rows to evaluate on")
    return tuple(holdout(test, train=table.train))


def _rows(where: str, table: Table, split: str) -> list[rows.Row]:
    beside = Path(where).parent
    if isinstance(table.train, str) and (beside / Path(table.data).expanduser()).is_file():
        raise KkwarmError(
            f"{where}: {table.data} is one file and has no split {table.train!r}",
            hint="train is then a number of its rows",
        )
    try:
        return rows.read(table.data, split, table.config, beside)
    except KkwarmError as err:
        raise KkwarmError(f"{where}: {err.message}", hint=err.hint) from err


def _examples(where: str, table: Table, split: str, found: list[rows.Row], side: Split) -> list[Example]:
    problems: dict[str, list[int]] = {}
    if not found:
        raise KkwarmError(f"{where}: {table.data} ({split}) has no rows")
    wanted = {table.question, table.answer, table.id, table.facet, *table.columns} - {None}
    if table.prompt is not None:
        wanted = (wanted - {table.question}) | set(_fields(table.prompt))
    absent = sorted(w for w in wanted if w is not None and w not in found[0])
    if absent:
        has = ", ".join(found[0])
        raise ConfigError(where, [f"{table.data} ({split}) has no column {a!r}; it has: {has}" for a in absent])
    needed = sorted(w for w in wanted if w is not None)
    made = []
    how: Read | None = None
    if table.verifier == "choice":
        try:
            how = reading(
                [(row[table.answer], options(row, table.columns)) for row in found if not _missing(row, needed)],
                table.answer_is,
            )
        except KkwarmError as err:
            raise ConfigError(f"{where}: {table.data} ({split})", [f"column {table.answer!r}: {err}"]) from None
    for number, row in enumerate(found):
        problem = next((p for p in (_missing(row, needed), _unfit(row, table, how)) if p), "")
        if problem:
            problems.setdefault(problem, []).append(number + 1)
            continue
        made.append(_example(row, table, how, f"{split}/{number}", side))
    twice = [id_ for id_, count in Counter(e.id for e in made).items() if count > 1]
    shown = [
        f"{problem}: row {', '.join(map(str, at[:_SHOWN]))}" + (f" and {len(at) - _SHOWN} more" if at[_SHOWN:] else "")
        for problem, at in problems.items()
    ]
    shown += [f"column {table.id!r} has {id_!r} twice" for id_ in twice[:_SHOWN]]
    if shown:
        raise ConfigError(f"{where}: {table.data} ({split})", shown)
    return made


def _missing(row: rows.Row, wanted: Sequence[str]) -> str:
    empty = next((w for w in wanted if row.get(w) is None or row[w] in ("", [])), None)
    return f"column {empty!r} is empty" if empty is not None else ""


def _unfit(row: rows.Row, table: Table, how: Read | None) -> str:
    """Why the verifier could not use the row's answer; empty: it can."""
    answer = row[table.answer]
    if how is not None:
        texts = options(row, table.columns)
        if not 2 <= len(texts) <= len(LETTERS):
            return f"{len(texts)} options; 2 to {len(LETTERS)} can be"
        return "" if how(answer, texts) else f"column {table.answer!r} names no option"
    if table.answer_pattern is not None and not _pattern(table, str(answer)):
        return f"answer_pattern does not match column {table.answer!r}"
    if table.verifier == "number" and read_number(str(_extracted(row, table))) is None:
        return f"column {table.answer!r} is no number"
    return ""


def _example(row: rows.Row, table: Table, how: Read | None, id_: str, side: Split) -> Example:
    text = str(row[table.question]) if table.prompt is None else table.prompt.format_map(row)
    meta: dict[str, Any] = {}
    if table.facet is not None:
        meta[table.facet] = str(row[table.facet])
    if how is not None:
        meta["options"] = texts = options(row, table.columns)
        text += "\n" + "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, texts, strict=False))
        answer: Any = how(row[table.answer], texts)
    else:
        answer = _extracted(row, table)
    return Example(str(row[table.id]) if table.id is not None else id_, text, answer, side, meta)


def _extracted(row: rows.Row, table: Table) -> Any:
    answer = row[table.answer]
    if isinstance(answer, list):
        return [str(a) for a in answer]
    return _pattern(table, str(answer)) if table.answer_pattern is not None else str(answer)


def _pattern(table: Table, text: str) -> str:
    found = list(re.finditer(table.answer_pattern or "", text))
    return (found[-1][1] or "").strip() if found else ""


def _fields(prompt: str) -> list[str]:
    """Columns that a prompt names."""
    found = []
    for _, name, spec, conversion in Formatter().parse(prompt):
        if name is None:
            continue
        if not name or spec or conversion or not re.fullmatch(r"\w+", name) or name.isdecimal():
            raise ValueError(f"{{{name}}} is no column's name")
        found.append(name)
    return found


def _gold(example: Example) -> str:
    return str(example.answer[0] if isinstance(example.answer, list) else example.answer)
