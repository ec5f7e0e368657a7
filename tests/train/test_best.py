"""The best step's weights: which they are, that they load, and that no crash loses or mixes them up."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import trainee
from test_resume import equal, kill_at
from toy_task import prompt_of

import kkwarm.train.in_training_eval
from kkwarm.backends import Request, open_backend
from kkwarm.backends.checkpoint import display_name, load_model
from kkwarm.errors import KkwarmError
from kkwarm.store import Run
from kkwarm.train import WarmupConfig, warmup
from kkwarm.train.in_training_eval import BestWeights
from kkwarm.types import Sampling


def folders(run: Path) -> set[str]:
    """What a run leaves."""
    return {p.name for p in run.iterdir() if p.is_dir()}


def alike(a: Path, b: Path) -> bool:
    import torch
    from safetensors.torch import load_file

    one, other = (load_file(folder / "model.safetensors") for folder in (a, b))
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def best_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = Run.read(run).manifest.results["best"]
    return found


@pytest.mark.slow
def test_best_holds_the_weights_of_the_best_step(tmp_path: Path, base: Path, traces: Path) -> None:
    """The learning rate is constant, so a run of so many steps ends with the weights of that step."""
    config: dict[str, Any] = {"learning_rate": 1e-2, "schedule": "constant", "batch_size": 8, "threads": 1}
    watch: dict[str, Any] = {"eval_on": ("toy", "easy"), "eval_every": 3, "eval_questions": 12}
    run = warmup(base, traces, tmp_path / "w", WarmupConfig(**config, **watch, max_steps=18), progress=False)
    best = best_of(run.path)
    assert best["step"] > 0 and best["weights"] == "best" and "best" in run.manifest.products
    assert folders(run.path) == {"checkpoint", "best"}
    short = warmup(base, traces, tmp_path / "s", WarmupConfig(**config, max_steps=best["step"]), progress=False)
    assert alike(run.path / "best", short.path / "checkpoint")
    backend = open_backend("hf", str(run.path / "best"), device="cpu")
    asked = Request("q", prompt_of("say the word : red"), (0,), ("</answer>",))
    assert [c.text for _, _, c in backend.generate([asked], Sampling(0.0, 1.0, 12))]
    assert display_name(run.path / "best") == "w-best"
    without = WarmupConfig(**config, **watch, max_steps=18, keep_best=False)
    plain = warmup(base, traces, tmp_path / "n", without, progress=False)
    assert folders(plain.path) == {"checkpoint"} and equal(plain.path, run.path)
    assert {**best_of(plain.path), "weights": "best"} == best and best_of(plain.path).get("weights") != "best"


def test_if_no_step_is_better_the_base_model_is_the_best(tmp_path: Path, base: Path, traces: Path) -> None:
    config = WarmupConfig(learning_rate=1e-9, max_steps=2, batch_size=4, threads=1, eval_on=("toy",), eval_questions=4)
    run = warmup(base, traces, tmp_path / "w", config, progress=False)
    assert best_of(run.path)["step"] == 0 and best_of(run.path)["weights"] == str(base)
    assert folders(run.path) == {"checkpoint"}


def test_a_finished_run_keeps_only_the_best_weights(tmp_path: Path, base: Path, traces: Path) -> None:
    """Its last in-training evaluation is its best: what that replaced was kept for a run that goes on."""
    config = WarmupConfig(
        learning_rate=3e-2,
        epochs=3,
        batch_size=8,
        save_every=2,
        threads=1,
        eval_on=("easy",),
        eval_every=9,
        eval_questions=12,
    )
    run = warmup(base, traces, tmp_path / "w", config, progress=False)
    rows = [json.loads(line) for line in (run.path / "evals.jsonl").read_text().splitlines()]
    scores = [row["accuracy"]["easy"] for row in rows]
    assert scores[-1] > max(scores[1:-1]) > scores[0], "the best is replaced at the end"
    assert folders(run.path) == {"checkpoint", "best"}


def test_with_lora_the_best_adapter_is_kept(
    tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    import torch

    monkeypatch.chdir(base.parent)
    config = WarmupConfig(
        learning_rate=3e-2,
        epochs=6,
        batch_size=8,
        lora_rank=8,
        threads=1,
        eval_on=("easy",),
        eval_every=36,
        eval_questions=12,
    )
    run = warmup(base.name, traces, tmp_path / "w", config, progress=False)
    assert best_of(run.path)["step"] == 36 and (run.path / "best" / "adapter_config.json").is_file()
    monkeypatch.chdir(tmp_path)  # the base is found from anywhere
    one, other = load_model(run.path / "best", device="cpu"), load_model(run.path / "checkpoint", device="cpu")
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 6, 13])
def test_a_killed_run_ends_with_the_same_best(step: int, tmp_path: Path, base: Path, traces: Path) -> None:
    whole = trainee.train("evaluated", base, traces, tmp_path / "whole")
    kill_at("evaluated", step, base, traces, tmp_path / "killed")
    again = trainee.train("evaluated", base, traces, tmp_path / "killed")
    assert best_of(again) == best_of(whole) and best_of(whole)["step"] > 0
    assert alike(again / "best", whole / "best") and equal(again, whole)
    assert folders(again) == {"checkpoint", "best"}
    assert (again / "evals.jsonl").read_text() == (whole / "evals.jsonl").read_text()


# -- every place where a crash can fall ------------------------------------------------------------------------------

STEPS = ((2, False), (4, False), (4, True), (6, False), (8, False), (8, True), (10, False))  # keep, or step checkpoint


class Crash(Exception):
    pass


def test_no_crash_loses_the_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash at each operation on the file system in turn: what is kept afterwards is of the last step kept before the
    step checkpoint that the run goes on from, whole."""
    at = [0]

    def counted(function: Any) -> Any:
        def step(*args: Any, **more: Any) -> Any:
            at[0] -= 1
            if at[0] == 0:
                raise Crash
            return function(*args, **more)

        return step

    def write(trainer: int, tokenizer: None, folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_text(str(trainer))

    monkeypatch.setattr(kkwarm.train.in_training_eval, "write_weights", write)
    crashes = 0
    for crash in range(1, 200):
        at[0] = crash
        out = tmp_path / str(crash)
        out.mkdir()
        kept, saved = BestWeights(out, None), 0
        with monkeypatch.context() as patch:
            for owner, name in ((Path, "rename"), (Path, "replace"), (Path, "write_text"), (shutil, "rmtree")):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            try:
                for step, checkpoint in STEPS:
                    if checkpoint:
                        saved = step
                        kept.on_checkpoint_saved(step)
                    else:
                        kept.keep(step, step)
            except Crash:
                crashes += 1
            else:
                break
        kept = BestWeights(out, None)
        kept.resume(saved)
        want = max((step for step, checkpoint in STEPS if not checkpoint and step <= saved), default=None)
        assert kept.step == want, crash
        if want is not None:
            assert (out / "best" / "weights").read_text() == str(want), crash
        assert not list(out.glob(".best-*")), crash
    assert crashes > 20


@pytest.mark.slow
def test_a_full_disk_is_an_error(tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    config = WarmupConfig(learning_rate=1e-2, epochs=6, batch_size=8, threads=1, eval_on=("easy",), eval_every=36)
    with monkeypatch.context() as patch:
        patch.setattr(kkwarm.train.in_training_eval, "write_weights", full)
        with pytest.raises(KkwarmError, match=r"cannot be written.*No space left.*free space"):
            warmup(base, traces, tmp_path / "w", config, progress=False)
    assert not (tmp_path / "w" / "best").exists()
    run = warmup(base, traces, tmp_path / "w", config, progress=False)
    assert json.loads((run.path / "best" / "kkwarm.json").read_text()) == {"step": 36}
