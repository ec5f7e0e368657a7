"""The published puzzles (Logic-RL's, from mem-kk-logic) as examples, and generated ones."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from kkwarm.data import data_folder, hub_rows, local_file, normalise
from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Pin, Split
from kkwarm_kk.english import NAMES, OPENING, QUESTION, ParseError, parse, render, render_answer, role_name
from kkwarm_kk.isomorphism import canonical
from kkwarm_kk.puzzle import Difficulty, Puzzle, generate, solution

PEOPLE = range(3, 8)
GENERATED_PEOPLE = range(5, 9)  # smaller ones are so few that generated and published puzzles coincide
GENERATED: Mapping[Split, int] = {"train": 200, "test": 100}  # puzzles of `kk_generated` for each number of people
REPO = "K-and-K/knights-and-knaves"
MAX_DUPLICATES = 5000
"""After this many duplicates in a row, a difficulty counts as exhausted."""
_SPLITS: tuple[Split, ...] = ("train", "test")
REVISION = "2f68547989981b1af37cb3dde5fdefa847aa8619"
# The local puzzles are Logic-RL's. The hub's have no known hash, so that they are pinned by the revision alone.
_SOURCE = "Unakar/Logic-RL, data/kk (from AlphaPav/mem-kk-logic)"
PINS: dict[Split, Pin] = {
    "test": Pin(
        content="cde10d648dd92470b25f5fa5e86adae4fd774edb1127c8d25d783de17e374de7",
        repo=REPO,
        revision=REVISION,
        source=_SOURCE,
    ),
    "train": Pin(
        content="9b728645a74684d7b034ff7ce608d853d51fc8c9dcd2d95dc46fadfafc110a8e",
        repo=REPO,
        revision=REVISION,
        source=_SOURCE,
    ),
}


def make_answer(names: Sequence[str], roles: Sequence[bool]) -> dict[str, str]:
    """An example's answer: {name: "knight" or "knave"}, in the order of the people."""
    return {name: role_name(knight) for name, knight in zip(names, roles, strict=True)}


def gold(example: Example) -> str:
    """The correct answer in the paper's format, a numbered line for each person."""
    return render_answer(example.answer)


def identity(question: str) -> str:
    """The canonical name of the question's puzzle, or the normalized text if it has none in the published English."""
    try:
        return canonical(find_puzzle(question)[0])
    except ParseError:
        return normalise(question)


def find_puzzle(text: str) -> tuple[Puzzle, tuple[str, ...]]:
    """The puzzle in a text, with any text before and after it, and the names of the people.

    :raises ParseError: there is no puzzle in the published English.
    """
    text = " ".join(text.split())
    begin, end = text.find(OPENING), text.rfind(QUESTION)
    return parse(text[max(begin, 0) : end + len(QUESTION) if end >= 0 else None])


def is_held_out(name: str) -> bool:
    """Whether generated puzzles of this canonical name are test puzzles: a tenth of them, decided by the name alone."""
    return int(name[:4], 16) % 10 == 0


def load() -> list[Example]:
    """The published puzzles of 3 to 7 people, without training puzzles that are isomorphic to a test puzzle.

    `meta` has ``people`` and ``canonical``, which isomorphic puzzles share. Ids are ``logic-rl/3ppl/test/0`` (local
    folder) or ``knights-and-knaves/3ppl/test/0`` (hub).

    :raises KkwarmError: the data is missing, or a puzzle cannot be parsed or has another solution than stored.
    """
    root = data_folder()
    return list(_load(str(root) if root else None))


def published_test_names() -> frozenset[str]:
    """Canonical names of the published test puzzles. Raises the same errors as `load`."""
    root = data_folder()
    return frozenset(e.meta["canonical"] for e in _load(str(root) if root else None) if e.split == "test")


