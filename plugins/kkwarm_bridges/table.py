"""``PATH.toml``: a domain from a data set with question and answer columns, without Python code.

::

    data = "trivia.jsonl"          # a file or folder beside this file, or an id on the hub
    question = "question"
    answer = "answer"
    verifier = "text"
    train = 100                    # rows held out for training by content, or the name of a split
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
from kkwarm.protocols import BUILT_IN, StatedReader, TagReader, TextReader
from kkwarm.schema.document import ConfigError, Document, Problems, validate
from kkwarm.schema.document import read as read_config
from kkwarm.types import Domain, Example, Protocol, Reader, Rewards, Sampling, Split
from kkwarm_bridges import rows
from kkwarm_bridges.answers import (
    LETTERS,
    OptionParser,
    find_bad_option,
    find_verifier,
    parse_number,
    read_options,
    select_option_parser,
)

LETTER_INSTRUCTION = "Give only the letter of the correct option as the answer."
_MAX_SHOWN = 5  # rows listed per kind of problem
_OPTIONS = "options"  # the place of the options in a prompt


class TableProtocol(BaseModel):
    """A section ``[protocols.NAME]``: how the questions are put and the answers are read.

    :param system: the system prompt.
    :param prompt: the user's turn; ``{question}`` is the question with its options.
    :param answer: how a completion states its answer, such as ``#### {answer}``; its last statement is read. Without
        it the answer is read from the end of free text, or with ``tags`` from the paper's tags.
    :param prefix: the beginning of the model's turn.
    :param chat: uses the chat template of a checkpoint that has one.
    :param shots: number of solved training examples before each question.
    :param stop: strings that end a completion.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    system: str = ""
    prompt: str = "{question}"
    answer: str | None = None
    tags: bool = False
    prefix: str | None = None
    chat: bool = True
    shots: int = Field(0, ge=0, le=1000)
    stop: tuple[str, ...] = ()
    sampling: Sampling | None = None
    official: bool = False
    description: str = ""
    source: str = ""

    def build(self, name: str) -> Protocol:
        """The protocol of this section."""
        prompt = self.prompt

        def question(example: Example) -> str:
            return prompt.replace("{question}", example.question)

        reader: Reader = TagReader() if self.tags else TextReader(stop=self.stop)
        if self.answer is not None:
            reader = StatedReader(self.answer, self.stop)
        return Protocol(
            name,
            reader,
            system=self.system,
            question=None if prompt == "{question}" else question,
            prefix=self.prefix if self.prefix is not None else "<think>" if self.tags else "",
            chat=self.chat,
            shots=self.shots,
            stop=(*self.stop, "</answer>") if self.tags else self.stop,
            sampling=self.sampling,
            official=self.official,
            description=self.description or "from the table's file",
            source=self.source,
        )


class Table(BaseModel):
    """The contents of the file. `question`, `answer`, `id` and `facet` are names of columns.

    :param data: a file or folder, relative to the TOML file, or an id on the hub with the configuration `config`.
    :param test: the evaluation split of a folder or hub data set.
    :param train: the training split, or the number of rows of the test split to hold out for training.
    :param verifier: ``choice`` where `choices` is set, otherwise ``text``; see `find_verifier`.
    :param choices: the column with the list of options, or the columns with one option each.
    :param answer_is: how `answer` names the correct option. Needed only if two interpretations fit all rows.
    :param answer_pattern: a regular expression. The first group of its last match is the answer (``#### (.*)``).
    :param prompt: the text of the question, with ``{column}`` for any column. With `choices`, ``{options}`` is where
        the options stand, a line ``A. text`` for each; without it they follow the text.
    :param instruction: the last line of the question. With `choices` the default asks for a letter; "" leaves it out.
    :param protocol: the default protocol: a built-in one, or one of `protocols`.
    :param protocols: further protocols, a section ``[protocols.NAME]`` each.
    :param waivers: the reason for each adversarial probe that the table need not pass, as in `Domain`.
    :param tolerance: largest absolute difference from the gold answer (verifier ``number``).
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
    instruction: str | None = None
    protocol: str = "paper"
    protocols: dict[str, TableProtocol] = {}
    description: str = ""
    tolerance: float = Field(0.0, ge=0)
    rewards: Rewards = Rewards()
    sampling: Sampling = Sampling()
    waivers: dict[str, str] = {}

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the options."""
        return (self.choices,) if isinstance(self.choices, str) else self.choices or ()


def make_domain(name: str) -> Domain:
    """The domain that the file `name` describes. Its data is read when it is loaded.

    :raises KkwarmError: the file cannot be read or has problems. All of them are listed with their lines.
    """
    document = read_config(name)
    table = _validate(document)

    def load() -> list[Example]:
        return list(load_examples(name, table))

    return Domain(
        name,
        load,
        find_verifier(name, table.verifier, table.tolerance),
        gold=_gold,
        description=table.description or f"rows of {table.data}",
        protocol=table.protocol,
        protocols=[section.build(key) for key, section in table.protocols.items()],
        rewards=table.rewards,
        sampling=table.sampling,
        facet=table.facet,
        waivers=table.waivers,
    )


