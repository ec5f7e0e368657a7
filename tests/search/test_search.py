"""The adversarial search: reproducible cases, shrunk counterexamples, and faults planted in a verifier."""

import json
import random
import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from kkwarm.errors import KkwarmError
from kkwarm.plugins import Registry, hookimpl, load
from kkwarm.protocols import BUILT_IN, PAPER
from kkwarm.testing.rules import RULES
from kkwarm.types import Case, CaseGenerator, Completion, Domain, Example, Response, Target, Verdict, Verifier
from kkwarm.verify import Judge
from kkwarm.verify.mutations import GENERATORS, change_digits
from kkwarm.verify.search import Budget, RecordedRandom, SearchResult, make_scorer, search, search_domain

Rule = Callable[[str, str], bool]  # (gold answer, given answer) -> accepted
NUMBERS = ("5", "-3", "12", "40", "7.25", "100", "-8", "61")
NAMES = ("Paris", "Oslo", "Monday", "Ada Lovelace", "iron", "blue", "New York", "Quito")


def _registry(golds: tuple[str, ...], rule: Rule, generators: tuple[CaseGenerator, ...] = ()) -> Registry:
    def check(example: Example, response: Response) -> bool:
        answer = (response.answer or "").strip()
        return answer == example.answer or rule(str(example.answer), answer)

    rows = [Example(f"d/{i}", f"Question {i}?", gold) for i, gold in enumerate(golds)]
    domain = Domain("d", lambda: rows, Verifier("d", check), lambda e: str(e.answer))
    module = SimpleNamespace(
        kkwarm_domains=hookimpl(lambda: [domain]), kkwarm_case_generators=hookimpl(lambda: list(generators))
    )
    return load([("p", module)])


def run(
    golds: tuple[str, ...], rule: Rule, *generators: CaseGenerator, cases: int = 400, seed: int = 0
) -> SearchResult:
    with Judge(1) as judge:
        return search_domain(_registry(golds, rule, generators), "d", 8, judge, Budget(cases, seed=seed))


# Faults of verifiers in use -> the accepting rule, and a kind of case that exposes it.
PLANTED: dict[str, tuple[Rule, str]] = {
    "substring": (lambda g, a: g in a, "negated"),
    "last number": (lambda g, a: re.findall(r"-?[0-9.]*[0-9]", a)[-1:] == [g], "several answers"),
    "first number": (lambda g, a: re.findall(r"-?[0-9.]*[0-9]", a)[:1] == [g], "hedged"),
    "words next to a number are dropped": (lambda g, a: re.sub(r"[A-Za-z ,]+", "", a) == g, "negated"),
    "punctuation is dropped": (lambda g, a: re.sub(r"[^\w. -]", "", a) == g, "hedged"),
    "the last line counts": (lambda g, a: a.split("\n")[-1] == g, "several answers"),
    "the sign is dropped": (lambda g, a: a.lstrip("-") == g.lstrip("-"), "another number"),
    "a pattern without an end": (lambda g, a: re.match(re.escape(g), a) is not None, "characters attached"),
    "Unicode digits": (lambda g, a: a.replace("\u0663", "") == g, "characters attached"),
    "invisible characters end an answer": (lambda g, a: a.split("\u200b")[0] == g, "characters attached"),
    "the first of several": (lambda g, a: re.split(r" or |,", a)[0] == g, "several answers"),
    "what is said first": (lambda g, a: a.startswith(f"{g}, "), "answer replaced"),
}


@pytest.mark.parametrize("fault", PLANTED)
@pytest.mark.parametrize("golds", [NUMBERS, NAMES], ids=["numbers", "names"])
def test_it_finds_planted_faults(fault: str, golds: tuple[str, ...]) -> None:
    rule, kind = PLANTED[fault]
    if golds is NAMES and ("number" in fault or kind == "another number"):
        pytest.skip("a fault of numbers")
    found = run(golds, rule).counterexamples
    assert kind in {c.case.kind for c in found}
    assert all(c.outcome == "wrongly accepted" for c in found)


@pytest.mark.parametrize("golds", [NUMBERS, NAMES], ids=["numbers", "names"])
def test_a_correct_verifier_has_no_counterexample(golds: tuple[str, ...]) -> None:
    result = run(golds, lambda gold, answer: False, cases=1_000)
    assert result.counterexamples == [] and result.n_cases > 700


