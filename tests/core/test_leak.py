"""The leak gate finds each kind of likeness, and nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kkwarm.data.leak import Item, find_leaks, gate
from kkwarm.errors import LeakError

LONG = (
    "A train leaves the station at noon and drives north at sixty miles an hour "
    "for three hours and then stops for lunch."
)


def hows(trained: list[Item], evaluated: list[Item], **kwargs: object) -> list[str]:
    return [leak.how for leak in find_leaks(trained, evaluated, **kwargs)]  # type: ignore[arg-type]


def test_the_same_text_in_other_spacing_and_case() -> None:
    assert hows([Item("d", "a", "What  is IT?")], [Item("e", "b", "what is it?")]) == ["text"]


def test_the_same_id_of_one_domain_only() -> None:
    assert hows([Item("d", "a", "x")], [Item("d", "a", "y")]) == ["id"]
    assert hows([Item("d", "a", "x")], [Item("e", "a", "y")]) == []


def test_the_same_problem_by_identity() -> None:
    sort = {"d": lambda q: "".join(sorted(q))}
    assert hows([Item("d", "a", "abc")], [Item("d", "b", "cab"), Item("d", "c", "xyz")], identities=sort) == [
        "identity"
    ]


def test_a_near_duplicate() -> None:
    (leak,) = find_leaks([Item("d", "a", LONG)], [Item("d", "b", LONG + " Where is it?")])
    assert leak.how == "near"
    assert 0.8 <= leak.similarity < 1


def test_another_question_of_the_same_template_is_none() -> None:
    other = LONG.replace("noon", "dawn").replace("sixty", "forty").replace("three", "two").replace("lunch", "tea")
    assert hows([Item("d", "a", LONG)], [Item("d", "b", other)]) == []
    assert hows([Item("d", "a", "What is 12 + 5 ?")], [Item("d", "b", "What is 12 + 6 ?")]) == []


@given(st.lists(st.text(alphabet="abc ", min_size=1), min_size=1, max_size=20, unique=True), st.randoms())
def test_every_shared_text_is_found_once(texts: list[str], rng: random.Random) -> None:
    evaluated = [Item("e", str(i), t) for i, t in enumerate(texts)]
    chosen = rng.sample(evaluated, rng.randint(0, len(evaluated)))
    leaks = find_leaks([Item("d", f"t{i.id}", i.question) for i in chosen], evaluated)
    assert {i.id for i in chosen} <= {leak.evaluated.id for leak in leaks}
    assert len(leaks) == len({leak.evaluated.id for leak in leaks})


def test_the_gate_stops_and_names_the_items() -> None:
    items = [Item("d", str(i), f"question {i}") for i in range(7)]
    with pytest.raises(LeakError, match=r"7 evaluation items .* and 2 more .*--allow-leak"):
        gate(items, items)
    assert len(gate(items, items, allow=True)) == 7
    assert gate(items[:3], items[3:]) == []
