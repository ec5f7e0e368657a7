"""The in-training evaluation and its alarms."""

import json
import random
from pathlib import Path
from statistics import fmean

import pytest
from test_resume import equal

from kkwarm.errors import KkwarmError
from kkwarm.train import RlvrConfig, WarmupConfig, rlvr, warmup
from kkwarm.train.alarms import check_evals, check_step_log, paired_difference, select_best_step


def row(step: int, **fields: float) -> dict[str, float]:
    return {"step": step, "no_signal": 0.1, "at_token_limit": 0.0, "length": 50.0, "accuracy": 0.5, **fields}


def in_training_eval(step: int, **correct: list[int]) -> dict[str, object]:
    return {"step": step, "correct": correct}


def test_a_quiet_run_raises_no_alarm() -> None:
    assert check_step_log([row(i) for i in range(30)]) == []
    evals = [in_training_eval(0, math=[1, 0] * 25), in_training_eval(10, math=[1, 0] * 24 + [0, 0])]
    assert check_evals(evals, [row(i) for i in range(30)], "math") == []


@pytest.mark.parametrize(
    ("kind", "changes", "text"),
    [
        ("no signal", {"no_signal": 0.95}, "95% of the groups gave no signal"),
        ("token limit", {"at_token_limit": 0.5}, "50% of the completions were cut"),
        ("length", {"length": 140.0}, "completions grew from 50 to 140 tokens"),
    ],
)
def test_alarms_of_the_log(kind: str, changes: dict[str, float], text: str) -> None:
    log = [row(i) for i in range(10)] + [row(i, **changes) for i in range(10, 30)]
    (alarm,) = check_step_log(log)
    assert alarm.kind == kind and alarm.step == 29 and text in alarm.text
    assert check_step_log(log[:9]) == []


def test_a_short_log_raises_alarms_too() -> None:
    """What is wrong in three steps must not wait for ten."""
    (alarm,) = check_step_log([row(1), row(2, no_signal=1.0), row(3, no_signal=1.0)][1:])
    assert (alarm.kind, alarm.text) == ("no signal", "100% of the groups gave no signal in the last 2 steps")
    assert [a.kind for a in check_step_log([row(1, at_token_limit=1.0)])] == ["token limit"]
    growing = [row(i, length=50.0 * i) for i in range(1, 7)]
    assert [a.text for a in check_step_log(growing)] == ["completions grew from 100 to 250 tokens"]
    assert check_step_log(growing[:3]) == [], "three steps say nothing about growth"
    assert check_step_log([]) == []


def test_forgetting_and_drift() -> None:
    log = [row(i, accuracy=0.3) for i in range(10)] + [row(i, accuracy=0.9) for i in range(10, 30)]
    evals = [
        in_training_eval(0, code=[0, 1] * 25, math=[1] * 40 + [0] * 10),
        in_training_eval(30, code=[0, 1] * 25, math=[1] * 25 + [0] * 25),
    ]
    kinds = {a.kind: a.text for a in check_evals(evals, log, "code")}
    assert kinds["forgetting"].startswith("math fell by 30% (standard error 7%) since step 0")
    assert kinds["drift"] == "accuracy rose by 60% in training, by 0% on held-out code"
    assert paired_difference([1, 1, 0, 0], [1, 0, 0, 0]) == (-0.25, 0.25)


def test_the_best_step_is_corrected_for_selection() -> None:
    """Steps that do not differ: the picked one looks better than it is, the corrected figure does not, on average."""
    picked, corrected = [], []
    for seed in range(40):
        draws = random.Random(seed)
        evals = [in_training_eval(s, d=[int(draws.random() < 0.5) for _ in range(40)]) for s in range(12)]
        best = select_best_step(evals, seed)
        assert best is not None and best.accuracy == max(fmean(f["correct"]["d"]) for f in evals)  # type: ignore[index]
        picked.append(best.accuracy)
        corrected.append(best.corrected)
    assert fmean(picked) > 0.58
    assert abs(fmean(corrected) - 0.5) < 0.03
    clear = [in_training_eval(0, d=[0] * 20), in_training_eval(5, d=[1] * 20), in_training_eval(9, d=[0] * 20)]
    best = select_best_step(clear)
    assert best is not None and (best.step, best.accuracy, best.corrected) == (5, 1.0, 1.0)
    assert select_best_step([]) is None