def _validate(document: Document) -> Table:
    problems = document.problems()
    data = {**({"verifier": "choice"} if "choices" in document.data else {}), **document.data}
    table = validate(Table, data, problems)
    _check_values(data, problems)
    problems.raise_any()
    assert table is not None
    return table


def _check_values(data: Mapping[str, Any], problems: Problems) -> None:
    """Checks beyond the types. Values of a wrong type are reported already."""
    kind, protocol, train = data.get("verifier", "text"), data.get("protocol"), data.get("train")
    pattern, prompt, choices = data.get("answer_pattern"), data.get("prompt"), data.get("choices")
    if isinstance(kind, str):
        try:
            find_verifier(problems.where, kind, 0.0)
        except KkwarmError as err:
            problems.add(("verifier",), str(err))
    sections = data.get("protocols")
    own = sections if isinstance(sections, Mapping) else {}
    _check_protocols(own, problems)
    protocols = {*registry().protocols_of(problems.where), *own}
    if isinstance(protocol, str) and protocol not in protocols:
        names = ", ".join(sorted(protocols))
        problems.add(("protocol",), f"there is no protocol {protocol!r}; choose from {names}")
    if isinstance(train, str) and train == data.get("test", "test"):
        problems.add(("train",), "is also the evaluation split")
    if isinstance(train, int) and train < 0:
        problems.add(("train",), "cannot be negative")
    if ("choices" in data) != (kind == "choice"):
        problems.add(("choices",), 'is required for verifier = "choice", and not allowed for others')
    if isinstance(choices, list) and (repeated := [c for c, count in Counter(map(str, choices)).items() if count > 1]):
        problems.add(("choices",), f"has the column {repeated[0]!r} twice")
    if choices == []:
        problems.add(("choices",), "names no column")
    if isinstance(pattern, str):
        try:
            if not re.compile(pattern).groups:
                problems.add(("answer_pattern",), "has no group, such as in '#### (.*)'")
        except re.error as err:
            problems.add(("answer_pattern",), f"is not a regular expression: {err}")
    waivers = data.get("waivers")
    for probe, reason in waivers.items() if isinstance(waivers, Mapping) else ():
        if isinstance(reason, str) and not reason.strip():
            problems.add(("waivers", probe), "is empty: write why the table need not pass the probe")
    if isinstance(prompt, str):
        try:
            _fields(prompt)
        except ValueError as err:
            problems.add(("prompt",), f"{err}; write literal braces as {{{{ }}}}")


def _check_protocols(sections: Mapping[str, Any], problems: Problems) -> None:
    """Checks the sections ``[protocols.NAME]`` beyond their types."""
    official = [name for name, s in sections.items() if isinstance(s, Mapping) and s.get("official") is True]
    if len(official) > 1:
        problems.add(("protocols", official[1], "official"), f"{official[0]} is official already")
    for name, section in sections.items():
        if name in BUILT_IN or name == "official":
            problems.add(("protocols", name), "this name is taken; use another one")
        if not isinstance(section, Mapping):
            continue
        for key, part in (("prompt", "{question}"), ("answer", "{answer}")):
            text = section.get(key)
            if isinstance(text, str) and text.count(part) != 1:
                problems.add(("protocols", name, key), f"must contain {part} once")
        answer = section.get("answer")
        if isinstance(answer, str) and not answer.partition("{answer}")[0].strip():
            problems.add(("protocols", name, "answer"), "needs text before {answer} by which it is found")
        if section.get("tags") is True and "answer" in section:
            problems.add(("protocols", name, "tags"), "excludes answer: leave out one of them")


@lru_cache(maxsize=8)
def load_examples(where: str, table: Table) -> tuple[Example, ...]:
    """The examples of both splits.

    :raises KkwarmError: the data is missing, or columns or values are missing or invalid. All problems are listed.
    """
    test = _read_split(where, table, table.test, "test")
    if isinstance(table.train, str):
        return (*test, *_read_split(where, table, table.train, "train"))
    if table.train >= len(test):
        raise KkwarmError(f"{where}: train = {table.train} leaves none of {len(test)} rows for evaluation")
    return tuple(holdout(test, train=table.train))


def _read_rows(where: str, table: Table, split: str) -> list[rows.Row]:
    folder = Path(where).parent
    if isinstance(table.train, str) and not rows.has_splits(folder / Path(table.data).expanduser()):
        raise KkwarmError(
            f"{where}: {table.data} is one table and has no split {table.train!r}",
            hint="set train to a number of its rows",
        )
    try:
        return rows.read(table.data, split, table.config, folder)
    except KkwarmError as err:
        raise KkwarmError(f"{where}: {err.message}", hint=err.hint) from err


