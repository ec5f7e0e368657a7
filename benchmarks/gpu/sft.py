"""Tokens a second and MFU of `kkwarm warmup` on a model of Qwen2.5's shape (target: at least 40% at 1.5B, bf16, 4k).

    python benchmarks/gpu/sft.py --shape 1.5B

MFU: the operations that the model needs for a token (`Shape.flops`, without recomputation) times tokens a second, over
the GPU's dense bf16 peak. Steps after the first three count. Rows are packed to the context, each trace attending to
itself: attention is counted over the traces' own lengths, not over the row.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from typing import Any

from subject import SHAPES, arguments, device_peak_mb, folder, install, peak_flops, traces

_LEFT_OUT = 3


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--batch-size", type=int, default=4, help="rows in a forward pass")
    parser.add_argument("--accumulation", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--liger", action="store_true", help="Liger's fused kernels")
    args = parser.parse_args()
    if args.tiny:
        args.context, args.batch_size, args.accumulation, args.steps = 512, 2, 1, 5
    install()
    model = folder(args)
    from paired import RESULTS, keep, peak_mb, spread
    from transformers import AutoConfig

    from kkwarm.train import WarmupConfig, warmup
    from kkwarm.train.sft import plan_warmup

    config = WarmupConfig(
        learning_rate=1e-6,
        batch_size=args.batch_size * args.accumulation,
        micro_batch_size=args.batch_size,
        max_length=args.context,
        packing=True,
        max_steps=args.steps,
        gradient_checkpointing=args.gradient_checkpointing,
        liger=args.liger,
        save_every=10**6,
    )
    words = args.context * 3 // 5  # one trace fills most of a row
    source = traces(args.work / f"traces-{words}" / "traces.jsonl", args.steps * args.batch_size * 4, words)
    out = args.work / f"sft-{args.shape}"
    shutil.rmtree(out, ignore_errors=True)
    run = warmup(model, source, out, config.replace(), progress=False)
    rows = [json.loads(line) for line in (run.path / "log.jsonl").read_text("utf-8").splitlines()]
    found = figures(rows)
    peak = peak_flops()
    lengths = [len(ids) for ids in plan_warmup(model, source, config)[1].ids]
    attended = sum(n * n for n in lengths) / sum(lengths)
    flops = SHAPES[args.shape].flops(attended, AutoConfig.from_pretrained(model).vocab_size)
    result = {
        "what": f"kkwarm warmup, random Qwen2.5 {args.shape}, context {args.context}, packed",
        "settings": {
            k: getattr(args, k) for k in ("batch_size", "accumulation", "steps", "gradient_checkpointing", "liger")
        },
        "precision": run.manifest.precision,
        "memory": run.manifest.memory,  # what the preflight changed of the settings, if anything
        "tokens_per_s": spread(found),
        "tokens_per_trace": round(sum(lengths) / len(lengths), 1),
        "flops_per_token": flops,
        "mfu": None if peak is None else round(statistics.median(found) * flops / peak, 4),
        "target_mfu": 0.4,
        "peak_memory_mb": device_peak_mb() or peak_mb(),
    }
    keep(args.out or RESULTS / f"gpu_sft_{args.shape}.json", result)
    print(f"{statistics.median(found):,.0f} tokens/s, MFU {result['mfu']}", file=sys.stderr)  # noqa: T201


def figures(rows: list[dict[str, Any]]) -> list[float]:
    """Tokens a second of each step after the first ones."""
    pairs = zip(rows[_LEFT_OUT - 1 :], rows[_LEFT_OUT:], strict=False)
    return [(row["tokens"] - before["tokens"]) / row["seconds"] for before, row in pairs]


if __name__ == "__main__":
    main()
