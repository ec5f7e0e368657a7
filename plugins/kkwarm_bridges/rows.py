"""Reads the rows of a table: a file, a folder with a file per split, a saved data set, or a data set on the hub."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kkwarm.data import data_folder, hub_rows, local_file, read_jsonl
from kkwarm.errors import KkwarmError
from kkwarm.files import is_regular

Row = dict[str, Any]
# What ``save_to_disk`` of `datasets` writes into the folder of a Dataset, and of a DatasetDict.
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"
_SHARD = re.compile(r"-\d+-of-\d+(?=\.)")  # follows the split in the name of one of several files


def read(data: str, split: str, config: str | None, folder: Path) -> list[Row]:
    """The rows of one split.

    :param data: a file or folder (relative to the folder `folder`), otherwise an id on the hub. If `KKWARM_DATA`
        is set, the id is looked up in that folder.
    """
    path = folder / Path(data).expanduser()
    if not path.exists():
        is_path = Path(data).suffix in _READERS or ("." in data and "/" not in data)
        if is_path or data.startswith(("/", "./", "../", "~")):
            raise KkwarmError(f"{path} is missing")
        if data_folder() is None:
            return list(hub_rows(data, split, config))
        path = local_file(data) or path
    if (path / _SAVED).is_file():
        return _saved_rows(path)
    if (path / _SAVED_SPLITS).is_file():
        return _saved_rows(_saved_split(path, split))
    files = _files(path, split, config) if path.is_dir() else [path]
    return [row for file in files for row in _rows(file)]


def has_splits(path: Path) -> bool:
    """False for a file and for a saved Dataset, which have no splits; True for other folders and for ids on the hub."""
    return not path.is_file() and not (path / _SAVED).is_file()


def is_readable(name: str) -> bool:
    """Whether `read` can read a file of that name."""
    return any(name.endswith(suffix) for suffix in _READERS)


def _no_split(where: Path, split: str, splits: Sequence[str]) -> KkwarmError:
    names = ", ".join(splits[:8]) + (f" and {len(splits) - 8} more" if len(splits) > 8 else "")
    return KkwarmError(f"{where} has no split {split!r}", hint=f"it has {names}" if splits else "it has no table")


def _saved_split(folder: Path, split: str) -> Path:
    """The folder of one split of a saved DatasetDict."""
    try:
        splits = [str(name) for name in json.loads((folder / _SAVED_SPLITS).read_text("utf-8"))["splits"]]
    except (ValueError, LookupError, TypeError) as err:
        raise _unreadable(folder, err) from None
    if split not in splits:
        raise _no_split(folder, split, splits)
    return folder / split


def _saved_rows(folder: Path) -> list[Row]:
    """The rows of a saved Dataset."""
    import datasets

    try:
        rows: list[Row] = datasets.Dataset.load_from_disk(str(folder)).to_list()
    except Exception as err:  # the library raises many unrelated types
        raise _unreadable(folder, err) from None
    return rows


def _unreadable(folder: Path, err: Exception) -> KkwarmError:
    cause = f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"
    return KkwarmError(f"{folder} cannot be read ({cause})", hint="write it again with save_to_disk")


def _files(folder: Path, split: str, config: str | None) -> list[Path]:
    """The files of a split: ``SPLIT``, ``SPLIT.*``, or the hub's shards ``SPLIT-*``, whose rows are concatenated.

    They are in the folder itself, or below it in ``data`` or the configuration's folder, as on the hub.
    """
    splits: list[str] = []
    for location in (folder / (config or "data"), folder):
        if (location / split).is_file() and is_readable(split):
            return [location / split]
        tables = sorted(p for p in location.iterdir() if is_readable(p.name)) if location.is_dir() else []
        files = [p for p in tables if p.name.startswith((f"{split}.", f"{split}-"))]
        if len(files) == 1 or (files and all(_SHARD.match(p.name, len(split)) for p in files)):
            return files
        if files:
            available = ", ".join(p.name for p in tables[:8])
            raise KkwarmError(f"{location} has several files of the split {split!r}", hint=f"there are: {available}")
        splits += [_SHARD.sub("", p.name).partition(".")[0] for p in tables]
    raise _no_split(folder, split, list(dict.fromkeys(splits)))


def _rows(path: Path) -> list[Row]:
    reader = next((read for suffix, read in _READERS.items() if path.name.endswith(suffix)), None)
    if reader is None:
        raise KkwarmError(f"{path}: unknown kind of file", hint=f"use one of {', '.join(_READERS)}")
    if path.exists() and not is_regular(path):  # a pipe or device may have no end
        raise KkwarmError(f"{path} is no regular file")
    try:
        return list(reader(path))
    except UnicodeDecodeError as err:
        raise KkwarmError(f"{path}: not UTF-8 ({err.reason})", hint="save the file as UTF-8") from None
    except OSError as err:
        raise KkwarmError(f"{path} cannot be read: {err.strerror or err}") from None


def _csv(path: Path) -> Iterator[Row]:
    """Every value stays text: `007` is not converted to 7."""
    with open(path, encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise KkwarmError(f"{path}, line {reader.line_num}: the number of fields differs from the header's")
                yield row
        except csv.Error as err:
            raise KkwarmError(f"{path}, line {reader.line_num}: {err}") from None


def _json(path: Path) -> Iterator[Row]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as err:
        raise KkwarmError(f"{path}, line {err.lineno}: not JSON ({err.msg})") from None
    if isinstance(document, dict):  # {"data": [...]}, as many exports have it
        lists = [v for v in document.values() if isinstance(v, list)]
        document = lists[0] if len(lists) == 1 else document
    if not isinstance(document, list) or not all(isinstance(row, dict) for row in document):
        raise KkwarmError(f"{path}: not a list of objects")
    yield from document


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
