"""Warm-up traces on disk: JSON lines, one `Trace` each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kkwarm.data import read_numbered_jsonl
from kkwarm.errors import KkwarmError
from kkwarm.files import expand_path, write_file
from kkwarm.reporting.sanitize import escaped_json
from kkwarm.types import Trace

TRACES = "traces.jsonl"
_TEXT = ("id", "domain", "question", "answer")


def traces_file(path: Path | str) -> Path:
    """The trace file: `path` itself, or ``traces.jsonl`` in the folder `path`."""
    path = expand_path(path)
    if path.is_dir():
        if not (path / TRACES).is_file():
            unfinished = (path / "manifest.json").exists()
            hint = "the run is not finished: run the same command again" if unfinished else "see `kkwarm distill`"
            raise KkwarmError(f"{path} contains no {TRACES}", hint=hint)
        return path / TRACES
    if not path.is_file():
        raise KkwarmError(f"{path} does not exist", hint="`kkwarm distill` makes traces")
    return path


def read_traces(path: Path | str) -> list[Trace]:
    """All traces of a file, or of the folder that contains it."""
    file = traces_file(path)
    traces = [_parse_trace(file, number, row) for number, row in read_numbered_jsonl(file)]
    if not traces:
        raise KkwarmError(f"{file} contains no traces")
    return traces


def write_traces(path: Path, traces: Iterable[Trace]) -> int:
    """Writes the file completely or not at all; returns the number of traces."""
    lines = [escaped_json(json.dumps(asdict(trace), ensure_ascii=False)) + "\n" for trace in traces]
    write_file(path, lines, hint="free space; the run resumes")
    return len(lines)


def _parse_trace(file: Path, number: int, row: dict[str, Any]) -> Trace:
    where = f"{file}, line {number}"
    for key in _TEXT:
        if key not in row:
            raise KkwarmError(
                f"{where}: {key!r} is missing", hint="a trace has id, domain, question, reasoning, answer"
            )
        if not isinstance(row[key], str):
            raise KkwarmError(f"{where}: {key!r} is {type(row[key]).__name__}, not text")
    reasoning, meta = row.get("reasoning"), row.get("meta") or {}
    if reasoning is not None and not isinstance(reasoning, str):
        raise KkwarmError(f"{where}: 'reasoning' is {type(reasoning).__name__}, neither text nor null")
    if not isinstance(meta, dict):
        raise KkwarmError(f"{where}: 'meta' is {type(meta).__name__}, not an object")
    return Trace(
        row["id"], row["domain"], row["question"], reasoning, row["answer"], str(row.get("teacher", "unknown")), meta
    )
