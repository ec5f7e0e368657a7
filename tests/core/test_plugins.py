"""Loading plugins: broken, misspelt and duplicate ones are reported by name and harm no one else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kkwarm.errors import KkwarmError
from kkwarm.plugins import hookimpl, load
from kkwarm.types import Attack, Benchmark, Domain, Example, Response, Verifier


def domain(name: str, **more: object) -> Domain:
    def examples() -> list[Example]:
        return [
            Example(f"{i}", f"{name} {i}?", str(i), "train" if i < 3 else "test", {"even": i % 2 == 0})
            for i in range(8)
        ]

    return Domain(name, examples, lambda e, r: r.answer == e.answer, lambda e: str(e.answer), **more)  # type: ignore[arg-type]


def plugin(**hooks: object) -> SimpleNamespace:
    return SimpleNamespace(**{name: hookimpl(fn) for name, fn in hooks.items()})


def good(name: str = "good") -> SimpleNamespace:
    return plugin(kkwarm_domains=lambda: [domain(name)])


def test_a_domain_expands_into_task_verifier_and_benchmark() -> None:
    reg = load([("good", good())])
    assert [e.id for e in reg.task("good").load()] == ["0", "1", "2"]
    assert [e.id for e in reg.benchmark("good").load()] == ["3", "4", "5", "6", "7"]
    assert len(list(reg.benchmark("good").load_all())) == 8
    assert reg.verifier("good").name == "good"


def test_a_training_example_that_asks_a_test_question_is_dropped() -> None:
    rows = [Example("a", "Same  question", "1", "train"), Example("b", "same question ", "1", "test")]
    reg = load([("p", plugin(kkwarm_domains=lambda: [Domain("d", lambda: rows, lambda e, r: True)]))])
    assert list(reg.task("d").load()) == []


def test_a_hook_that_raises_is_reported_and_the_rest_works() -> None:
    def broken() -> list[Domain]:
        raise RuntimeError("no luck")

    reg = load([("bad", plugin(kkwarm_domains=broken)), ("good", good())])
    assert "good" in reg.domains
    (failure,) = [f for f in reg.failures if f.plugin == "bad"]
    assert "no luck" in failure.cause
    assert "kkwarm_domains" in failure.cause


def test_a_misspelt_hook_is_reported_with_the_right_name() -> None:
    reg = load([("typo", plugin(kkwarm_domain=lambda: [], kkwarm_domains=lambda: [domain("typo")]))])
    (failure,) = [f for f in reg.failures if f.plugin == "typo"]
    assert "kkwarm_domain'" in failure.cause
    assert "kkwarm_domains" in failure.cause
    assert "typo" in reg.domains  # what is spelt right works


def test_a_misspelt_hook_harms_no_plugin_after_it() -> None:
    reg = load([("typo", plugin(kkwarm_domain=lambda: [])), ("good", good())])
    assert "good" in reg.domains
    assert [f.plugin for f in reg.failures] == ["typo"]


def test_wrong_parameters_are_reported() -> None:
    reg = load([("odd", plugin(kkwarm_sample_scored=lambda smaple: None)), ("good", good())])
    (failure,) = [f for f in reg.failures if f.plugin == "odd"]
    assert "smaple" in failure.cause
    assert "good" in reg.domains


def test_a_name_that_two_plugins_claim_names_both_and_is_used_for_neither() -> None:
    reg = load([("one", good("same")), ("two", good("same")), ("three", good("other"))])
    assert "same" not in reg.domains
    assert "other" in reg.domains
    causes = {f.plugin: f.cause for f in reg.failures}
    assert set(causes) == {"one", "two"}
    assert all("(one)" in c and "(two)" in c for c in causes.values())
    with pytest.raises(KkwarmError, match=r"other; plugins one and two failed: domain 'same' is registered by"):
        reg.domain("something")
    twice = load([("one", plugin(kkwarm_domains=lambda: [domain("same"), domain("same")]))])
    assert "(in memory) (one) twice; none" in twice.failures[0].cause


def test_a_benchmark_may_not_take_a_domains_name() -> None:
    bench = Benchmark("same", list, list, "same")
    reg = load([("one", good("same")), ("two", plugin(kkwarm_benchmarks=lambda: [bench]))])
    assert {f.plugin for f in reg.failures} == {"one", "two"}
    assert "same" not in reg.benchmarks


def test_objects_of_another_type_are_refused() -> None:
    reg = load([("p", plugin(kkwarm_verifiers=lambda: ["exact"]))])
    assert "must return Verifier objects, got str" in reg.failures[0].cause


def test_unknown_names_offer_near_ones() -> None:
    reg = load([("good", good("geography"))])
    with pytest.raises(KkwarmError, match="did you mean geography"):
        reg.domain("geografy")
    with pytest.raises(KkwarmError, match="did you mean geography"):
        reg.benchmark("geografy")


def test_a_facet_narrows_task_and_benchmark() -> None:
    reg = load([("p", plugin(kkwarm_domains=lambda: [domain("d", facet="even")]))])
    assert [e.id for e in reg.benchmark("d:True").load()] == ["4", "6"]
    assert [e.id for e in reg.task("d:False").load()] == ["1"]
    with pytest.raises(KkwarmError, match="unknown even of d"):
        reg.benchmark("d:Maybe").load()
    with pytest.raises(KkwarmError, match="no facet"):
        load([("p", good("plain"))]).benchmark("plain:x").load()


def test_a_domain_made_on_demand() -> None:
    def resolve(name: str) -> Domain | None:
        return domain(name) if name.startswith("made:") else None

    reg = load([("p", SimpleNamespace(kkwarm_resolve_domain=hookimpl(resolve)))])
    assert reg.benchmark("made:up").name == "made:up"
    assert reg.domain("made:too").name == "made:too"
    with pytest.raises(KkwarmError):
        reg.domain("nothing")


def test_a_domain_made_on_demand_is_narrowed_and_has_an_owner() -> None:
    def resolve(name: str) -> Domain | None:
        return domain(name, facet="even") if name in ("made:up", "plain") else None

    reg = load([("p", plugin(kkwarm_resolve_domain=resolve))])
    assert [e.id for e in reg.benchmark("made:up:True").load()] == ["4", "6"]
    assert [e.id for e in reg.task("plain:False").load()] == ["1"]
    assert reg.origin["domain", "made:up"].name == "p"
    assert reg.failures == []


@pytest.mark.parametrize(
    ("made", "cause"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: "text", "must return Domain"),
        (lambda: domain("z"), "is named 'z'"),
    ],
)
def test_a_resolver_that_fails_is_reported_and_the_next_one_asked(made: Any, cause: str) -> None:
    good = plugin(kkwarm_resolve_domain=lambda name: domain(name) if name == "x:y" else None)
    bad = plugin(kkwarm_resolve_domain=lambda name: made())
    reg = load([("good", good), ("bad", bad)])  # the last one registered is asked first
    assert reg.domain("x:y").name == "x:y"
    (failure,) = reg.failures
    assert failure.plugin == "bad" and cause in failure.cause and "kkwarm_resolve_domain('x:y')" in failure.cause


def test_two_domains_of_one_name_in_one_plugin() -> None:
    reg = load([("p", plugin(kkwarm_domains=lambda: [domain("twin"), domain("twin"), domain("other")]))])
    assert "twin" not in reg.domains and "other" in reg.domains
    (failure,) = [f for f in reg.failures if "'twin'" in f.cause]
    assert "none of them is used" in failure.cause and failure.plugin == "p"


def test_a_package_without_an_entry_point_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "kkwarm_forgot-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kkwarm-forgot\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    reg = load()
    (failure,) = [f for f in reg.failures if f.plugin == "kkwarm-forgot"]
    assert "no entry point of group 'kkwarm'" in failure.cause
    with pytest.raises(KkwarmError, match=r"unknown domain 'forgot'.*kkwarm-forgot failed: it has no entry point"):
        reg.domain("forgot")


def test_a_verifier_shared_by_name() -> None:
    shared = Verifier("shared", lambda e, r: True)
    bench = Benchmark("b", list, list, "shared")
    reg = load([("p", plugin(kkwarm_verifiers=lambda: [shared], kkwarm_benchmarks=lambda: [bench]))])
    assert reg.verifier(reg.benchmark("b").verifier) is shared


def test_attacks_of_one_domain() -> None:

    mine = Attack("mine", lambda t: [], domain="good")
    reg = load([("good", SimpleNamespace(kkwarm_attacks=hookimpl(lambda: [mine])))])
    assert reg.attacks("good") == [mine]
    assert reg.attacks("other") == []


def test_the_built_in_plugins_load_without_failure() -> None:
    assert load().failures == []


def response(answer: str) -> Response:
    return Response(answer, "", answer)