def test_a_verifier_that_is_too_strict_is_found() -> None:
    generator = CaseGenerator("strict", lambda t, rng: Case(t.compose(f"{t.gold}."), "accept", "full stop"))
    (found,) = run(NAMES, lambda gold, answer: False, generator, cases=64).counterexamples
    assert (found.outcome, found.case.kind, found.count) == ("wrongly rejected", "full stop", 64)


def test_a_verifier_that_fails_is_found() -> None:
    def rule(gold: str, answer: str) -> bool:
        return int(answer) == 0 if answer.startswith("not ") else False

    outcomes = {c.outcome for c in run(NUMBERS, rule).counterexamples}
    assert outcomes == {"the verifier failed"}


# -- shrinking ---------------------------------------------------------------------------------------------------------


def _digits(target: Target, rng: random.Random) -> Case:
    text = "".join(rng.choice("0123456789") for _ in range(rng.randrange(40)))
    return Case(target.compose(f"{text}x"), "reject", "digits")


def test_counterexamples_are_shrunk() -> None:
    found = run(NAMES, lambda gold, answer: answer.count("7") >= 2, CaseGenerator("digits", _digits)).counterexamples
    (smallest,) = [c for c in found if c.case.kind == "digits"]
    assert smallest.case.completion == " some reasoning </think> <answer> 77x </answer>"


def test_a_shrunk_case_keeps_its_own_label() -> None:
    """The label is the parity of the number: only odd numbers are counterexamples, also after shrinking."""

    def generate(target: Target, rng: random.Random) -> Case:
        number = rng.randrange(1_000)
        return Case(target.compose(f"{number}"), "reject" if number % 2 else "accept", "parity")

    found = run(NAMES, lambda gold, answer: answer.isdigit(), CaseGenerator("parity", generate)).counterexamples
    assert [c.case.completion.split()[-2] for c in found if c.case.kind == "parity"] == ["1"]


def test_replayed_draws_give_the_same_case() -> None:
    def draw(rng: random.Random) -> tuple[object, ...]:
        return rng.randrange(1000), rng.choice("abc"), rng.random(), rng.choices(range(50), k=5), rng.gauss(0, 1)

    first = RecordedRandom("seed")
    made = draw(first)
    assert draw(RecordedRandom("", first.draws)) == made
    assert draw(RecordedRandom("", []))[:3] == (0, "a", 0.0)


def test_a_generator_without_end_is_left_out() -> None:
    def endless(target: Target, rng: random.Random) -> Case:
        while rng.randrange(10) != 11:
            pass
        raise AssertionError

    assert run(NAMES, lambda g, a: False, CaseGenerator("endless", endless), cases=2).cases["endless"] == {}


# -- budgets, free text, own examples, errors --------------------------------------------------------------------------


def test_cases_depend_on_the_seed_alone() -> None:
    texts: dict[int, list[str]] = {0: [], 1: []}

    def record(seed: int) -> CaseGenerator:
        def generate(target: Target, rng: random.Random) -> Case:
            texts[seed].append(str(rng.randrange(10**9)))
            return Case(target.compose(f"{texts[seed][-1]}x"), "reject", "recorded")

        return CaseGenerator("recorded", generate)

    run(NAMES, lambda g, a: False, record(0), cases=100)
    again, texts[0] = texts[0], []
    run(NAMES, lambda g, a: False, record(0), cases=70)
    assert again[:70] == texts[0] and len(again) == 100
    run(NAMES, lambda g, a: False, record(1), cases=70, seed=1)
    assert texts[1] != texts[0]


def test_a_time_budget_ends() -> None:
    with Judge(1) as judge:
        result = search_domain(_registry(NAMES, lambda g, a: False), "d", 4, judge, Budget(None, 0.3))
    assert 0.3 <= result.seconds < 5 and result.n_cases > 64


