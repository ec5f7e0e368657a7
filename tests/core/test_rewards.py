"""Rewards beyond the table: partial credit, functions with parts, their limits, and the rules of `kkwarm check`."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from graded_domain import CITIES, FIELDS, ROWS, by_table, check, gold, graded
from hypothesis import given
from hypothesis import strategies as st

from kkwarm.analysis.stats.estimates import difference_interval, estimate_mean
from kkwarm.cli import cli, main
from kkwarm.plugins import Registry, hookimpl, load
from kkwarm.store import Run
from kkwarm.testing import ScriptedModel, check_domain
from kkwarm.types import Completion, Domain, Example, Probe, Response, Rewards, Status, Target, Task, Verdict
from kkwarm.verify import Judge
from kkwarm.verify.probes import probe_domain
from kkwarm.verify.rewards import Reward, RewardError, TaskReward

EXAMPLE = Example("e/1", "?", {"city": "Rome"})
COMPLETION = Completion("text", 5, "stop", (1, 2))
PAPER = Rewards()
statuses = st.sampled_from(Status)
tables = st.builds(
    Rewards, **dict.fromkeys(["wrong", "unparsed", "malformed", "error"], st.floats(-9, 1)), correct=st.floats(1.5, 9)
)


def reward(function: Any, status: Status = Status.WRONG, table: Rewards = PAPER, **metrics: float) -> Reward:
    return TaskReward("d", table, function)([(EXAMPLE, COMPLETION, Verdict(status, metrics=metrics))])[0]


def limit(table: Rewards, status: Status) -> float:
    partial = status in (Status.CORRECT, Status.WRONG, Status.TIMEOUT)
    return table.correct if partial else table.for_status(status)


# -- one reward --------------------------------------------------------------------------------------------------------


@given(tables, statuses, st.floats(0, 0.999))
def test_partial_credit_lies_between_wrong_and_correct(table: Rewards, status: Status, share: float) -> None:
    graded = replace(table, partial="fields")
    earned = reward(None, status, graded, fields=share).total
    base = table.for_status(status)
    if status in (Status.WRONG, Status.TIMEOUT):
        assert base <= earned < table.correct
        assert earned == pytest.approx(base + share * (table.correct - base))
    else:
        assert earned == base
    assert reward(None, status, table, fields=share).total == base, "without `partial` the table alone decides"


@given(tables, statuses, st.floats(allow_nan=True, allow_infinity=True))
def test_a_reward_is_within_its_limit_or_an_error(table: Rewards, status: Status, value: float) -> None:
    try:
        earned = reward(lambda verdict, example: value, status, table).total
    except RewardError as err:
        assert status is not Status.ERROR
        assert not math.isfinite(value) or value >= limit(table, status)
        assert "the reward of d for example e/1" in str(err) and "\n" not in str(err)
    else:
        assert earned == (table.error if status is Status.ERROR else value)
        assert math.isfinite(earned) and earned <= limit(table, status) + 1e-6
        assert status is not Status.WRONG or earned < table.correct


@given(st.dictionaries(st.text(min_size=1), st.floats(-50, 0), min_size=1, max_size=5))
def test_parts_are_added_up(parts: dict[str, float]) -> None:
    table = Rewards(wrong=-500.0)
    assert reward(lambda verdict, example: parts, table=table) == Reward(math.fsum(parts.values()), parts)


def test_parts_have_weights() -> None:
    weighted = TaskReward("d", PAPER, lambda v, e: {"answer": 1.0, "length": -0.4}, {"length": 0.5})
    items = [(EXAMPLE, COMPLETION, Verdict(status)) for status in (Status.WRONG, Status.ERROR)]
    assert weighted(items) == [Reward(0.8, {"answer": 1.0, "length": -0.2}), Reward(PAPER.error)]
    assert weighted(items[1:]) == [Reward(PAPER.error)], "a verdict with the status error has no parts"


@pytest.mark.parametrize(
    ("weights", "function", "message"),
    [
        (
            {"lenght": 1.0},
            lambda v, e: {"length": 0.0},
            "the reward of d: unknown part 'lenght' (did you mean length?)",
        ),
        ({"length": 1.0}, lambda v, e: -1.0, "(verdict wrong) is -1.0, without parts that could have a weight"),
        ({"answer": 3.0}, lambda v, e: {"answer": 1.0}, "is 3, above the reward of correct (2)"),
    ],
)
def test_weights_that_cannot_be_used(weights: dict[str, float], function: Any, message: str) -> None:
    with pytest.raises(RewardError) as caught:
        TaskReward("d", PAPER, function, weights)([(EXAMPLE, COMPLETION, Verdict(Status.WRONG))])
    assert message in str(caught.value)


def test_rounding_of_a_sum_is_no_error() -> None:
    assert reward(lambda v, e: {"a": 0.1, "b": 0.2}, Status.CORRECT, Rewards(correct=0.3)).total > 0.3


def hang(verdict: Verdict, example: Example) -> float:
    while True:
        pass


FAULTS: dict[str, tuple[Callable[..., Any], Status, str]] = {
    "not a number": (lambda v, e: math.nan, Status.WRONG, "(verdict wrong) is not finite: nan"),
    "an infinite part": (
        lambda v, e: {"format": 1, "length": -math.inf},
        Status.WRONG,
        "part 'length' of the reward of d for example e/1 (verdict wrong) is not finite: -inf",
    ),
    "above correct": (lambda v, e: 3, Status.CORRECT, "is 3, above the reward of correct (2)"),
    "as good as right": (lambda v, e: 2, Status.TIMEOUT, "is 2, as much as a correct answer may earn"),
    "credit for no answer": (lambda v, e: 0, Status.UNPARSED, "is 0, above the reward of unparsed (-1)"),
    "text": (lambda v, e: "1.0", Status.WRONG, "is '1.0', neither a number nor a dict of numbers"),
    "nothing": (lambda v, e: None, Status.WRONG, "is None, neither a number nor"),
    "no parts": (lambda v, e: {}, Status.WRONG, "is {}, neither a number nor"),
    "an exception": (
        lambda v, e: v.metrics["tests"],
        Status.WRONG,
        "cannot be computed: KeyError: 'tests' (test_rewards",
    ),
    "an exit": (lambda v, e: exit(3), Status.WRONG, "cannot be computed: SystemExit: 3"),
    "a hang": (hang, Status.WRONG, "is not known after 0.2 s"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_end_in_one_line(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kkwarm.verify.rewards.TIME_LIMIT", 0.2)
    function, status, message = FAULTS[fault]
    with pytest.raises(RewardError) as caught:
        reward(function, status)
    assert message in str(caught.value) and "for example e/1" in str(caught.value)
    assert "`kkwarm check`" in caught.value.hint


def test_a_share_outside_0_to_1_is_an_error() -> None:
    with pytest.raises(RewardError, match=r"needs the metric 'tests' from 0 to 1, but it is 1\.5"):
        reward(None, table=Rewards(partial="tests"), tests=1.5)
    with pytest.raises(RewardError, match="as much as a correct answer may earn"):
        reward(None, table=Rewards(partial="tests"), tests=1.0)


def test_a_table_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(RewardError, match="is not finite: nan"):
        reward(None, Status.TIMEOUT, Rewards(timeout=math.nan))


def test_a_function_may_take_the_completion_and_cannot_change_the_example() -> None:
    seen: list[Completion] = []

    def short(verdict: Verdict, example: Example, completion: Completion) -> float:
        seen.append(completion)
        example.answer["city"] = "changed"
        return -(completion.n_tokens or 0) / 10

    assert reward(short).total == -0.5
    assert seen == [replace(COMPLETION, token_ids=None)], "token ids are not stored, so no reward depends on them"
    assert EXAMPLE.answer == {"city": "Rome"}


def test_registration_names_a_wrong_reward() -> None:
    def one(verdict: Verdict) -> float:
        return 0.0

    cases: dict[str, dict[str, Any]] = {
        "reward must be a function of (verdict, example) or (verdict, example, completion)": {"reward": one},
        "got float": {"reward": 1.0},
        "rewards.partial must be the name of a metric, got float": {"rewards": Rewards(partial=0.5)},  # type: ignore[arg-type]
        "reward and rewards.partial exclude each other": {"reward": lambda v, e: 0, "rewards": Rewards(partial="x")},
    }
    for message, change in cases.items():
        reg = load([("p", SimpleNamespace(kkwarm_domains=hookimpl(lambda change=change: [replace(CITIES, **change)])))])
        assert [f.cause for f in reg.failures if message in f.cause], message


# -- a domain with partial credit --------------------------------------------------------------------------------------


def registry_of(domain: Domain, *probes: Probe) -> Registry:
    plugin = SimpleNamespace(kkwarm_domains=hookimpl(lambda: [domain]), kkwarm_probes=hookimpl(lambda: list(probes)))
    return load([("cities", plugin)])


def failures(domain: Domain, *probes: Probe) -> list[tuple[str, str, str]]:
    """Rules and probes that fail: name, outcome, problem."""
    reg = registry_of(domain, *probes)
    with Judge() as judge:
        rules = [(f.rule, "rule", f.problem) for f in check_domain(reg, "cities", judge) if not f.ok]
        failed = [] if rules else probe_domain(reg, "cities", 6, judge).failures
    return rules + [(f.probe, f.outcome, f.verdict) for f in failed]


def test_domains_with_partial_credit_pass() -> None:
    assert failures(CITIES) == []
    assert failures(replace(CITIES, rewards=Rewards(), reward=graded)) == []


def test_a_near_answer_earns_more_than_a_wrong_one_and_less_than_the_right_one() -> None:
    reg = registry_of(CITIES)
    benchmark, example = reg.benchmark("cities"), ROWS[7]
    texts = [gold(example), gold(ROWS[10]), "name=x; year=y; place=z", "name=x"]
    completions = [(example, Completion(reg.protocol(benchmark).compose("so", t))) for t in texts]
    with Judge() as judge:
        verdicts = judge.verify(reg.verifier("cities"), reg.protocol(benchmark), completions)
    items = [(*pair, verdict) for pair, verdict in zip(completions, verdicts, strict=True)]
    earned = [r.total for r in reg.reward_of(benchmark)(items)]
    assert earned == pytest.approx([2.0, -0.5 + 2.5 / 3, -0.5, -1.0])
    assert reg.reward_of(benchmark).stored(items) == earned
    plain = TaskReward.of(Task("plain", lambda: [], "cities"))
    assert plain.stored(items) == [None] * 4, "a table says no more than the status"


RULE_BREAKERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "a misspelt metric": (
        {"rewards": Rewards(partial="feilds")},
        "right answers earn the most",
        "no verdict has the metric 'feilds', which gives partial credit; they have fields",
    ),
    "right answers earn nothing": (
        {"reward": lambda v, e: -2.0 if v.correct else by_table(v)},
        "right answers earn the most",
        "is wrong and earns -0.5, but the gold answer earns -2",
    ),
    "not finite": (
        {"reward": lambda v, e: math.log(v.metrics.get("fields", 0.0)) if v.metrics else by_table(v)},
        "right answers earn the most",
        "the reward of cities for example c/",
    ),
    "needs tokens": (
        {"reward": lambda v, e, c: by_table(v) - 0.01 * c.n_tokens},
        "right answers earn the most",
        "cannot be computed: TypeError",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", RULE_BREAKERS)
def test_rules_name_mistakes(mistake: str) -> None:
    change, rule, message = RULE_BREAKERS[mistake]
    rules = {name: problem for name, _, problem in failures(replace(CITIES, **{"rewards": Rewards(), **change}))}
    assert message in rules.get(rule, "")


def test_probes_must_not_earn_partial_credit() -> None:
    """A verifier that reads fields anywhere gives partial credit to answers that hedge or negate."""

    def lenient(example: Example, response: Response) -> Verdict:
        verdict = check(example, response)
        if verdict.status is not Status.UNPARSED:
            return verdict
        found = sum(f"{key}={example.answer[key]}" in (response.answer or "") for key in FIELDS)
        return Verdict(Status.WRONG, response.answer, metrics={"fields": 0.9 * found / len(FIELDS)})

    failed = failures(replace(CITIES, verifier=lenient))
    assert {outcome for _, outcome, _ in failed} == {"wrongly rewarded"}
    assert {"every answer at once", "negated"} <= {probe for probe, _, _ in failed}
    assert "wrong: it earns 1.75, but it holds no part of the answer, so the table allows -0.5" in str(failed)


def test_a_probe_may_declare_that_it_holds_a_part() -> None:
    def swap(target: Target) -> list[str]:
        return [target.compose(target.gold.replace("name=", "name=x"))]

    assert failures(CITIES, Probe("another name", swap, domain="cities", partial=True)) == []
    failed = failures(CITIES, Probe("another name", swap, domain="cities"))
    assert {(probe, outcome) for probe, outcome, _ in failed} == {("another name", "wrongly rewarded")}


# -- commands ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cities(monkeypatch: pytest.MonkeyPatch) -> Registry:
    reg = registry_of(replace(CITIES, rewards=Rewards(), reward=graded))
    monkeypatch.setattr("kkwarm.plugins.registry", lambda: reg)
    return reg


def run(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_try_and_score_print_the_same_reward(cities: Registry, tmp_path: Any) -> None:
    text = f"so </think> <answer> {gold(ROWS[7]).replace('=n', '=x')} </answer>"
    tried = run("try", "cities", "--id", "c/7", text)
    assert tried["reward"] == pytest.approx(0.5) and tried["metrics"] == {"fields": pytest.approx(2 / 3)}
    assert tried["rewards"] == {"answer": pytest.approx(0.5), "format": 0.0, "read": 0.0}
    rows = [json.dumps({"id": "c/7", "completion": t}) for t in (text, "nothing")]
    (tmp_path / "f.jsonl").write_text("\n".join(rows))
    out = tmp_path / "out.jsonl"
    run("score", str(tmp_path / "f.jsonl"), "--benchmark", "cities", "--protocol", "paper", "--samples-out", str(out))
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    assert (first["reward"], first["rewards"]) == (tried["reward"], tried["rewards"])
    assert second["status"] == "malformed" and second["reward"] == -2.5


def test_a_reward_that_fails_ends_score_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    reg = registry_of(replace(CITIES, rewards=Rewards(), reward=lambda v, e: 5.0))
    monkeypatch.setattr("kkwarm.plugins.registry", lambda: reg)
    (tmp_path / "f.jsonl").write_text(json.dumps({"id": "c/7", "completion": "x"}))
    with pytest.raises(SystemExit, match="2"):
        main(["score", str(tmp_path / "f.jsonl"), "--benchmark", "cities"])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "the reward of cities for example c/7 (verdict" in lines[0], lines


# -- evaluation, reports, and stored rewards ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two scripted models: the second has one more field right."""
    from kkwarm.evaluation import bench

    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        reg = registry_of(replace(CITIES, rewards=Rewards(), reward=graded))
        patch.setattr("kkwarm.plugins.registry", lambda: reg)
        for number, path in enumerate([folder / "a", folder / "b"]):

            def reply(prompt: str, index: int, number: int = number) -> str:
                example = next(e for e in ROWS if e.question in prompt)
                answer = gold(example).replace("year=", "year=" if number else "year=x")
                i = int(example.id[2:])
                return f"so </think> <answer> {answer if i % 3 else answer.replace('name=', 'name=x')} </answer>"

            bench("scripted", ["cities"], path, backend=ScriptedModel(reply), progress=False)
    return folder / "a", folder / "b"


