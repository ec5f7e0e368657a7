"""Tokens per second of `kkwarm bench` at K samples: hf backend against lm-eval's hf model, vllm against plain vLLM.

    python benchmarks/gpu/bench.py --shape 1.5B

Targets: at least 3x lm-eval's own hf model at K = 4 (the fastest of its batch sizes), and within 5% of plain vLLM where
vLLM is installed. Plain vLLM gets a seed per request, as in kkwarm; without seeds (`vllm:unseeded`) it samples a whole
batch at once, so the difference is the cost of reproducible samples. The sides alternate, each run in a process of its
own. A random model generates up to the limit, so all sides make the same number of tokens. Seconds are those of
generation and verdicts and, for kkwarm, the store, after the model is loaded.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from gpu_common import argument_parser, install_domain, model_folder


def time_kkwarm(backend_name: str, args: argparse.Namespace, model: Path) -> float:
    from kkwarm.backends import Request, open_backend
    from kkwarm.evaluation import BenchConfig, bench
    from kkwarm.evaluation.lm import evaluate_tasks  # noqa: F401 (lm-eval's import is start-up, on both sides)
    from kkwarm.types import Sampling

    backend = open_backend(backend_name, str(model))
    list(backend.generate([Request("warm", "knight", (0,))], Sampling(1.0, 1.0, 4)))
    config = BenchConfig(samples=args.samples, limit=args.questions, max_tokens=args.max_tokens)
    out = args.work / f"bench-{os.getpid()}"
    started = time.perf_counter()
    bench(str(model), ["speed"], out, config, progress=False, backend=backend)
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    return seconds


def time_lm_eval(batch: int, args: argparse.Namespace, model: Path) -> float:
    import torch
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    from kkwarm.evaluation.lm import LmEvalTask

    class Task(LmEvalTask):
        """The same documents, scored by length, which costs as little as kkwarm's pseudo-random verdict."""

        def __init__(self, entry: Any) -> None:
            super().__init__(entry, args.samples)
            more = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_gen_toks": args.max_tokens}
            self.config.generation_kwargs |= more

        def _mean_scores(self, doc: Any, results: list[list[str]]) -> dict[str, float]:  # type: ignore[override]
            return {"accuracy": sum(len(text) % 2 for text in results[0]) / args.samples}

    on_gpu = torch.cuda.is_available()
    lm = HFLM(
        pretrained=str(model),
        device="cuda" if on_gpu else "cpu",
        dtype="bfloat16" if on_gpu else "float32",
        batch_size=batch,
        max_length=32_768,
    )
    entry = make_task(args, lm.tokenizer)
    started = time.perf_counter()
    evaluate(lm, {entry.name: Task(entry)}, bootstrap_iters=2, log_samples=False)
    return time.perf_counter() - started


def time_vllm(args: argparse.Namespace, model: Path, seeded: bool) -> float:
    from vllm import LLM, SamplingParams

    from kkwarm.backends.checkpoint import default_device, default_dtype

    dtype = str(default_dtype(default_device())).removeprefix("torch.")
    engine = LLM(model=str(model), generation_config="vllm", dtype=dtype)
    prompts = [item.prompt for item in make_task(args, engine.get_tokenizer()).items]
    engine.generate(["knight"], SamplingParams(max_tokens=4), use_tqdm=False)
    started = time.perf_counter()
    seed = 0 if seeded else None
    engine.generate(prompts, SamplingParams(n=args.samples, max_tokens=args.max_tokens, seed=seed), use_tqdm=False)
    return time.perf_counter() - started


def make_task(args: argparse.Namespace, tokenizer: Any) -> Any:
    from kkwarm import plugins
    from kkwarm.evaluation import BenchConfig
    from kkwarm.evaluation.plan import make_eval_task

    config = BenchConfig(samples=args.samples, limit=args.questions, max_tokens=args.max_tokens)
    return make_eval_task("speed", plugins.registry(), config, tokenizer)


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=256)
    parser.add_argument("--samples", type=int, default=4, help="Completions per question.")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-batch", type=int, nargs="+", default=[64, 256], help="Batch sizes of lm-eval.")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.tiny:
        args.questions, args.max_tokens, args.repeats, args.peer_batch = 4, 8, 1, [8]
    install_domain()
    model = model_folder(args)
    import torch  # noqa: F401 (the recorded environment names the GPU if torch is loaded)
    from paired import RESULTS, peak_mb, run_alternating, write_results

    if args.side:
        engine, _, which = args.side.partition(":")
        if engine == "kkwarm":
            seconds = time_kkwarm(which, args, model)
        else:
            is_peer = engine == "lm_eval"
            seconds = time_lm_eval(int(which), args, model) if is_peer else time_vllm(args, model, not which)
        print(json.dumps({"seconds": seconds, "peak_mb": peak_mb()}))  # noqa: T201
        return
    sides = ["kkwarm:hf", *(f"lm_eval:{n}" for n in args.peer_batch)]
    if importlib.util.find_spec("vllm") is not None:
        sides += ["kkwarm:vllm", "vllm", "vllm:unseeded"]
    command = [__file__, *sys.argv[1:]]
    runs = run_alternating({side: [*command, "--side", side] for side in sides}, args.repeats)
    result = summarize(args, runs)
    write_results(args.out or RESULTS / f"gpu_bench_{args.shape}.json", result)
    print(json.dumps({k: v for k, v in result.items() if "against" in k}), file=sys.stderr)  # noqa: T201


def summarize(args: argparse.Namespace, runs_of: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    from paired import ratio, summarize

    tokens = args.questions * args.samples * args.max_tokens
    seconds = {side: [run["seconds"] for run in runs] for side, runs in runs_of.items()}
    peers = [side for side in seconds if side.startswith("lm_eval")]
    best = min(peers, key=lambda side: summarize(seconds[side])["median"])
    result = {
        "what": f"bench, random Qwen2.5 {args.shape}, K = {args.samples}",
        "settings": {k: getattr(args, k) for k in ("questions", "samples", "max_tokens", "repeats")},
        "seconds": {side: summarize(s) for side, s in seconds.items()},
        "tokens_per_s": {side: round(tokens / summarize(s)["median"], 1) for side, s in seconds.items()},
        "peak_memory_mb": {side: max(run["peak_mb"] for run in runs) for side, runs in runs_of.items()},
        "fastest_lm_eval": best,
        "times_faster_against_lm_eval": ratio(seconds[best], seconds["kkwarm:hf"]),
        "target_against_lm_eval": 3.0,
    }
    if "vllm" in seconds:
        result["time_against_raw_vllm"] = ratio(seconds["kkwarm:vllm"], seconds["vllm"])
        result["target_against_raw_vllm"] = 1.05
        result["time_against_unseeded_vllm"] = ratio(seconds["kkwarm:vllm"], seconds["vllm:unseeded"])
    return result


if __name__ == "__main__":
    main()