@pytest.mark.slow
def test_in_training_evaluation_does_not_change_the_weights(
    tmp_path: Path, base: Path, traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"learning_rate": 1e-2, "epochs": 6.0, "batch_size": 8, "threads": 1}
    plain = warmup(base, traces, tmp_path / "plain", WarmupConfig(**config), progress=False)  # type: ignore[arg-type]
    more = {"eval_on": ("toy", "easy"), "eval_every": 15, "eval_questions": 6}
    run = warmup(base, traces, tmp_path / "w", WarmupConfig(**config, **more), progress=False)  # type: ignore[arg-type]
    assert equal(plain.path, run.path)
    assert plain.manifest.config_hash == run.manifest.config_hash, "watching is no part of a recipe"
    rows = [json.loads(line) for line in (run.path / "evals.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [0, 15, 30, 36]
    assert set(rows[0]["correct"]) == {"toy", "easy"} and len(rows[0]["correct"]["toy"]) == 6
    results = run.manifest.results
    assert results["in_training_eval"]["easy"]["last"] > results["in_training_eval"]["easy"]["first"]
    assert results["best"]["step"] > 0 and results["best"]["evals"] == 4
    assert "step 36: toy" in capsys.readouterr().err
    with pytest.raises(KkwarmError, match="unknown benchmark 'tory'"):
        warmup(base, traces, tmp_path / "x", WarmupConfig(eval_on=("tory",)), progress=False)


def test_rlvr_is_evaluated_and_its_alarms_are_recorded(tmp_path: Path, base: Path) -> None:
    config = RlvrConfig(
        domain="toy",
        examples=9,
        steps=11,
        prompts_per_step=2,
        generations=2,
        threads=1,
        eval_on=("toy",),
        eval_every=6,
        eval_questions=4,
        eval_max_tokens=5,
    )
    run = rlvr(base, config, tmp_path / "r", progress=False)
    steps = [json.loads(line)["step"] for line in (run.path / "evals.jsonl").read_text().splitlines()]
    assert steps == [0, 6, 11]
    first = json.loads((run.path / "evals.jsonl").read_text().splitlines()[0])
    assert first["max_tokens"] == {"toy": 5} and first["at_token_limit"] == {"toy": 1.0} and first["length"]["toy"] == 5
    kinds = {a["kind"] for a in run.manifest.alarms}
    assert kinds >= {"no signal", "token limit"}, "a random checkpoint knows neither format nor end"
    assert run.manifest.results["in_training_eval"]["toy"]["last"] == 0.0


def test_changed_questions_restart_the_evaluation(
    tmp_path: Path, base: Path, traces: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kkwarm.train.callback import RunCallback

    on_step_end = RunCallback.on_step_end

    def interrupting(self: RunCallback, args: object, state: object, control: object, **more: object) -> None:
        if state.global_step == 4:  # type: ignore[attr-defined]
            self.interrupt.requested = True
        on_step_end(self, args, state, control, **more)

    config = {
        "learning_rate": 1e-2,
        "max_steps": 8,
        "batch_size": 8,
        "threads": 1,
        "eval_every": 2,
        "eval_questions": 6,
    }
    with monkeypatch.context() as patch:
        patch.setattr(RunCallback, "on_step_end", interrupting)
        with pytest.raises(KeyboardInterrupt):
            warmup(base, traces, tmp_path / "w", WarmupConfig(eval_on=("toy",), **config), progress=False)  # type: ignore[arg-type]
    run = warmup(base, traces, tmp_path / "w", WarmupConfig(eval_on=("easy",), **config), progress=False)  # type: ignore[arg-type]
    rows = [json.loads(line) for line in (run.path / "evals.jsonl").read_text().splitlines()]
    assert [(r["step"], list(r["accuracy"])) for r in rows] == [(6, ["easy"]), (8, ["easy"])]
    assert run.manifest.results["best"]["step"] in (6, 8)
    changed = "the questions of the in-training evaluation, or their token limit, changed"
    assert changed in capsys.readouterr().err
    assert {json.dumps(r["max_tokens"]) for r in rows} == {'{"easy": 12}'}


def test_sft_with_sharded_weights_cannot_be_evaluated(
    tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(KkwarmError, match="--eval-on cannot generate with sharded weights"):
        warmup(base, traces, tmp_path / "w", WarmupConfig(eval_on=("toy",)), progress=False)
