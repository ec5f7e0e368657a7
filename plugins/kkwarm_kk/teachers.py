"""The teachers of `kk`, which need no model: generated puzzles with long reasoning, or with the answer only."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.types import Split, Trace
from kkwarm_kk.data import (
    MAX_DUPLICATES,
    PEOPLE,
    find_puzzle,
    generate_examples,
    gold,
    is_held_out,
    make_answer,
    published_test_names,
)
from kkwarm_kk.english import NAMES, render, render_answer
from kkwarm_kk.isomorphism import canonical, canonical_wording
from kkwarm_kk.puzzle import Difficulty, Puzzle, generate, solution
from kkwarm_kk.reasoning_text import render_reasoning
from kkwarm_kk.search import sample_style, search

_log = logging.getLogger("kkwarm.kk")


@dataclass(frozen=True, slots=True)
class NamedPuzzle:
    """A puzzle with its question in English. `name` is its canonical name."""

    puzzle: Puzzle
    names: tuple[str, ...]
    question: str
    name: str


def _seed(*parts: object) -> int:
    return int.from_bytes(blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def _reserved_names() -> tuple[frozenset[str], str]:
    """The canonical names of test puzzles, which no trace may have, and a description of these puzzles."""
    try:
        return published_test_names(), "published and generated test puzzles"
    except KkwarmError as err:
        _log.warning("K&K traces are decontaminated against generated test puzzles only: %s", err)
        return frozenset(), "generated test puzzles only (the published ones could not be loaded)"


def generate_puzzles(seed: int, reserved: frozenset[str]) -> Iterator[NamedPuzzle]:
    """An endless stream of different puzzles of 3 to 7 people, none isomorphic to a test puzzle."""
    streams = {people: generate(Difficulty(people), _seed(seed, people)) for people in PEOPLE}
    sizes = random.Random(_seed(seed, "sizes"))
    seen: set[str] = set()
    index = 0
    while streams:
        people = sizes.choice(sorted(streams))
        for _, puzzle in zip(range(MAX_DUPLICATES), streams[people], strict=False):
            name, wording = canonical(puzzle), canonical_wording(puzzle)
            if wording not in seen and name not in reserved and not is_held_out(name):
                break
        else:
            _log.warning("no more different K&K puzzles of %d people after %d traces", people, index)
            del streams[people]
            continue
        seen.add(wording)
        rng = random.Random(_seed(seed, index, "words"))
        names = tuple(rng.sample(NAMES, people))
        yield NamedPuzzle(puzzle, names, render(puzzle, names, rng), name)
        index += 1


def _traces(teacher: str, n: int, seed: int, with_reasoning: bool) -> Iterator[Trace]:
    reserved, test_puzzles = _reserved_names()
    index = -1
    for index, item in zip(range(n), generate_puzzles(seed, reserved), strict=False):
        reasoning = _reason(item.puzzle, item.names, seed, index) if with_reasoning else None
        yield Trace(
            f"kk/{teacher}/{seed}/{index}",
            "kk",
            item.question,
            reasoning,
            render_answer(make_answer(item.names, solution(item.puzzle))),
            teacher,
            {
                "people": item.puzzle.people,
                "canonical": item.name,
                "seed": seed,
                "index": index,
                "decontaminated_against": test_puzzles,
            },
        )
    if index + 1 < n:
        raise KkwarmError(f"there are only {index + 1} different K&K puzzles, not {n}", hint=f"request {index + 1}")


def _reason(puzzle: Puzzle, names: tuple[str, ...], seed: int, index: int) -> str:
    rng = random.Random(_seed(seed, index, "reasoning"))
    return render_reasoning(puzzle, names, search(puzzle, sample_style(puzzle.people, rng), rng), rng)


def generate_rows(
    n: int, seed: int, split: Split, difficulty: Difficulty, with_reasoning: bool
) -> Iterator[dict[str, Any]]:
    """Rows of `n` puzzles that are all different: a `Trace` each, and the column ``people`` for tables."""
    excluded = _reserved_names()[0] if split == "train" else frozenset()
    for index, example in enumerate(generate_examples(n, seed, split, difficulty, excluded)):
        reasoning = _reason(*find_puzzle(example.question), seed, index) if with_reasoning else None
        trace = Trace(example.id, "kk", example.question, reasoning, gold(example), "generated", example.meta)
        yield {**asdict(trace), "people": difficulty.people}


def symbolic_traces(n: int, seed: int) -> Iterator[Trace]:
    """`n` traces with long reasoning: assume, follow, contradict, back up, conclude, verify."""
    return _traces("symbolic", n, seed, True)


def direct_traces(n: int, seed: int) -> Iterator[Trace]:
    """The puzzles of `symbolic_traces` for the same seed, with the answer only."""
    return _traces("direct", n, seed, False)
