import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trainee

from kkwarm.errors import KkwarmError
from kkwarm.store import Run
from kkwarm.train import WarmupConfig, rlvr, warmup

HERE = Path(__file__).parent


def weights(run: Path) -> dict[str, object]:
    from safetensors.torch import load_file

    return load_file(run / "checkpoint" / "model.safetensors")


def equal(a: Path, b: Path) -> bool:
    import torch

    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)  # type: ignore[arg-type]


def steps(run: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def kill_at(kind: str, step: int, model: Path, traces: Path, out: Path) -> None:
    """Starts training and kills it with SIGKILL once `step` steps are logged."""
    path = os.pathsep.join([str(HERE), *sys.path])
    command = [sys.executable, str(HERE / "trainee.py"), kind, str(model), str(traces), str(out)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE)
    log = out / "log.jsonl"
    while not (log.exists() and log.read_bytes().count(b"\n") >= step):
        assert process.poll() is None, process.communicate()[1].decode()[-2000:]
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "checkpoint").exists(), "it had ended before the kill"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["warmup", "rlvr"])
def test_a_killed_run_resumes_to_the_same_weights(kind: str, tmp_path: Path, base: Path, traces: Path) -> None:
    model = base
    if kind == "rlvr":  # a random checkpoint gets no reward
        config = WarmupConfig(learning_rate=1e-2, epochs=2, batch_size=8, threads=1)
        model = warmup(base, traces, tmp_path / "warmed", config, progress=False).path
    uninterrupted = trainee.train(kind, model, traces, tmp_path / "uninterrupted")
    kill_at(kind, 5, model, traces, tmp_path / "killed")
    assert json.loads((tmp_path / "killed" / "manifest.json").read_text())["state"] == "running"
    resumed_run = trainee.train(kind, model, traces, tmp_path / "killed")
    assert Run.read(resumed_run).manifest.resumed == 1
    assert steps(resumed_run) == steps(uninterrupted)
    assert equal(resumed_run, uninterrupted)
    assert not (resumed_run / "steps").exists()
    if kind == "rlvr":
        assert (resumed_run / "rollouts.jsonl").read_text() == (uninterrupted / "rollouts.jsonl").read_text()


def test_incomplete_step_checkpoints_are_skipped(tmp_path: Path) -> None:
    from kkwarm.train.checkpoints import find_last_checkpoint, mark_complete

    for number, marked in ((4, True), (8, True), (12, False), (16, True)):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x" * number)
        if marked:
            mark_complete(folder)
    (tmp_path / "checkpoint-16" / "model.safetensors").write_bytes(b"torn")
    assert find_last_checkpoint(tmp_path) == tmp_path / "checkpoint-8"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-4", "checkpoint-8"]


def test_an_interrupted_run_saves_and_resumes(
    tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kkwarm.train.callback import RunCallback

    on_log = RunCallback.on_log

    def interrupting(self: RunCallback, args: object, state: object, control: object, logs: dict[str, float]) -> None:
        on_log(self, args, state, control, logs)
        if state.global_step == 2:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGINT)

    config = WarmupConfig(learning_rate=1e-2, epochs=1, batch_size=8, threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(RunCallback, "on_log", lambda self, a, s, c, logs, **_: interrupting(self, a, s, c, logs))
        with pytest.raises(KeyboardInterrupt):
            warmup(base, traces, tmp_path / "w", config, progress=False)
    assert Run.read(tmp_path / "w").manifest.state == "interrupted"
    assert [p.name for p in (tmp_path / "w" / "steps").iterdir()] == ["checkpoint-3"]
    resumed_run = warmup(base, traces, tmp_path / "w", config, progress=False)
    uninterrupted = warmup(base, traces, tmp_path / "uninterrupted", config, progress=False)
    assert equal(resumed_run.path, uninterrupted.path)
    assert capsys.readouterr().out == ""


def test_a_full_disk_gives_one_line_and_the_run_resumes(
    tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError
    from transformers import Trainer

    def full(self: object, *args: object, **kwargs: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    config = WarmupConfig(learning_rate=1e-2, max_steps=3, batch_size=8, save_every=1, threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_model", full)
        with pytest.raises(KkwarmError, match=r"cannot be written.*free space"):
            warmup(base, traces, tmp_path / "w", config, progress=False)
    assert warmup(base, traces, tmp_path / "w", config, progress=False).done


def test_rejects_a_folder_with_other_settings(tmp_path: Path, base: Path, traces: Path) -> None:
    config = WarmupConfig(learning_rate=1e-2, max_steps=1, batch_size=4, threads=1)
    run = warmup(base, traces, tmp_path / "w", config, progress=False)
    before = run.manifest.finished
    assert warmup(base, traces, tmp_path / "w", config, progress=False).manifest.finished == before
    with pytest.raises(KkwarmError, match=r"different settings \(learning_rate: .* there, .* here\)"):
        warmup(
            base, traces, tmp_path / "w", WarmupConfig(learning_rate=1e-3, max_steps=1, batch_size=4), progress=False
        )
    with pytest.raises(KkwarmError, match="a run of warmup, not of rlvr"):
        rlvr(base, trainee.RLVR, tmp_path / "w", progress=False)
    shutil.rmtree(tmp_path / "w")


def test_a_second_sigterm_still_saves_and_a_second_ctrl_c_does_not() -> None:
    from kkwarm.train.callback import InterruptHandler

    with InterruptHandler() as interrupt:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            if number == signal.SIGINT:
                with pytest.raises(KeyboardInterrupt):
                    os.kill(os.getpid(), number)
            else:
                os.kill(os.getpid(), number)
            assert interrupt.requested
