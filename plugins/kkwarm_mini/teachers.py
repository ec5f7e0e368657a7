"""Warm-up traces: shown Knights & Knaves work, and three controls."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

from kkwarm.types import Teacher, Trace
from kkwarm_mini.items import Item, distinct
from kkwarm_mini.mixture import DRAWS

__all__ = ["TEACHERS"]

Rewrite = Callable[[Item, random.Random], str | None]


def _traces(teacher: str, domain: str, rewrite: Rewrite) -> Callable[[int, int], Iterable[Trace]]:
    def traces(n: int, seed: int) -> Iterator[Trace]:
        rng = random.Random(f"{teacher} {seed}")
        # The same seed gives all teachers of a domain the same questions, so that only the work differs.
        for i, item in enumerate(distinct(DRAWS[domain], "train", n, f"traces {domain} {seed}")):
            yield Trace(
                id=f"{domain}/{teacher}/{seed}/{i}",
                domain=domain,
                question=item.question,
                reasoning=rewrite(item, rng),
                answer=item.answer,
                teacher=teacher,
                meta={"level": item.level},
            )

    return traces


def _steps(item: Item, rng: random.Random) -> str:
    return item.steps


def _nothing(item: Item, rng: random.Random) -> None:
    return None


def _shuffle(item: Item, rng: random.Random) -> str:
    words = item.steps.split()
    rng.shuffle(words)
    return " ".join(words)


TEACHERS = [
    Teacher(
        "symbolic",
        "mini_kk",
        _traces("symbolic", "mini_kk", _steps),
        "assume, follow, contradict, back up, conclude",
    ),
    Teacher("direct", "mini_kk", _traces("direct", "mini_kk", _nothing), "control: the same puzzles, only the answer"),
    Teacher(
        "shuffled",
        "mini_kk",
        _traces("shuffled", "mini_kk", _shuffle),
        "control: the same traces, the words of the work in random order",
    ),
    Teacher("worked", "mini_math", _traces("worked", "mini_math", _steps), "control: coherent work that is not K&K"),
]
