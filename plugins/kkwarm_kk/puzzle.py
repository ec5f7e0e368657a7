"""Knights & Knaves puzzles as truth tables: statements, solver and generator.

A truth table is a Python integer: bit `a` is the value under assignment `a`, and bit `p` of `a` tells whether person
`p` is a knight. Statements store their table over `MAX_PEOPLE` people; its lowest ``2**n`` bits are the table over `n`
people. A speaker is a knight exactly if the statement is true, so `n` exclusive-ors solve a puzzle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any

from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    import numpy as np

MAX_PEOPLE = 8
FULL_TABLE = tuple((1 << (1 << n)) - 1 for n in range(MAX_PEOPLE + 1))
"""`FULL_TABLE[n]`: the table over `n` people that is true everywhere."""
KNIGHT_TABLE = tuple(sum(1 << a for a in range(1 << MAX_PEOPLE) if a >> person & 1) for person in range(MAX_PEOPLE))
"""`KNIGHT_TABLE[p]`: the table of "person `p` is a knight"."""
_ALL = FULL_TABLE[MAX_PEOPLE]
KINDS = ("is", "not", "and", "or", "if", "iff")
_MAX_BLOCK = 4096  # candidates per block; the first blocks are smaller, for callers that need few puzzles


def _table() -> int:
    return field(init=False, repr=False, compare=False, default=0)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Is:
    """Person `person` (counted from 0) is a knight, or a knave."""

    person: int
    knight: bool
    table: int = _table()

    def __post_init__(self) -> None:
        knight = KNIGHT_TABLE[self.person]
        object.__setattr__(self, "table", knight if self.knight else _ALL ^ knight)


@dataclass(frozen=True, slots=True)
class Not:
    part: Statement
    table: int = _table()

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", _ALL ^ self.part.table)


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Statement, ...]
    table: int = _table()

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", reduce(and_, (p.table for p in self.parts)))


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Statement, ...]
    table: int = _table()

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", reduce(or_, (p.table for p in self.parts)))


@dataclass(frozen=True, slots=True)
class Implies:
    condition: Statement
    result: Statement
    table: int = _table()

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", (_ALL ^ self.condition.table) | self.result.table)


@dataclass(frozen=True, slots=True)
class Iff:
    left: Statement
    right: Statement
    table: int = _table()

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", _ALL ^ self.left.table ^ self.right.table)


Statement = Is | Not | And | Or | Implies | Iff


def parts_of(statement: Statement) -> tuple[Statement, ...]:
    """The statements directly inside `statement`, in reading order."""
    match statement:
        case Is():
            return ()
        case Not(part):
            return (part,)
        case And(parts) | Or(parts):
            return parts
        case Implies(a, b) | Iff(a, b):
            return (a, b)


def people_in(statement: Statement) -> tuple[int, ...]:
    """The people that `statement` mentions, each once, in reading order."""
    if isinstance(statement, Is):
        return (statement.person,)
    return tuple(dict.fromkeys(p for part in parts_of(statement) for p in people_in(part)))


@dataclass(frozen=True, slots=True)
class Puzzle:
    """`statements[i]` is the statement of person `i`. A puzzle may have any number of solutions."""

    statements: tuple[Statement, ...]

    @property
    def people(self) -> int:
        return len(self.statements)


def consistent_assignments(puzzle: Puzzle) -> int:
    """The truth table of the assignments under which every knight tells the truth and every knave lies."""
    violated = 0
    for knight, statement in zip(KNIGHT_TABLE, puzzle.statements, strict=False):
        violated |= knight ^ statement.table
    return FULL_TABLE[len(puzzle.statements)] & ~violated


def assignment_roles(assignment: int, people: int) -> tuple[bool, ...]:
    """The roles in an assignment: one bool per person, True for a knight."""
    return tuple(bool(assignment >> person & 1) for person in range(people))


def solve(puzzle: Puzzle) -> list[tuple[bool, ...]]:
    """All solutions, each with one bool per person (True: knight), ordered by assignment number."""
    solutions, rest = [], consistent_assignments(puzzle)
    while rest:
        lowest = rest & -rest
        solutions.append(assignment_roles(lowest.bit_length() - 1, puzzle.people))
        rest ^= lowest
    return solutions


def solution(puzzle: Puzzle) -> tuple[bool, ...]:
    """The only solution."""
    table = consistent_assignments(puzzle)
    if table.bit_count() != 1:
        raise ValueError(f"the puzzle has {table.bit_count()} solutions, not exactly one")
    return assignment_roles(table.bit_length() - 1, puzzle.people)


# --- generation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The difficulty of generated puzzles. The defaults are the published puzzles' grammar.

    :param depth: nesting depth of connectives (1: connectives of plain claims).
    :param width: largest number of operands of an and/or.
    :param kinds: the kinds of statement, sampled with equal probability: is, not, and, or, if, iff.
    """

    people: int = 5
    depth: int = 1
    width: int = 2
    kinds: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        if not 2 <= self.people <= MAX_PEOPLE:
            raise KkwarmError(f"a puzzle cannot have {self.people} people", hint=f"choose 2 to {MAX_PEOPLE} people")
        if self.depth < 1 or not 2 <= self.width <= MAX_PEOPLE:
            raise KkwarmError(
                f"statements cannot have depth {self.depth} and width {self.width}",
                hint=f"depth must be at least 1, width 2 to {MAX_PEOPLE}",
            )
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise KkwarmError(f"unknown kinds of statement: {unknown}", hint=f"choose from {', '.join(KINDS)}")

    def __str__(self) -> str:
        kinds = "" if self.kinds == KINDS else f", kinds {', '.join(self.kinds)}"
        return f"{self.people} people (depth {self.depth}, width {self.width}{kinds})"


