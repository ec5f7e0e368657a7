"""The kept simulations, in small: that they run, and that the intervals hold the truth."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    for name in ("transfer_simulation", "sequential_simulation", "efficiency_simulation", "advice_simulation"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_studies_in_small() -> None:
    from transfer_simulation import Setting, simulate

    found = simulate(Setting(2, 50, 4, "0.2", (0.2,) * 6), studies=12, null=12, seed=0)
    assert found["coverage_change"] > 0.9
    assert found["coverage_accuracy"] > 0.9
    assert found["false_gain_any"] <= 0.25  # 3 of 12
    assert 0 < found["power"] < 0.6


@pytest.mark.slow
def test_advice_in_small() -> None:
    from advice_simulation import simulate

    found = simulate(3, "none", 0.3, studies=3, seed=0)
    assert found["by_seeds"] == found["beyond"] == 0  # seeds do not differ: questions decide
    assert found["advised"] > 164 and found["decided"] > 0.5


def test_stopping_in_small() -> None:
    from sequential_simulation import decision, score

    row = score((164, 0.08, 1.0), runs=10)
    assert row["missed"] <= 0.2
    assert row["used_by_fixed_size"] < row["used"] < 1
    row = decision((200, 1.0), runs=10)
    assert row["verdicts"]["gain"] >= 0.9
    assert row["used"] < 0.8


@pytest.mark.slow
def test_sample_efficiency_in_small() -> None:
    from efficiency_simulation import Setting, simulate

    found = simulate(Setting(2, 60, 0.2), studies=12, saved=1, seed=0)
    for way in ("examples", "evals", "rollouts"):
        assert found[way]["false"] <= 0.25  # 3 of 12
        assert found[way]["coverage"] >= 0.8
    assert found["saved"]["false"] in (0, 1)


def kept(name: str) -> dict[str, Any]:
    """A result file."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return found


def percent(value: float) -> str:
    return f"{round(round(100 * value, 9), 1):g}"  # without the noise of summing


def span(values: Iterable[float]) -> str:
    """The range of some shares, as the page writes it."""
    listed = [*values]
    return f"{percent(min(listed))} to {percent(max(listed))}%"


COVERAGES = ("coverage_change", "coverage_accuracy", "coverage_mean_of_domains")


def test_the_methods_page_states_the_kept_figures() -> None:
    """docs/pages/methods.md, section Simulations: every figure of its tables."""
    page = " ".join((ROOT / "docs" / "pages" / "methods.md").read_text("utf-8").split())
    before = kept("transfer_simulation_fresh_before")["rows"]
    rows, fresh, more = (kept(f"transfer_simulation{n}")["rows"] for n in ("", "_fresh", "_seeds"))
    claim, stops = kept("efficiency_simulation")["rows"], kept("sequential_simulation")
    advice = [r for r in kept("advice_simulation")["rows"] if r["advised"]]
    decided = [r["decided"] for r in advice]
    power = {(r["seeds"], r["spread"]): r["power"] for r in rows + more if (r["questions"], r["samples"]) == (164, 4)}
    equal = [r for r in stops["decision"] if r["shift"] == 0]
    used = [r["used"] for r in stops["score"] if (r["questions"], r["half_width"]) == (500, 0.05)]
    asked = {r["shift"]: r["used"] for r in stops["decision"] if r["questions"] == 500}
    changed = [sum(r["verdicts"].get(v, 0) for v in ("gain", "loss")) for r in equal]
    of_means, of_fresh = (
        f"{span(r[COVERAGES[2]] for r in fresh)} for means",
        [span(r[c] for r in fresh) for c in COVERAGES],
    )
    stated = [
        f"{len(rows)} kinds with 1 to 3 seeds",
        f"in {span(r['false_gain_any'] for r in rows)} of the studies",
        f"in {span(r[c] for r in rows for c in COVERAGES)}, by kind",
        f"{len(fresh)} other kinds",
        f"False gains in {span(r['false_gain_any'] for r in fresh)}",
        f"{of_fresh[0]} for changes, {of_fresh[1]} for accuracies, {of_means}",
        f"{len(more)} kinds with 4, 5 and 8 seeds",
        f"False gains in at most {percent(max(r['false_gain_any'] for r in more))}%",
        f"Coverage is {span(r[c] for r in more for c in COVERAGES)}",
        "at most {} points in the first file, {} in the second and {} here".format(
            *(percent(max(r["false_gain_error"] for r in each)) for each in (rows, fresh, more))
        ),
        f"false gains reached {percent(max(r['false_gain_any'] for r in before))}%",
        f"{len(claim)} kinds; 200 each",
        f"Coverage is {', '.join(span(r[w]['coverage'] for r in claim) for w in ('examples', 'evals'))}",
        f"and {span(r['rollouts']['coverage'] for r in claim)}",
        f"decides {span(decided)} of the underpowered changes, {round(100 * sum(decided) / len(decided))}% on average",
        f"ever misses the score in {span(r['missed'] for r in stops['score'])}",
        f"are called different in {span(changed)}; with the usual test at every look in "
        f"{span(r['naive_difference'] for r in equal)}",
        f"`--until 5` asks {round(100 * min(used))} to {round(100 * max(used))}% of them",
        f"asks {round(100 * asked[0.0])}% where the checkpoints are equal, and {round(100 * asked[0.5])}% where",
        "| found | " + " | ".join(f"{round(100 * power[s, '0.2'])}%" for s in (2, 3, 4, 5, 8)) + " |",
        f"({round(100 * power[2, 'none'])}% where they do not differ at all)",
    ]
    for name, way in (("examples", "examples"), ("in-training evaluations", "evals"), ("rollouts", "rollouts")):
        false = [r[way]["false"] for r in claim]
        stated.append(f"by {name} in {span(false)} ({percent(sum(false) / len(false))}%")
        found = next(r[way]["power"] for r in claim if (r["seeds"], r["questions"], r["spread"]) == (3, 300, 0.2))
        stated.append(f"{round(100 * found)}%{' of studies' * (way == 'examples')} by {name}")
    assert [figure for figure in stated if figure not in page] == []
    beyond = [r["beyond"] for r in advice if r["seeds"] == 2 and r["by_seeds"]]
    assert sum(beyond) / sum(r["by_seeds"] for r in advice if r["seeds"] == 2) == pytest.approx(0.5, abs=0.05)


@pytest.mark.skipif(not (RESULTS / "transfer_simulation.json").exists(), reason="the simulation was not kept")
def test_no_kind_of_study_has_more_than_5_percent_of_false_gains() -> None:
    rows = json.loads((RESULTS / "transfer_simulation.json").read_text())["rows"]
    assert max(r["false_gain_any"] for r in rows) <= 0.05


@pytest.mark.skipif(not (RESULTS / "transfer_simulation.json").exists(), reason="the simulation was not kept")
def test_for_each_kind_of_study_95_percent_intervals_hold_the_truth_in_93_to_97() -> None:
    rows = json.loads((RESULTS / "transfer_simulation.json").read_text())["rows"]
    sizes = {(r["seeds"], r["questions"]) for r in rows}
    assert sizes == {(s, n) for s in (1, 2, 3) for n in (50, 164, 500)}
    for r in rows:
        for name in ("coverage_change", "coverage_accuracy", "coverage_mean_of_domains"):
            assert 0.93 <= r[name] <= 0.97, (r, name)
