"""Compares `kkwarm bench` with lm-eval's own `hf` model: same checkpoint, tasks, prompts, sampling and verifiers.

    OMP_NUM_THREADS=2 python benchmarks/speed/bench_lm_eval.py [-o benchmarks/results/bench_lm_eval.json]

Both sides load the shipped base in fp32 and answer the four miniature benchmarks. The time covers everything after
the model is loaded: generation, verdicts, figures, and on kkwarm's side the store. lm-eval uses the fastest of the
batch sizes in --peer-batch; kkwarm chooses its own. Runs alternate, each in its own process, and ratios are taken
pair by pair. lm-eval removes the stop string; it is restored where an answer is open, so that accuracies can be
compared.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from paired import RESULTS, peak_mb, ratio, run_alternating, summarize, write_results

BENCHMARKS = ("mini_kk", "mini_math", "mini_code", "mini_mcq")


def checkpoint() -> str:
    from kkwarm_mini import BASE

    return str(BASE)


def run_kkwarm(samples: int, limit: int) -> dict[str, Any]:
    from kkwarm.backends import open_backend
    from kkwarm.evaluation import BenchConfig, bench
    from kkwarm.evaluation.lm import evaluate_tasks  # noqa: F401 (importing lm-eval counts as start-up on both sides)

    backend = open_backend("hf", checkpoint())
    config = BenchConfig(samples=samples, limit=limit)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = bench(checkpoint(), BENCHMARKS, Path(folder) / "run", config, progress=False, backend=backend)
        seconds = time.perf_counter() - began
    found = run.manifest.benchmarks
    tokens = run.manifest.generation["tokens"]
    return {"seconds": seconds, "tokens": tokens, "accuracy": {n: f["accuracy"] for n, f in found.items()}}


def run_lm_eval(samples: int, limit: int, batch: int) -> dict[str, Any]:
    import torch
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    from kkwarm import plugins
    from kkwarm.evaluation import BenchConfig
    from kkwarm.evaluation.lm import LmEvalTask
    from kkwarm.evaluation.plan import EvalTask, make_eval_task
    from kkwarm.types import Completion
    from kkwarm.verify import Judge

    class Task(LmEvalTask):
        """The same documents and requests, with sampling options in the request and verdicts on plain texts."""

        def __init__(self, row: EvalTask, judge: Judge) -> None:
            self.judge = judge
            super().__init__(row, samples)
            self.config.generation_kwargs |= {
                "temperature": row.sampling.temperature,
                "top_p": row.sampling.top_p,
                "top_k": 0,
                "max_gen_toks": row.sampling.max_tokens,
            }

        def _mean_scores(self, doc: Any, results: list[list[str]]) -> dict[str, float]:  # type: ignore[override]
            example = self.task.items[doc["row"]].example
            completions = [Completion(text + self.task.protocol.stop[0] * ("<answer>" in text)) for text in results[0]]
            verdicts = self.judge.verify(self.task.verifier, self.task.protocol, [(example, c) for c in completions])
            return {"accuracy": sum(v.correct for v in verdicts) / len(verdicts)}

    torch.manual_seed(0)
    lm = HFLM(pretrained=checkpoint(), device="cpu", dtype="float32", batch_size=batch)
    began = time.perf_counter()
    with Judge() as judge:
        config = BenchConfig(samples=samples, limit=limit)
        rows = [make_eval_task(name, plugins.registry(), config, lm.tokenizer) for name in BENCHMARKS]
        found = evaluate(lm, {row.name: Task(row, judge) for row in rows}, bootstrap_iters=2, log_samples=False)
    assert found is not None
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "accuracy": {n: f["accuracy,all"] for n, f in found["results"].items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "bench_lm_eval.json")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--limit", type=int, default=100, help="Number of questions per benchmark.")
    parser.add_argument(
        "--peer-batch", type=int, nargs="+", default=[64, 256, 1024], help="Batch sizes to try for lm-eval."
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side, _, batch = args.side.partition(":")
        size = (args.samples, args.limit)
        figures = run_kkwarm(*size) if side == "kkwarm" else run_lm_eval(*size, int(batch))
        print(json.dumps({**figures, "peak_mb": peak_mb()}))  # noqa: T201
        return
    sizes = ["--samples", str(args.samples), "--limit", str(args.limit)]
    names = ["kkwarm", *(f"lm_eval:{n}" for n in args.peer_batch)]
    found = run_alternating({name: [__file__, *sizes, "--side", name] for name in names}, args.repeats)
    seconds = {name: [run["seconds"] for run in runs] for name, runs in found.items()}
    best = min(names[1:], key=lambda name: summarize(seconds[name])["median"])
    result = {
        "what": f"bench of the shipped base with {args.samples} samples: kkwarm (hf) and lm-eval's own hf model",
        "questions": args.limit * len(BENCHMARKS),
        "samples": args.samples,
        "seconds": {name: summarize(s) for name, s in seconds.items()},
        "process_s": {name: summarize([run["process_s"] for run in runs]) for name, runs in found.items()},
        "peak_memory_mb": {name: max(run["peak_mb"] for run in runs) for name, runs in found.items()},
        "tokens": found["kkwarm"][0]["tokens"],
        "accuracy": {name: runs[0]["accuracy"] for name, runs in found.items()},
        "fastest_peer": best,
        "times_faster": ratio(seconds[best], seconds["kkwarm"]),
        "target": 2.0,
    }
    write_results(args.out, result)
    print(f"{result['times_faster']['median']:g}x faster than {best} (target 2x)", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
