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
from kkwarm.types import Domain, Example, Response, Rewards, Verdict
from kkwarm.verify import Judge
from kkwarm.verify.audit import ATTACKS, HONEST, Target, audit

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


def fragile(example: Example, response: Response) -> bool:
    (response.answer or "").encode("utf-8")  # a lone surrogate raises
    return exact(example, response)


def slow(example: Example, response: Response) -> bool:
    import time

    time.sleep(0.06)
    return exact(example, response)


def rows(**change: Callable[[int, Example], Any]) -> Callable[[], list[Example]]:
    return lambda: [replace(e, **{k: fn(i, e) for k, fn in change.items()}) for i, e in enumerate(ROWS)]


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
    "loading is deterministic": replace(GOOD, load=shuffled),
    "examples are JSON data": replace(GOOD, load=rows(answer=lambda i, e: (i,)), verifier=lambda e, r: True),
    "splits are disjoint": replace(GOOD, load=rows(question=lambda i, e: f"What is {i % 6}?")),
    "prompts render": replace(GOOD, format="mute"),
    "the format round-trips": replace(GOOD, format="mute"),
    "gold answers are accepted": replace(GOOD, gold=lambda e: f"about {e.answer}"),
    "others' answers are rejected": replace(GOOD, verifier=lambda e, r: bool((r.answer or "").strip())),
    "empty answers are rejected": replace(GOOD, verifier=lambda e, r: exact(e, r) or not (r.answer or "").strip()),
    "the verifier is pure": replace(GOOD, verifier=flaky),
    "the verifier survives odd input": replace(GOOD, verifier=fragile),
    "correct is rewarded most": replace(GOOD, rewards=Rewards(correct=1.0, unparsed=1.0)),
    "verdicts are quick": replace(GOOD, verifier=slow, load=lambda: ROWS[:1] + ROWS[-1:]),
}


def problems(domain: Domain) -> dict[str, str]:
    plugin = SimpleNamespace(kkwarm_domains=hookimpl(lambda: [domain]), kkwarm_formats=hookimpl(lambda: [Mute()]))
    with Judge() as court:
        return {f.rule: f.problem for f in check_domain(load([("p", plugin)]), "d", court) if not f.ok}


def test_a_good_domain_keeps_every_rule() -> None:
    assert problems(GOOD) == {}


@pytest.mark.parametrize("rule", ["loads", *RULES])
def test_each_rule_finds_the_domain_that_breaks_it(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kkwarm.testing.conformance.SLOW_S", 0.05)
    assert problems(BREAKS[rule]).get(rule)


def test_a_verifier_that_changes_its_example_is_found() -> None:
    assert "it changed the example" in str(problems(replace(GOOD, verifier=mutating)))


def attacked(check: Callable[[Example, Response], Any]) -> set[str]:
    from kkwarm.types import Verifier

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
    from kkwarm.types import Status

    assert "gold" in attacked(lambda e, r: Verdict(Status.ERROR, r.answer))