def test_bench_stores_and_reports_rewards(benched: tuple[Path, Path], cities: Registry) -> None:
    run = Run.read(benched[0])
    examples = {e.id: e for e in ROWS}
    samples = list(run.samples())
    rewards = cities.reward_of(cities.benchmark("cities"))
    assert [s.reward for s in samples] == [
        rewards([(examples[s.id], s.completion, s.verdict)])[0].total for s in samples
    ]
    figures = run.manifest.benchmarks["cities"]
    assert figures["metrics"] == {
        "fields": pytest.approx(sum(s.verdict.metrics["fields"] for s in samples) / 12),
        "reward": pytest.approx(sum(s.reward or 0.0 for s in samples) / 12),
    }
    for name, mean in figures["metrics"].items():
        low, high = figures["metrics_ci"][name]
        assert low < mean < high and figures["metrics_stderr"][name] > 0


def test_reports_and_comparisons_have_metrics_with_intervals(benched: tuple[Path, Path]) -> None:
    from kkwarm.analysis.build import build_report
    from kkwarm.analysis.compare import compare
    from kkwarm.analysis.load import load as load_runs
    from kkwarm.reporting.html import write_html
    from kkwarm.reporting.terminal import render_text
    from kkwarm.schema.report import parse_report

    report = build_report(load_runs(list(benched)))
    assert parse_report(report.model_dump_json()) == report
    cell = report.matrix["b"]["cities"]
    change = compare(*benched).benchmarks["cities"].change
    assert cell.change is not None and cell.change.metrics == change.metrics
    for name, difference in (("fields", 1 / 3), ("reward", 0.5)):
        low, high = change.metrics[name].ci
        assert change.metrics[name].estimate == pytest.approx(difference) and low < difference < high
        own = cell.metrics[name]
        assert own.ci is not None and own.ci[0] < own.mean < own.ci[1]
    text = render_text(report, 80, full=True)
    assert "Metric reward: mean and change [95% interval" in text and "+0.5 [" in text
    write_html(report, benched, benched[0].parent / "page.html")
    assert "<h3>reward</h3>" in (benched[0].parent / "page.html").read_text("utf-8")
    result = CliRunner().invoke(cli, ["compare", *map(str, benched)], catch_exceptions=False)
    assert "reward: A 0.333" in result.output and "B - A +0.5 [" in result.output