def test_a_case_may_bring_its_own_question_and_free_text() -> None:
    seen: dict[str, tuple[str, bool]] = {}

    def check(example: Example, response: Response) -> bool:
        seen[example.id] = (example.question, response.tagged)
        return False

    def generate(target: Target, rng: random.Random) -> Case:
        n = rng.randrange(3)
        return Case("It is 4.", "reject", "own", Example("x", f"What is {n} + 1?", n + 1), free_text=True)

    targets = [Target(Example("d/0", "?", "4"), "4", (), BUILT_IN["paper"])]
    with Judge(1) as judge:
        scorer = make_scorer(Verifier("v", check), judge)
        search(scorer, targets, [CaseGenerator("own", generate)], Budget(30))
    assert sorted(q for q, _ in seen.values()) == [f"What is {n} + 1?" for n in range(3)]
    assert all(id_.startswith("generated/") and not tagged for id_, (_, tagged) in seen.items())


def test_peers_are_counted() -> None:
    generator = CaseGenerator("negated", lambda t, rng: Case(t.compose(f"not {t.gold}"), "reject", "negated"))
    peer = Verifier("substring", lambda e, r: str(e.answer) in (r.answer or ""))
    reg = _registry(NAMES, lambda g, a: False)
    targets = [Target(Example("d/0", "?", "Oslo"), "Oslo", (), BUILT_IN["paper"])]
    with Judge(1) as judge:
        scorers = [make_scorer(v, judge) for v in (reg.verifier("d"), peer)]
        result = search(scorers[0], targets, [generator], Budget(10), peers={"substring": scorers[1]})
    assert result.counterexamples == []
    assert result.peers["substring"] == {"verdicts": 10, "wrongly_accepted": 10}


def test_a_failing_generator_is_named() -> None:
    def broken(target: Target, rng: random.Random) -> Case:
        raise ValueError("no cases")

    with pytest.raises(KkwarmError, match="the case generator 'broken' failed: ValueError: no cases"):
        run(NAMES, lambda g, a: False, CaseGenerator("broken", broken))


def test_a_generator_is_called_for_its_domain_only() -> None:
    mine = CaseGenerator("mine", lambda target, rng: None, domain="other")
    assert "mine" not in run(NAMES, lambda g, a: False, mine, cases=2).cases


def test_the_built_in_generator_changes_digits() -> None:
    rng = random.Random(1)
    for _ in range(200):
        assert re.fullmatch(r"x\d2|x1\d", text := str(change_digits(rng, "x12"))) and text != "x12"
    assert change_digits(rng, "x") is None
    assert [g.name for g in GENERATORS] == ["any domain"]


def test_no_rejected_case_is_a_number_within_the_tolerance() -> None:
    (generator,) = GENERATORS
    target = Target(Example("d/1", "How far?", 22.37), "22.37", ["7.5", "22.4"], PAPER, 0.3)
    rng = random.Random(0)
    cases = [case for _ in range(4000) if (case := generator.generate(target, rng)) is not None]
    rejected = [PAPER.split(Completion(c.completion)).answer or "" for c in cases if c.expect == "reject"]
    numbers = [float(text) for text in rejected if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text)]
    assert len(rejected) > 1000 and len(numbers) > 50
    assert min(abs(n - 22.37) for n in numbers) > 0.3


def test_verdicts_are_in_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from kkwarm.cli import check as command

    def verdict(example: Example, response: Response) -> Verdict | bool:
        return re.fullmatch(rf"(?:not )?{example.answer}", response.answer or "") is not None

    rows = [Example(f"d/{i}", f"What is {i} + {i}?", 2 * i, "test" if i > 5 else "train") for i in range(30)]
    domain = Domain("d", lambda: rows, Verifier("d", lambda e, r: verdict(e, r)), lambda e: str(e.answer))
    reg = load([("p", SimpleNamespace(kkwarm_domains=hookimpl(lambda: [domain])))])
    monkeypatch.setattr("kkwarm.plugins.registry", lambda: reg)
    rules = {name: rule for name, rule in RULES.items() if name != "loading is deterministic"}  # by another process
    monkeypatch.setattr("kkwarm.testing.conformance.RULES", rules)
    done = CliRunner().invoke(command.command, ["d", "--json", "--seed", "3"])
    document = json.loads(done.stdout)
    assert done.exit_code == 1 and not document["ok"]
    assert document["search"]["seed"] == 3 and document["search"]["n_cases"] > 100
    first = document["search"]["counterexamples"][0]
    assert first["outcome"] == "wrongly accepted" and first["gold"] in first["completion"] and first["count"] >= 1
    shown = CliRunner().invoke(command.command, ["d", "--seed", "3"]).stdout
    assert "FAIL  any domain: negated" in shown and "it should be rejected" in shown
