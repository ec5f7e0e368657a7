"""Two processes on a CPU (gloo) against one."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_task as toy
from test_resume import steps, weights

import kkwarm.train.launch
from kkwarm.errors import KkwarmError
from kkwarm.store import Run
from kkwarm.train import RlvrConfig, WarmupConfig, rlvr, warmup
from kkwarm.train.launch import plan_processes

WARMUP = WarmupConfig(learning_rate=1e-2, epochs=2, batch_size=16, micro_batch_size=8, precision="fp32", threads=1)


@pytest.fixture(autouse=True)
def toy_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kkwarm.train.launch, "WORKER", "toy_worker")


def close(a: Path, b: Path, tolerance: float) -> None:
    import torch

    one, other = weights(a), weights(b)
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_sft_has_the_same_losses_and_weights(tmp_path: Path, base: Path, traces: Path) -> None:
    one = warmup(base, traces, tmp_path / "one", WARMUP, progress=False)
    two = warmup(base, traces, tmp_path / "two", WARMUP.replace(nproc=2), labels={"condition": "w"}, progress=False)
    assert two.done and two.manifest.processes == 2 and two.manifest.labels == {"condition": "w"}
    assert one.manifest.config_hash == two.manifest.config_hash, "the number of processes is no part of a recipe"
    assert len(steps(one.path)) == len(steps(two.path)) == 6
    for a, b in zip(steps(one.path), steps(two.path), strict=True):
        for name in ("step", "loss", "learning_rate", "grad_norm", "tokens"):
            assert a[name] == pytest.approx(b[name], rel=2e-3), name
    close(one.path, two.path, 2e-3)
    assert sorted(p.name for p in two.path.iterdir() if not p.name.startswith(".")) == [
        *("checkpoint", "log.jsonl", "manifest.json")
    ]


@pytest.mark.slow
def test_two_processes_evaluate_together_and_one_keeps_the_best(tmp_path: Path, base: Path, traces: Path) -> None:
    config = WARMUP.replace(epochs=4, eval_on=("easy",), eval_every=4, eval_questions=11)
    one = warmup(base, traces, tmp_path / "one", config, progress=False)
    two = warmup(base, traces, tmp_path / "two", config.replace(nproc=2), progress=False)
    for run in (one, two):
        rows = [json.loads(line) for line in (run.path / "evals.jsonl").read_text().splitlines()]
        assert [(row["step"], len(row["correct"]["easy"])) for row in rows] == [(0, 11), (4, 11), (8, 11), (12, 11)]
        best = run.manifest.results["best"]
        stored = json.loads((run.path / "best" / "kkwarm.json").read_text()) if best["step"] else {"step": 0}
        assert stored == {"step": best["step"]}
        assert best["step"] == max(rows, key=lambda row: row["accuracy"]["easy"])["step"]


@pytest.mark.slow
def test_grpo_has_the_same_rollouts_losses_and_weights(tmp_path: Path, base: Path, traces: Path) -> None:
    warmed = warmup(base, traces, tmp_path / "w", WARMUP.replace(epochs=8), progress=False).path
    shape = {"steps": 3, "prompts_per_step": 3, "generations": 4}
    config = RlvrConfig(
        domain="easy", examples=20, learning_rate=1e-3, precision="fp32", threads=1, keep_rollouts=True, **shape
    )
    one = rlvr(warmed, config, tmp_path / "one", progress=False).path
    two = rlvr(warmed, config.replace(nproc=2), tmp_path / "two", progress=False).path
    rollouts = [[json.loads(line) for line in (p / "rollouts.jsonl").read_text().splitlines()] for p in (one, two)]
    assert len(rollouts[0]) == 36 and rollouts[0] == rollouts[1], (
        "two processes that share groups generate what one process generates"
    )
    for a, b in zip(steps(one), steps(two), strict=True):
        assert {k: a[k] for k in ("reward", "accuracy", "status", "no_signal", "length", "at_token_limit")} == {
            k: b[k] for k in ("reward", "accuracy", "status", "no_signal", "length", "at_token_limit")
        }
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=2e-3)
    close(one, two, 1e-3)


def when_logged(out: Path, n: int, act: Callable[[], None]) -> threading.Thread:
    """Acts once `n` steps are logged."""

    def wait() -> None:
        log = out / "log.jsonl"
        while not (log.exists() and log.read_bytes().count(b"\n") >= n):
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def workers(parent: int) -> list[int]:
    """Processes that `parent` started."""
    pids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    pids.append(int(folder.name))
            except OSError:
                continue
    return pids


@pytest.mark.slow
def test_ctrl_c_and_a_killed_process_leave_a_run_that_resumes_with_any_number(
    tmp_path: Path, base: Path, traces: Path
) -> None:
    out, config = tmp_path / "two", WARMUP.replace(epochs=20, save_every=5)
    when_logged(out, 3, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        warmup(base, traces, out, config.replace(nproc=2), progress=False)
    assert Run.read(out).manifest.state == "interrupted"
    at = int(next((out / "steps").iterdir()).name.rpartition("-")[2])
    assert 3 <= at < 60
    when_logged(out, at + 8, lambda: os.kill(workers(os.getpid())[-1], signal.SIGKILL))
    with pytest.raises(KkwarmError, match=r"process . was killed by SIGKILL .*run the same command again"):
        warmup(base, traces, out, config.replace(nproc=2), progress=False)
    assert Run.read(out).manifest.state != "done"
    again = warmup(base, traces, out, config, progress=False)
    single = warmup(base, traces, tmp_path / "one", config, progress=False)
    assert again.manifest.resumed == 2 and len(steps(again.path)) == 60
    close(again.path, single.path, 2e-2)


@pytest.mark.slow
def test_the_parent_reports_an_error_once(
    tmp_path: Path, base: Path, traces: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KkwarmError, match="2 processes cannot share the 3 sequences of a step"):
        warmup(base, traces, tmp_path / "w", WarmupConfig(batch_size=3, nproc=2, threads=1), progress=False)
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err and printed.out == ""
    assert not (tmp_path / "w" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("settings", "text", "message"),
    [
        ({"accelerate": "fsdp"}, "", r"no such file \(a file, or one of fsdp2, zero3\)"),
        ({"accelerate": "fsdp2", "nproc": 2}, "", r"shards over GPUs, and there is none \(--device cpu tries it"),
        ({"accelerate": "zero3", "nproc": 2}, "", "zero3 shards over GPUs, and there is none"),
        ({"accelerate": "FILE", "nproc": 2}, "a: [", "cannot be read"),
        ({"accelerate": "FILE", "nproc": 2}, "a: 1", "is not an accelerate config"),
        (
            {"accelerate": "FILE", "nproc": 2},
            "distributed_type: MULTI_CPU\nnum_processes: 8\n",
            r"is for 8 processes, not 2 \(--nproc 8, or change the file\)",
        ),
        ({"device": "cuda", "nproc": 2}, "", "--device cuda: no CUDA device is available"),
    ],
)
def test_bad_layouts_give_one_line(tmp_path: Path, settings: dict[str, object], text: str, message: str) -> None:
    if settings.get("accelerate") == "FILE":
        (tmp_path / "a.yaml").write_text(text)
        settings = {**settings, "accelerate": str(tmp_path / "a.yaml")}
    with pytest.raises(KkwarmError, match=message):
        plan_processes(WarmupConfig(**settings))  # type: ignore[arg-type]


def test_rejects_more_processes_than_gpus_or_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("os.cpu_count", lambda: 4)
    with pytest.raises(KkwarmError, match=r"8 processes, but 4 CPU cores \(--nproc 4\)"):
        plan_processes(WarmupConfig(nproc=8, device="cpu"))
    with pytest.raises(KkwarmError, match="4 processes cannot share the 6 sequences of a step"):
        plan_processes(RlvrConfig(domain="toy", nproc=4, device="cpu", prompts_per_step=3, generations=2))
    layout = plan_processes(WarmupConfig(nproc=4, device="cpu"))
    assert layout is not None and layout.nproc == 4 and layout.arguments()[-1] == "4"
    monkeypatch.setattr("kkwarm.train.launch.find_spec", lambda name: None)
    with pytest.raises(KkwarmError, match=r"--accelerate-config zero3 needs DeepSpeed \(pip install deepspeed\)"):
        plan_processes(WarmupConfig(nproc=2, device="cpu", accelerate="zero3"))
    monkeypatch.setattr("kkwarm.train.launch.find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(KkwarmError, match=r"4 processes, but 2 CUDA devices \(--nproc 2, or --device cpu\)"):
        plan_processes(WarmupConfig(nproc=4))
    layout = plan_processes(WarmupConfig(accelerate="fsdp2"))
    assert layout is not None and layout.nproc == 2, "all GPUs"
    with pytest.raises(KkwarmError, match="LoRA with sharded weights"):
        plan_processes(WarmupConfig(accelerate="zero3", lora=True))


def test_presets_become_the_environment_of_accelerates_launcher(tmp_path: Path) -> None:
    from kkwarm.train.launch import PRESETS, ProcessLayout

    variables = ProcessLayout(2, PRESETS / "fsdp2.yaml").environment()
    assert variables["ACCELERATE_USE_FSDP"] == "true" and variables["FSDP_VERSION"] == "2"
    assert (
        variables["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"
        and variables["ACCELERATE_MIXED_PRECISION"] == "no"
    )
    machines = {"num_machines": 2, "machine_rank": 1, "main_process_ip": "10.0.0.1", "main_process_port": 29501}
    assert " ".join(ProcessLayout(16, tmp_path, machines).arguments()) == (
        "--nnodes 2 --nproc-per-node 8 --node-rank 1 --master-addr 10.0.0.1 --master-port 29501"
    )
    with pytest.raises(KkwarmError, match="machine_rank is missing"):
        ProcessLayout(16, tmp_path, {"num_machines": 2, "main_process_ip": "a", "main_process_port": 1}).arguments()


def test_a_step_is_shared_equally(monkeypatch: pytest.MonkeyPatch) -> None:
    from kkwarm.train.distributed import split_step

    assert split_step(20, 4) == (4, 5) and split_step(64, 1000) == (64, 1) and split_step(20, 7) == (5, 4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert split_step(20, 4) == (2, 5) and split_step(64, 1000) == (32, 1) and split_step(2, 1) == (1, 1)


def test_the_toy_worker_is_the_real_one() -> None:
    from kkwarm.train import worker

    assert Path(toy.__file__).with_name("toy_worker.py").read_text().count("kkwarm.train.worker") == 1
    assert callable(worker.main)
