"""The teachers of `kk`: worked puzzles without a model, with long reasoning or with none."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from kkwarm.errors import KkwarmError
from kkwarm.types import Trace
from kkwarm_kk.data import EXHAUSTED, PEOPLE, answer_of, held_out, published_tests
from kkwarm_kk.english import NAMES, answer_text, render
from kkwarm_kk.isomorphism import canonical, canonical_wording
from kkwarm_kk.prose import prose
from kkwarm_kk.puzzle import Difficulty, Puzzle, generate, solution
from kkwarm_kk.steps import draw_style, search

_log = logging.getLogger("kkwarm.kk")


@dataclass(frozen=True, slots=True)
class Posed:
    """A puzzle in words. `name` is its canonical name."""

    puzzle: Puzzle
    names: tuple[str, ...]
    question: str
    name: str


def _number(*parts: object) -> int:
    return int.from_bytes(blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def _reserved() -> tuple[frozenset[str], str]:
    """Canonical names that no trace may have, and which test puzzles they are."""
    try:
        return published_tests(), "published and generated test puzzles"
    except KkwarmError as err:
        _log.warning("K&K traces are kept apart from generated test puzzles only: %s", err)
        return frozenset(), "generated test puzzles only (the published ones could not be loaded)"


def posed(seed: int, reserved: frozenset[str]) -> Iterator[Posed]:
    """Endless different puzzles of 3 to 7 people, none isomorphic to a test puzzle; the same ones for one seed."""
    streams = {people: generate(Difficulty(people), _number(seed, people)) for people in PEOPLE}
    sizes = random.Random(_number(seed, "sizes"))
    seen: set[str] = set()
    index = 0
    while streams:
        people = sizes.choice(sorted(streams))
        for _, puzzle in zip(range(EXHAUSTED), streams[people], strict=False):
            name, wording = canonical(puzzle), canonical_wording(puzzle)
            if wording not in seen and name not in reserved and not held_out(name):
                break
        else:
            _log.warning("no more different K&K puzzles of %d people after %d traces", people, index)
            del streams[people]
            continue
        seen.add(wording)
        rng = random.Random(_number(seed, index, "words"))
        names = tuple(rng.sample(NAMES, people))
        yield Posed(puzzle, names, render(puzzle, names, rng), name)
        index += 1


def _traces(teacher: str, n: int, seed: int, reasoned: bool) -> Iterator[Trace]:
    reserved, apart_from = _reserved()
    index = -1
    for index, item in zip(range(n), posed(seed, reserved), strict=False):
        reasoning = None
        if reasoned:
            rng = random.Random(_number(seed, index, "reasoning"))
            style = draw_style(item.puzzle.people, rng)
            reasoning = prose(item.puzzle, item.names, search(item.puzzle, style, rng), rng)
        yield Trace(
            f"kk/{teacher}/{seed}/{index}",
            "kk",
            item.question,
            reasoning,
            answer_text(answer_of(item.names, solution(item.puzzle))),
            teacher,
            {
                "people": item.puzzle.people,
                "canonical": item.name,
                "seed": seed,
                "index": index,
                "apart_from": apart_from,
            },
        )
    if index + 1 < n:
        raise KkwarmError(f"only {index + 1} different K&K puzzles, {n} asked for", hint=f"ask for {index + 1}")


def symbolic(n: int, seed: int) -> Iterator[Trace]:
    """`n` puzzles worked out at length: assume, follow, contradict, back up, conclude, verify."""
    return _traces("symbolic", n, seed, True)


def direct(n: int, seed: int) -> Iterator[Trace]:
    """The puzzles of `symbolic` for the same seed, with the answer alone."""
    return _traces("direct", n, seed, False)
