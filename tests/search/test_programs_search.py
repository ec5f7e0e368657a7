"""The adversarial search of programs finds readers that drop lines, or know one kind of fence only."""

import re

import pytest
from kkwarm_humaneval_plus.cases import GENERATORS

from kkwarm.protocols import PAPER
from kkwarm.types import Example, Response, Status, Target, Verdict, Verifier
from kkwarm.verify import Judge
from kkwarm.verify.search import Budget, make_scorer, search

SOLUTION = "def double(n):\n    return 2 * n\n"
EXAMPLE = Example("p/0", "Double a number.", {"entry_point": "double", "solution": SOLUTION})


def works(code: str) -> bool:
    """Whether the program, which the test has made itself, doubles 3."""
    space: dict[str, object] = {}
    try:
        exec(code, space)
        return space["double"](3) == 6  # type: ignore[operator]
    except BaseException:
        return False


def block(text: str, fence: str) -> str:
    found = re.search(fence + r"[^\n]*\n(.*?)(?:\n *" + fence + r"|\Z)", text, re.DOTALL)
    return found[1] if found else text


def drops_lines(text: str) -> bool:
    lines = block(text, "```").strip("\ufeff").split("\n")
    while lines and not works("\n".join(lines)):
        lines.pop()
    return bool(lines)


def knows_one_fence(text: str) -> bool:
    return works(block(text, "```"))


@pytest.mark.parametrize(
    ("reader", "kind", "outcome"),
    [(drops_lines, "broken line", "wrongly accepted"), (knows_one_fence, "program in a text", "wrongly rejected")],
)
def test_it_finds_a_faulty_reader(reader: object, kind: str, outcome: str) -> None:
    def check(example: Example, response: Response) -> Verdict:
        assert callable(reader)
        return Verdict(Status.CORRECT if reader(response.answer or "") else Status.WRONG)

    targets = [Target(EXAMPLE, SOLUTION, (), PAPER)]
    with Judge(1) as judge:
        found = search(make_scorer(Verifier("planted", check), judge), targets, GENERATORS[:1], Budget(200, shrunk=1))
    assert (kind, outcome) in {(c.case.kind, c.outcome) for c in found.counterexamples}
