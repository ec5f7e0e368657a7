"""Tokens per second and MFU of `kkwarm warmup` on a model of Qwen2.5's shape (target: at least 40% at 1.5B, bf16, 4k).

    python benchmarks/gpu/sft.py --shape 1.5B

MFU is the operations that the model needs per token (`Shape.flops`, without recomputation) times tokens per second,
over the GPU's dense bf16 peak. The first three steps are left out. Rows are packed to the context and each trace
attends to itself only, so attention is counted over the lengths of traces, not of rows.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from typing import Any

from gpu_common import (
    SHAPES,
    argument_parser,
    device_peak_mb,
    install_domain,
    make_traces,
    model_folder,
    peak_flops,
)

_SKIPPED_STEPS = 3


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--context", type=int, default=4096, help="Tokens of a row.")
    parser.add_argument("--batch-size", type=int, default=16, help="Rows per optimizer step.")
    parser.add_argument("--micro-batch-size", type=int, default=4, help="Rows per forward pass.")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--liger", action="store_true", help="Use Liger's fused kernels.")
    args = parser.parse_args()
    if args.tiny:
        args.context, args.batch_size, args.micro_batch_size, args.steps = 512, 2, 2, 5
    install_domain()
    model = model_folder(args)
    from paired import RESULTS, peak_mb, summarize, write_results
    from transformers import AutoConfig

    from kkwarm.train import WarmupConfig, warmup
    from kkwarm.train.sft import plan_warmup

    config = WarmupConfig(
        learning_rate=1e-6,
        batch_size=args.batch_size,
        micro_batch_size=args.micro_batch_size,
        max_length=args.context,
        packing=True,
        max_steps=args.steps,
        gradient_checkpointing=args.gradient_checkpointing,
        liger=args.liger,
        save_every=10**6,
    )
    words = args.context * 3 // 5  # so that one trace fills most of a row
    traces = make_traces(args.work / f"traces-{words}" / "traces.jsonl", args.steps * args.micro_batch_size * 4, words)
    out = args.work / f"sft-{args.shape}"
    shutil.rmtree(out, ignore_errors=True)
    run = warmup(model, traces, out, config, progress=False)
    rows = [json.loads(line) for line in (run.path / "log.jsonl").read_text("utf-8").splitlines()]
    rates = tokens_per_second(rows)
    peak = peak_flops()
    lengths = [len(ids) for ids in plan_warmup(model, traces, config).ids]
    attended = sum(n * n for n in lengths) / sum(lengths)
    flops = SHAPES[args.shape].flops(attended, AutoConfig.from_pretrained(model).vocab_size)
    result = {
        "what": f"kkwarm warmup, random Qwen2.5 {args.shape}, context {args.context}, packed",
        "settings": {
            k: getattr(args, k) for k in ("batch_size", "micro_batch_size", "steps", "gradient_checkpointing", "liger")
        },
        "precision": run.manifest.precision,
        "memory": run.manifest.memory,  # the settings that fit, and the estimate
        "tokens_per_s": summarize(rates),
        "tokens_per_trace": round(sum(lengths) / len(lengths), 1),
        "flops_per_token": flops,
        "mfu": None if peak is None else round(statistics.median(rates) * flops / peak, 4),
        "target_mfu": 0.4,
        "peak_memory_mb": device_peak_mb() or peak_mb(),
    }
    write_results(args.out or RESULTS / f"gpu_sft_{args.shape}.json", result)
    print(f"{statistics.median(rates):,.0f} tokens/s, MFU {result['mfu']}", file=sys.stderr)  # noqa: T201


def tokens_per_second(rows: list[dict[str, Any]]) -> list[float]:
    """Of each step after the first ones."""
    pairs = zip(rows[_SKIPPED_STEPS - 1 :], rows[_SKIPPED_STEPS:], strict=False)
    return [(row["tokens"] - before["tokens"]) / row["seconds"] for before, row in pairs]


if __name__ == "__main__":
    main()
