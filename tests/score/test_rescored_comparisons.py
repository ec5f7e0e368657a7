"""`kkwarm rescore`: which comparisons say something else by today's verdicts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kkwarm.cli import main
from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict

N = 60


def stored(path: Path, answers: list[str], status: Status | None = None) -> Path:
    """A scored run of questions whose right answer is 5. `status`: the verdict of an older verifier on all of them."""
    with Run.open(path, kind="score", config={"benchmark": "math", "protocol": "auto"}) as run:
        for i, answer in enumerate(answers):
            verdict_status = status or (Status.CORRECT if answer == "5" else Status.WRONG)
            completion = Completion(f"so \\boxed{{{answer}}}")
            run.append(
                [Sample("math", f"q{i:02}", 0, completion, Verdict(verdict_status, answer), meta={"reference": "5"})]
            )
        run.finish()
    return path


def rescored(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["rescore", *map(str, args), "--json"])
    assert not ended.value.code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.slow
def test_a_gain_of_an_older_verifier_is_none_today(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = stored(tmp_path / "base", ["6"] * N)
    lenient = stored(tmp_path / "lenient", ["7"] * N, Status.CORRECT)
    document = rescored(capsys, lenient)
    assert document["flipped"] == N
    (comparison,) = document["comparisons"]
    assert (comparison["what"], comparison["baseline"], comparison["benchmark"]) == ("lenient", "base", "math")
    assert comparison["before"]["verdict"] == "gain"
    assert comparison["before"]["estimate"] == 100
    assert comparison["after"]["verdict"] == "tie"
    assert comparison["changed"] is True
    assert rescored(capsys, lenient, "--alone")["comparisons"] == []
    assert rescored(capsys, lenient, "--compare-to", base)["comparisons"] == document["comparisons"]
    with pytest.raises(SystemExit):
        main(["rescore", str(lenient)])
    out = " ".join(capsys.readouterr().out.split())
    assert "1 of 1 comparisons have another verdict today" in out
    assert "lenient compared with base on math: gain +100.0 -> tie +0.0" in out


def test_the_other_side_is_judged_again_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Both flip alike: nothing changes, although every verdict does."""
    stored(tmp_path / "a", ["5"] * N, Status.WRONG)
    document = rescored(capsys, stored(tmp_path / "b", ["5"] * N, Status.WRONG))
    (comparison,) = document["comparisons"]
    assert document["flipped"] == N
    assert (comparison["before"]["verdict"], comparison["after"]["verdict"], comparison["changed"]) == (
        "tie",
        "tie",
        False,
    )


def test_what_cannot_be_compared_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    one = stored(tmp_path / "one", ["5"] * 3)
    other = tmp_path / "elsewhere" / "other"
    with Run.open(other, kind="score", config={"benchmark": "kk"}) as run:
        run.finish()
    document = rescored(capsys, one, "--compare-to", other)
    assert document["comparisons"] == []
    assert "holds no samples" in document["not_compared"][0]


@pytest.mark.slow
def test_a_study_is_judged_again_as_a_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    study = tmp_path / "study"
    plan = {
        "title": "A study",
        "note": "",
        "margin": 5.0,
        "domains": ["math"],
        "claims": [],
        "conditions": [
            {"name": "base", "baseline": None, "chain": ["base"]},
            {"name": "warmed", "baseline": "base", "chain": ["base", "w"]},
        ],
        "rows": {"base": {"0": {"bench": "a"}}, "warmed": {"0": {"bench": "b"}}},
        "steps": ["a", "b"],
        "kinds": {"a": "bench", "b": "bench"},
    }
    with Run.open(study, kind="study", config={}) as run:
        run.record(plan=plan)
        run.finish()
    for name, status in (("a", Status.WRONG), ("b", Status.CORRECT)):
        with Run.open(study / "steps" / name, kind="bench", config={"protocols": {"math": "auto"}}) as step:
            completion = Completion("so \\boxed{6}")
            sample = Sample("math", "", 0, completion, Verdict(status), "p", {"reference": "5"})
            step.append(replace(sample, id=f"q{i:02}") for i in range(N))
            step.finish()
    document = rescored(capsys, study)
    assert (document["flipped"], document["steps"]) == (N, {"b": N})
    (comparison,) = document["comparisons"]
    assert (comparison["before"]["verdict"], comparison["after"]["verdict"]) == ("gain", "tie")
    # A step is compared with what its study compares it with.
    (alone,) = rescored(capsys, study / "steps" / "a")["comparisons"]
    assert (alone["what"], alone["baseline"]) == ("a", "b")
    path_today = rescored(capsys, study, "-o", tmp_path / "today")["written"]
    assert rescored(capsys, path_today)["flipped"] == 0
