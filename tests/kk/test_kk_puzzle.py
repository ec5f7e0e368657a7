"""Truth tables, generator and canonical forms."""

import random
from itertools import islice, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kk_strategies import brute_force, puzzles, reordered
from kkwarm_kk.isomorphism import canonical, canonical_wording
from kkwarm_kk.puzzle import (
    KINDS,
    And,
    Difficulty,
    Iff,
    Implies,
    Is,
    Not,
    Or,
    Puzzle,
    Statement,
    generate,
    parts_of,
    solution,
    solve,
)

from kkwarm.errors import KkwarmError


def depth(statement: Statement) -> int:
    parts = parts_of(statement)
    if isinstance(statement, Is) or (isinstance(statement, Not) and isinstance(statement.part, Is)):
        return 0
    return (not isinstance(statement, Not)) + max(map(depth, parts))


@settings(max_examples=150, deadline=None)
@given(puzzles())
def test_solve_agrees_with_enumeration(puzzle: Puzzle) -> None:
    assert set(solve(puzzle)) == brute_force(puzzle)
    assert len(solve(puzzle)) == len(brute_force(puzzle))


@pytest.mark.parametrize("people", range(2, 9))
def test_generated_puzzles_have_exactly_one_solution(people: int) -> None:
    for puzzle in islice(generate(Difficulty(people), seed=people), 40):
        assert brute_force(puzzle) == {solution(puzzle)}
        for speaker, statement in enumerate(puzzle.statements):
            assert depth(statement) <= 1
            assert statement not in (Is(speaker, True), Is(speaker, False)), "nobody just says what they are"


def test_generation_is_determined_by_the_seed() -> None:
    first, again, other = (list(islice(generate(Difficulty(5), seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_all_kinds_of_statement_are_equally_frequent() -> None:
    kinds = {Is: "is", Not: "not", And: "and", Or: "or", Implies: "if", Iff: "iff"}
    counts = dict.fromkeys(KINDS, 0)
    for puzzle in islice(generate(Difficulty(6), 3), 2000):
        for statement in puzzle.statements:
            counts[kinds[type(statement)]] += 1
    assert min(counts.values()) > 0.6 * max(counts.values()), counts


def test_generated_puzzles_have_the_requested_difficulty() -> None:
    hard = list(islice(generate(Difficulty(4, depth=3, width=3), 0), 300))
    assert all(brute_force(p) == {solution(p)} for p in hard[:50])
    assert max(depth(s) for p in hard for s in p.statements) == 3
    widths = {len(s.parts) for p in hard for s in p.statements if isinstance(s, And | Or)}
    assert widths == {2, 3}
    simple = islice(generate(Difficulty(4, kinds=("is", "iff")), 0), 50)
    assert {type(s) for p in simple for s in p.statements} == {Is, Iff}


@pytest.mark.parametrize(
    "wrong", [{"people": 1}, {"people": 9}, {"depth": 0}, {"width": 1}, {"kinds": ()}, {"kinds": ("xor",)}]
)
def test_impossible_difficulties_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(KkwarmError):
        Difficulty(**wrong)  # type: ignore[arg-type]


def test_a_difficulty_without_unique_puzzles_is_an_error_and_not_an_endless_search() -> None:
    with pytest.raises(KkwarmError, match="has exactly one solution"):
        next(generate(Difficulty(2, kinds=("is", "not"))))


def test_no_solution_is_an_error() -> None:
    paradox = Puzzle((Is(0, False), Is(0, True)))
    with pytest.raises(ValueError, match="0 solutions"):
        solution(paradox)


@settings(max_examples=100, deadline=None)
@given(puzzles(), st.randoms(use_true_random=False))
def test_canonical_ignores_names_and_order(puzzle: Puzzle, rng: random.Random) -> None:
    to = list(range(puzzle.people))
    rng.shuffle(to)
    assert canonical(reordered(puzzle, to)) == canonical(puzzle)
    assert canonical_wording(reordered(puzzle, to)) == canonical_wording(puzzle)


@settings(max_examples=100, deadline=None)
@given(puzzles(most=3), puzzles(most=3))
def test_canonical_is_equal_only_where_a_renaming_makes_puzzles_equivalent(a: Puzzle, b: Puzzle) -> None:
    def tables(puzzle: Puzzle) -> list[int]:
        return [s.table & (1 << (1 << puzzle.people)) - 1 for s in puzzle.statements]

    same = a.people == b.people and any(tables(reordered(a, to)) == tables(b) for to in permutations(range(a.people)))
    assert (canonical(a) == canonical(b)) is same


def test_canonical_compares_meaning_and_canonical_wording_form() -> None:
    knave = Puzzle((Is(1, False), Or((Is(0, True), Is(1, True)))))
    same = Puzzle((Not(Is(1, True)), Implies(Is(0, False), Is(1, True))))
    swapped = Puzzle((Is(1, False), Or((Is(1, True), Is(0, True)))))
    assert canonical(knave) == canonical(same) == canonical(swapped)
    assert canonical_wording(knave) == canonical_wording(swapped) != canonical_wording(same)


def test_canonical_of_symmetric_puzzles_is_quick() -> None:
    everybody = And(tuple(Is(p, True) for p in range(6)))
    assert canonical(Puzzle((everybody,) * 6)) == canonical(Puzzle((everybody,) * 6))
    ring = Puzzle(tuple(Is((p + 1) % 8, False) for p in range(8)))
    assert canonical(ring) == canonical(reordered(ring, [3, 1, 4, 0, 5, 7, 2, 6]))
