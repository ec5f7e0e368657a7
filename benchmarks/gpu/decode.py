"""The time of a decode step of a model of Qwen2.5's shape: transformers' SDPA and kkwarm's `backends/decode.py`.

    python benchmarks/gpu/decode.py --shape 1.5B

Rows differ in length, as a benchmark's prompts do. Each step has one column more than the last, so whatever is planned
for a length is planned anew. The variants alternate. Milliseconds per step, without sampling.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import Any

import numpy as np
import torch
from gpu_common import SHAPES, argument_parser, device_peak_mb


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=512, help="Rows.")
    parser.add_argument("--columns", type=int, default=384, help="Tokens of a row before the first step.")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.tiny:
        args.shape, args.batch_size, args.columns, args.steps, args.repeats = "tiny", 8, 24, 2, 1
    from memory import qwen_config
    from paired import RESULTS, ratio, summarize, write_results
    from transformers import Qwen2ForCausalLM

    from kkwarm.backends.decode import use_decode_attention
    from kkwarm.backends.network import Network

    on_gpu = torch.cuda.is_available()
    torch.set_default_dtype(torch.bfloat16 if on_gpu else torch.float32)
    with torch.device("cuda" if on_gpu else "cpu"):
        model = Qwen2ForCausalLM(qwen_config(args.shape.lower())).eval()
    torch.set_default_dtype(torch.float32)
    network = Network.inspect(model)
    variants: dict[str, Any] = {"kkwarm": use_decode_attention, "sdpa": contextlib.nullcontext}
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(args.repeats):  # each turn has other lengths
        for name, context in variants.items():
            with context(*([model] if name == "kkwarm" else [])):
                times[name].append(step_ms(network, args, args.columns + turn * (args.steps + 2)))
    result = {
        "what": f"a decode step, random Qwen2.5 {args.shape}, {args.batch_size} rows from column {args.columns} on",
        "settings": {k: getattr(args, k) for k in ("batch_size", "columns", "steps", "repeats")},
        "layers": SHAPES[args.shape].layers,
        "ms_per_step": {name: summarize(values) for name, values in times.items()},
        "times_faster": ratio(times["sdpa"], times["kkwarm"]),
        "peak_memory_mb": device_peak_mb(),
    }
    write_results(args.out or RESULTS / f"gpu_decode_{args.shape}.json", result)
    print(json.dumps(result["times_faster"]), file=sys.stderr)  # noqa: T201


def step_ms(network: Any, args: Any, columns: int) -> float:
    """Milliseconds per step, from `columns` columns on."""
    from kkwarm.backends.kv_cache import make_cache, select_rows

    prompts = max(1, args.batch_size // 4)
    start = torch.from_numpy(np.random.default_rng(0).integers(0, 9, prompts))
    cache = make_cache(network.model)
    ids = torch.randint(0, 1000, (prompts, columns))
    position = torch.arange(columns)[None, :]
    network(ids, position >= start[:, None], (position - start[:, None]).clamp_(min=0), cache, True, False)
    source = torch.arange(args.batch_size) % prompts
    select_rows(cache, source.to(network.model.device), columns)
    started = 0.0
    for step in range(args.steps + 1):
        if step == 1:  # the first one also grows the cache
            _synchronize()
            started = time.perf_counter()
        width = columns + step
        mask = torch.arange(width + 1)[None, :] >= start[source][:, None]
        token = torch.ones(args.batch_size, 1, dtype=torch.long)
        network(token, mask, token * width, cache, True, True).argmax(-1).cpu()  # a step waits for its tokens
    return (time.perf_counter() - started) / args.steps * 1e3


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
