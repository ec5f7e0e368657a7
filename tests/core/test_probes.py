"""The built-in probes catch verifiers that are broken in the usual ways, and report nothing for a correct one."""

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kkwarm.plugins import hookimpl, load
from kkwarm.protocols import BUILT_IN
from kkwarm.types import Domain, Example, Response, Verifier
from kkwarm.verify import Judge
from kkwarm.verify.probes import (
    ACCEPT_PROBES,
    PROBES,
    extensions,
    make_targets,
    other_numbers,
    parts,
    probe_verifier,
    python_expressions,
    rearrangements,
)

GOLDS: dict[str, list[Any]] = {
    "integers": [5, -3, 12, 40, 7, 100, -8, 61],
    "decimals": [0.5, -3.25, 12.75, 40.1, 7.9, -8.125, 61.3, 250.6],
    "words": ["Paris", "New York", "Monday", "blue", "Ada Lovelace", "iron", "Oslo", "seven"],
    "letters": list("ABCDACBD"),
    "lists": ["3 4 5", "9 1", "2 2 7", "8 3 1 6", "5 4", "1 0 2", "7 7 3", "4 9 0"],
    "tuples": ["(1, 2)", "(3, -4)", "(0, 5)", "(7, 1)", "(9, 4)", "(6, 3)", "(-1, 1)", "(4, 0)"],
}
Rule = Callable[[str, str], bool]  # (gold answer, given answer) -> accepted


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text) if len(text) < 50 else None
    except InvalidOperation:
        return None


def _off_by_at_most(share: float) -> Rule:
    def rule(gold: str, answer: str) -> bool:
        g, a = _number(gold), _number(answer)
        return g is not None and a is not None and a.is_finite() and abs(a - g) <= abs(g) * Decimal(share)

    return rule


def _evaluates(gold: str, answer: str) -> bool:
    if len(answer) > 200 or "**" in answer or "^" in answer:  # the probe "expensive answer" catches it too, but slowly
        return False
    try:
        return str(eval(answer, {})) == gold
    except Exception:
        return False


def _last_number(gold: str, answer: str) -> bool:
    return re.findall(r"-?\d+(?:\.\d+)?", answer)[-1:] == [gold]


_EXACT = "integers words letters lists tuples"
_FIGURES = re.compile(r"-?\d+")
BROKEN: dict[str, tuple[Rule, str]] = {
    "substring": (lambda g, a: g in a, "integers decimals words letters lists tuples"),
    "contained but for case": (lambda g, a: g.casefold() in a.casefold(), "words letters"),
    "last number": (_last_number, "integers decimals"),
    "pattern without an end": (lambda g, a: re.match(re.escape(g), a) is not None, _EXACT),
    "pattern without a start": (lambda g, a: a.endswith(g), _EXACT),
    "eval": (_evaluates, "integers decimals words lists tuples"),
    "right when empty": (lambda g, a: not a, _EXACT),
    "within a tenth": (_off_by_at_most(0.1), "integers decimals"),
    "within a hundredth": (_off_by_at_most(0.01), "integers decimals"),
    "minus dropped": (lambda g, a: a.lstrip("-") == g.lstrip("-"), "integers decimals"),
    "figures only": (lambda g, a: re.sub(r"\D", "", a) == re.sub(r"\D", "", g), "integers decimals tuples"),
    "letters only": (lambda g, a: re.sub("[^A-Za-z]", "", a) == re.sub("[^A-Za-z]", "", g) != "", "words letters"),
    "compared as sets": (lambda g, a: set(a.split()) == set(g.split()), "lists"),
    "compared as sets of letters": (lambda g, a: set(a) == set(g), "integers words lists tuples"),
    "compared sorted": (lambda g, a: sorted(_FIGURES.findall(a)) == sorted(_FIGURES.findall(g)), "lists tuples"),
    "arguments swapped": (lambda g, a: a in g, _EXACT),
    "arguments swapped, not empty": (lambda g, a: a != "" and a in g, "integers words lists"),
}  # fmt: skip


def failures(golds: list[Any], rule: Rule, *, tolerance: float = 0.0) -> list[str]:
    """Names of the probes that fail for a verifier that accepts the gold answer and whatever `rule` accepts."""

    def check(example: Example, response: Response) -> bool:
        gold, answer = str(example.answer), (response.answer or "").strip()
        return answer == gold or rule(gold, answer)

    rows = [Example(f"d/{i}", f"Question {i}?", gold) for i, gold in enumerate(golds)]
    domain = Domain("d", lambda: rows, Verifier("d", check, tolerance=tolerance), lambda e: str(e.answer))
    reg = load([("p", SimpleNamespace(kkwarm_domains=hookimpl(lambda: [domain])))])
    probes = [a for a in (*PROBES, *ACCEPT_PROBES) if a.name != "one megabyte"]  # it only takes time here
    with Judge(1) as judge:
        failed, counts = probe_verifier(reg.verifier("d"), BUILT_IN["paper"], make_targets(reg, "d", 6), judge, probes)
    assert all(f.expect == "reject" for f in failed)
    assert sum(counts.values()) > 200
    return sorted({f.probe for f in failed})


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in BROKEN for kind in BROKEN[name][1].split()])
def test_a_broken_verifier_is_caught(name: str, kind: str) -> None:
    assert failures(GOLDS[kind], BROKEN[name][0])


@pytest.mark.parametrize("kind", GOLDS)
def test_a_correct_verifier_has_no_failures(kind: str) -> None:
    assert failures(GOLDS[kind], lambda gold, answer: False) == []


def test_answers_within_the_declared_tolerance_are_no_failures() -> None:
    def near(gold: str, answer: str) -> bool:
        g, a = _number(gold), _number(answer)
        return g is not None and a is not None and a.is_finite() and abs(a - g) <= Decimal("0.5")

    assert failures(GOLDS["integers"], near, tolerance=0.5) == []
    assert failures(GOLDS["decimals"], near, tolerance=0.5) == []
    assert (
        failures([60.05, 60.06, 18.02, 18.01, 44.01, 98.08], near, tolerance=0.5) == []
    )  # other gold answers are near
    assert failures(GOLDS["decimals"], near, tolerance=0.1) == ["other number"]


@given(st.decimals(-9999, 9999, places=3).map(lambda d: f"{d.normalize():f}"), st.sampled_from([0.0, 0.01, 2.5]))
def test_other_numbers_are_outside_the_tolerance(gold: str, tolerance: float) -> None:
    numbers = list(other_numbers(gold, tolerance))
    assert len(numbers) >= 4
    assert all(abs(Decimal(other) - Decimal(gold)) > Decimal(str(tolerance)) for other in numbers)


@given(st.one_of(st.from_regex(r"-?[0-9]{1,4}( -?[0-9]{1,4}){1,3}", fullmatch=True), st.text(max_size=90)))
def test_no_probe_repeats_the_gold_answer(gold: str) -> None:
    for answers in (parts, extensions, rearrangements, python_expressions):
        assert gold not in list(answers(gold))