@dataclass(frozen=True, slots=True)
class _Pool:
    """For each speaker, the statements to sample from, grouped by kind."""

    statements: list[list[Statement]]
    starts: Any  # int [kinds]: index of each kind's first statement
    sizes: Any  # int [kinds]
    consistent: Any  # uint64 [speakers, statements, words]: assignments in which the speaker can make the statement


def _compose(kind: str, a: Statement, b: Statement) -> Statement:
    match kind:
        case "and":
            return And((a, b))
        case "or":
            return Or((a, b))
        case "if":
            return Implies(a, b)
        case _:
            return Iff(a, b)


def _plain_statements(kind: str, speaker: int, people: int) -> list[Statement]:
    """Every statement of `kind` in the published grammar. Nobody states only their own role."""
    if kind in ("is", "not"):
        claims: list[Statement] = [Is(p, k) for p in range(people) if p != speaker for k in (True, False)]
        return claims if kind == "is" else [Not(claim) for claim in claims]
    leaves = [Is(p, k) for p in range(people) for k in (True, False)]
    return [_compose(kind, a, b) for a in leaves for b in leaves if a.person != b.person]


def _nested_statement(kind: str, speaker: int, difficulty: Difficulty, depth: int, rng: random.Random) -> Statement:
    """One random statement of `kind` with connectives nested up to `depth` deep."""
    if kind in ("is", "not") and depth <= 1:
        others = [p for p in range(difficulty.people) if p != speaker]
        claim = Is(rng.choice(others), rng.random() < 0.5)
        return claim if kind == "is" else Not(claim)

    def part(person: int) -> Statement:
        inner = [k for k in difficulty.kinds if k not in ("is", "not")]
        if depth > 1 and inner and rng.random() < 0.5:
            return _nested_statement(rng.choice(inner), speaker, difficulty, depth - 1, rng)
        return Is(person, rng.random() < 0.5)

    if kind == "is":
        return _nested_statement("is", speaker, difficulty, 1, rng)
    if kind == "not":
        inner = part((speaker + rng.randrange(1, difficulty.people)) % difficulty.people)
        return Not(inner)
    max_width = min(difficulty.width, difficulty.people) if kind in ("and", "or") else 2
    parts = tuple(part(p) for p in rng.sample(range(difficulty.people), rng.randint(2, max_width)))
    if kind in ("and", "or"):
        return And(parts) if kind == "and" else Or(parts)
    return _compose(kind, parts[0], parts[1])


def _tabulate(groups: list[list[list[Statement]]], people: int) -> _Pool:
    """Builds the pool of `groups[speaker][kind]`. Each kind's group has the same size for all speakers."""
    import numpy as np

    bits = 1 << people
    size = max(bits // 8, 8)
    statements = [[s for group in kinds for s in group] for kinds in groups]
    raw = b"".join(
        (FULL_TABLE[people] & ~(KNIGHT_TABLE[speaker] ^ s.table)).to_bytes(size, "little")
        for speaker, speaker_statements in enumerate(statements)
        for s in speaker_statements
    )
    sizes = np.array([len(group) for group in groups[0]])
    return _Pool(
        statements,
        np.cumsum(sizes) - sizes,
        sizes,
        np.frombuffer(raw, "<u8").reshape(people, len(statements[0]), size // 8),
    )


@lru_cache(maxsize=32)
def _plain_pool(people: int, kinds: tuple[str, ...]) -> _Pool:
    return _tabulate(
        [[_plain_statements(kind, speaker, people) for kind in kinds] for speaker in range(people)], people
    )


def _nested_pool(difficulty: Difficulty, rng: random.Random) -> _Pool:
    """A new random pool, because there are too many nested statements to list all."""
    group_size = 64
    return _tabulate(
        [
            [
                [_nested_statement(kind, speaker, difficulty, difficulty.depth, rng) for _ in range(group_size)]
                for kind in difficulty.kinds
            ]
            for speaker in range(difficulty.people)
        ],
        difficulty.people,
    )


def _sample_puzzles(pool: _Pool, size: int, rng: np.random.Generator) -> list[Puzzle]:
    """Samples `size` puzzles and returns those with exactly one solution."""
    import numpy as np

    people = len(pool.statements)
    kinds = rng.integers(len(pool.sizes), size=(people, size))
    rows = pool.starts[kinds] + (rng.random((people, size)) * pool.sizes[kinds]).astype(np.intp)
    table = pool.consistent[0][rows[0]]
    for speaker in range(1, people):
        table &= pool.consistent[speaker][rows[speaker]]
    unique = np.bitwise_count(table).sum(axis=1) == 1
    pick = list.__getitem__
    return [Puzzle(tuple(map(pick, pool.statements, row))) for row in rows[:, unique].T.tolist()]


def generate(difficulty: Difficulty, seed: int = 0) -> Iterator[Puzzle]:
    """An endless stream of puzzles with exactly one solution, the same ones for the same arguments.

    Isomorphic puzzles may recur.

    :raises KkwarmError: (nearly) no puzzle of this difficulty has exactly one solution.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    nested = difficulty.depth > 1 or difficulty.width > 2
    size, n_empty_blocks = 128, 0
    while n_empty_blocks < 50:
        if nested:
            pool = _nested_pool(difficulty, random.Random(int(rng.integers(1 << 62))))
        else:
            pool = _plain_pool(difficulty.people, difficulty.kinds)
        puzzles = _sample_puzzles(pool, size, rng)
        size = min(2 * size, _MAX_BLOCK)
        n_empty_blocks = 0 if puzzles else n_empty_blocks + 1
        yield from puzzles
    raise KkwarmError(
        f"(nearly) no puzzle of {difficulty} has exactly one solution", hint="allow more kinds of statement"
    )
