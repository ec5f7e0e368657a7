"""What every generator of the miniature draws, and the split that keeps test content out of all training."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

__all__ = ["Bucket", "Draw", "Item", "bucket", "distinct", "stream"]

Bucket = Literal["test", "valid", "train", "pretrain"]


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its worked steps and its answer. `key` is the content: equal keys are the same question.

    `level` counts the steps that the answer needs (people, for Knights & Knaves).
    """

    question: str
    steps: str
    answer: str
    key: str
    level: int


Draw = Callable[[random.Random], Item]


def bucket(key: str) -> Bucket:
    """The one use that content with this key is put to: 10% test, 5% valid, 15% train, 70% pretrain.

    A function of the content alone, so that no generator, seed or count can make two uses overlap.
    """
    n = int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") % 20
    return "test" if n < 2 else "valid" if n < 3 else "train" if n < 6 else "pretrain"


def stream(draw: Draw, use: Bucket, seed: str) -> Iterator[Item]:
    """Items of one use, without end, always the same for one `seed`."""
    rng = random.Random(seed)
    while True:
        item = draw(rng)
        if bucket(item.key) == use:
            yield item


def distinct(draw: Draw, use: Bucket, n: int, seed: str, by_key: bool = True) -> list[Item]:
    """`n` items of one use, no two with the same key (or, with `by_key` off, the same question)."""
    seen: set[str] = set()
    items: list[Item] = []
    for item in stream(draw, use, seed):
        mark = item.key if by_key else item.question
        if mark not in seen:
            seen.add(mark)
            items.append(item)
            if len(items) == n:
                break
    return items
