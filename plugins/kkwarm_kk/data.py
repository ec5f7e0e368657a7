"""The published puzzles (Logic-RL's, from mem-kk-logic) as examples, and generated ones beside them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from kkwarm.data import data_folder, hub_rows, local_file, normalise
from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Split
from kkwarm_kk.english import BEGINS, ENDS, NAMES, ParseError, answer_text, parse, render, role
from kkwarm_kk.isomorphism import canonical
from kkwarm_kk.puzzle import Difficulty, generate, solution

PEOPLE = range(3, 8)
REPO = "K-and-K/knights-and-knaves"
EXHAUSTED = 5000
"""So many puzzles in a row that bring nothing new mean that there are no more of their kind."""
_SPLITS: tuple[Split, ...] = ("train", "test")


def answer_of(names: Sequence[str], roles: Sequence[bool]) -> dict[str, str]:
    """An example's answer: {name: "knight" or "knave"}, in the order of the people."""
    return {name: role(knight) for name, knight in zip(names, roles, strict=True)}


def gold(example: Example) -> str:
    """The right answer in the paper's format, a numbered line for each person."""
    return answer_text(example.answer)


def identity(question: str) -> str:
    """The canonical puzzle, or the normalised text where no puzzle in the published English is in the question."""
    text = " ".join(question.split())
    begin, end = text.find(BEGINS), text.rfind(ENDS)
    try:
        puzzle, _ = parse(text[max(begin, 0) : end + len(ENDS) if end >= 0 else None])
    except ParseError:
        return normalise(question)
    return canonical(puzzle)


def held_out(name: str) -> bool:
    """Whether generated puzzles of this canonical name are kept for testing: a tenth of them, by the name alone."""
    return int(name[:4], 16) % 10 == 0


def load() -> list[Example]:
    """The published puzzles of 3 to 7 people, training ones without those isomorphic to a test puzzle.

    `meta` has ``people`` and ``canonical``, which isomorphic puzzles share. Ids are ``logic-rl/3ppl/test/0`` (local
    folder) or ``knights-and-knaves/3ppl/test/0`` (hub).

    :raises KkwarmError: the data cannot be had, or a puzzle cannot be read or is not solved by its stored solution.
    """
    root = data_folder()
    return list(_load(str(root) if root else None))


def published_tests() -> frozenset[str]:
    """Canonical names of the published test puzzles. Raises as `load`."""
    root = data_folder()
    return frozenset(e.meta["canonical"] for e in _load(str(root) if root else None) if e.split == "test")


def generated(n: int, seed: int = 0, split: Split = "test", difficulty: Difficulty | None = None) -> list[Example]:
    """`n` generated puzzles, each of another canonical class; the test side of them never meets training or teachers'.

    :raises KkwarmError: there are no more different puzzles of this difficulty.
    """
    wanted = difficulty or Difficulty()
    found: dict[str, Example] = {}
    barren = 0
    for puzzle in generate(wanted, seed):
        if len(found) == n:
            break
        barren += 1
        if barren > EXHAUSTED:
            raise KkwarmError(f"only {len(found)} different puzzles of {wanted}", hint="ask for fewer, or other ones")
        name = canonical(puzzle)
        if name not in found and held_out(name) == (split == "test"):
            index, barren = len(found), 0
            rng = random.Random(f"{seed}:{index}")
            names = rng.sample(NAMES, wanted.people)
            found[name] = Example(
                f"generated/{wanted.people}ppl/{split}/{seed}-{index}",
                render(puzzle, names, rng),
                answer_of(names, solution(puzzle)),
                split,
                {"people": wanted.people, "canonical": name},
            )
    return list(found.values())


@lru_cache(maxsize=2)
def _load(root: str | None) -> tuple[Example, ...]:
    read = [_example(*entry) for entry in _rows(root)]
    tests = {e.meta["canonical"] for e in read if e.split == "test"}
    return tuple(e for e in read if e.split == "test" or e.meta["canonical"] not in tests)


def _rows(root: str | None) -> Iterator[tuple[str, Split, Mapping[str, Any]]]:
    """(id, split, row) of every published puzzle."""
    for people in PEOPLE:
        for split in _SPLITS:
            if root is not None:
                path = local_file(f"kk/logic-rl/{people}ppl/{split}.parquet")
                assert path is not None  # the folder is set
                source, rows = "logic-rl", _parquet(path)
            else:
                source, rows = "knights-and-knaves", hub_rows(REPO, f"{people}ppl", split)
            for i, row in enumerate(rows):
                yield f"{source}/{people}ppl/{split}/{i}", split, row


def _parquet(path: Path) -> Iterable[Mapping[str, Any]]:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, columns=["quiz", "names", "solution"])
    except (pyarrow.ArrowException, OSError) as err:
        cause = " ".join(str(err).split())[:200]
        raise KkwarmError(f"{path} cannot be read: {cause}", hint="copy the file again") from None
    rows: list[Mapping[str, Any]] = table.to_pylist()
    return rows


def _example(identity: str, split: Split, row: Mapping[str, Any]) -> Example:
    hint = "the published puzzles of 3 to 7 people are expected, with the columns quiz, names and solution"
    try:
        quiz, stored = str(row["quiz"]), tuple(map(bool, row["solution"]))
        puzzle, names = parse(quiz)
    except KeyError as err:
        raise KkwarmError(f"{identity} has no {err.args[0]!r}", hint=hint) from None
    except ParseError as err:
        raise KkwarmError(f"{identity} cannot be read: {err}", hint=hint) from None
    try:
        roles = solution(puzzle)
    except ValueError as err:
        raise KkwarmError(f"{identity}: {err}", hint=hint) from None
    if roles != stored:
        raise KkwarmError(f"{identity}: the stored solution {stored} is not the puzzle's, {roles}", hint=hint)
    meta = {"people": puzzle.people, "canonical": canonical(puzzle)}
    return Example(identity, quiz, answer_of(names, roles), split, meta)
