"""The memory estimate against a GPU: predicted and measured peak of a training step.

    python benchmarks/gpu/memory.py [--sizes 0.5b,1.5b,3b] [--tokens 4096] [-o benchmarks/results/gpu_memory.json]

Randomly initialized models of Qwen2.5's shapes take two steps of what `kkwarm warmup` does (trl's fused head, bf16
autocast, fused AdamW) with and without gradient checkpointing; the second is measured by torch's allocator
(`max_memory_allocated`). `--dry-run` prints only the predictions, on any machine.
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
from kkwarm.train.memory import GIB, Device, ModelShape, estimate_memory, read_shape

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "heads": (6, 2)},
    "0.5b": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "heads": (14, 2)},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "heads": (12, 2)},
    "3b": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "heads": (16, 2)},
}


def qwen_config(size: str) -> Any:
    from transformers import Qwen2Config

    sizes = dict(SIZES[size])
    heads, kv_heads = sizes.pop("heads")
    return Qwen2Config(
        **sizes,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=151_936,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
    )


def shape_of(model_config: Any) -> ModelShape:
    with tempfile.TemporaryDirectory() as folder:
        model_config.architectures = ["Qwen2ForCausalLM"]
        model_config.save_pretrained(folder)
        return read_shape(folder)


def measure_peak(model_config: Any, config: WarmupConfig, rows: int, tokens: int) -> float:
    """Peak bytes of the second step."""
    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(model_config, dtype=torch.float32).train()
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    add_fused_lm_head(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    ids = torch.randint(0, model_config.vocab_size, (rows, tokens), device="cuda")
    mask = torch.ones_like(ids)
    mask[0, -tokens // 8 :] = 0
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return float(torch.cuda.max_memory_allocated())


def compare(size: str, gradient_checkpointing: bool, args: argparse.Namespace) -> dict[str, Any]:
    """One line of the result: the prediction and, unless it does not fit, the measurement."""
    import torch

    model_config, rows = qwen_config(size), args.micro_batch_size
    shape = shape_of(model_config)
    config = WarmupConfig(gradient_checkpointing=gradient_checkpointing)
    estimate = estimate_memory(shape, config, Device(0.0, cuda=True, bf16=True), tokens=args.tokens, rows=rows)
    row: dict[str, Any] = {
        "size": size,
        "parameters": shape.parameters,
        "gradient_checkpointing": gradient_checkpointing,
        "rows": rows,
        "tokens": args.tokens,
        "predicted_gib": estimate.fields(),
    }
    if args.dry_run:
        return row
    if estimate.total > torch.cuda.mem_get_info()[0]:
        return {**row, "left_out": "predicted not to fit"}
    peak = measure_peak(model_config, config, rows, args.tokens)
    gc.collect()  # trl's fused head makes a reference cycle, which would keep the model for the next measurement
    torch.cuda.empty_cache()
    return {**row, "measured_gib": round(peak / GIB, 3), "ratio": round(estimate.total / peak, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="0.5b,1.5b,3b")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--micro-batch-size", type=int, default=2)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--tiny", action="store_true", help="The smallest model; without a GPU only its predictions.")
    parser.add_argument("--work", type=Path, help="Not used, because models are made in memory.")
    args = parser.parse_args()
    import torch

    if args.tiny:
        args.sizes, args.dry_run = "tiny", not torch.cuda.is_available()
    rows = []
    for size in args.sizes.split(","):
        for gradient_checkpointing in (False, True):
            rows.append(compare(size, gradient_checkpointing, args))
            print(json.dumps(rows[-1]), flush=True)  # noqa: T201
    if args.out:
        args.out.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
