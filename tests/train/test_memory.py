"""The preflight against allocations that were really made, on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy_task as toy

from kkwarm.errors import KkwarmError
from kkwarm.train import RlvrConfig, TrainConfig, WarmupConfig
from kkwarm.train.memory import GIB, Shape, fitted, need, shape_of

# Qwen2.5-1.5B
QWEN = Shape(1_543_714_304, 1_310_000_000, 1536, 28, 12, 128, 8960, 151_936, 32_768)
TOLERANCE = (0.95, 1.25)  # predicted / measured


def peak(work: Callable[[], object]) -> float:
    """Bytes by which `work` raised what was allocated, at its peak."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    now = most = 0
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return float(most)


def model_of(config: TrainConfig, **sizes: int) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config
    from trl.trainer.utils import add_fused_lm_head

    made = Qwen2Config(max_position_embeddings=2048, tie_word_embeddings=True, **sizes)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(made).train()
    if config.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    add_fused_lm_head(model)
    return model


SMALL = {
    **{"vocab_size": 1000, "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6},
    **{"num_attention_heads": 6, "num_key_value_heads": 2},
}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("rows", "tokens"), [(4, 256), (8, 64)])
def test_the_prediction_is_what_a_step_allocates(
    tmp_path: Path, rows: int, tokens: int, bf16: bool, checkpointing: bool
) -> None:
    import torch

    config = WarmupConfig(checkpointing=checkpointing)
    model = model_of(config, **SMALL)
    model.save_pretrained(tmp_path)
    shape = shape_of(tmp_path)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    ids = torch.randint(0, 1000, (rows, tokens))
    mask = torch.ones_like(ids)
    mask[0, -tokens // 4 :] = 0

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = model(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True).loss
        loss.backward()

    step()
    gradients = sum(p.grad.numel() * p.grad.element_size() for p in model.parameters())
    measured = peak(step)  # gradients exist already: they are added to
    told = need(shape, config, tokens=tokens, rows=rows, bf16=bf16, cuda=False)
    assert told.weights == told.gradients == gradients and told.optimiser == 2 * gradients
    ratio = (told.activations + told.head) / measured
    print(f"predicted/measured {ratio:.3f} (rows {rows}, tokens {tokens}, bf16 {bf16}, checkpointing {checkpointing})")
    assert TOLERANCE[0] < ratio < TOLERANCE[1]
