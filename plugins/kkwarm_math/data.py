"""MATH-500 for evaluation, and a training pool of other MATH problems."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from kkwarm.data import content_hash, hub_rows, local_file, read_jsonl
from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Pin, Split
from kkwarm_math.answer_reader import boxed_spans, last_boxed

__all__ = ["PINS", "load"]

# The local MATH-500 has the bytes of `test.jsonl` at this revision (SHA-256 35dc4108...). The local pool is another one
# than the hub's, whose content has no known hash.
PINS: dict[Split, Pin] = {
    "test": Pin(
        content="736f21474ca9a85db5cf3f86438b018ec3d7dec64d30a78263a91e59d8ebfd9d",
        hub_content="736f21474ca9a85db5cf3f86438b018ec3d7dec64d30a78263a91e59d8ebfd9d",
        repo="HuggingFaceH4/MATH-500",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
    ),
    "train": Pin(
        content="9d1560a566e212ca56b72497ff3ac25ca999f80b5818b9c9997f776b1c6f5b3c",
        repo="DigitalLearningGmbH/MATH-lighteval",
        revision="0530c78699ea5e8eb5530600900e1f328b48acad",
        source="the problems of MATH's test split outside MATH-500 (openai/prm800k, math_splits)",
    ),
}

_LEVEL = re.compile(r"\d")
# Excluded from the pool as near-duplicates of MATH-500 problems (cos A for tan A; the letters of nine other words).
_NEAR_DUPLICATES = frozenset(
    f"train/{content}"
    for content in (
        "905c7cb069e40aca", "c3d7bd62bda066e9", "1adad1b63fac1d44", "2f9a59d3af179e12", "8971c81d8790bd53",
        "9de2693f102441c4", "a132f4224b1ce301", "a8cebde0004e99b6", "f07feef7b4cc76a2", "ffb651dfb3fb0209",
    )
)  # fmt: skip


def load() -> list[Example]:
    """MATH-500 (split ``test``), then the training pool (split ``train``) in the order of its content-hash ids.

    The pool: `math/train_pool.jsonl.gz` of the local folder (MATH test problems outside MATH-500), or the training
    split of MATH on the hub. Its ids depend only on the problem's content, and their order mixes subjects and levels.

    :raises KkwarmError: the data is missing, or a row is incomplete.
    """
    return list(_load(os.environ.get("KKWARM_DATA", "")))


@lru_cache(maxsize=2)
def _load(_source: str) -> tuple[Example, ...]:
    test = [_test(row) for row in _rows("math/math500.jsonl.gz", "test")]
    return (*test, *_pool(_rows("math/train_pool.jsonl.gz", "train")))


def _rows(file: str, split: Split) -> Iterable[Mapping[str, Any]]:
    path, pin = local_file(file), PINS[split]
    return read_jsonl(path) if path else hub_rows(pin.repo, split, revision=pin.revision)


def _test(row: Mapping[str, Any]) -> Example:
    meta = {"subject": row["subject"], "level": int(row["level"])}
    return Example(row["unique_id"], row["problem"], row["answer"], "test", meta)


def _pool(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """Problems with one boxed answer, sorted by id, without duplicates and without near-duplicates of MATH-500. Of
    several boxes with different values, the last is often only a part of the answer: such problems are left out.
    """
    pool: dict[str, Example] = {}
    for number, row in enumerate(rows, 1):
        gold = last_boxed(row["solution"])
        if gold is None:
            raise KkwarmError(f"MATH training pool, row {number}: its solution has no \\boxed answer")
        if _has_other_boxes(row["solution"], gold):
            continue
        level = _LEVEL.search(str(row["level"]))
        meta = {"subject": row["type"], "level": int(level.group()) if level else None}
        example = Example("", row["problem"], gold.strip().removesuffix("."), "train", meta)
        id_ = f"train/{content_hash(example)}"
        pool.setdefault(id_, Example(id_, example.question, example.answer, "train", meta))
    return [pool[id_] for id_ in sorted(pool.keys() - _NEAR_DUPLICATES)]


def _has_other_boxes(solution: str, gold: str) -> bool:
    from kkwarm_math.compare import same_value

    boxes = {solution[begin:end] for _, begin, end, _ in boxed_spans(solution)} - {gold}
    return any(not same_value(box, gold) for box in boxes)
