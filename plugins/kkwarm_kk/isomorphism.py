"""When two puzzles are the same: canonical names up to renaming and reordering of people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

from kkwarm_kk.puzzle import FULL, KNIGHT, And, Iff, Implies, Is, Not, Or, Puzzle, Statement


def _refine(colours: list[int], edges: list[list[tuple[int, int]]]) -> list[int]:
    """Splits classes of people until the people of one class look alike to one another's eyes (1-WL)."""
    people = range(len(colours))
    while True:
        keys = [
            (colours[i], edges[i][i], tuple(sorted((colours[j], edges[i][j]) for j in people if j != i)))
            for i in people
        ]
        rank = {key: n for n, key in enumerate(sorted(set(keys)))}
        refined = [rank[key] for key in keys]
        if len(rank) == len(set(colours)):
            return refined
        colours = refined


def _orders(colours: list[int], edges: list[list[tuple[int, int]]]) -> Iterator[list[int]]:
    """Every ordering of the people that the refined colours leave open."""
    colours = _refine(colours, edges)
    shared = [c for c in sorted(set(colours)) if colours.count(c) > 1]
    if not shared:
        yield sorted(range(len(colours)), key=colours.__getitem__)
        return
    for person, colour in enumerate(colours):
        if colour == shared[0]:
            # Doubling leaves room below each class for the one person singled out.
            yield from _orders([2 * c - (i == person) for i, c in enumerate(colours)], edges)


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
    """Orders of the people that depend on nothing but the puzzle up to renaming, at least one of them."""
    n = puzzle.people
    tables = [s.table & FULL[n] for s in puzzle.statements]
    edges = [
        [((tables[i] & KNIGHT[j]).bit_count(), (tables[j] & KNIGHT[i]).bit_count()) for j in range(n)] for i in range(n)
    ]
    return _orders([table.bit_count() for table in tables], edges)


def canonical(puzzle: Puzzle) -> str:
    """A name for the puzzle up to renaming and reordering of people and up to equivalent wording: 32 hex digits.

    Two puzzles share it exactly if some renaming of the people makes each person's statement logically equivalent
    (so "not a knight" is "a knave", and "A or B" is "B or A").
    """
    n = puzzle.people
    tables = [s.table & FULL[n] for s in puzzle.statements]
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
