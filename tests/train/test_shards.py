"""Sharded weights (FSDP2, ZeRO-3) over two CPU processes (gloo) against one process with all of them."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from test_resume import steps
from test_several_processes import close, when_logged, workers

import kkwarm.train.launch
from kkwarm.errors import KkwarmError
from kkwarm.train import RlvrConfig, WarmupConfig, rlvr, warmup
from kkwarm.train.checkpoints import check_sharding

WARMUP = WarmupConfig(
    learning_rate=1e-2, max_steps=3, batch_size=16, micro_batch_size=8, precision="fp32", threads=1, device="cpu"
)
SHARD_FILES = {"fsdp2": "pytorch_model_fsdp*", "zero3": "global_step*"}  # in a step checkpoint


@pytest.fixture(autouse=True)
def toy_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kkwarm.train.launch, "WORKER", "toy_worker")


@pytest.fixture(params=["fsdp2", "zero3"])
def sharded(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "zero3":
        pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    return {"nproc": 2, "accelerate": request.param}


@pytest.mark.slow
def test_sft_with_sharded_weights(tmp_path: Path, base: Path, traces: Path, sharded: dict[str, Any]) -> None:
    one = warmup(base, traces, tmp_path / "one", WARMUP, progress=False)
    two = warmup(base, traces, tmp_path / "two", WARMUP.replace(**sharded), progress=False)
    assert two.manifest.processes == 2
    for a, b in zip(steps(one.path), steps(two.path), strict=True):
        for name in ("step", "loss", "learning_rate", "grad_norm", "tokens"):
            assert a[name] == pytest.approx(b[name], rel=2e-3), name
    close(one.path, two.path, 2e-3)


@pytest.mark.slow
def test_grpo_with_sharded_weights_generates_the_same_rollouts(
    tmp_path: Path, base: Path, traces: Path, sharded: dict[str, Any]
) -> None:
    """A copy that holds all weights generates; it is refreshed from the shards at every step."""
    warmed = warmup(base, traces, tmp_path / "w", WARMUP.replace(max_steps=24, learning_rate=1e-2), progress=False).path
    config = RlvrConfig(
        domain="easy", examples=20, learning_rate=1e-3, steps=3, prompts_per_step=3, generations=4, precision="fp32",
        threads=1, device="cpu", keep_rollouts=True, eval_on=("easy",), eval_every=2, eval_questions=5,
    )  # fmt: skip
    one = rlvr(warmed, config, tmp_path / "one", progress=False).path
    two = rlvr(warmed, config.replace(**sharded), tmp_path / "two", progress=False).path
    rollouts = [[json.loads(line) for line in (p / "rollouts.jsonl").read_text().splitlines()] for p in (one, two)]
    assert len(rollouts[0]) == 36 and rollouts[0] == rollouts[1]
    assert any(row["no_signal"] < 1 for row in steps(one))
    assert (one / "evals.jsonl").read_text() == (two / "evals.jsonl").read_text()
    for a, b in zip(steps(one), steps(two), strict=True):
        assert {k: a[k] for k in ("reward", "accuracy", "status", "length")} == {
            k: b[k] for k in ("reward", "accuracy", "status", "length")
        }
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=2e-3)
    close(one, two, 1e-3)


@pytest.mark.slow
def test_a_killed_run_with_sharded_weights_resumes(
    tmp_path: Path, base: Path, traces: Path, sharded: dict[str, Any]
) -> None:
    config = WARMUP.replace(max_steps=12, save_every=3)
    in_shards, out = config.replace(**sharded), tmp_path / "two"
    when_logged(out, 7, lambda: os.kill(workers(os.getpid())[-1], signal.SIGKILL))
    with pytest.raises(KkwarmError, match=r"process . was killed by SIGKILL .*run the same command again"):
        warmup(base, traces, out, in_shards, progress=False)
    checkpoint = max((out / "steps").iterdir(), key=lambda p: int(p.name.rpartition("-")[2]))
    name = sharded["accelerate"]
    assert list(checkpoint.glob(SHARD_FILES[name])), "weights are sharded while it trains"
    with pytest.raises(KkwarmError, match=rf"sharded weights \({name}\).*resume with --accelerate-config {name}"):
        warmup(base, traces, out, config, progress=False)
    again = warmup(base, traces, out, in_shards, progress=False)
    single = warmup(base, traces, tmp_path / "one", config, progress=False)
    assert again.manifest.resumed == 2, "the rejected attempt counts"
    assert [s["step"] for s in steps(out)] == list(range(1, 13))
    close(again.path, single.path, 2e-3)


def test_a_step_checkpoint_needs_the_same_sharding(tmp_path: Path) -> None:
    check_sharding(tmp_path, "MULTI_GPU")
    with pytest.raises(
        KkwarmError, match=r"holds unsharded weights.* \(resume without --accelerate-config, as before\)"
    ):
        check_sharding(tmp_path, "FSDP")
    (tmp_path / "global_step5").mkdir()
    check_sharding(tmp_path, "DEEPSPEED")
    with pytest.raises(KkwarmError, match=r"sharded weights \(zero3\).*--accelerate-config zero3"):
        check_sharding(tmp_path, "NO")
