"""Compares the data of a domain with its published content (`kkwarm.types.Pin`), and refuses or marks other content."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from kkwarm.data.sources import data_folder
from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Mismatch, Pin

__all__ = ["ALLOW_UNPINNED", "examples_digest", "file_digest", "find_mismatch", "mismatch_text", "refuse", "unpinned_allowed"]

ALLOW_UNPINNED = "KKWARM_UNPINNED"


def unpinned_allowed() -> bool:
    """Whether the user allows data that is not the published content."""
    return os.environ.get(ALLOW_UNPINNED, "") in ("1", "true", "yes")


def examples_digest(examples: Sequence[Example]) -> str:
    """SHA-256 of a list of examples: their ids, questions, answers, splits and meta data, in order."""
    digest = hashlib.sha256()
    for e in examples:
        row = [e.id, e.question, e.answer, e.split, dict(e.meta)]
        digest.update(json.dumps(row, sort_keys=True, default=repr).encode() + b"\n")
    return digest.hexdigest()


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file's text, decompressed if its name ends in ``.gz``. It is read once for each modification time.

    :raises KkwarmError: the file cannot be read.
    """
    try:
        return _file_digest(str(path), os.stat(path).st_mtime_ns)
    except (OSError, EOFError) as err:
        raise KkwarmError(f"{path} cannot be read: {err}", hint="download it again") from None


@lru_cache(maxsize=8)
def _file_digest(path: str, _modified: int) -> str:
    with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as data:
        digest = hashlib.sha256()
        while block := data.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def find_mismatch(pin: Pin, examples: Sequence[Example]) -> Mismatch | None:
    """The pinned hash and that of `examples`, where they differ; None where the content is the pinned one.

    Content of a hub revision whose hash is not known is pinned by the revision alone.
    """
    expected = pin.content if data_folder() is not None else pin.hub_content
    if not expected:
        return None
    content = pin.measure() if pin.measure is not None else examples_digest(examples)
    return None if content == expected else Mismatch(expected, content)


def refuse(name: str, mismatch: Mismatch) -> KkwarmError:
    """The error for data that is not the published content."""
    return KkwarmError(
        f"the data of {name} is not the published content: {mismatch_text(mismatch)}",
        hint=f"restore the published data, or use it with --unpinned (or {ALLOW_UNPINNED}=1), which marks every figure",
    )


def mismatch_text(mismatch: Mismatch) -> str:
    """Both hashes, shortened to 16 digits."""
    return f"its hash is {mismatch.content[:16]}, the pinned hash is {mismatch.pinned[:16]}"
