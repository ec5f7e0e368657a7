"""Notes of the plugin about a run's verdicts: it gets them by the hooks for notifications."""

from pathlib import Path

import pytest
from kkwarm_humaneval_plus import notes

from kkwarm.plugins import registry
from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict


def score(benchmark: str, status: Status) -> None:
    sample = Sample(benchmark, "HumanEval/3", 0, Completion("x"), Verdict(status, reason="no sandbox"))
    registry().call_hook("kkwarm_sample_scored", sample=sample)


def test_the_first_program_that_could_not_be_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "_NOTED", set())
    for benchmark, status in [("humaneval_plus", Status.WRONG), ("mini_math", Status.ERROR)]:
        score(benchmark, status)
    assert capsys.readouterr().err == ""
    for _ in range(2):
        score("humaneval_plus", Status.ERROR)
    what = "the program could not be run, which is not the model's fault: no sandbox"
    assert capsys.readouterr().err == f"kkwarm: humaneval_plus HumanEval/3: {what}\n"


def test_programs_that_ran_out_of_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"n": 164, "samples": 328, "status": {"wrong": 300, "timeout": 28}}
    with Run.open(tmp_path / "run", kind="bench", config={}) as run:
        run.finish(
            results={
                "benchmarks": {"mbpp_plus": figures, "mini_math": figures, "humaneval_plus": {**figures, "status": {}}}
            }
        )
        registry().call_hook("kkwarm_run_finished", run=run)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("kkwarm: mbpp_plus: 28 of 328 programs ran out of time. A busy machine can be the cause: ")
    assert f"`kkwarm rescore {tmp_path / 'run'}`" in err
