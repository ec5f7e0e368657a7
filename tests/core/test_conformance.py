"""Each rule of `kkwarm check` has a domain that breaks it; one domain passes them all."""

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kkwarm.cli import main
from kkwarm.plugins import hookimpl, load
from kkwarm.protocols import BUILT_IN, PAPER, TextReader
from kkwarm.testing import assert_conforms, check_domain
from kkwarm.testing.conformance import RULES
from kkwarm.types import Completion, Domain, Example, Protocol, Response, Rewards, Status, Target, Verdict, Verifier
from kkwarm.verify import Judge, program_verifier
from kkwarm.verify.probes import ACCEPT_PROBES, PROBES, probe_domain, probe_verifier
from kkwarm.verify.search import Budget, search_domain

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
    """A `precheck` that modifies the example. `Judge` detects that for `check` only."""
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
    """A reader that loses answers."""

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
    "facets are present": replace(GOOD, facet="sort"),
    "prompts render": replace(GOOD, protocol="mute"),
    "the protocol round-trips": replace(GOOD, protocol="mute"),
    "gold answers are accepted": replace(GOOD, gold=lambda e: f"about {e.answer}"),
    "answers of other examples are rejected": replace(GOOD, verifier=lambda e, r: bool((r.answer or "").strip())),
    "empty answers are rejected": replace(GOOD, verifier=lambda e, r: exact(e, r) or not (r.answer or "").strip()),
    "the verifier is pure": replace(GOOD, verifier=flaky),
    "the verifier does not modify examples": replace(
        GOOD, load=rows(meta=lambda i, e: {"kind": "sum"}), verifier=Verifier("d", exact, precheck=noting)
    ),
    "the verifier survives odd input": replace(GOOD, verifier=fragile),
    "the reward table is complete": replace(GOOD, rewards=Rewards(timeout=float("nan"))),
    "correct has the highest reward": replace(GOOD, rewards=Rewards(correct=1.0, unparsed=1.0)),
    "right answers earn the most": replace(GOOD, reward=lambda v, e: -1.0 if v.correct else -2.0 + len(v.answer or "")),
    "rewards are deterministic": replace(GOOD, reward=lambda v, e: 2.0 if v.correct else -2.0 - next(_calls)),
    "verdicts are fast": replace(GOOD, verifier=slow, load=lambda: ROWS[:1] + ROWS[-1:]),
    "waivers name probes": replace(GOOD, waivers={"negate": "a word that is no probe"}),
    "the benchmark runs in lm-eval": replace(GOOD, verifier=unnumbered),
}


def int_checker(given: str, output: str, expected: str) -> bool:
    return int(output) == int(expected)


def with_examples(*examples: Any) -> Domain:
    return replace(GOOD, load=lambda: list(examples))


_LONG = (
    "Under the old tree behind the school somebody left a basket with fruit of which the children like one best. They "
    "tried each of them in turn on the way home, threw away what was sour or too soft, kept the rest for their little "
    "brothers, and told nobody where all of it had come from until the next day."
)
_used_up = iter(ROWS)
_judged: set[str] = set()


def remembering(example: Example, response: Response) -> bool:
    """Returns True for the first answer to each example only."""
    first = example.id not in _judged
    _judged.add(example.id)
    return first and exact(example, response)


