"""MMLU-Pro's 12,032 test questions: 100 of each category for training, the others for evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from kkwarm.data import holdout, hub_rows, local_file, read_jsonl
from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Pin, Split
from kkwarm_mmlu_pro.extract import LETTERS

__all__ = ["PINS", "TRAIN", "load", "load_validation", "render"]

TRAIN = 100  # training questions per category, as the paper takes them from physics and history
# Ids of questions that are never training questions, because they are near-duplicates of another one (a physics
# question with other options; two history questions about one passage).
_NEAR_DUPLICATES = frozenset(
    map(str, (999, 1128, 1137, 1149, 1686, 4834, 5029, 6492, 6505, 6543, 6546, 6623, 6679, 6688, 6691, 9263, 11904))
)
REPO, REVISION = "TIGER-Lab/MMLU-Pro", "3373e0b32277875b8db2aa555a333b78a08477ea"
# The hub's content at this revision has no known hash, so that it is pinned by the revision alone.
PINS: dict[Split, Pin] = {
    "test": Pin(
        content="b1608d3a4dc070e2a80df557f6db3c8b0949cd61d563e6ae597cb322c9aa9cae",
        repo=REPO,
        revision=REVISION,
        task_id="mmlu_pro",
    ),
    "train": Pin(
        content="682988407e1c493d1ba6f0db1b5e69ac59dcec0bcaac88f4a6803068d7bff15e", repo=REPO, revision=REVISION
    ),
}


def load() -> list[Example]:
    """All questions in the data's order, each with its split."""
    return list(_load(os.environ.get("KKWARM_DATA", "")))


def load_validation() -> dict[str, list[Example]]:
    """The validation questions of each category, five in the published data, with reasoning in ``meta["cot"]``."""
    return _load_validation(os.environ.get("KKWARM_DATA", ""))


def render(question: str, options: list[str]) -> str:
    """The question, with its options by letter."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    instruction = "Give only the letter of the correct option as the answer."
    return "\n".join([question.strip(), "Options:", *lines, instruction])


@lru_cache(maxsize=2)
def _load(_source: str) -> tuple[Example, ...]:
    path = local_file("mmlu_pro/test.jsonl.gz")
    rows = read_jsonl(path) if path else hub_rows(REPO, "test", revision=REVISION)
    return tuple(holdout([_example(row) for row in rows], train=TRAIN, by="category", never=_NEAR_DUPLICATES))


@lru_cache(maxsize=2)
def _load_validation(_source: str) -> dict[str, list[Example]]:
    path = local_file("mmlu_pro/validation.jsonl.gz")
    categories: dict[str, list[Example]] = {}
    for row in read_jsonl(path) if path else hub_rows(REPO, "validation", revision=REVISION):
        example = _example(row)
        if not row.get("cot_content"):
            raise KkwarmError(
                f"the validation row {example.id} of MMLU-Pro has no reasoning (cot_content)",
                hint="download TIGER-Lab/MMLU-Pro's validation split again",
            )
        cot = replace(example, split="train", meta={**example.meta, "cot": row["cot_content"]})
        categories.setdefault(row["category"], []).append(cot)
    return categories


def _example(row: Mapping[str, Any]) -> Example:
    # "N/A" pads the options in some versions. It is always last, and the official prompt omits it.
    options = [str(o).strip() for o in row["options"] if o != "N/A"]
    meta = {"category": row["category"], "src": row.get("src", ""), "options": options, "question": row["question"]}
    return Example(str(row["question_id"]), render(row["question"], options), row["answer"], "test", meta)
