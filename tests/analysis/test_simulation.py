"""The kept simulations, in small: that they run, and that the intervals hold the truth."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

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


@pytest.mark.skipif(not (RESULTS / "transfer_simulation.json").exists(), reason="the simulation was not kept")
def test_the_kept_figures_are_what_the_docs_say() -> None:
    rows = json.loads((RESULTS / "transfer_simulation.json").read_text())["rows"]
    assert {r["questions"] for r in rows} == {50, 164, 500}
    kinds = ("coverage_change", "coverage_accuracy", "coverage_mean_of_domains")
    held = [r[name] for r in rows for name in kinds]
    assert (len(rows), len(held)) == (76, 228)  # docs/pages/studies.md, as all of these
    assert (min(held), max(held)) == (0.9303, 0.9686)
    false = sorted(r["false_gain_any"] for r in rows)
    assert (false[-2], false[-1]) == (0.0445, 0.045)
    other = json.loads((RESULTS / "transfer_simulation_fresh.json").read_text())["rows"]
    assert (len(other), max(r["false_gain_any"] for r in other)) == (42, 0.0475)
    for name, bounds in zip(kinds, ((0.9384, 0.9659), (0.9378, 0.9731), (0.915, 0.9688)), strict=True):
        assert (min(r[name] for r in other), max(r[name] for r in other)) == bounds
    assert sum(0.93 <= r[name] <= 0.97 for r in other for name in kinds) == 122
    power = {r["seeds"]: r["power"] for r in rows if (r["questions"], r["samples"], r["spread"]) == (164, 4, "0.2")}
    assert (round(power[2], 2), round(power[3], 2)) == (0.14, 0.53)
    more = json.loads((RESULTS / "transfer_simulation_seeds.json").read_text())["rows"]
    found = {(r["seeds"], r["spread"]): round(100 * r["power"]) for r in more}
    assert [found[s, "0.2"] for s in (4, 5, 8)] == [88, 99, 100]
    assert [found[s, "unequal"] for s in (4, 5, 8)] == [79, 87, 96]
    assert len(more) == 9 and max(r["false_gain_any"] for r in more) <= 0.0433
    assert all(0.94 <= r[name] <= 0.97 for r in more for name in kinds)
    assert max(r["false_gain_any"] for r in rows if r["spread"].endswith("only")) == 0.0286
    claim = json.loads((RESULTS / "efficiency_simulation.json").read_text())["rows"]
    told = {"examples": (0.032, 0.07, 0.94, 1.0, 0.97), "evals": (0.0275, 0.055, 0.95, 0.9975, 0.972)}
    for way, (false, most, low, high, mean) in told.items():
        assert sum(r[way]["false"] for r in claim) / len(claim) == pytest.approx(false, abs=5e-4)
        assert max(r[way]["false"] for r in claim) == most
        covered = [r[way]["coverage"] for r in claim]
        assert (min(covered), max(covered)) == (low, high)
        assert sum(covered) / len(claim) == pytest.approx(mean, abs=5e-4)
        assert all(r[way]["power"] >= r["rollouts"]["power"] for r in claim)
    advised = [r for r in json.loads((RESULTS / "advice_simulation.json").read_text())["rows"] if r["advised"]]
    decided = [r["decided"] for r in advised]
    assert (min(decided), max(decided), round(sum(decided) / len(decided), 2)) == (0.5, 0.99, 0.85)
    told_more = {s: sum(r["beyond"] for r in advised if r["seeds"] == s and r["by_seeds"]) for s in (2, 4)}
    assert told_more == {2: 82, 4: 4}
    stops = json.loads((RESULTS / "sequential_simulation.json").read_text())
    assert all(r["missed"] <= 0.05 for r in stops["score"])
    null = [r["verdicts"] for r in stops["decision"] if r["shift"] == 0]
    assert all(verdicts.get("gain", 0) + verdicts.get("loss", 0) <= 0.06 for verdicts in null)


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