# Typical mistakes of authors -> (domain, rule that reports it, part of the message).
MISTAKES: dict[str, tuple[Domain, str, str]] = {
    "a reader that needs tags and does not say so": (
        replace(GOOD, protocol="tags"),
        "the protocol round-trips",
        "give it the attribute reads_tags = True",
    ),
    "load returns nothing": (replace(GOOD, load=lambda: None), "loads", "load() returned None"),  # type: ignore[arg-type,return-value]
    "rows that are no examples": (
        with_examples({"id": "1"}),
        "loads",
        "returned a dict; it must return kkwarm.types.Example",
    ),
    "a number as id": (with_examples(Example(7, "?", 1)), "loads", "example 0 has the id 7"),  # type: ignore[arg-type]
    "no id": (with_examples(Example("", "?", 1)), "loads", "has the id ''"),
    "an id that cannot be hashed": (with_examples(Example(["a"], "?", 1)), "loads", "the id ['a']"),  # type: ignore[arg-type]
    "no question": (with_examples(Example("a", " ", 1)), "loads", "the question of a is ' '"),
    "messages as question": (with_examples(Example("a", [{}], 1)), "loads", "questions are non-empty text"),  # type: ignore[arg-type]
    "no meta": (with_examples(Example("a", "?", 1, meta=None)), "loads", "the meta of a is None"),  # type: ignore[arg-type]
    "a file that is missing": (
        replace(GOOD, load=lambda: Path("no/rows.csv").read_text()),  # type: ignore[arg-type,return-value]
        "loads",
        "No such file or directory: 'no/rows.csv' (test_conformance.py, line",
    ),
    "an iterator": (replace(GOOD, load=lambda: _used_up), "loading is deterministic", "iterator that is used up"),
    "all for training": (replace(GOOD, load=rows(split=lambda i, e: "train")), "splits are disjoint", "no example has"),
    "a training question with other options": (
        with_examples(
            *ROWS,
            Example("x", f"{_LONG} Which of these is it? apple, pear, plum", 1, "train"),
            Example("y", f"{_LONG} Which of these is it? cherry, pear, plum", 1),
        ),
        "splits are disjoint",
        "train x is too similar to test y (near), so the contamination check will stop training",
    ),
    "meta that is no JSON": (
        replace(GOOD, load=rows(meta=lambda i, e: {"tags": {"a"}})),
        "examples are JSON data",
        "meta of d/0 is not JSON data: Object of type set",
    ),
    "braces": (
        replace(GOOD, load=rows(question=lambda i, e: f"{{context}} {e.question}")),
        "prompts render",
        "every question contains {context}",
    ),
    "one prompt for all": (
        replace(GOOD, protocol="deaf"),
        "prompts render",
        "have different questions and the same prompt",
    ),
    "a reader of its own expression": (replace(GOOD, protocol="digit"), "the protocol round-trips", "no digit"),
    "gold that is no text": (replace(GOOD, gold=lambda e: e.answer), "the protocol round-trips", "it must return text"),
    "gold that fails for one in four hundred": (
        replace(
            GOOD,
            load=lambda: [Example(f"{i}", f"What is {i} + 1?", i + 1) for i in range(400)],
            verifier=lambda e, r: exact(e, r) and e.id != "77",
        ),
        "gold answers are accepted",
        "the gold answer of 77, '78', has the verdict wrong",
    ),
    "no gold": (replace(GOOD, gold=None), "gold answers are accepted", "has no gold"),
    "one answer everywhere": (
        replace(GOOD, load=rows(answer=lambda i, e: "yes")),
        "answers of other examples are rejected",
        "all 12 gold answers are 'yes'",
    ),
    "a verifier that remembers": (
        replace(GOOD, verifier=remembering),
        "the verifier is pure",
        "changes between two calls: correct, then wrong",
    ),
    "a verifier that returns nothing": (
        replace(GOOD, verifier=lambda e, r: True if exact(e, r) else None),  # type: ignore[arg-type,return-value]
        "the verifier survives odd input",
        "it returned NoneType, neither a Verdict nor a bool",
    ),
    "int() of whatever was written": (
        replace(GOOD, verifier=lambda e, r: int(r.answer or 0) == e.answer),
        "the verifier survives odd input",
        "ValueError: invalid literal for int()",
    ),
}


class Digit:
    """A reader that reads less than it composes."""

    def compose(self, reasoning: str | None, answer: str) -> str:
        return answer

    def split(self, completion: Any) -> Response:
        match = re.fullmatch(r"\d", completion.text)
        return Response(completion.text, "", match and match[0], problem="" if match else "no digit")


class Tags:
    """A reader that needs tags and does not say so."""

    def compose(self, reasoning: str | None, answer: str) -> str:
        return f"{reasoning or ''}</think>{answer}"

    def split(self, completion: Any) -> Response:
        reasoning, tag, answer = completion.text.partition("</think>")
        return Response(completion.text, reasoning, answer, True, problem="" if tag else "no tag")


PROTOCOLS = [
    Protocol("tags", Tags()),
    Protocol("mute", Mute(), text=lambda messages: ""),
    Protocol("deaf", TextReader(), text=lambda messages: "{question}"),
    Protocol("digit", Digit()),
]


def problems(domain: Domain) -> dict[str, str]:
    protocols = hookimpl(lambda: PROTOCOLS)
    plugin = SimpleNamespace(kkwarm_domains=hookimpl(lambda: [domain]), kkwarm_protocols=protocols)
    with Judge() as judge:
        return {f.rule: f.problem for f in check_domain(load([("p", plugin)]), "d", judge) if not f.ok}


