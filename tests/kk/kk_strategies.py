"""Random puzzles for hypothesis, and an evaluator that shares no code with the truth tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from hypothesis import strategies as st
from kkwarm_kk.puzzle import And, Iff, Implies, Is, Not, Or, Puzzle, Statement


def holds(statement: Statement, roles: Sequence[bool]) -> bool:
    match statement:
        case Is(person, knight):
            return roles[person] == knight
        case Not(part):
            return not holds(part, roles)
        case And(parts):
            return all(holds(p, roles) for p in parts)
        case Or(parts):
            return any(holds(p, roles) for p in parts)
        case Implies(condition, result):
            return holds(result, roles) or not holds(condition, roles)
        case Iff(left, right):
            return holds(left, roles) == holds(right, roles)


def brute_force(puzzle: Puzzle) -> set[tuple[bool, ...]]:
    return {
        roles
        for roles in product((False, True), repeat=puzzle.people)
        if all(holds(s, roles) == roles[i] for i, s in enumerate(puzzle.statements))
    }


def renamed(statement: Statement, to: Sequence[int]) -> Statement:
    match statement:
        case Is(person, knight):
            return Is(to[person], knight)
        case Not(part):
            return Not(renamed(part, to))
        case And(parts):
            return And(tuple(renamed(p, to) for p in parts))
        case Or(parts):
            return Or(tuple(renamed(p, to) for p in parts))
        case Implies(a, b):
            return Implies(renamed(a, to), renamed(b, to))
        case Iff(a, b):
            return Iff(renamed(a, to), renamed(b, to))


def reordered(puzzle: Puzzle, to: Sequence[int]) -> Puzzle:
    """Person i becomes person to[i]."""
    said = {to[i]: renamed(s, to) for i, s in enumerate(puzzle.statements)}
    return Puzzle(tuple(said[i] for i in range(puzzle.people)))


def statements(people: int) -> st.SearchStrategy[Statement]:
    leaf = st.builds(Is, st.integers(0, people - 1), st.booleans())
    return st.recursive(
        leaf,
        lambda part: st.one_of(
            st.builds(Not, part),
            st.builds(And, st.lists(part, min_size=2, max_size=3).map(tuple)),
            st.builds(Or, st.lists(part, min_size=2, max_size=3).map(tuple)),
            st.builds(Implies, part, part),
            st.builds(Iff, part, part),
        ),
        max_leaves=5,
    )


@st.composite
def puzzles(draw: st.DrawFn, most: int = 5) -> Puzzle:
    people = draw(st.integers(2, most))
    return Puzzle(tuple(draw(statements(people)) for _ in range(people)))
