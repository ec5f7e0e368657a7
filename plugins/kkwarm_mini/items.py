"""The questions that the miniature's generators return, and the split that keeps test content out of training."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

__all__ = ["Bucket", "Generator", "Item", "assign_bucket", "generate_distinct", "generate_items"]

Bucket = Literal["test", "valid", "train", "pretrain"]


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its reasoning steps and its answer. Items with equal `key` have the same content.

    `level` is the number of reasoning steps that the answer needs (for Knights & Knaves: the number of people).
    """

    question: str
    steps: str
    answer: str
    key: str
    level: int


Generator = Callable[[random.Random], Item]


def assign_bucket(key: str) -> Bucket:
    """The bucket of all content with this key: 10% test, 5% valid, 15% train, 70% pretrain.

    It depends on the content alone, so that no generator, seed or count can make two buckets overlap.
    """
    n = int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") % 20
    return "test" if n < 2 else "valid" if n < 3 else "train" if n < 6 else "pretrain"


def generate_items(generate: Generator, bucket: Bucket, seed: str) -> Iterator[Item]:
    """An endless stream of items of one bucket. The same seed always gives the same items."""
    rng = random.Random(seed)
    while True:
        item = generate(rng)
        if assign_bucket(item.key) == bucket:
            yield item


def generate_distinct(generate: Generator, bucket: Bucket, n: int, seed: str, by_key: bool = True) -> Iterator[Item]:
    """Yields `n` items of one bucket with different keys (with `by_key` off: with different questions)."""
    seen: set[str] = set()
    for item in generate_items(generate, bucket, seed):
        identity = item.key if by_key else item.question
        if identity not in seen:
            seen.add(identity)
            yield item
            if len(seen) == n:
                return
