"""Where data comes from: a local folder (`KKWARM_DATA`) if set, else the Hugging Face hub by `datasets`.

The folder's layout: ``math/math500.jsonl.gz``, ``math/train_pool.jsonl.gz``, ``humaneval_plus/HumanEvalPlus.jsonl.gz``,
``mbpp_plus/MbppPlus.jsonl.gz``, ``mmlu_pro/test.jsonl.gz``, ``kk/logic-rl/{3..7}ppl/{train,test}.parquet``.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError

__all__ = ["bundle", "hub", "local", "read_jsonl"]


def bundle() -> Path | None:
    """The folder that `KKWARM_DATA` names, or None where it is not set.

    :raises KkwarmError: it is set and is no folder.
    """
    named = os.environ.get("KKWARM_DATA", "").strip()
    if not named:
        return None
    path = Path(named).expanduser()
    if not path.is_dir():
        raise KkwarmError(f"KKWARM_DATA={named} is not a folder", hint="unset it to read from the hub")
    return path


def local(relative: str) -> Path | None:
    """The file of the local folder, or None where `KKWARM_DATA` is not set (then read from the hub).

    :raises KkwarmError: the folder is set and lacks the file: the hub is never asked behind the user's back.
    """
    root = bundle()
    if root is None:
        return None
    path = root / relative
    if not path.exists():
        raise KkwarmError(f"{path} is missing", hint="complete the folder, or unset KKWARM_DATA to read from the hub")
    return path


def hub(repo: str, split: str, config: str | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a data set on the Hugging Face hub.

    :raises KkwarmError: it cannot be reached or read; names the data set and both ways to get it.
    """
    import logging

    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; the error below says what failed
    try:
        rows = datasets.load_dataset(repo, config, split=split)
    except Exception as err:  # the library raises many unrelated types for "not reachable"
        cause = " ".join(str(err).split())[:200]
        raise KkwarmError(
            f"data set {repo} ({split}) cannot be loaded: {type(err).__name__}: {cause}",
            hint="go online once so that it is cached, or set KKWARM_DATA to a folder that has it",
        ) from None
    yield from (dict(row) for row in rows)


def read_jsonl(path: Path | str) -> Iterator[dict[str, Any]]:
    """Objects of a JSON-lines file, gzip-compressed or not. Blank lines are passed over.

    :raises KkwarmError: the file or a line is unreadable, not UTF-8, or not an object; names file and line.
    """
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as lines:
            for number, raw in enumerate(lines, 1):
                if raw.strip():
                    yield _row(path, number, raw)
    except (OSError, EOFError) as err:
        where = f"{path}, line {number + 1}" if number else str(path)
        raise KkwarmError(f"{where}: {err.strerror if isinstance(err, OSError) and err.strerror else err}") from None


def _row(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    try:
        row = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as err:
        raise KkwarmError(f"{path}, line {number}: not UTF-8 ({err.reason})", hint="save the file as UTF-8") from None
    except json.JSONDecodeError as err:
        raise KkwarmError(
            f"{path}, line {number}: not JSON ({err.msg}, column {err.colno})",
            hint="each line must be one JSON object; a last line cut short should be removed",
        ) from None
    if not isinstance(row, dict):
        raise KkwarmError(f"{path}, line {number}: a {type(row).__name__}, not a JSON object")
    return row
