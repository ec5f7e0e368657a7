"""The adversarial search of `kk` finds each planted fault, and nothing on the verifier itself."""

import random
import re
from collections.abc import Callable

import pytest
from kkwarm_kk.cases import GENERATORS
from kkwarm_kk.english import parse
from kkwarm_kk.puzzle import solve
from kkwarm_kk.verifier import check
from planted import kinds, reads, refuses, run

from kkwarm.protocols import PAPER
from kkwarm.types import Example, Response, Status, Target, Verdict

GOLD = {"Zoey": "knight", "Bob": "knave"}

LENIENT: dict[str, Callable[[str], str]] = {
    "introductions are dropped": lambda a: re.sub(r"\A[^\n]*:\n", "", a),
    "words before the first name are dropped": lambda a: re.sub(r"\A(?:[A-Z]?[a-z']+ )+(?=[A-Z])", "", a),
    "closing sentences are dropped": lambda a: re.sub(r"\n[A-Z][^\n]*\.\Z", "", a),
    "negations are dropped": lambda a: re.sub(r"\b(?:not|never|no|hardly) ", "", a),
    "hedges are dropped": lambda a: re.sub(r"\b(?:maybe|possibly|almost|supposed) ", "", a),
    "question marks are dropped": lambda a: a.replace("?", ""),
    "signs of logic are dropped": lambda a: re.sub("[~\u00ac!]", "", a),
    "prefixes are dropped": lambda a: re.sub(r"\b(?:non|anti|pseudo|un)-?(?=kn)", "", a),
    "the last line is dropped": lambda a: a.rpartition("\n")[0],
    "the first line is dropped": lambda a: a.partition("\n")[2],
    "unknown people are dropped": lambda a: re.sub(r"(?:\n|\. |, |\A)(?:Only )?Nemo is a \w+", "", a),
    "the first of two roles counts": lambda a: re.sub(r"(knight|knave)(?: or a |/)(?:knight|knave)", r"\1", a),
    "everyone is dropped": lambda a: re.sub(r"(?:Everyone is a \w+|All of them are \w+)", "", a),
    "what is said of a person is dropped": lambda a: a.replace(" says that", ",").replace("'s claim", ""),
}  # fmt: skip
STRICT: dict[str, Callable[[str], bool]] = {
    "tables": lambda a: "|" in a,
    "tables with a row of names": lambda a: a.startswith("| ") and "Role" not in a,
    "records": lambda a: a.startswith("{"),
    "nobody in brackets": lambda a: "(none)" in a,
    "boxes": lambda a: "\\boxed" in a,
    "bold names": lambda a: "**:" in a,
    "capital letters": lambda a: a.isupper(),
    "groups": lambda a: "Knights:" in a,
    "introductions": lambda a: "answer" in a,
    "roles in brackets": lambda a: "(kn" in a,
}  # fmt: skip


@pytest.mark.parametrize("fault", LENIENT)
def test_it_finds_a_lenient_reader(fault: str) -> None:
    assert kinds(reads(check, LENIENT[fault]), GENERATORS, GOLD, "")


@pytest.mark.parametrize("fault", STRICT)
def test_it_finds_a_strict_reader(fault: str) -> None:
    assert kinds(refuses(check, STRICT[fault]), GENERATORS, GOLD, "", outcome="wrongly rejected")


def test_it_finds_that_people_may_be_left_out() -> None:
    def planted(example: Example, response: Response) -> Verdict:
        verdict = check(example, response)
        silent = verdict.status is Status.WRONG and "says nothing about" in verdict.reason
        return Verdict(Status.CORRECT) if silent else verdict

    assert "incomplete" in kinds(planted, GENERATORS, GOLD, "incomplete")


def test_it_finds_introductions_in_free_text_that_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kkwarm_kk.verifier._find_other_word", lambda segment: "")
    wanted = "denied before in free text"
    assert wanted in kinds(check, GENERATORS, GOLD, wanted)


def test_it_finds_nothing_on_the_verifier() -> None:
    assert [c.case.completion for c in run(check, GENERATORS, GOLD, cases=1_280, seed=1)] == []


def test_labels_come_from_the_solver() -> None:
    """An assignment is labelled correct exactly if it is the puzzle's only solution."""
    target = Target(Example("x/0", "?", GOLD), "", (), PAPER)
    accepted = 0
    for seed in range(200):
        case = GENERATORS[0].generate(target, random.Random(seed))
        assert case is not None and case.example is not None
        puzzle, names = parse(case.example.question)
        (roles,) = solve(puzzle)
        assert case.example.answer == dict(zip(names, ["knave", "knight"], strict=False)) | {
            name: "knight" if knight else "knave" for name, knight in zip(names, roles, strict=True)
        }
        accepted += case.expect == "accept"
    assert 10 < accepted < 100
