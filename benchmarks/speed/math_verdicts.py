"""Compares kkwarm's `math` verifier with math-verify, on the same real responses.

    KKWARM_DATA=... python benchmarks/speed/math_verdicts.py [-o benchmarks/results/math_verdicts.json]

Both give a verdict on each of 400 real responses, including extraction of the answer. They are measured in
alternation in wall-clock seconds, with --workers processes for kkwarm and one for math-verify, which has no workers
of its own. Cold: a new `Judge` and the first import of mpmath. Warm: the same `Judge` again (it caches no verdicts).
math-verify runs as its README shows, including its signal-based timeouts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kkwarm_math.verifier import VERIFIER

from kkwarm.data import local_file
from kkwarm.protocols import BUILT_IN
from kkwarm.store import environment
from kkwarm.types import Completion, Example
from kkwarm.verify import Judge

Pairs = Sequence[tuple[Example, Completion]]


def load() -> tuple[list[tuple[Example, Completion]], list[bool]]:
    """The pairs of example and completion, and the published scores."""
    path = local_file("model_outputs/math/qwen2.5-math_50x8.jsonl.gz")
    if path is None:
        raise SystemExit("set KKWARM_DATA to a folder with model_outputs/math")
    pairs, published = [], []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            for response, score in zip(row["responses"], row["published_score"], strict=True):
                pairs.append((Example(str(number), row["problem"], row["gold"]), Completion(response)))
                published.append(score)
    return pairs, published


def run_math_verify(pairs: Pairs) -> tuple[float, list[bool]]:
    from math_verify import parse, verify

    began = time.perf_counter()
    verdicts = [verify(parse(f"${e.answer}$"), parse(c.text)) for e, c in pairs]
    return time.perf_counter() - began, verdicts


def run_kkwarm(judge: Judge, pairs: Pairs) -> tuple[float, list[bool]]:
    began = time.perf_counter()
    verdicts = [v.correct for v in judge.verify(VERIFIER, BUILT_IN["auto"], pairs)]
    return time.perf_counter() - began, verdicts


def summary(seconds: list[float], n: int) -> dict[str, Any]:
    median = statistics.median(seconds)
    return {
        "median_s": median,
        "min_s": min(seconds),
        "max_s": max(seconds),
        "runs": len(seconds),
        "verdicts_per_s": round(n / median),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("benchmarks/results/math_verdicts.json"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    pairs, published = load()
    run_math_verify(pairs[:20])  # imports and compiled patterns do not count
    cold_seconds, warm_seconds, math_verify_seconds = [], [], []
    with Judge(args.workers) as judge:
        seconds, kkwarm_verdicts = run_kkwarm(judge, pairs)
        cold_seconds.append(seconds)
        for _ in range(args.repeats):
            warm_seconds.append(run_kkwarm(judge, pairs)[0])
            seconds, math_verify_verdicts = run_math_verify(pairs)
            math_verify_seconds.append(seconds)
    worker_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    n_prechecked = sum(
        VERIFIER.precheck is not None and VERIFIER.precheck(e, BUILT_IN["auto"].split(c)) is not None for e, c in pairs
    )
    result = {
        "what": "verdicts on real MATH responses: math-verify 0.9 alone, and kkwarm's rules before it",
        "responses": len(pairs),
        "decided_without_algebra": n_prechecked / len(pairs),
        "kkwarm_cold": summary(cold_seconds, len(pairs)),
        "kkwarm_warm": summary(warm_seconds, len(pairs)),
        "math_verify": summary(math_verify_seconds, len(pairs)),
        "times_faster_warm": round(statistics.median(math_verify_seconds) / statistics.median(warm_seconds), 1),
        "agree_with_published": {
            "kkwarm": sum(a == b for a, b in zip(kkwarm_verdicts, published, strict=True)),
            "math_verify": sum(a == b for a, b in zip(math_verify_verdicts, published, strict=True)),
        },
        "peak_memory_mb": {
            "kkwarm_worker": worker_mb,
            "this_process_with_math_verify": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        },
        "load_average": os.getloadavg()[0],
        "environment": environment(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(  # noqa: T201
        f"{result['times_faster_warm']:g}x faster warm; agree with the published scores:",
        result["agree_with_published"],
    )


if __name__ == "__main__":
    main()