def _read_split(where: str, table: Table, split: str, side: Split) -> list[Example]:
    source = f"{table.data} ({split})"
    split_rows = _read_rows(where, table, split)
    if not split_rows:
        raise KkwarmError(f"{where}: {source} has no rows")
    columns = _used_columns(table)
    missing = [c for c in columns if c not in split_rows[0]]
    if missing:
        available = ", ".join(split_rows[0])
        raise ConfigError(where, [f"{source} has no column {c!r}; it has: {available}" for c in missing])
    parse_option: OptionParser | None = None
    if table.choices is not None:
        complete = [row for row in split_rows if not _find_empty(row, columns)]
        try:
            parse_option = select_option_parser(
                [(row[table.answer], read_options(row, table.columns)) for row in complete], table.answer_is
            )
        except KkwarmError as err:
            raise ConfigError(f"{where}: {source}", [f"column {table.answer!r}: {err}"]) from None
    examples = []
    row_problems: dict[str, list[int]] = {}
    for number, row in enumerate(split_rows):
        problem = _find_empty(row, columns) or _find_invalid(row, table, parse_option)
        if problem:
            row_problems.setdefault(problem, []).append(number + 1)
        else:
            examples.append(_make_example(row, table, parse_option, f"{split}/{number}", side))
    duplicates = [id_ for id_, count in Counter(e.id for e in examples).items() if count > 1]
    messages = [f"{problem}: row {_list_rows(numbers)}" for problem, numbers in row_problems.items()]
    messages += [f"column {table.id!r} has {id_!r} twice" for id_ in duplicates[:_MAX_SHOWN]]
    if messages:
        raise ConfigError(f"{where}: {source}", messages)
    return examples


def _used_columns(table: Table) -> list[str]:
    question = [table.question] if table.prompt is None else _fields(table.prompt)
    if table.choices is not None:
        question = [column for column in question if column != _OPTIONS]
    columns = {*question, table.answer, table.id, table.facet, *table.columns}
    return sorted(c for c in columns if c is not None)


def _list_rows(numbers: Sequence[int]) -> str:
    text = ", ".join(map(str, numbers[:_MAX_SHOWN]))
    return f"{text} and {len(numbers) - _MAX_SHOWN} more" if len(numbers) > _MAX_SHOWN else text


def _find_empty(row: rows.Row, columns: Sequence[str]) -> str:
    empty = next((c for c in columns if row.get(c) is None or row[c] in ("", [])), None)
    return f"column {empty!r} is empty" if empty is not None else ""


def _find_invalid(row: rows.Row, table: Table, parse_option: OptionParser | None) -> str:
    """Why the verifier cannot use the row's answer, "" if it can."""
    answer = row[table.answer]
    if parse_option is not None:
        texts = read_options(row, table.columns)
        if not 2 <= len(texts) <= len(LETTERS):
            return f"there are {len(texts)} options, not 2 to {len(LETTERS)}"
        if problem := find_bad_option(texts):
            return problem
        return "" if parse_option(answer, texts) else f"column {table.answer!r} names no option"
    if table.answer_pattern is not None and not _match_pattern(table, str(answer)):
        return f"answer_pattern does not match column {table.answer!r}"
    if table.verifier == "number" and parse_number(str(_extract_answer(row, table))) is None:
        return f"column {table.answer!r} is not a number"
    return ""


def _make_example(row: rows.Row, table: Table, parse_option: OptionParser | None, id_: str, side: Split) -> Example:
    meta: dict[str, Any] = {}
    if table.facet is not None:
        meta[table.facet] = str(row[table.facet])
    texts = None if parse_option is None else read_options(row, table.columns)
    if parse_option is None or texts is None:
        answer = _extract_answer(row, table)
    else:
        meta["options"] = texts
        answer = parse_option(row[table.answer], texts)
    id_ = str(row[table.id]) if table.id is not None else id_
    return Example(id_, _make_question(row, table, texts), answer, side, meta)


def _make_question(row: rows.Row, table: Table, texts: Sequence[str] | None) -> str:
    """The text of the question, the options where the prompt places them or after it, and the instruction."""
    prompt, instruction = table.prompt, table.instruction
    lines = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, texts or (), strict=False))
    fields = row if texts is None else {**row, _OPTIONS: lines}
    parts = [str(row[table.question]) if prompt is None else prompt.format_map(fields)]
    if texts is not None:
        parts += [] if prompt is not None and _OPTIONS in _fields(prompt) else [lines]
        instruction = LETTER_INSTRUCTION if instruction is None else instruction
    return "\n".join([*parts, *([instruction] if instruction else [])])


def _extract_answer(row: rows.Row, table: Table) -> Any:
    answer = row[table.answer]
    if isinstance(answer, list):
        return [str(a) for a in answer]
    return _match_pattern(table, str(answer)) if table.answer_pattern is not None else str(answer)


def _match_pattern(table: Table, text: str) -> str:
    matches = list(re.finditer(table.answer_pattern or "", text))
    return (matches[-1][1] or "").strip() if matches else ""


def _fields(prompt: str) -> list[str]:
    """The names in the braces of a prompt."""
    columns = []
    for _, name, spec, conversion in Formatter().parse(prompt):
        if name is None:
            continue
        if not name or spec or conversion or not re.fullmatch(r"\w+", name) or name.isdecimal():
            raise ValueError(f"{{{name}}} is not the name of a column")
        columns.append(name)
    return columns


def _gold(example: Example) -> str:
    return str(example.answer[0] if isinstance(example.answer, list) else example.answer)
