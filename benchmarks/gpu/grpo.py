"""A GRPO step of `kkwarm rlvr` in parts: rollout, reward, train.

    python benchmarks/gpu/grpo.py --shape 1.5B [--rollouts colocate]

Rollout and reward are timed around the calls that trl makes; what is left of a step is training (advantages, forward,
backward, optimiser, bookkeeping). Judging goes on while rows are generated: `reward` is what remains to wait for.
Steps after the first two count. Tokens a second: of completions, over the rollout.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from subject import arguments, device_peak_mb, folder, install

_LEFT_OUT = 2


class Clock:
    """Seconds of each call of a function."""

    def __init__(self, of: Any, name: str) -> None:
        self.seconds: list[float] = []
        call: Callable[..., Any] = getattr(of, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds.append(time.perf_counter() - began)

        setattr(of, name, timed)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--rollouts", choices=["none", "colocate"], default="none", help="none: transformers")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-size", type=int)
    args = parser.parse_args()
    if args.tiny:
        args.prompts, args.generations, args.max_tokens, args.steps = 2, 2, 8, 4
    install()
    model = folder(args)
    from paired import RESULTS, keep, peak_mb, spread

    from kkwarm.train import RlvrConfig, rlvr
    from kkwarm.train.rollout import Rollout

    if args.rollouts == "none":
        rollout = Clock(Rollout, "generate")
    else:
        from trl.generation.vllm_generation import VLLMGeneration

        if not torch.cuda.is_available():
            unpack()
        rollout = Clock(VLLMGeneration, "generate")
    reward = Clock(Rollout, "reward")
    config = RlvrConfig(
        domain="speed",
        examples=100,
        steps=args.steps,
        prompts_per_step=args.prompts,
        generations=args.generations,
        micro_batch_size=args.batch_size,
        max_tokens=args.max_tokens,
        vllm=args.rollouts,
        save_every=10**6,
    )
    out = args.work / f"grpo-{args.shape}-{args.rollouts}"
    shutil.rmtree(out, ignore_errors=True)
    run = rlvr(model, config, out, progress=False)
    rows = [json.loads(line) for line in (run.path / "log.jsonl").read_text("utf-8").splitlines()]
    parts = split(rows, rollout.seconds, reward.seconds)
    tokens = [row["length"] * config.completions for row in rows[_LEFT_OUT:]]
    engine = "transformers" if args.rollouts == "none" else f"vLLM, {args.rollouts}"
    result = {
        "what": f"a GRPO step, random Qwen2.5 {args.shape}, rollouts by {engine}",
        "settings": {k: getattr(args, k) for k in ("prompts", "generations", "max_tokens", "steps", "batch_size")},
        "memory": run.manifest.memory,  # what the preflight changed of the settings, if anything
        "seconds": {name: spread(seconds) for name, seconds in parts.items()},
        "share": {name: round(statistics.median(parts[name]) / statistics.median(parts["step"]), 4) for name in parts},
        "rollout_tokens_per_s": spread([n / s for n, s in zip(tokens, parts["rollout"], strict=True)]),
        "peak_memory_mb": device_peak_mb() or peak_mb(),
    }
    keep(args.out or RESULTS / f"gpu_grpo_{args.shape}_{args.rollouts}.json", result)
    print(json.dumps(result["share"]), file=sys.stderr)  # noqa: T201


def unpack() -> None:
    """Lets weights be synced on a CPU, whose vLLM packs them into a layout of its own when it loads them."""
    import vllm.model_executor.layers.utils as layers

    def plain(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    layers.dispatch_cpu_unquantized_gemm = plain


def split(rows: list[dict[str, Any]], rollout: list[float], reward: list[float]) -> dict[str, list[float]]:
    """Seconds of each part of the steps after the first ones."""
    steps = [row["seconds"] for row in rows]
    if not len(steps) == len(rollout) == len(reward):
        raise SystemExit(f"{len(steps)} steps, but {len(rollout)} rollouts and {len(reward)} rewards: cannot be split")
    train = [s - a - b for s, a, b in zip(steps, rollout, reward, strict=True)]
    parts = {"step": steps, "rollout": rollout, "reward": reward, "train": train}
    return {name: seconds[_LEFT_OUT:] for name, seconds in parts.items()}


if __name__ == "__main__":
    main()
