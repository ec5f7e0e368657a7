"""Reads data from the folder `KKWARM_DATA` if it is set, otherwise from the Hugging Face hub with `datasets`.

The folder's layout: ``math/math500.jsonl.gz``, ``math/train_pool.jsonl.gz``, ``humaneval_plus/HumanEvalPlus.jsonl.gz``,
``mbpp_plus/MbppPlus.jsonl.gz``, ``mmlu_pro/test.jsonl.gz``, ``kk/logic-rl/{3..7}ppl/{train,test}.parquet``.
"""

from __future__ import annotations

import codecs
import gzip
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.files import expand_path
from kkwarm.json_text import parse_json


def data_folder() -> Path | None:
    """The folder that `KKWARM_DATA` names; None where it is not set.

    :raises KkwarmError: it is set and is not a folder.
    """
    value = os.environ.get("KKWARM_DATA", "").strip()
    if not value:
        return None
    path = expand_path(value)
    if not path.is_dir():
        raise KkwarmError(f"KKWARM_DATA={value} is not a folder", hint="unset it to read from the hub")
    return path


def local_file(relative: str) -> Path | None:
    """The path of a file in the folder `KKWARM_DATA`. None where the variable is not set: then read from the hub.

    :raises KkwarmError: the folder lacks the file. It is not downloaded from the hub instead.
    """
    root = data_folder()
    if root is None:
        return None
    path = root / relative
    if not path.exists():
        raise KkwarmError(f"{path} is missing", hint="complete the folder, or unset KKWARM_DATA to read from the hub")
    return path


def hub_rows(repo: str, split: str, config: str | None = None, revision: str | None = None) -> Iterator[dict[str, Any]]:
    """Yields the rows of a data set on the Hugging Face hub, at the commit `revision` (None: the newest)."""
    import logging

    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # hides its retries; the error below has the cause
    try:
        rows = datasets.load_dataset(repo, config, split=split, revision=revision)
    except Exception as err:  # the library raises many unrelated types
        cause = " ".join(str(err).split())[:200]
        if (known := re.search(r"Unknown split .* Should be one of \[(.*?)\]", cause)) is not None:
            hint = f"it has {known[1].replace(chr(39), '')}"
            raise KkwarmError(f"data set {repo} has no split {split!r}", hint=hint) from None
        raise KkwarmError(
            f"data set {repo} ({split}) cannot be loaded: {type(err).__name__}: {cause}",
            hint="go online once so that it is cached, or set KKWARM_DATA to a folder that has it",
        ) from None
    yield from (dict(row) for row in rows)


def read_jsonl(path: Path | str) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON-lines file, which may be gzip-compressed. Blank lines are skipped.

    :raises KkwarmError: the file or a line is unreadable, not UTF-8, or not an object; names file and line.
    """
    for _, row in read_numbered_jsonl(path):
        yield row


def read_numbered_jsonl(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number from 1, object) pairs of a JSON-lines file; otherwise as `read_jsonl`."""
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as lines:
            for number, raw in enumerate(lines, 1):
                if raw.strip():
                    yield number, _parse_line(path, number, raw)
    except (OSError, EOFError, zlib.error) as err:
        where = f"{path}, line {number + 1}" if number else str(path)
        cause = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
        hint = "download or compress it again" if path.suffix == ".gz" and getattr(err, "errno", None) is None else ""
        raise KkwarmError(f"{where}: {cause}", hint=hint) from None


def _parse_line(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    if number == 1:
        raw = raw.removeprefix(codecs.BOM_UTF8)  # written by Windows programs
    try:
        row = parse_json(raw)
    except ValueError as err:
        hint = ""
        if str(err).startswith("not UTF-8"):
            hint = "save the file as UTF-8"
        elif str(err).startswith("not JSON"):
            incomplete = number > 1 and not raw.endswith(b"\n")
            hint = "the last line is incomplete: remove it" if incomplete else "each line must be one JSON object"
            if number == 1 and raw.strip() in (b"{", b"["):
                hint = "the document spans several lines: write one object per line, as `jq -c` does"
        raise KkwarmError(f"{path}, line {number}: {err}", hint=hint) from None
    if not isinstance(row, dict):
        kind = {list: "a list", str: "a string", type(None): "null"}.get(type(row), "a number or truth value")
        raise KkwarmError(f"{path}, line {number}: {kind}, not a JSON object")
    return row
