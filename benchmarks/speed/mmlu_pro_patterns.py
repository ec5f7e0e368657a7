"""Compares kkwarm's linear answer patterns with MMLU-Pro's official ones, on the same saved outputs.

    KKWARM_DATA=... python benchmarks/speed/mmlu_pro_patterns.py [-o benchmarks/results/mmlu_pro_patterns.json]

Both are measured in alternation, in CPU seconds of this process. The official patterns take quadratic time in the
length of a line (146 CPU-s on one model's outputs), so they run only once unless --repeats is given.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kkwarm_mmlu_pro.extract import official_letter

from kkwarm.data import local_file
from kkwarm.store import environment

MODELS = ("Qwen1.5-72B-Chat_5shots", "Meta-Llama-3_1-8B_5shots")
# TIGER-AI-Lab/MMLU-Pro, evaluate_from_local.py (Apache-2.0), tried in this order.
PATTERNS = (
    (r"answer is \(?([A-J])\)?", 0),
    (r".*[aA]nswer:\s*([A-J])", 0),
    (r"\b[A-J]\b(?!.*\b[A-J]\b)", re.DOTALL),
)


def official_patterns(text: str) -> str | None:
    """The letter that the published patterns extract."""
    for pattern, flags in PATTERNS:
        match = re.search(pattern, text, flags)
        if match is not None:
            return match[match.re.groups]
    return None


def measure_time(pick: Callable[[str], str | None], texts: list[str]) -> tuple[float, list[str | None]]:
    began = time.process_time()
    picks = [pick(text) for text in texts]
    return time.process_time() - began, picks


def measure(model: str, repeats: int, every: int) -> dict[str, Any]:
    path = local_file(f"model_outputs/mmlu_pro/{model}.jsonl.gz")
    if path is None:
        raise SystemExit("set KKWARM_DATA to a folder with model_outputs/mmlu_pro")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["output"] for line in lines][::every]
    kkwarm_seconds: list[float] = []
    official_seconds: list[float] = []
    n_different = 0
    for i in range(max(5, repeats)):
        seconds, picks = measure_time(official_letter, texts)
        kkwarm_seconds.append(seconds)
        if i < repeats:
            seconds, official_picks = measure_time(official_patterns, texts)
            official_seconds.append(seconds)
            n_different += sum(a != b for a, b in zip(picks, official_picks, strict=True))
    return {
        "outputs": len(texts),
        "different_picks": n_different,
        "kkwarm_cpu_s": summary(kkwarm_seconds),
        "official_cpu_s": summary(official_seconds),
        "times_faster": round(statistics.median(official_seconds) / statistics.median(kkwarm_seconds), 1),
    }


def summary(seconds: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds), "runs": len(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("benchmarks/results/mmlu_pro_patterns.json"))
    parser.add_argument("--repeats", type=int, default=1, help="Number of runs of the official patterns.")
    parser.add_argument("--every", type=int, default=1, help="Use only every N-th output.")
    args = parser.parse_args()
    result = {
        "what": "MMLU-Pro answer extraction: the three official patterns and linear equivalents",
        "models": {model: measure(model, args.repeats, args.every) for model in MODELS},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load_average": os.getloadavg()[0],
        "environment": environment(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for model, figures in result["models"].items():
        print(f"{model}: {figures['times_faster']:g}x faster, {figures['different_picks']} different picks")  # noqa: T201


if __name__ == "__main__":
    main()
