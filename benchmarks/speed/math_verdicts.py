"""math-verify alone against kkwarm's `math` verifier (rules in front of math-verify), on the same real responses.

    KKWARM_DATA=... python benchmarks/speed/math_verdicts.py [-o benchmarks/results/math_verdicts.json]

Both give a verdict on each of the 400 real responses (their tags or boxes split and read included); they are measured
in turn, in wall-clock seconds, with as many processes as --workers says for ours and one for math-verify, which has no
workers of its own. Cold: a new `Judge`, its first worker's start and import of sympy included. Warm: the same `Judge`
again (it remembers no verdicts). math-verify runs as its README shows, signal timeouts and all.
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
from kkwarm.formats import BUILT_IN
from kkwarm.store import environment
from kkwarm.types import Completion, Example
from kkwarm.verify import Judge

Pairs = Sequence[tuple[Example, Completion]]


def load() -> tuple[list[tuple[Example, Completion]], list[bool]]:
    """The pairs to be judged, and the published scores."""
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


def peer(pairs: Pairs) -> tuple[float, list[bool]]:
    from math_verify import parse, verify

    began = time.perf_counter()
    verdicts = [verify(parse(f"${e.answer}$"), parse(c.text)) for e, c in pairs]
    return time.perf_counter() - began, verdicts


def ours(judge: Judge, pairs: Pairs) -> tuple[float, list[bool]]:
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
    peer(pairs[:20])  # its import and compiled patterns do not count
    cold, warm, alone = [], [], []
    with Judge(args.workers) as judge:
        seconds, ours_verdicts = ours(judge, pairs)
        cold.append(seconds)
        for _ in range(args.repeats):
            warm.append(ours(judge, pairs)[0])
            seconds, peer_verdicts = peer(pairs)
            alone.append(seconds)
    worker_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    decided = sum(
        VERIFIER.precheck is not None and VERIFIER.precheck(e, BUILT_IN["auto"].split(c)) is not None for e, c in pairs
    )
    result = {
        "what": "verdicts on real MATH responses: math-verify 0.9 alone against kkwarm's rules in front of it",
        "responses": len(pairs),
        "decided_without_algebra": decided / len(pairs),
        "kkwarm_cold": summary(cold, len(pairs)),
        "kkwarm_warm": summary(warm, len(pairs)),
        "math_verify": summary(alone, len(pairs)),
        "times_faster_warm": round(statistics.median(alone) / statistics.median(warm), 1),
        "agree_with_published": {
            "kkwarm": sum(a == b for a, b in zip(ours_verdicts, published, strict=True)),
            "math_verify": sum(a == b for a, b in zip(peer_verdicts, published, strict=True)),
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
