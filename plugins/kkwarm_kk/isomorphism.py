"""Canonical names of puzzles, equal up to renaming and reordering of people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

from kkwarm_kk.puzzle import FULL_TABLE, KNIGHT_TABLE, And, Iff, Implies, Is, Not, Or, Puzzle, Statement


def _refine(colors: list[int], edges: list[list[tuple[int, int]]]) -> list[int]:
    """Color refinement (1-WL): splits classes of people until the members of each class cannot be told apart."""
    people = range(len(colors))
    while True:
        keys = [
            (colors[i], edges[i][i], tuple(sorted((colors[j], edges[i][j]) for j in people if j != i))) for i in people
        ]
        rank = {key: n for n, key in enumerate(sorted(set(keys)))}
        refined = [rank[key] for key in keys]
        if len(rank) == len(set(colors)):
            return refined
        colors = refined


def _orders(colors: list[int], edges: list[list[tuple[int, int]]]) -> Iterator[list[int]]:
    """Every ordering of the people that the refined colors allow."""
    colors = _refine(colors, edges)
    shared = [c for c in sorted(set(colors)) if colors.count(c) > 1]
    if not shared:
        yield sorted(range(len(colors)), key=colors.__getitem__)
        return
    for person, color in enumerate(colors):
        if color == shared[0]:
            # Doubling makes a free color below each class for the individualized person.
            yield from _orders([2 * c - (i == person) for i, c in enumerate(colors)], edges)


def _reordered(tables: Sequence[int], order: Sequence[int]) -> bytes:
    """The puzzle's tables after person `order[q]` has become person `q`."""
    import numpy as np

    n = len(tables)
    size = max(1 << n >> 3, 1)
    raw = np.frombuffer(b"".join(tables[p].to_bytes(size, "little") for p in order), np.uint8).reshape(n, size)
    bits = np.unpackbits(raw, axis=1, bitorder="little")[:, : 1 << n].reshape(n, *[2] * n)
    axes = [n - order[n - a] for a in range(1, n + 1)]  # axis a holds person n - a
    return np.packbits(bits.transpose(0, *axes).reshape(n, -1), axis=1, bitorder="little").tobytes()


def _candidates(puzzle: Puzzle) -> Iterator[list[int]]:
    """At least one order of the people that depends only on the puzzle up to renaming."""
    n = puzzle.people
    tables = [s.table & FULL_TABLE[n] for s in puzzle.statements]
    edges = [
        [((tables[i] & KNIGHT_TABLE[j]).bit_count(), (tables[j] & KNIGHT_TABLE[i]).bit_count()) for j in range(n)]
        for i in range(n)
    ]
    return _orders([table.bit_count() for table in tables], edges)


@lru_cache(maxsize=8192)  # more than there are published puzzles, whose names are needed twice
def canonical(puzzle: Puzzle) -> str:
    """A name for the puzzle up to renaming and reordering of people and up to equivalent wording: 32 hex digits.

    Two puzzles share it exactly if some renaming of the people makes each person's statement logically equivalent
    (so "not a knight" is "a knave", and "A or B" is "B or A").
    """
    n = puzzle.people
    tables = [s.table & FULL_TABLE[n] for s in puzzle.statements]
    best = min(_reordered(tables, order) for order in _candidates(puzzle))
    return blake2b(bytes([n]) + best, digest_size=16).hexdigest()


def canonical_wording(puzzle: Puzzle) -> str:
    """As `canonical`, but statements must have the same form, not only the same meaning (and/or/iff commute)."""
    forms = []
    for order in _candidates(puzzle):
        place = {person: i for i, person in enumerate(order)}
        forms.append(repr([_form(puzzle.statements[p], place) for p in order]))
    return blake2b(min(forms).encode(), digest_size=16).hexdigest()


def _form(statement: Statement, place: dict[int, int]) -> tuple[object, ...]:
    match statement:
        case Is(person, knight):
            return ("is", place[person], knight)
        case Not(part):
            return ("not", _form(part, place))
        case And(parts) | Or(parts):
            return (type(statement).__name__, *sorted((_form(p, place) for p in parts), key=repr))
        case Iff(left, right):
            return ("iff", *sorted((_form(left, place), _form(right, place)), key=repr))
        case Implies(condition, result):
            return ("if", _form(condition, place), _form(result, place))
