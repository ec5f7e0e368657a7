"""Rows of a table: a local file, a folder with files for each split, or a data set of the hub."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kkwarm.data import data_folder, hub_rows, local_file, read_jsonl
from kkwarm.errors import KkwarmError

__all__ = ["read", "readable"]

Row = dict[str, Any]


def read(data: str, split: str, config: str | None, beside: Path) -> list[Row]:
    """The rows of one split.

    :param data: a file or folder (relative to the folder `beside`), else an id on the hub, which is looked for in the
        folder that `KKWARM_DATA` names where that is set.
    :raises KkwarmError: it cannot be had or read.
    """
    path = beside / Path(data).expanduser()
    if not path.exists():
        named = Path(data).suffix in _READERS or ("." in data and "/" not in data)
        if named or data.startswith(("/", "./", "../", "~")):
            raise KkwarmError(f"{path} is missing")
        if data_folder() is None:
            return list(hub_rows(data, split, config))
        path = local_file(data) or path
    files = _files(path, split, config) if path.is_dir() else [path]
    return [row for file in files for row in _rows(file)]


def readable(name: str) -> bool:
    """Whether a file of that name is of a kind that `read` reads."""
    return any(name.endswith(suffix) for suffix in _READERS)


def _files(folder: Path, split: str, config: str | None) -> list[Path]:
    """The files of a split: its own name, ``SPLIT.*``, or ``SPLIT-*`` as the hub names shards, whose rows follow each
    other. They lie in the folder, or below it in ``data`` or the configuration's folder, as on the hub."""
    for place in (folder / (config or "data"), folder):
        if (place / split).is_file() and readable(split):
            return [place / split]
        tables = sorted(p for p in place.iterdir() if readable(p.name)) if place.is_dir() else []
        found = [p for p in tables if p.name.startswith((f"{split}.", f"{split}-"))]
        if len(found) == 1 or (found and all(re.match(r"-\d+-of-\d+\.", p.name[len(split) :]) for p in found)):
            return found
        if found or place == folder:
            has = ", ".join(p.name for p in tables[:8]) or "no table"
            what = f"several files of the split {split!r}" if found else f"no file of the split {split!r}"
            raise KkwarmError(f"{place} has {what}", hint=f"there are: {has}")
    raise AssertionError("the folder itself comes last")


def _rows(path: Path) -> list[Row]:
    reader = next((read for suffix, read in _READERS.items() if path.name.endswith(suffix)), None)
    if reader is None:
        raise KkwarmError(f"{path}: not a table that can be read", hint=f"there are readers of {', '.join(_READERS)}")
    try:
        return list(reader(path))
    except UnicodeDecodeError as err:
        raise KkwarmError(f"{path}: not UTF-8 ({err.reason})", hint="save the file as UTF-8") from None
    except OSError as err:
        raise KkwarmError(f"{path} cannot be read: {err.strerror or err}") from None


def _csv(path: Path) -> Iterator[Row]:
    """Every value stays the text that it is: `007` is no 7."""
    with open(path, encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise KkwarmError(f"{path}, line {reader.line_num}: another number of fields than the header has")
                yield row
        except csv.Error as err:
            raise KkwarmError(f"{path}, line {reader.line_num}: {err}") from None


def _json(path: Path) -> Iterator[Row]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as err:
        raise KkwarmError(f"{path}, line {err.lineno}: not JSON ({err.msg})") from None
    if isinstance(found, dict):  # {"data": [...]}, as many exports have it
        lists = [v for v in found.values() if isinstance(v, list)]
        found = lists[0] if len(lists) == 1 else found
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise KkwarmError(f"{path}: not a list of objects")
    yield from found


def _parquet(path: Path) -> Iterator[Row]:
    from pyarrow import ArrowInvalid, parquet

    try:
        yield from parquet.read_table(path).to_pylist()
    except ArrowInvalid as err:
        raise KkwarmError(f"{path}: not Parquet ({' '.join(str(err).split())[:120]})") from None


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
