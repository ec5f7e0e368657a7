"""Splits examples into train and test by content hash, so that equal questions are always in the same split."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from kkwarm.types import Example

_SALT = "kkwarm-split-1"


def normalise(text: str) -> str:
    """The text without differences in case, white space and Unicode compatibility forms."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip().casefold()


def content_hash(example: Example) -> str:
    """Hash of the normalised question (16 hex digits); splits are based on it."""
    return hashlib.sha256(normalise(example.question).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def holdout(
    examples: Iterable[Example], *, train: int, by: str | None = None, never: Collection[str] = ()
) -> list[Example]:
    """Sets the `split` of each example.

    The selection depends on the examples' contents only, not on their order, their ids or a random generator. Examples
    with equal content go to the same split.

    :param train: number of training examples; with `by`, for each value of that facet.
    :param never: ids of examples that are never used for training, such as near-duplicates of test examples.
    """
    listed = list(examples)
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, example in enumerate(listed):
        group = str(example.meta.get(by)) if by is not None else ""
        groups[group][content_hash(example)].append(i)
    chosen: set[int] = set()
    excluded = _shared_between(groups) | {content_hash(e) for e in listed if e.id in never}
    for contents in groups.values():
        ranked = sorted((h for h in contents if h not in excluded), key=_rank)
        count = 0
        for h in ranked:
            if count + len(contents[h]) > train:
                continue
            chosen.update(contents[h])
            count += len(contents[h])
            if count == train:
                break
    return [replace(e, split="train" if i in chosen else "test") for i, e in enumerate(listed)]


def fingerprint(examples: Sequence[Example]) -> str:
    """Hash of a list of examples: their ids, questions, answers and splits, in order (16 hex digits)."""
    digest = hashlib.sha256()
    for e in examples:
        row = [e.id, e.question, e.answer, e.split]
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=True, default=repr).encode())
    return digest.hexdigest()[:16]


def _rank(content: str) -> str:
    return hashlib.sha256(f"{_SALT}:{content}".encode()).hexdigest()


def _shared_between(groups: dict[str, dict[str, list[int]]]) -> set[str]:
    """Contents that occur in more than one group; they stay in the test split."""
    seen: dict[str, str] = {}
    shared: set[str] = set()
    for name, contents in groups.items():
        for h in contents:
            if seen.setdefault(h, name) != name:
                shared.add(h)
    return shared
