"""Loading plugins: broken, misspelt and duplicate ones are reported by name and harm no one else."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kkwarm.errors import KkwarmError
from kkwarm.plugins import Registry, hookimpl, load
from kkwarm.protocols import PLAIN
from kkwarm.store import Run
from kkwarm.types import Benchmark, ClaimSet, Domain, Example, Probe, Response, Rewards, Teacher, Trace, Verifier


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


def test_a_training_example_with_a_test_question_is_dropped() -> None:
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


def test_a_misspelt_hook_does_not_affect_later_plugins() -> None:
    reg = load([("typo", plugin(kkwarm_domain=lambda: [])), ("good", good())])
    assert "good" in reg.domains
    assert [f.plugin for f in reg.failures] == ["typo"]


def test_an_unmarked_hook_is_reported() -> None:
    reg = load([("plain", SimpleNamespace(kkwarm_domains=lambda: [domain("plain")])), ("good", good())])
    (failure,) = reg.failures
    assert failure.plugin == "plain"
    assert failure.cause == "hook kkwarm_domains is not marked: put @hookimpl, from kkwarm.plugins, above it"
    assert "good" in reg.domains


def test_a_plugin_without_a_hook_is_reported() -> None:
    (failure,) = load([("empty", SimpleNamespace(kkwarm_units="a name", other=len))]).failures
    assert "implements no hook" in failure.cause


def test_a_hook_by_another_name_is_known_by_its_specname() -> None:
    more = hookimpl(specname="kkwarm_domains")(lambda: [domain("more")])
    reg = load([("two", SimpleNamespace(kkwarm_domains=hookimpl(lambda: [domain("one")]), kkwarm_more=more))])
    assert reg.failures == [] and {"more"} <= set(reg.domains)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"load": []}, "load must be a function of (), got list"),
        ({"load": lambda split: []}, "load must be a function of (), got one of (split)"),
        ({"verifier": lambda e: True}, "verifier must be a function of (example, response), got one of (e)"),
        ({"verifier": "math"}, "verifier must be a function of (example, response), got str"),
        ({"verifier": Verifier("v", lambda e: True)}, "check must be a function of (example, response)"),
        ({"gold": lambda e, r: ""}, "gold must be a function of (example), got one of (e, r)"),
        ({"rewards": {"correct": 1}}, "rewards must be Rewards, got dict"),
        ({"rewards": Rewards(malformed=None)}, "rewards.malformed must be a number, got None"),  # type: ignore[arg-type]
        ({"sampling": 0.7}, "sampling must be Sampling, got float"),
        (
            {"verifier": Verifier("v", lambda e, r: True, tolerance=-1.0)},
            "tolerance must be a finite number, 0 or more",
        ),
        ({"verifier": Verifier("v", lambda e, r: True, tolerance="1")}, "tolerance must be float, got str"),  # type: ignore[arg-type]
        ({"description": None}, "description must be str, got None"),
        ({"facet": 3}, "facet must be str | None, got int"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(fields: dict[str, Any], message: str) -> None:
    reg = load([("p", plugin(kkwarm_domains=lambda: [replace(domain("d"), **fields)]))])
    (failure,) = reg.failures
    assert f"domain 'd': {message}" in failure.cause or f"domain 'd': verifier {message}" in failure.cause
    assert "d" not in reg.domains


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (domain("d"), "it returned one Domain; return a list: [domain]"),
        (None, "it returned None; return a list of Domain objects"),
        ("d", "it returned str; return a list of Domain objects"),
    ],
)
def test_a_hook_that_returns_no_list_is_reported(returned: object, message: str) -> None:
    (failure,) = load([("p", plugin(kkwarm_domains=lambda: returned))]).failures
    assert message in failure.cause


def test_unregistered_verifiers_and_protocols_are_reported() -> None:
    bench = Benchmark("b", list, list, "godd")
    reg = load([("p", plugin(kkwarm_domains=lambda: [domain("good"), domain("odd", protocol="papr")]))])
    assert [f.cause for f in reg.failures] == [
        "domain 'odd': no plugin registers the protocol 'papr'; did you mean paper?"
    ]
    assert "odd" not in reg.domains and "odd" not in reg.tasks and "good" in reg.tasks
    reg = load([("p", good()), ("q", plugin(kkwarm_benchmarks=lambda: [bench]))])
    assert reg.failures[0].cause == "benchmark 'b': no plugin registers the verifier 'godd'; did you mean good?"
    assert "b" not in reg.benchmarks


def test_a_failure_names_the_line_of_the_plugin() -> None:
    def broken() -> list[Domain]:
        return [domain("x"), int("many")]  # type: ignore[list-item]

    here, line = Path(__file__).name, broken.__code__.co_firstlineno + 1
    (failure,) = load([("p", plugin(kkwarm_domains=broken))]).failures
    assert failure.cause.endswith(f"ValueError: invalid literal for int() with base 10: 'many' ({here}, line {line})")


def test_hooks_are_called_and_a_failure_does_not_affect_other_plugins(tmp_path: Path) -> None:
    calls: list[Any] = []

    def fails(run: Any) -> None:
        raise RuntimeError("no luck")

    reg = load(
        [
            ("all", plugin(kkwarm_run_finished=lambda run: calls.append(run))),
            ("bad", plugin(kkwarm_run_finished=fails)),
            ("none", plugin(kkwarm_run_finished=lambda: calls.append("no parameter"))),
        ]
    )
    with Run.open(tmp_path / "run", kind="bench", config={}) as run:
        for _ in range(2):
            reg.call_hook("kkwarm_run_finished", run=run)
    assert sorted(calls, key=str) == [run, run, "no parameter", "no parameter"]
    (failure,) = reg.failures  # reported once
    assert failure.plugin == "bad" and "no luck (test_plugins.py, line" in failure.cause


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
    with pytest.raises(KkwarmError, match=r"unknown domain 'same' \(plugins one and two failed: domain 'same' is reg"):
        reg.domain("same")
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


def test_a_protocol_with_fields_of_other_types_is_refused() -> None:
    protocol = replace(PLAIN, name="own", force=True)  # type: ignore[arg-type]
    reg = load([("p", plugin(kkwarm_protocols=lambda: [protocol]))])
    assert "protocol 'own': force must be str, got bool" in reg.failures[0].cause
    protocol = replace(PLAIN, name="own", reader=SimpleNamespace(split=print))  # type: ignore[arg-type]
    reg = load([("p", plugin(kkwarm_domains=lambda: [domain("d", protocols=[protocol])]))])
    assert "domain 'd': protocols has 'own', whose reader must be Reader" in reg.failures[0].cause


def test_unknown_names_suggest_similar_ones() -> None:
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


def test_a_domain_created_on_demand() -> None:
    def resolve(name: str) -> Domain | None:
        return domain(name) if name.startswith("made:") else None

    reg = load([("p", SimpleNamespace(kkwarm_resolve_domain=hookimpl(resolve)))])
    assert reg.benchmark("made:up").name == "made:up"
    assert reg.domain("made:too").name == "made:too"
    with pytest.raises(KkwarmError):
        reg.domain("nothing")


def test_a_domain_created_on_demand_is_narrowed_and_has_an_owner() -> None:
    def resolve(name: str) -> Domain | None:
        return domain(name, facet="even") if name in ("made:up", "plain") else None

    reg = load([("p", plugin(kkwarm_resolve_domain=resolve))])
    assert [e.id for e in reg.benchmark("made:up:True").load()] == ["4", "6"]
    assert [e.id for e in reg.task("plain:False").load()] == ["1"]
    assert reg.origin["domain", "made:up"].name == "p"
    assert reg.failures == []


@pytest.mark.parametrize(
    ("create", "cause"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: "text", "must return Domain"),
        (lambda: domain("z"), "is named 'z'"),
    ],
)
def test_a_failing_resolver_is_reported_and_the_next_one_called(create: Any, cause: str) -> None:
    good = plugin(kkwarm_resolve_domain=lambda name: domain(name) if name == "x:y" else None)
    bad = plugin(kkwarm_resolve_domain=lambda name: create())
    reg = load([("good", good), ("bad", bad)])  # the last one registered is called first
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


def test_probes_of_one_domain() -> None:

    mine = Probe("mine", lambda t: [], domain="good")
    reg = load([("good", SimpleNamespace(kkwarm_probes=hookimpl(lambda: [mine])))])
    assert reg.probes("good") == [mine]
    assert reg.probes("other") == []


def test_the_built_in_plugins_load_without_failure() -> None:
    assert load().failures == []


def response(answer: str) -> Response:
    return Response(answer, "", answer)


def test_sets_of_claims_are_registered_by_name() -> None:
    claims = ClaimSet("another_paper", lambda study: [])
    reg = load([("p", plugin(kkwarm_claims=lambda: [claims]))])
    assert reg.claims["another_paper"] is claims and "warm_up" in reg.claims
    bad = load([("q", plugin(kkwarm_claims=lambda: [ClaimSet("x", lambda: [])]))])  # type: ignore[misc]
    assert "x" not in bad.claims
    assert any("evaluate must be a function of (study)" in f.cause for f in bad.failures)


def teacher(rows: list[dict[str, object]], exhausted: bool = False, facet: str | None = "even") -> Registry:
    """The registry of a domain and a teacher with these `meta`."""

    def traces(n: int, seed: int) -> Iterator[Trace]:
        yield from (Trace(f"{seed}/{i}", "d", f"{i}?", None, "a", "t", meta) for i, meta in enumerate(rows[:n]))
        if exhausted:
            raise KkwarmError(f"there are only {len(rows)} traces")

    hooks = {
        "kkwarm_domains": lambda: [domain("d", facet=facet)],
        "kkwarm_teachers": lambda: [Teacher("t", "d", traces)],
    }
    return load([("p", plugin(**hooks))])


@pytest.mark.parametrize("exhausted", [False, True])
def test_a_teacher_is_narrowed_by_the_facet_of_its_traces(exhausted: bool) -> None:
    reg = teacher([{"even": i % 3 == 0} for i in range(20)], exhausted)
    assert [t.id for t in reg.teacher("d:True", "t").traces(3, 7)] == ["7/0", "7/3", "7/6"]
    assert len(list(reg.teacher("d:True", "t").traces(30, 7))) == 7
    assert reg.teachers_of("d:True") == reg.teachers_of("d") == ["t"]
    assert reg.teachers_of("e:True") == []


def test_a_teacher_that_cannot_be_narrowed_is_reported() -> None:
    for reg, value, message in [
        (teacher([{"even": True}]), "Tru", "unknown even of d 'Tru' (did you mean True?)"),
        (teacher([{}]), "True", "the traces of teacher t have no 'even' in their meta"),
        (teacher([], exhausted=True), "True", "there are only 0 traces"),
        (teacher([{}], facet=None), "True", "domain 'd' has no facet to narrow by (use d alone)"),
    ]:
        with pytest.raises(KkwarmError) as caught:
            list(reg.teacher(f"d:{value}", "t").traces(2, 0))
        assert str(caught.value) == message
    with pytest.raises(KkwarmError, match=r"unknown teacher of d:True 'x'"):
        teacher([{}]).teacher("d:True", "x")
