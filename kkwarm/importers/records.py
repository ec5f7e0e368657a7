"""What another tool found, in the terms that all importers share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Verdict

__all__ = ["Answer", "Results", "TaskResults", "read_json", "read_lines"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One question as the tool answered it.

    `id` is the tool's own, `doc` what it kept of the question, `prompt_hash` "" where it did not keep the prompt.
    `verdicts` belong to the first completions: a tool may judge fewer than it drew.
    """

    id: str
    completions: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...]
    doc: Mapping[str, Any] = field(default_factory=dict)
    prompt_hash: str = ""


@dataclass(frozen=True, slots=True)
class TaskResults:
    """One task. `protocol` has what is known of: few_shot, samples, temperature, top_p, max_tokens, scorer, format.

    `name` is the benchmark that it becomes where nobody names another; `notes` say what was read how; `cut`: strings
    that ended a completion and that the tool took off it.
    """

    task: str
    name: str
    answers: Sequence[Answer]
    protocol: Mapping[str, Any]
    notes: Sequence[str] = ()
    cut: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """A result folder: the tool, the model as the tool names it, its tasks, and the files that were read."""

    tool: str
    version: str
    model: str
    tasks: Sequence[TaskResults]
    files: Sequence[Path]


def read_json(path: Path, tool: str) -> dict[str, Any]:
    """The JSON object of a file.

    :raises KkwarmError: there is none in it.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as err:
        raise KkwarmError(f"{path} cannot be read: {err.strerror}") from None
    except ValueError as err:
        raise KkwarmError(
            f"{path} is no JSON: {err}", hint=f"{tool} may still be writing it, or it is damaged"
        ) from None
    if not isinstance(found, dict):
        raise KkwarmError(f"{path} holds no JSON object", hint=f"is it {tool}'s?")
    return found


def read_lines(path: Path, tool: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, one a line.

    :raises KkwarmError: names the first line that is none.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as err:
                hint = f"{tool} may still be writing it, or it is damaged"
                raise KkwarmError(f"{path}, line {number}: no JSON: {err}", hint=hint) from None
            if not isinstance(row, dict):
                raise KkwarmError(f"{path}, line {number}: no JSON object", hint=f"is it {tool}'s?")
            yield row