def generate_examples(
    n: int, seed: int = 0, split: Split = "test", difficulty: Difficulty | None = None, excluded: Collection[str] = ()
) -> Iterator[Example]:
    """Yields `n` generated puzzles with different canonical names. Test puzzles never occur in training or in traces.

    :param excluded: canonical names that are left out.
    """
    options = difficulty or Difficulty()
    seen: set[str] = set()
    n_duplicates = 0
    for puzzle in generate(options, seed) if n else ():
        name = canonical(puzzle)
        if name in seen or name in excluded or is_held_out(name) != (split == "test"):
            n_duplicates += 1
            if n_duplicates > MAX_DUPLICATES:
                raise KkwarmError(
                    f"there are only {len(seen)} different {split} puzzles of {options}, not {n}",
                    hint="request fewer puzzles, or another difficulty",
                )
            continue
        index, n_duplicates = len(seen), 0
        seen.add(name)
        rng = random.Random(f"{seed}:{index}")
        names = rng.sample(NAMES, options.people)
        yield Example(
            f"generated/{options.people}ppl/{split}/{seed}-{index}",
            render(puzzle, names, rng),
            make_answer(names, solution(puzzle)),
            split,
            {"people": options.people, "canonical": name},
        )
        if len(seen) == n:
            return


@lru_cache(maxsize=2)
def load_generated(split: Split) -> tuple[Example, ...]:
    """The puzzles of the task and of the benchmark `kk_generated`. None of them is a published one."""
    each = GENERATED[split]
    return tuple(e for people in GENERATED_PEOPLE for e in generate_examples(each, 0, split, Difficulty(people)))


@lru_cache(maxsize=2)
def _load(root: str | None) -> tuple[Example, ...]:
    examples = [_example(*entry) for entry in _rows(root)]
    tests = {e.meta["canonical"] for e in examples if e.split == "test"}
    return tuple(e for e in examples if e.split == "test" or e.meta["canonical"] not in tests)


def _rows(root: str | None) -> Iterator[tuple[str, Split, Mapping[str, Any]]]:
    """Yields (id, split, row) of every published puzzle."""
    for people in PEOPLE:
        for split in _SPLITS:
            if root is not None:
                path = local_file(f"kk/logic-rl/{people}ppl/{split}.parquet")
                assert path is not None  # the folder is set
                source, rows = "logic-rl", _parquet(path)
            else:
                source, rows = "knights-and-knaves", hub_rows(REPO, f"{people}ppl", split, REVISION)
            for i, row in enumerate(rows):
                yield f"{source}/{people}ppl/{split}/{i}", split, row


def _parquet(path: Path) -> Iterable[Mapping[str, Any]]:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, columns=["quiz", "names", "solution"])
    except (pyarrow.ArrowException, OSError) as err:
        cause = " ".join(str(err).split())[:200]
        raise KkwarmError(f"{path} cannot be read: {cause}", hint="download the file again") from None
    rows: list[Mapping[str, Any]] = table.to_pylist()
    return rows


def _example(id_: str, split: Split, row: Mapping[str, Any]) -> Example:
    hint = "the published puzzles of 3 to 7 people are expected, with the columns quiz, names and solution"
    try:
        quiz, stored_roles = str(row["quiz"]), tuple(map(bool, row["solution"]))
        puzzle, names = parse(quiz)
    except KeyError as err:
        raise KkwarmError(f"{id_} has no {err.args[0]!r}", hint=hint) from None
    except ParseError as err:
        raise KkwarmError(f"{id_} cannot be read: {err}", hint=hint) from None
    try:
        roles = solution(puzzle)
    except ValueError as err:
        raise KkwarmError(f"{id_}: {err}", hint=hint) from None
    if roles != stored_roles:
        raise KkwarmError(f"{id_}: the stored solution {stored_roles} is not the puzzle's, {roles}", hint=hint)
    meta = {"people": puzzle.people, "canonical": canonical(puzzle)}
    return Example(id_, quiz, make_answer(names, roles), split, meta)
