"""Divergence, missing memory and hardware, the watchdog, and background verification."""

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import toy_task as toy

from kkwarm import tracking
from kkwarm.errors import KkwarmError
from kkwarm.store import Run
from kkwarm.train import RlvrConfig, WarmupConfig, warmup
from kkwarm.train.callback import DivergenceMonitor
from kkwarm.train.progress import Watchdog
from kkwarm.train.rollout import BackgroundVerifier
from kkwarm.types import Completion, Example, Status, Verdict

CONFIG = WarmupConfig(learning_rate=1e-2, epochs=2, batch_size=8, save_every=1, threads=1)


def test_out_of_memory_names_the_option_that_resumes_the_run(
    tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from trl import SFTTrainer

    compute_loss = SFTTrainer.compute_loss

    def full(self: SFTTrainer, model: object, inputs: dict[str, object], *args: object, **kwargs: object) -> object:
        if self.state.global_step == 4 and inputs["input_ids"].shape[0] > 4:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return compute_loss(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(SFTTrainer, "compute_loss", full)
    with pytest.raises(
        KkwarmError,
        match=r"out of memory with 8 sequences in a forward pass.*add --micro-batch-size 4 to the same command",
    ):
        warmup(base, traces, tmp_path / "w", CONFIG, progress=False)
    run = warmup(
        base,
        traces,
        tmp_path / "w",
        WarmupConfig(**{**_fields(CONFIG), "micro_batch_size": 4, "gradient_checkpointing": True}),
        progress=False,
    )
    assert run.done and run.manifest.resumed == 1 and run.manifest.results["steps"] == 12


def _fields(config: WarmupConfig) -> dict[str, object]:
    return config.dump()


def test_a_diverging_loss_stops_and_only_good_checkpoints_are_kept(
    tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import SFTTrainer

    compute_loss = SFTTrainer.compute_loss

    def rising(self: SFTTrainer, *args: object, **kwargs: object) -> object:
        return compute_loss(self, *args, **kwargs) * 1.6 ** max(0, self.state.global_step - 10)

    monkeypatch.setattr(SFTTrainer, "compute_loss", rising)
    config = WarmupConfig(**{**_fields(CONFIG), "epochs": 8.0, "learning_rate": 1e-4})
    with pytest.raises(KkwarmError, match=r"the loss diverges: .* at step \d+; the last good checkpoint is .*-1[0-9] "):
        warmup(base, traces, tmp_path / "w", config, progress=False)
    assert Run.read(tmp_path / "w").manifest.state == "interrupted"


def test_losses_that_fall_or_rise_a_little_are_not_divergence() -> None:
    def problems(*losses: float) -> list[str]:
        monitor = DivergenceMonitor(3.0)
        return [problem for loss in losses if (problem := monitor.add(loss))]

    assert problems(*[2.0] * 8, *[1.0] * 8, *[0.1] * 8, *[0.5] * 20) == [], "below the first mean"
    assert problems(*[0.1] * 8, *[0.25] * 20) == []
    assert problems(*[1.0] * 8, *[5.0] * 8)[0].startswith("the loss diverges: 3.")


def test_the_watchdog_dumps_stacks_once_for_a_step_that_hangs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    release = threading.Event()

    def hang_here() -> None:
        release.wait(20)

    hung = threading.Thread(target=hang_here)
    with Watchdog(tmp_path, factor=3.0, minimum=0.2) as watchdog:
        for _ in range(3):
            time.sleep(0.01)
            watchdog.step_done()
        assert watchdog.limit == 0.2 and not watchdog.file.exists()
        hung.start()
        time.sleep(1.0)
        text = watchdog.file.read_text()
    release.set()
    hung.join()
    assert "hang_here" in text and text.count("== ") == 1 and "no step for" in capfd.readouterr().err


def test_the_watchdog_waits_longer_before_two_steps(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path, minimum=60)
    assert watchdog.limit == 600
    watchdog.step_done()
    watchdog.step_done(counts=False)
    assert watchdog.limit == 600
    watchdog._durations.extend([30.0, 32.0, 28.0])
    assert watchdog.limit == pytest.approx(290), "ten times the median, of which the first step is one"


def pair(i: int) -> tuple[Example, Completion]:
    return Example(f"e{i}", "q", "a"), Completion(str(i))


def test_completions_are_verified_while_others_are_generated() -> None:
    verified: list[int] = []
    first = threading.Event()

    def verify(pairs: Sequence[tuple[Example, Completion]]) -> list[Verdict]:
        numbers = [int(completion.text) for _, completion in pairs]
        verified.extend(numbers)
        first.set()
        return [Verdict(Status.CORRECT if i % 2 else Status.WRONG) for i in numbers]

    with BackgroundVerifier(verify) as verifier:
        futures = {3: verifier.submit(*pair(3))}
        assert first.wait(10), "before the last completion came"
        futures |= {i: verifier.submit(*pair(i)) for i in (1, 0, 2)}
    assert [futures[i].result(10).correct for i in range(4)] == [False, True, False, True]
    assert sorted(verified) == [0, 1, 2, 3]


def test_a_failed_verification_raises_in_its_future_and_a_hanging_one_does_not_block() -> None:
    def fail(pairs: object) -> list[Verdict]:
        raise KkwarmError("no sandbox")

    with BackgroundVerifier(fail) as verifier:
        future = verifier.submit(*pair(0))
    with pytest.raises(KkwarmError, match="no sandbox"):
        future.result(10)
    release = threading.Event()
    with BackgroundVerifier(lambda pairs: [Verdict(Status.WRONG)] * release.wait(60)) as verifier:
        future = verifier.submit(*pair(0))
    assert not future.done(), "leaving the context does not wait"
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "verifier")
    release.set()
    assert future.result(10).status is Status.WRONG


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda"}, "--device cuda: no CUDA device is available"),
        ({"liger": True}, r"--liger needs CUDA, and there is no CUDA device \(leave out --liger\)"),
        ({"attention": "flash"}, "--attention flash: there is no CUDA device"),
    ],
)
def test_options_that_need_a_gpu_fail_in_one_line_without_one(
    tmp_path: Path, base: Path, traces: Path, settings: dict[str, object], message: str
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(KkwarmError, match=message):
        warmup(base, traces, tmp_path / "w", WarmupConfig(max_steps=1, **settings), progress=False)  # type: ignore[arg-type]
    assert not (tmp_path / "w" / "manifest.json").exists()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    import torch

    from kkwarm.train.trainer_setup import check_requirements

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KkwarmError, match=r"--optim adamw_8bit needs bitsandbytes"):
        check_requirements(WarmupConfig(optim="adamw_8bit", device="cpu"))
    with pytest.raises(KkwarmError, match=r"--qlora needs bitsandbytes \(pip install bitsandbytes\)"):
        check_requirements(WarmupConfig(qlora=True))
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(KkwarmError, match=r"--track tensorboard needs .*'kkwarm\[tensorboard\]'\)"):
        check_requirements(WarmupConfig(track=("tensorboard",)))
    with pytest.raises(KkwarmError, match=r"--liger needs liger-kernel"):
        check_requirements(RlvrConfig(domain="toy", liger=True))


