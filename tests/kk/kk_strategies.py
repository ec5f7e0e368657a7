"""Random puzzles for hypothesis, and an evaluator that shares no code with the truth tables."""

import random
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


def _statement(rng: random.Random, people: int, depth: int) -> Statement:
    shape = rng.randrange(6) if depth else 0
    parts = tuple(_statement(rng, people, depth - 1) for _ in range(rng.randint(2, 3))) if shape else ()
    match shape:
        case 0:
            return Is(rng.randrange(people), rng.random() < 0.5)
        case 1:
            return Not(parts[0])
        case 2:
            return And(parts)
        case 3:
            return Or(parts)
        case 4:
            return Implies(parts[0], parts[1])
        case _:
            return Iff(parts[0], parts[1])


def random_puzzle(seed: int, most: int) -> Puzzle:
    """Any puzzle at all: with no solution, one, or many; self-reference and repetition included."""
    rng = random.Random(seed)
    people = rng.randint(2, most)
    return Puzzle(tuple(_statement(rng, people, rng.randint(0, 2)) for _ in range(people)))


def puzzles(most: int = 5) -> st.SearchStrategy[Puzzle]:
    return st.integers(0, 2**40).map(lambda seed: random_puzzle(seed, most))