def test_another_reward_is_found_by_verify_and_rescore(
    benched: tuple[Path, Path], cities: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kkwarm.scoring.rescore import rescore
    from kkwarm.scoring.verify_run import State, verify_run

    run = Run.read(benched[1])
    assert not rescore(run, cities)[0].other_metrics
    other = registry_of(CITIES)  # the same verifier; partial credit by the metric itself
    changed = {f.what: f for f in verify_run(run, other)}["verdicts: cities"]
    assert changed.state is State.DIFFERS and "of 12 verdicts or rewards changed" in changed.detail
    assert "wrong, reward 0.5 stored, 1.16667 today" in changed.detail
    (result,) = rescore(run, other)
    assert not result.flips and result.other_metrics
    assert {round(f.after.reward or 0, 6) for f in result.other_metrics} == {2.0, round(-0.5 + 2.5 * 2 / 3, 6)}
    monkeypatch.setattr("kkwarm.plugins.registry", lambda: other)
    result_text = CliRunner().invoke(cli, ["rescore", str(run.path), "--alone"], catch_exceptions=False).output
    assert "same verdict, but other metrics or another reward: reward" in " ".join(result_text.split())


values = st.lists(st.floats(-50, 50).map(lambda x: round(x, 3)), min_size=2, max_size=12)


@given(values, st.floats(0.1, 20), st.floats(-30, 30))
def test_intervals_of_differences_follow_the_unit(first: list[float], scale: float, shift: float) -> None:
    """Beyond 0..1 an interval does not depend on the metric's unit, and changes its sign with the order."""
    a = np.array([[-60.0, *first]])
    b = np.array([[60.0, *reversed(first)]])
    value, low, high = difference_interval(a, b)
    assert low <= value <= high
    assert difference_interval(scale * a, scale * b) == pytest.approx((scale * value, scale * low, scale * high))
    assert difference_interval(b, a) == pytest.approx((-value, -high, -low))
    estimate = estimate_mean(a)
    assert estimate.interval is not None and estimate.low < estimate.value < estimate.high
    shifted = estimate_mean(a * scale + shift * 100)
    if shifted.low < 0 or shifted.high > 1:
        expected = [scale * v + shift * 100 for v in (estimate.value, estimate.low, estimate.high)]
        assert [shifted.value, shifted.low, shifted.high] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_equal_values_have_no_interval() -> None:
    assert estimate_mean(np.full((1, 9), -2.0)).interval is None
    assert estimate_mean(np.full((1, 9), 1.0)).interval is not None