@pytest.mark.parametrize(
    ("setting", "installed", "cuda", "bf16", "expected"),
    [
        ("auto", True, True, True, "flash_attention_2"),
        ("auto", True, True, False, None),
        ("auto", True, False, True, None),
        ("auto", False, True, True, None),
        ("flash", True, True, False, "flash_attention_2"),
        ("flash", False, True, True, r"flash-attn is not installed \(--attention sdpa, or pip install flash-attn\)"),
        ("flash", True, False, True, "there is no CUDA device"),
        ("sdpa", True, True, True, "sdpa"),
    ],
)
def test_uses_flash_attention_where_it_is_installed_and_supported(
    monkeypatch: pytest.MonkeyPatch, setting: str, installed: bool, cuda: bool, bf16: bool, expected: str | None
) -> None:
    import importlib.util

    from kkwarm.train.trainer_setup import _attention

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed or None)
    config = WarmupConfig(attention=setting, precision="bf16" if bf16 else "fp32")  # type: ignore[arg-type]
    if setting == "flash" and not (installed and cuda):
        with pytest.raises(KkwarmError, match=f"--attention flash: {expected}"):
            _attention(config, cuda=cuda)
    else:
        assert _attention(config, cuda=cuda) == expected


@pytest.mark.parametrize(("vllm", "hint"), [("colocate", "or leave out --vllm"), ("none", "or uninstall it")])
@pytest.mark.parametrize("error", ["OSError('libcuda.so.1 is missing')", "RuntimeError('libcuda.so.1 is missing')"])
def test_a_vllm_that_does_not_fit_the_driver_gives_one_line(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, vllm: str, hint: str, error: str
) -> None:
    """Without --vllm too: trl imports it where it is installed."""
    from kkwarm.backends import open_backend
    from kkwarm.train import rlvr

    (tmp_path / "vllm.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    with pytest.raises(KkwarmError, match=rf"vLLM cannot be imported: \w+: libcuda.so.1 is missing .*{hint}"):
        rlvr(base, RlvrConfig(domain="toy", examples=9, vllm=vllm), tmp_path / "r", progress=False)  # type: ignore[arg-type]
    assert not (tmp_path / "r" / "manifest.json").exists()
    with pytest.raises(KkwarmError, match=r"vLLM cannot be imported.*--backend hf"):
        open_backend("vllm", str(base))


def test_eager_attention_gives_the_loss_of_sdpa(tmp_path: Path, base: Path, traces: Path) -> None:
    losses = []
    for attention in ("sdpa", "eager"):
        config = WarmupConfig(max_steps=2, attention=attention, precision="fp32", threads=1)  # type: ignore[arg-type]
        losses.append(warmup(base, traces, tmp_path / attention, config, progress=False).manifest.results["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_trackers_get_loss_and_reward(
    tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # its process reads the environment anew
    monkeypatch.setenv("WANDB_MODE", "offline")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from kkwarm.train import rlvr

    def tags(run: Run) -> set[str]:
        names: set[str] = set()
        for file in run.path.rglob("events.out.tfevents.*"):
            read = EventAccumulator(str(file.parent))
            read.Reload()
            names |= set(read.Tags()["scalars"])
        return names

    more = {"threads": 1, "track": ("tensorboard", "wandb")}
    sft = warmup(base, traces, tmp_path / "w", WarmupConfig(max_steps=2, **more), progress=False)  # type: ignore[arg-type]
    assert "train/loss" in tags(sft)
    config = RlvrConfig(domain="toy", examples=9, steps=2, prompts_per_step=2, generations=2, **more)  # type: ignore[arg-type]
    grpo = rlvr(base, config, tmp_path / "r", progress=False)
    assert {"train/loss", "train/reward", "train/accuracy"} <= tags(grpo)
    (offline,) = grpo.path.glob("wandb/offline-run-*/*.wandb")
    wandb.teardown()  # waits until everything is stored
    assert b"train/reward" in offline.read_bytes()
    assert not [warning for warning in grpo.manifest.warnings if "--track" in warning]
    assert toy.WORDS
