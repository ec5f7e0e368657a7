"""The contamination check finds each kind of likeness, and nothing else."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kkwarm.data import normalise
from kkwarm.data.contamination import Item, check_overlaps, contaminated_items, find_overlaps
from kkwarm.errors import ContaminationError

LONG = (
    "A train leaves the station at noon and drives north at sixty miles an hour "
    "for three hours and then stops for lunch."
)


def hows(trained: list[Item], evaluated: list[Item], **kwargs: object) -> list[str]:
    return [overlap.how for overlap in find_overlaps(trained, evaluated, **kwargs)]  # type: ignore[arg-type]


def test_the_same_text_in_other_spacing_and_case() -> None:
    assert hows([Item("d", "a", "What  is IT?")], [Item("e", "b", "what is it?")]) == ["text"]


def test_ids_are_compared_within_one_domain() -> None:
    assert hows([Item("d", "a", "x")], [Item("d", "a", "y")]) == ["id"]
    assert hows([Item("d", "a", "x")], [Item("e", "a", "y")]) == []


def test_the_same_problem_by_identity() -> None:
    sort = {"d": lambda q: "".join(sorted(q))}
    assert hows([Item("d", "a", "abc")], [Item("d", "b", "cab"), Item("d", "c", "xyz")], identities=sort) == [
        "identity"
    ]


def test_domains_that_share_an_identity_are_compared_by_it() -> None:
    def letters(question: str) -> str:
        return "".join(sorted(question))

    trained, evaluated = [Item("d", "a", "abc")], [Item("e", "b", "cab")]
    assert hows(trained, evaluated, identities={"d": letters, "e": letters}) == ["identity"]
    assert hows(trained, evaluated, identities={"d": letters, "e": lambda q: letters(q)}) == []


def test_a_near_duplicate() -> None:
    (overlap,) = find_overlaps([Item("d", "a", LONG)], [Item("d", "b", LONG + " Where is train 9?")])
    assert overlap.how == "near"
    assert 0.8 <= overlap.similarity < 1


def test_different_questions_of_one_template_do_not_overlap() -> None:
    other = LONG.replace("noon", "dawn").replace("sixty", "forty").replace("three", "two").replace("lunch", "tea")
    assert hows([Item("d", "a", LONG)], [Item("d", "b", other)]) == []
    assert hows([Item("d", "a", "What is 12 + 5 ?")], [Item("d", "b", "What is 12 + 6 ?")]) == []


SUM = "Find the value of $\\frac{1}{2} + 1000x$ where x is 7, and explain it."
OPTIONS = "Which of these is a noble gas?\nOptions:\nA. neon\nB. iron\nC. gold\nD. water vapour"


@pytest.mark.parametrize(
    "other",
    [
        SUM.replace("Find the value of", "FIND THE VALUE OF"),
        SUM.replace(" ", "\u200b "),
        SUM.replace(" ", "\u00a0 \n"),
        SUM.replace("Find", "Ｆｉｎｄ"),
        SUM.replace("$", ""),
        SUM.replace("$", "`").removesuffix("."),
        SUM.replace("\\frac", "\\dfrac").replace("1000", "1,000"),
        SUM.replace("1000", "1{,}000").replace("7,", "7"),
        "\\(".join(SUM.split("$", 1)).replace("$", "\\)"),
        f"**{SUM}**",
        f"Problem 17. {SUM}",
        f"Please solve this step by step: {SUM}",
        f"{SUM} Put your final answer in \\boxed{{}}.",
    ],
)
def test_the_same_text_with_another_layout(other: str) -> None:
    assert hows([Item("d", "a", other)], [Item("e", "b", SUM)]) == ["text"]
    assert hows([Item("d", "a", SUM)], [Item("e", "b", other)]) == ["text"]


@pytest.mark.parametrize(
    "other",
    [
        SUM.replace("1000", "1001"),
        SUM.replace("+", "-"),
        SUM.replace("7", "-7"),
        SUM.replace("{1}{2}", "{2}{1}"),
        "Find it.",
        "where x is 7",
    ],
)
def test_short_different_questions_do_not_overlap(other: str) -> None:
    assert hows([Item("d", "a", other)], [Item("e", "b", SUM)]) == []
    assert hows([Item("d", "a", SUM)], [Item("e", "b", other)]) == []


def test_questions_that_differ_after_trimming_both_do_not_overlap() -> None:
    area, perimeter = (
        "A triangle has the sides 3, 4 and 5. " + ask for ask in ("Find its area.", "Find its perimeter.")
    )
    assert hows([Item("d", "a", area)], [Item("d", "b", perimeter)]) == []


def test_options_in_another_order() -> None:
    stem, _, listed = OPTIONS.partition("A. ")
    turned = stem + "A. water vapour\nB. gold\nC. neon\nD. iron"
    assert listed
    assert hows([Item("d", "a", turned)], [Item("e", "b", OPTIONS)]) == ["text"]
    assert hows([Item("d", "a", turned.replace("iron", "lead"))], [Item("e", "b", OPTIONS)]) == []
    long = "In the laboratory of a school there are 4 samples, and the teacher asks the class a question about them. "
    long += "There are 3 right answers in the book that lies on the desk, and one of them is smudged beyond repair. "
    assert hows([Item("d", "a", long + turned)], [Item("e", "b", f"9 facts. {long}{OPTIONS}")]) == ["near"]


def test_a_question_without_parsed_identity_is_compared_as_near_duplicate() -> None:
    """Such an identity is the normalised text. Those that are read are not: one template has many problems."""

    def identity(question: str) -> str:
        return f"read {len(question)}" if question.startswith("A train") else normalise(question)

    def trained(question: str) -> list[str]:
        return hows([Item("d", "a", question)], [Item("d", "b", LONG)], identities={"d": identity})

    assert trained("Dear 3 all: " + LONG) == ["near"]
    assert trained(LONG + " Where is it?") == ["text"]
    assert trained(LONG.replace("noon", "12")) == []


def test_keys_take_linear_time() -> None:
    started = time.process_time()
    for piece in ("a", "a ", "a. ", "$", "1,", "A. b\n", "\\", " .", "a'"):
        find_overlaps([Item("d", "a", piece * (20_000 // len(piece)))], [Item("d", "b", LONG)])
    assert time.process_time() - started < 20


@given(st.lists(st.text(alphabet="abc ", min_size=1), min_size=1, max_size=20, unique=True), st.randoms())
def test_every_shared_text_is_found_once(texts: list[str], rng: random.Random) -> None:
    evaluated = [Item("e", str(i), t) for i, t in enumerate(texts)]
    chosen = rng.sample(evaluated, rng.randint(0, len(evaluated)))
    overlaps = find_overlaps([Item("d", f"t{i.id}", i.question) for i in chosen], evaluated)
    assert {i.id for i in chosen} <= {overlap.evaluated.id for overlap in overlaps}
    assert len(overlaps) == len({overlap.evaluated.id for overlap in overlaps})


@settings(max_examples=40)
@given(
    st.lists(st.text(alphabet="abc ", min_size=1), min_size=1, max_size=12, unique=True),
    st.lists(st.integers(0, 11), max_size=12),
    st.randoms(),
)
def test_only_contaminated_items_are_removed(texts: list[str], order: list[int], rng: random.Random) -> None:
    evaluated = [Item("e", str(i), t) for i, t in enumerate(texts) if i % 2]
    trained = [Item("d", f"t{n}", rng.choice([str.upper, str])(texts[i % len(texts)])) for n, i in enumerate(order)]
    gone = contaminated_items(trained, evaluated)
    assert find_overlaps([i for i in trained if i not in gone], evaluated) == []
    assert all(find_overlaps([item], evaluated) for item in gone)


def test_contaminated_items_agree_with_find_overlaps() -> None:
    """The gate's two sides are not alike: a reworded puzzle is near to an evaluated one, not the other way around."""
    words = " ".join(f"w{i}" for i in range(40))
    puzzle, reworded = Item("p", "1", f"{words} end"), Item("p", "2", f"{words} finish")
    identities = {"p": lambda q: "a puzzle" if q.endswith("end") else normalise(q)}
    assert [k.how for k in find_overlaps([reworded], [puzzle], identities)] == ["near"]
    assert contaminated_items([reworded], [puzzle], identities) == {reworded}
    assert (
        contaminated_items([puzzle], [reworded], identities)
        == set()
        == set(find_overlaps([puzzle], [reworded], identities))
    )


def test_a_shared_id_removes_no_other_item_with_that_question() -> None:
    trained = [Item("d", "1", "one thing"), Item("d", "2", "one thing"), Item("d", "3", "another")]
    assert contaminated_items(trained, [Item("d", "1", "something else")]) == {trained[0]}
    assert contaminated_items(trained, [Item("e", "1", "One thing")]) == set(trained[:2])


def test_check_overlaps_raises_and_names_the_questions() -> None:
    items = [Item("d", str(i), f"question {i}") for i in range(7)]
    with pytest.raises(ContaminationError, match=r"7 evaluation questions .* and 2 more .*--allow-contamination"):
        check_overlaps(items, items)
    assert len(check_overlaps(items, items, allow=True)) == 7
    assert check_overlaps(items[:3], items[3:]) == []
