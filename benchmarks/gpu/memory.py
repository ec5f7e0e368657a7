"""The memory preflight against a GPU: predicted and measured peak of a training step.

    python benchmarks/gpu/memory.py [--sizes 0.5b,1.5b,3b] [--tokens 4096] [-o benchmarks/results/gpu_memory.json]

Randomly initialised models of Qwen2.5's shapes take two steps of what `kkwarm warmup` does (trl's fused head, bf16
autocast, fused AdamW) with and without gradient checkpointing; the second is measured by torch's allocator
(`max_memory_allocated`). `--dry-run` prints the predictions alone, on any machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
from pathlib import Path
from typing import Any

from kkwarm.store import environment
from kkwarm.train import WarmupConfig
from kkwarm.train.memory import GIB, need, shape_of

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "heads": (6, 2), "tied": True},
    "0.5b": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "heads": (14, 2), "tied": True},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "heads": (12, 2), "tied": True},
    "3b": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "heads": (16, 2), "tied": True},
}


def configuration(size: str) -> Any:
    from transformers import Qwen2Config

    told = dict(SIZES[size])
    heads, shared = told.pop("heads")
    return Qwen2Config(
        **{k: v for k, v in told.items() if k != "tied"},
        num_attention_heads=heads,
        num_key_value_heads=shared,
        vocab_size=151_936,
        max_position_embeddings=32_768,
        tie_word_embeddings=told["tied"],
    )


def measured(made: Any, config: WarmupConfig, rows: int, tokens: int) -> float:
    """Peak bytes of the second step."""
    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(made, dtype=torch.float32).train()
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    add_fused_lm_head(model)
    optimiser = torch.optim.AdamW(model.parameters(), learning_rate=1e-6, fused=True)
    ids = torch.randint(0, made.vocab_size, (rows, tokens), device="cuda")
    mask = torch.ones_like(ids)
    mask[0, -tokens // 8 :] = 0
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return float(torch.cuda.max_memory_allocated())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="0.5b,1.5b,3b")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--micro-batch-size", type=int, default=2)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--tiny", action="store_true", help="the smallest model; without a GPU its predictions alone")
    parser.add_argument("--work", type=Path, help="not used: models are made in memory")
    asked = parser.parse_args()
    import torch

    if asked.tiny:
        asked.sizes, asked.dry_run = "tiny", not torch.cuda.is_available()

    found = []
    for size in asked.sizes.split(","):
        made = configuration(size)
        with tempfile.TemporaryDirectory() as folder:
            made.architectures = ["Qwen2ForCausalLM"]
            made.save_pretrained(folder)
            shape = shape_of(folder)
        for gradient_checkpointing in (False, True):
            config = WarmupConfig(gradient_checkpointing=gradient_checkpointing)
            told = need(shape, config, tokens=asked.tokens, rows=asked.rows, bf16=True, cuda=True)
            row: dict[str, Any] = {
                "size": size,
                "parameters": shape.parameters,
                "gradient_checkpointing": gradient_checkpointing,
            }
            row |= {"rows": asked.rows, "tokens": asked.tokens, "predicted_gib": told.fields()}
            if not asked.dry_run and told.total > torch.cuda.mem_get_info()[0]:
                row["left_out"] = "predicted not to fit"
            elif not asked.dry_run:
                peak = measured(made, config, asked.rows, asked.tokens)
                gc.collect()  # trl's fused head makes a cycle: the model would stay for the next measurement
                torch.cuda.empty_cache()
                row |= {"measured_gib": round(peak / GIB, 3), "ratio": round(told.total / peak, 3)}
            print(json.dumps(row), flush=True)  # noqa: T201
            found.append(row)
    if asked.out:
        asked.out.write_text(json.dumps({"environment": environment(), "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
