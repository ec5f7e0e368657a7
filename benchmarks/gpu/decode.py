"""A decode step of a model of Qwen2.5's shape, by transformers' SDPA and by kkwarm's attention (`backends/decode.py`).

    python benchmarks/gpu/decode.py --shape 1.5B

Rows of different lengths, as a benchmark's prompts have them; each step has one column more than the last, so that
whatever is planned for a length is planned anew. Sides take turns. Milliseconds a step, sampling left out.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import Any

import numpy as np
import torch
from subject import SHAPES, arguments, device_peak_mb


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--micro-batch-size", type=int, default=512)
    parser.add_argument("--columns", type=int, default=384)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.tiny:
        args.shape, args.rows, args.columns, args.steps, args.repeats = "tiny", 8, 24, 2, 1
    from memory import qwen_config
    from paired import RESULTS, keep, ratio, spread
    from transformers import Qwen2ForCausalLM

    from kkwarm.backends.decode import use_decode_attention
    from kkwarm.backends.network import Network

    on_gpu = torch.cuda.is_available()
    torch.set_default_dtype(torch.bfloat16 if on_gpu else torch.float32)
    with torch.device("cuda" if on_gpu else "cpu"):
        model = Qwen2ForCausalLM(qwen_config(args.shape.lower())).eval()
    torch.set_default_dtype(torch.float32)
    network = Network.inspect(model)
    ways: dict[str, Any] = {"kkwarm": use_decode_attention, "sdpa": contextlib.nullcontext}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(args.repeats):  # every turn at other lengths
        for way, context in ways.items():
            with context(*([model] if way == "kkwarm" else [])):
                found[way].append(step_ms(network, args, args.columns + turn * (args.steps + 2)))
    result = {
        "what": f"a decode step, random Qwen2.5 {args.shape}, {args.rows} rows from column {args.columns} on",
        "settings": {k: getattr(args, k) for k in ("rows", "columns", "steps", "repeats")},
        "layers": SHAPES[args.shape].layers,
        "ms_per_step": {way: spread(values) for way, values in found.items()},
        "times_faster": ratio(found["sdpa"], found["kkwarm"]),
        "peak_memory_mb": device_peak_mb(),
    }
    keep(args.out or RESULTS / f"gpu_decode_{args.shape}.json", result)
    print(json.dumps(result["times_faster"]), file=sys.stderr)  # noqa: T201


def step_ms(network: Any, args: Any, columns: int) -> float:
    from kkwarm.backends.kv_cache import make_cache, select_rows

    prompts = max(1, args.rows // 4)
    start = torch.from_numpy(np.random.default_rng(0).integers(0, 9, prompts))
    cache = make_cache(network.model)
    ids = torch.randint(0, 1000, (prompts, columns))
    place = torch.arange(columns)[None, :]
    network(ids, place >= start[:, None], (place - start[:, None]).clamp_(min=0), cache, True, False)
    source = torch.arange(args.rows) % prompts
    select_rows(cache, source.to(network.model.device), columns)
    began = 0.0
    for step in range(args.steps + 1):
        if step == 1:  # the first one also grows the cache
            _wait()
            began = time.perf_counter()
        width = columns + step
        mask = torch.arange(width + 1)[None, :] >= start[source][:, None]
        one = torch.ones(args.rows, 1, dtype=torch.long)
        network(one, mask, one * width, cache, True, True).argmax(-1).cpu()  # a step waits for its tokens
    return (time.perf_counter() - began) / args.steps * 1e3


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
