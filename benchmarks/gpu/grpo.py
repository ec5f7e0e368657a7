"""The time of a GRPO step of `kkwarm rlvr`, by part: rollout, reward, train.

    python benchmarks/gpu/grpo.py --shape 1.5B [--rollouts colocate]

Rollout and reward are timed around trl's calls; the rest of a step counts as training (advantages, forward, backward,
optimizer, bookkeeping). Completions are verified while others are generated, so `reward` is the remaining wait. The
first two steps are left out. Tokens per second are those of completions, over the time of the rollout.
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
from gpu_common import argument_parser, device_peak_mb, install_domain, model_folder

_SKIPPED_STEPS = 2
_SETTINGS = ("prompts", "generations", "max_tokens", "steps", "micro_batch_size")


class CallTimer:
    """Replaces a function by one that records the seconds of each call."""

    def __init__(self, owner: Any, name: str) -> None:
        self.seconds: list[float] = []
        call: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds.append(time.perf_counter() - started)

        setattr(owner, name, timed)


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--rollouts", choices=["none", "colocate"], default="none", help="vLLM mode.")
    parser.add_argument("--prompts", type=int, default=8, help="Prompts per optimizer step.")
    parser.add_argument("--generations", type=int, default=8, help="Completions per prompt.")
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--micro-batch-size", type=int, help="Completions per forward pass.  [default: what fits]")
    args = parser.parse_args()
    if args.tiny:
        args.prompts, args.generations, args.max_tokens, args.steps = 2, 2, 8, 4
    install_domain()
    model = model_folder(args)
    from paired import RESULTS, peak_mb, summarize, write_results

    from kkwarm.train import RlvrConfig, rlvr
    from kkwarm.train.rollout import Rollout

    if args.rollouts == "none":
        rollout = CallTimer(Rollout, "generate")
    else:
        from trl.generation.vllm_generation import VLLMGeneration

        if not torch.cuda.is_available():
            disable_weight_packing()
        rollout = CallTimer(VLLMGeneration, "generate")
    reward = CallTimer(Rollout, "reward")
    config = RlvrConfig(
        domain="speed",
        examples=100,
        steps=args.steps,
        prompts_per_step=args.prompts,
        generations=args.generations,
        micro_batch_size=args.micro_batch_size,
        max_tokens=args.max_tokens,
        vllm=args.rollouts,
        save_every=10**6,
    )
    out = args.work / f"grpo-{args.shape}-{args.rollouts}"
    shutil.rmtree(out, ignore_errors=True)
    run = rlvr(model, config, out, progress=False)
    rows = [json.loads(line) for line in (run.path / "log.jsonl").read_text("utf-8").splitlines()]
    parts = split_steps(rows, rollout.seconds, reward.seconds)
    tokens = [row["length"] * config.completions for row in rows[_SKIPPED_STEPS:]]
    engine = "transformers" if args.rollouts == "none" else f"vLLM, {args.rollouts}"
    result = {
        "what": f"a GRPO step, random Qwen2.5 {args.shape}, rollouts by {engine}",
        "settings": {
            k: getattr(args, k) for k in ("prompts", "generations", "max_tokens", "steps", "micro_batch_size")
        },
        "memory": run.manifest.memory,  # the settings that fit, and the estimate
        "seconds": {name: summarize(seconds) for name, seconds in parts.items()},
        "share": {name: round(statistics.median(parts[name]) / statistics.median(parts["step"]), 4) for name in parts},
        "rollout_tokens_per_s": summarize([n / s for n, s in zip(tokens, parts["rollout"], strict=True)]),
        "peak_memory_mb": device_peak_mb() or peak_mb(),
    }
    write_results(args.out or RESULTS / f"gpu_grpo_{args.shape}_{args.rollouts}.json", result)
    print(json.dumps(result["share"]), file=sys.stderr)  # noqa: T201


def disable_weight_packing() -> None:
    """Keeps plain weights in vLLM on a CPU, which otherwise packs them when it loads them and then misses updates."""
    import vllm.model_executor.layers.utils as layers

    def plain(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    layers.dispatch_cpu_unquantized_gemm = plain


def split_steps(rows: list[dict[str, Any]], rollout: list[float], reward: list[float]) -> dict[str, list[float]]:
    """Seconds of each part of the steps after the first ones."""
    steps = [row["seconds"] for row in rows]
    if not len(steps) == len(rollout) == len(reward):
        raise SystemExit(f"{len(steps)} steps, but {len(rollout)} rollouts and {len(reward)} rewards")
    train = [s - a - b for s, a, b in zip(steps, rollout, reward, strict=True)]
    parts = {"step": steps, "rollout": rollout, "reward": reward, "train": train}
    return {name: seconds[_SKIPPED_STEPS:] for name, seconds in parts.items()}


if __name__ == "__main__":
    main()
