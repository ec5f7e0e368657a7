"""Tags that are special tokens of the tokenizer reach the verdict."""

from pathlib import Path
from typing import Any

import pytest

from kkwarm.backends.hf import HFBackend
from kkwarm.evaluation import BenchConfig, bench
from kkwarm.testing.checkpoint import tiny_checkpoint


def test_a_model_with_special_tags_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model writes a fixed completion token by token; its tags are special tokens."""
    import torch

    tags = ("<think>", "</think>", "<answer>", "</answer>")
    folder = tiny_checkpoint(tmp_path / "model", extra_tokens=tags)
    backend = HFBackend.load(str(folder), device="cpu")
    words = backend.tokenizer(" a </think> <answer> 1 </answer>")["input_ids"]
    written: list[int] = []

    real = HFBackend._forward

    def forward(self: HFBackend, *arguments: Any) -> torch.Tensor:
        logits = torch.full_like(real(self, *arguments), -100.0)
        logits[:, words[min(len(written), len(words) - 1)]] = 100.0
        written.append(0)
        return logits

    monkeypatch.setattr(HFBackend, "_forward", forward)
    config = BenchConfig(limit=1, temperature=0.0, protocol="paper")
    run = bench(str(folder), ["mini_math"], tmp_path / "run", config, progress=False, backend=backend)
    (sample,) = run.samples()
    assert sample.completion.text.endswith("</think> <answer> 1 </answer>")
    assert sample.verdict.status.value in ("correct", "wrong") and sample.completion.finish_reason == "stop"
