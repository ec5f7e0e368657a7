"""Compares the data of a domain with its published content (`kkwarm.types.Pin`), and refuses or marks other content."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from kkwarm.data.sources import data_folder
from kkwarm.errors import KkwarmError
from kkwarm.types import Benchmark, Example, Mismatch, Pin, Task

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
    """SHA-256 of a file's text, decompressed if its name ends in ``.gz``. Read once for each modification time."""
    try:
        return _file_digest(str(path), Path(path).stat().st_mtime_ns)
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
    expected = pin.content if data_folder() is not None or not pin.repo else pin.hub_content
    if not expected:
        return None
    content = pin.measure() if pin.measure is not None else _digest(pin, examples)
    return None if content == expected else Mismatch(expected, content)


_digests: dict[Pin, tuple[list[Example], str]] = {}  # the examples that were read last, and their hash


def _digest(pin: Pin, examples: Sequence[Example]) -> str:
    """`examples_digest`, computed once for the same objects: loaders keep what they read."""
    known, digest = _digests.get(pin, ([], ""))
    if not digest or len(known) != len(examples) or any(a is not b for a, b in zip(known, examples, strict=True)):
        digest = examples_digest(examples)
        _digests[pin] = list(examples), digest
    return digest


def find_unpinned(data: Benchmark | Task) -> dict[str, str] | None:
    """The hashes of the pinned content and of the content that was read (``pinned``, ``content``), where they differ.

    They can differ only where the user allows it.
    """
    mismatch = data.find_mismatch() if data.find_mismatch is not None and unpinned_allowed() else None
    return None if mismatch is None else {"pinned": mismatch.pinned, "content": mismatch.content}


def unpinned_text(entry: Mapping[str, str]) -> str:
    """The phrase that marks figures of data that `find_unpinned` describes."""
    return f"not the published data: {_hashes(entry['pinned'], entry['content'])}"


def refuse(name: str, mismatch: Mismatch) -> KkwarmError:
    """The error for data that is not the published content."""
    return KkwarmError(
        f"the data of {name} is not the published data: {_hashes(mismatch.pinned, mismatch.content)}",
        hint=f"restore the published data, or use it with --unpinned (or {ALLOW_UNPINNED}=1), which marks every figure",
    )


def _hashes(pinned: str, content: str) -> str:
    return f"its hash is {content[:16]}, the pinned hash is {pinned[:16]}"
