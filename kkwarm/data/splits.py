"""The one definition of splits: by content hash, so that the same question is always on the same side.

Training reads the ``train`` side and evaluation the ``test`` side of one list, hence they cannot overlap.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from kkwarm.types import Example

__all__ = ["content_hash", "fingerprint", "holdout", "normalise"]

_SALT = "kkwarm-split-1"


def normalise(text: str) -> str:
    """Text without what does not make a question another one: case, white space, Unicode compatibility forms."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip().casefold()


def content_hash(example: Example) -> str:
    """Hash of the normalised question (16 hex digits): the identity by which splits are made."""
    return hashlib.sha256(normalise(example.question).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def holdout(
    examples: Iterable[Example], *, train: int, by: str | None = None, never: Collection[str] = ()
) -> list[Example]:
    """The examples with `split` set: `train` of them (for each value of the facet `by`, if given) to train on.

    The choice depends on each example's content only: not on order, ids or a random generator. Examples of equal
    content go to the same side.

    :param never: ids of examples that are never trained on: those that the contamination check finds too like another.
    """
    listed = list(examples)
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, example in enumerate(listed):
        group = str(example.meta.get(by)) if by is not None else ""
        groups[group][content_hash(example)].append(i)
    chosen: set[int] = set()
    apart = _shared_between(groups) | {content_hash(e) for e in listed if e.id in never}
    for contents in groups.values():
        ranked = sorted((h for h in contents if h not in apart), key=_rank)
        taken = 0
        for h in ranked:
            if taken + len(contents[h]) > train:
                continue
            chosen.update(contents[h])
            taken += len(contents[h])
            if taken == train:
                break
    return [replace(e, split="train" if i in chosen else "test") for i, e in enumerate(listed)]


def fingerprint(examples: Sequence[Example]) -> str:
    """Hash of ids, contents, answers and splits of a list of examples: equal lists have equal fingerprints."""
    digest = hashlib.sha256()
    for e in examples:
        row = [e.id, e.question, e.answer, e.split]
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=True, default=repr).encode())
    return digest.hexdigest()[:16]


def _rank(content: str) -> str:
    return hashlib.sha256(f"{_SALT}:{content}".encode()).hexdigest()


def _shared_between(groups: dict[str, dict[str, list[int]]]) -> set[str]:
    """Contents that stand in more than one facet: they stay on the test side."""
    seen: dict[str, str] = {}
    shared: set[str] = set()
    for name, contents in groups.items():
        for h in contents:
            if seen.setdefault(h, name) != name:
                shared.add(h)
    return shared