def test_every_rule_has_a_domain_that_breaks_it() -> None:
    assert set(BREAKS) == {"loads", *RULES}


def test_loading_is_tried_in_another_process() -> None:
    assert "another process" in problems(replace(GOOD, load=walking_a_set))["loading is deterministic"]


def test_a_good_domain_passes_every_rule() -> None:
    assert problems(GOOD) == {}


@pytest.mark.parametrize("rule", ["loads", *RULES])
def test_each_rule_finds_the_domain_that_breaks_it(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if rule == "verdicts are fast":
        monkeypatch.setattr("kkwarm.testing.rules.SLOW_S", 0.05)
    assert problems(BREAKS[rule]).get(rule)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_of_authors_are_named(mistake: str) -> None:
    domain, rule, message = MISTAKES[mistake]
    assert message in problems(domain).get(rule, "")


def test_a_slow_verifier_stops_further_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kkwarm.testing.rules.SLOW_S", 0.05)
    assert list(problems(replace(GOOD, verifier=slow))) == ["verdicts are fast"]


def test_braces_in_code_and_formulas_are_not_placeholders() -> None:
    texts = [r"\frac{a}{b} of x_{n} and \text{cm}, {%d}", 'print(f"{%d}")', "{%d: {}}"]
    for text in texts:
        changed = replace(GOOD, load=rows(question=lambda i, e, text=text: text % i))  # type: ignore[misc]
        assert "prompts render" not in problems(changed)


def test_a_waived_probe_runs_and_does_not_fail() -> None:
    lenient = replace(GOOD, verifier=lambda e, r: exact(e, r) or (r.answer or "").endswith(f"not {e.answer}"))
    waived = replace(lenient, waivers={"negated": "a joke", "any domain: negated": "a joke", "placeholder": "needless"})
    assert problems(waived) == {}
    plugin = SimpleNamespace(kkwarm_domains=hookimpl(lambda: [waived]))
    reg = load([("p", plugin)])
    with Judge() as judge:
        report = probe_domain(reg, "d", 4, judge)
        found = search_domain(reg, "d", 4, judge, Budget(200))
    assert (report.failures, report.waived) == ([], {"placeholder": 0, "negated": 4})
    why = "no completions for these examples"
    assert report.not_applicable == {"homoglyphs": why, "gold answer rearranged": why}
    assert found.waived and {c.name for c in found.waived} == {"any domain: negated"} and not found.counterexamples


def test_check_prints_each_waiver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lenient = replace(GOOD, verifier=lambda e, r: exact(e, r) or (r.answer or "").endswith(f"not {e.answer}"))
    waivers = {"negated": "a joke", "any domain: negated": "a joke too", "placeholder": "needless"}
    plugin = SimpleNamespace(kkwarm_domains=hookimpl(lambda: [replace(lenient, waivers=waivers)]))
    reg = load([("p", plugin)])
    monkeypatch.setattr("kkwarm.plugins.registry", lambda: reg)
    monkeypatch.setattr("kkwarm.testing.conformance.RULES", {})  # the rules have tests of their own
    monkeypatch.setenv("COLUMNS", "160")
    for args in ((), ("--json",)):
        with pytest.raises(SystemExit) as ended:
            main(["check", "d", *args])
        assert ended.value.code == 0
        out = capsys.readouterr().out
        if args:
            rows = {row["probe"]: (row["reason"], row["wrong"] > 0) for row in json.loads(out)["waived"]}
            assert rows == {n: (why, n != "placeholder") for n, why in waivers.items()}
        else:
            assert re.search(r"waived: negated: a joke \(\d+ wrong verdicts\)", out)
            assert "waived: placeholder: needless (no wrong verdict, so it may be removed)" in out
            assert "not applicable: homoglyphs, gold answer rearranged (no completions for these examples)" in out


@pytest.mark.parametrize("waivers", [{"negated": " "}, {"negated": 1}, ["negated"]])
def test_a_waiver_without_a_reason_is_refused(waivers: Any) -> None:
    plugin = SimpleNamespace(kkwarm_domains=hookimpl(lambda: [replace(GOOD, waivers=waivers)]))
    (failure,) = load([("p", plugin)]).failures
    assert "domain 'd': waivers " in failure.cause


def test_a_right_program_is_no_attack() -> None:
    """One-line programs, to which editing text does nothing: ``not print(6)`` prints 6."""
    texts = {"double": "print(2 * int(input()))", "triple": "print(3 * int(input()))"}
    examples = [
        Example("d/double", "Write a program that doubles a number.", {"tests": [{"input": "3", "output": "6"}]}),
        Example("d/triple", "Print three times what is read.", {"tests": [{"input": "3", "output": "9"}]}),
    ]
    domain = Domain("d", lambda: examples, program_verifier("d"), lambda e: texts[e.id[2:]])
    reg = load([("p", SimpleNamespace(kkwarm_domains=hookimpl(lambda: [domain])))])
    with Judge() as judge:
        report = probe_domain(reg, "d", 2, judge)
        found = search_domain(reg, "d", 2, judge, Budget(64))
        negated = judge.verify(
            reg.verifier("d"), PAPER, [(examples[0], Completion(PAPER.compose("so", f"not {texts['double']}")))]
        )
    assert report.failures == found.counterexamples == []
    assert {"program that cheats", "right program in other forms"} < set(report.counts)
    assert report.not_applicable["negated"] == "they edit text, and the answers are programs"
    assert set(found.cases) == {"any program"} and found.n_cases == 64
    assert negated[0].correct  # which the probe for text would report


def test_a_checker_that_fails_on_odd_output_is_found() -> None:
    examples = [Example(f"d/{n}", f"Print {n}.", {"tests": [{"output": str(n)}]}) for n in (17, 18)]
    domain = Domain("d", lambda: examples, program_verifier("d", compare=int_checker), lambda e: f"print({e.id[2:]})")
    assert "ValueError: invalid literal for int()" in problems(domain)["the verifier survives odd input"]


def test_assert_conforms_runs_the_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    lenient = replace(GOOD, verifier=lambda e, r: exact(e, r) or (r.answer or "").endswith(f"not {e.answer}"))
    for domain, passes in ((GOOD, True), (lenient, False)):
        plugin = SimpleNamespace(kkwarm_domains=hookimpl(lambda domain=domain: [domain]))
        reg = load([("p", plugin)])
        monkeypatch.setattr("kkwarm.testing.assertions.registry", lambda reg=reg: reg)
        if passes:
            assert_conforms("d")
        else:
            with pytest.raises(AssertionError, match=r"wrongly accepted for d/\d+ \(negated\): .* not "):
                assert_conforms("d")


@pytest.mark.parametrize("verifier", [mutating, Verifier("d", exact, precheck=noting)])
def test_a_verifier_that_modifies_its_example_is_named(verifier: Any) -> None:
    def fresh() -> list[Example]:
        return [replace(e, meta={"kind": "sum"}) for e in ROWS]

    problem = problems(replace(GOOD, load=fresh, verifier=verifier))["the verifier does not modify examples"]
    assert problem == "verifier d of plugin p ((in memory)) modifies the example"


def test_findings_have_measurements_and_a_prompt() -> None:
    plugin = SimpleNamespace(kkwarm_domains=hookimpl(lambda: [GOOD]))
    with Judge() as judge:
        findings = {f.rule: f for f in check_domain(load([("p", plugin)]), "d", judge)}
    assert "What is" in findings["prompts render"].shown
    assert "ms per verdict" in findings["verdicts are fast"].note
    assert "malformed -2" in findings["the reward table is complete"].note


def probed(check: Callable[[Example, Response], Any]) -> set[str]:
    protocol = BUILT_IN["paper"]
    golds = [str(e.answer) for e in ROWS]
    targets = [Target(e, g, [o for o in golds if o != g], protocol) for e, g in zip(ROWS, golds, strict=True)]
    with Judge() as judge:
        failures, _ = probe_verifier(Verifier("v", check), protocol, targets, judge, (*PROBES, *ACCEPT_PROBES))
    return {m.probe for m in failures}


def test_probes_find_lenient_verifiers() -> None:
    assert probed(exact) == set()
    assert "every answer at once" in probed(lambda e, r: str(e.answer) in (r.answer or ""))
    assert "negated" in probed(lambda e, r: (r.answer or "").endswith(f" {e.answer}") or exact(e, r))
    assert "gold answer only in the reasoning" in probed(lambda e, r: f"is {e.answer}." in r.reasoning or exact(e, r))
    assert "empty" in probed(lambda e, r: exact(e, r) or not r.answer)
    assert "placeholder" in probed(lambda e, r: exact(e, r) or not (r.answer or "0").isdigit())
    assert "gold answer" in probed(lambda e, r: False)


def test_a_verdict_counts_only_with_its_status() -> None:
    assert "gold answer" in probed(lambda e, r: Verdict(Status.ERROR, r.answer))
