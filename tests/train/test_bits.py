"""QLoRA and the 8-bit optimizer, for real: bitsandbytes has kernels for CPUs too."""

from pathlib import Path

import pytest
import toy_task as toy
from test_resume import steps, weights
from trainee import RLVR

from kkwarm.backends.checkpoint import load_model
from kkwarm.train import WarmupConfig, rlvr, warmup

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bitsandbytes packs 64 columns at a time."""
    return toy.checkpoint(tmp_path_factory.mktemp("wide") / "model", hidden=64)


WARMUP = WarmupConfig(learning_rate=1e-2, epochs=4, batch_size=8, precision="fp32", threads=1, device="cpu")


def test_qlora_trains_on_4_bits_and_is_merged(tmp_path: Path, wide: Path, traces: Path) -> None:
    import bitsandbytes
    import torch

    config = WARMUP.replace(
        qlora=True, lora_rank=8, learning_rate=3e-2, eval_on=("easy",), eval_every=24, eval_questions=8
    )
    run = warmup(wide, traces, tmp_path / "w", config, progress=False)
    results = run.manifest.results
    assert results["loss"] < 0.5 * results["first_loss"]
    merged = load_model(run.path / "checkpoint")
    assert not any(isinstance(m, bitsandbytes.nn.Linear4bit) for m in merged.modules())
    before = weights_of(wide)
    changed = {
        name for name, value in weights_of(run.path / "checkpoint").items() if not torch.equal(value, before[name])
    }
    assert changed >= {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight"}
    assert (run.path / "adapter" / "adapter_config.json").exists()


def weights_of(folder: Path) -> dict[str, object]:
    return {name: value.detach().float() for name, value in load_model(folder).named_parameters()}


def test_rlvr_by_qlora(tmp_path: Path, wide: Path, traces: Path) -> None:
    warmed = warmup(wide, traces, tmp_path / "w", WARMUP, progress=False).path
    run = rlvr(warmed, RLVR.replace(qlora=True, lora_rank=8, steps=3, device="cpu"), tmp_path / "r", progress=False)
    assert run.done and any(row["grad_norm"] > 0 for row in steps(run.path))


def test_a_run_with_an_8_bit_optimizer_resumes_to_the_same_weights(
    tmp_path: Path, base: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from trl import SFTTrainer

    config = WARMUP.replace(optim="adamw_8bit", save_every=3)
    uninterrupted = warmup(base, traces, tmp_path / "uninterrupted", config, progress=False)
    plain = warmup(base, traces, tmp_path / "plain", config.replace(optim="adamw"), progress=False)
    for a, b in zip(steps(uninterrupted.path), steps(plain.path), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=0.1, abs=0.05)
    compute_loss = SFTTrainer.compute_loss

    def interrupt(self: SFTTrainer, *args: object, **kwargs: object) -> object:
        if self.state.global_step == 11:
            raise KeyboardInterrupt
        return compute_loss(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(SFTTrainer, "compute_loss", interrupt)
        with pytest.raises(KeyboardInterrupt):
            warmup(base, traces, tmp_path / "w", config, progress=False)
    again = warmup(base, traces, tmp_path / "w", config, progress=False)
    one, other = weights(uninterrupted.path), weights(again.path)
    assert all(torch.equal(one[name], other[name]) for name in one)
