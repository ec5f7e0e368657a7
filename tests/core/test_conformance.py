"""Each rule of `kkwarm check` has a fixture that breaks it, and a domain that keeps them all."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kkwarm.formats import BUILT_IN
from kkwarm.plugins import hookimpl, load
from kkwarm.testing import check_domain
from kkwarm.testing.conformance import RULES
from kkwarm.types import Domain, Example, Response, Rewards, Status, Target, Verdict, Verifier
from kkwarm.verify import Judge
from kkwarm.verify.audit import ATTACKS, HONEST, audit

ROWS = [Example(f"d/{i}", f"What is {i} + 1?", i + 1, "train" if i < 4 else "test", {"kind": "sum"}) for i in range(12)]


def exact(example: Example, response: Response) -> bool:
    return (response.answer or "").strip() == str(example.answer)


GOOD = Domain("d", lambda: ROWS, exact, lambda e: str(e.answer))
_calls = itertools.count()


def flaky(example: Example, response: Response) -> bool:
    return next(_calls) % 5 == 0


def mutating(example: Example, response: Response) -> bool:
    example.meta["seen"] = True  # type: ignore[index]
    return exact(example, response)


def noting(example: Example, response: Response) -> Verdict | None:
    """A `quick` that keeps its notes in the example: `Judge` guards `check` alone."""
    example.meta["seen"] = True  # type: ignore[index]
    return None


def unnumbered(example: Example, response: Response) -> Verdict:
    right = exact(example, response)
    return Verdict(Status.CORRECT if right else Status.WRONG, metrics={"how": "well"})  # type: ignore[dict-item]


def fragile(example: Example, response: Response) -> bool:
    (response.answer or "").encode("utf-8")  # a lone surrogate raises
    return exact(example, response)


def slow(example: Example, response: Response) -> bool:
    import time

    time.sleep(0.06)
    return exact(example, response)


def rows(**change: Callable[[int, Example], Any]) -> Callable[[], list[Example]]:
    return lambda: [replace(e, **{k: fn(i, e) for k, fn in change.items()}) for i, e in enumerate(ROWS)]


def walking_a_set() -> list[Example]:
    """The same here every time; another order in a process with another hash seed."""
    return list({e.id: e for name in {e.id for e in ROWS} for e in ROWS if e.id == name}.values())


def shuffled() -> list[Example]:
    turn = next(_calls) % len(ROWS)
    return ROWS[turn:] + ROWS[:turn]


class Mute:
    """A format that renders nothing and loses answers."""

    name = "mute"
    stop = ()

    def render(self, question: str, tokenizer: Any = None) -> str:
        return ""

    def compose(self, reasoning: str | None, answer: str) -> str:
        return "answer"

    def split(self, completion: Any) -> Response:
        return Response(completion.text, "", completion.text)


BREAKS: dict[str, Domain] = {
    "loads": replace(GOOD, load=lambda: []),
    "ids are unique": replace(GOOD, load=rows(id=lambda i, e: f"{i // 2}")),
    "a question has one answer": replace(GOOD, load=lambda: [*ROWS, replace(ROWS[-1], id="more", answer=99)]),
    "loading is deterministic": replace(GOOD, load=shuffled),
    "examples are JSON data": replace(GOOD, load=rows(answer=lambda i, e: (i,)), verifier=lambda e, r: True),
    "splits are disjoint": replace(GOOD, load=rows(question=lambda i, e: f"What is {i % 6}?")),
    "facets are given": replace(GOOD, facet="sort"),
    "prompts render": replace(GOOD, format="mute"),
    "the format round-trips": replace(GOOD, format="mute"),
    "gold answers are accepted": replace(GOOD, gold=lambda e: f"about {e.answer}"),
    "others' answers are rejected": replace(GOOD, verifier=lambda e, r: bool((r.answer or "").strip())),
    "empty answers are rejected": replace(GOOD, verifier=lambda e, r: exact(e, r) or not (r.answer or "").strip()),
    "the verifier is pure": replace(GOOD, verifier=flaky),
    "the verifier leaves examples alone": replace(
        GOOD, load=rows(meta=lambda i, e: {"kind": "sum"}), verifier=Verifier("d", exact, quick=noting)
    ),
    "the verifier survives odd input": replace(GOOD, verifier=fragile),
    "the reward table is complete": replace(GOOD, rewards=Rewards(timeout=float("nan"))),
    "correct is rewarded most": replace(GOOD, rewards=Rewards(correct=1.0, unparsed=1.0)),
    "verdicts are quick": replace(GOOD, verifier=slow, load=lambda: ROWS[:1] + ROWS[-1:]),
    "the benchmark runs in lm-eval": replace(GOOD, verifier=unnumbered),
}


def problems(domain: Domain) -> dict[str, str]:
    plugin = SimpleNamespace(kkwarm_domains=hookimpl(lambda: [domain]), kkwarm_formats=hookimpl(lambda: [Mute()]))
    with Judge() as court:
        return {f.rule: f.problem for f in check_domain(load([("p", plugin)]), "d", court) if not f.ok}


def test_every_rule_has_a_domain_that_breaks_it() -> None:
    assert set(BREAKS) == {"loads", *RULES}


def test_loading_is_tried_in_another_process() -> None:
    assert "another process" in problems(replace(GOOD, load=walking_a_set))["loading is deterministic"]


def test_a_good_domain_keeps_every_rule() -> None:
    assert problems(GOOD) == {}


@pytest.mark.parametrize("rule", ["loads", *RULES])
def test_each_rule_finds_the_domain_that_breaks_it(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kkwarm.testing.verdict_rules.SLOW_S", 0.05)
    assert problems(BREAKS[rule]).get(rule)


@pytest.mark.parametrize("verifier", [mutating, Verifier("d", exact, quick=noting)])
def test_a_verifier_that_changes_its_example_is_refused_by_name(verifier: Any) -> None:
    def fresh() -> list[Example]:
        return [replace(e, meta={"kind": "sum"}) for e in ROWS]

    found = problems(replace(GOOD, load=fresh, verifier=verifier))["the verifier leaves examples alone"]
    assert found == "verifier d of plugin p ((in memory)) changes the example that it judges"


def test_what_a_check_measured_and_shows() -> None:
    plugin = SimpleNamespace(kkwarm_domains=hookimpl(lambda: [GOOD]))
    with Judge() as court:
        findings = {f.rule: f for f in check_domain(load([("p", plugin)]), "d", court)}
    assert "What is" in findings["prompts render"].shown
    assert "ms a verdict" in findings["verdicts are quick"].note
    assert "malformed -2" in findings["the reward table is complete"].note


def attacked(check: Callable[[Example, Response], Any]) -> set[str]:
    fmt = BUILT_IN["think-answer"]
    golds = [str(e.answer) for e in ROWS]
    targets = [Target(e, g, [o for o in golds if o != g], fmt) for e, g in zip(ROWS, golds, strict=True)]
    with Judge() as court:
        misses, _ = audit(Verifier("v", check), fmt, targets, court, (*ATTACKS, *HONEST))
    return {m.attack for m in misses}


def test_the_red_team_finds_gullible_verifiers() -> None:
    assert attacked(exact) == set()
    assert "every answer at once" in attacked(lambda e, r: str(e.answer) in (r.answer or ""))
    assert "negated" in attacked(lambda e, r: (r.answer or "").endswith(f" {e.answer}") or exact(e, r))
    assert "gold only in the reasoning" in attacked(lambda e, r: f"is {e.answer}." in r.reasoning or exact(e, r))
    assert "empty" in attacked(lambda e, r: exact(e, r) or not r.answer)
    assert "placeholder" in attacked(lambda e, r: exact(e, r) or not (r.answer or "0").isdigit())
    assert "gold" in attacked(lambda e, r: False)


def test_a_verdict_counts_only_with_its_status() -> None:
    assert "gold" in attacked(lambda e, r: Verdict(Status.ERROR, r.answer))
