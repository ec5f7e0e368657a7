"""The results of another tool, in a form that all importers share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.files import open_regular, read_regular
from kkwarm.json_text import parse_json
from kkwarm.types import Completion, Verdict


@dataclass(frozen=True, slots=True)
class Answer:
    """The completions of one question and the tool's verdicts.

    `id` is the tool's own and `doc` its record of the question. `prompt_hash` is empty where the tool stores no prompt.
    `verdicts` belong to the first completions: a tool may score fewer completions than it samples. `facets`: values by
    which results are broken down.
    """

    id: str
    completions: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...]
    doc: Mapping[str, Any] = field(default_factory=dict)
    prompt_hash: str = ""
    facets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskResults:
    """One task. `settings`: the known ones of few_shot, samples, temperature, top_p, max_tokens, scorer and protocol.

    `name` is the benchmark that the task becomes unless the user names another. `notes` explain how the results were
    read. `stop_strings` ended completions, and the tool removed them from the text.
    """

    task: str
    name: str
    answers: Sequence[Answer]
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()
    stop_strings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """A result folder: the tool, its name for the model, its tasks, and the files that were read."""

    tool: str
    version: str
    model: str
    tasks: Sequence[TaskResults]
    files: Sequence[Path]


def read_json(path: Path, tool: str) -> dict[str, Any]:
    """The JSON object of a file."""
    try:
        document = parse_json(read_regular(path))
    except OSError as err:
        raise KkwarmError(f"{path} cannot be read: {err.strerror}") from None
    except ValueError as err:
        raise KkwarmError(
            f"{path} cannot be read: {err}", hint=f"{tool} may still be writing it, or it is damaged"
        ) from None
    if not isinstance(document, dict):
        raise KkwarmError(f"{path} holds no JSON object", hint=f"was it written by {tool}?")
    return document


def read_lines(path: Path, tool: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a JSON-lines file."""
    with open_regular(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except ValueError as err:
                hint = f"{tool} may still be writing it, or it is damaged"
                raise KkwarmError(f"{path}, line {number}: {err}", hint=hint) from None
            if not isinstance(row, dict):
                raise KkwarmError(f"{path}, line {number}: no JSON object", hint=f"was it written by {tool}?")
            yield row
