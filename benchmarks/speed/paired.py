"""Measures commands in alternation: A B A B ..., each run in its own process that prints one JSON line of figures last.

Changes of the machine's speed and warm caches then affect both sides alike, and ratios are taken within each pair. A
process reports the compared time as `seconds`; its start and imports are part of `process_s`.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kkwarm.store import environment

__all__ = ["RESULTS", "peak_mb", "ratio", "run_alternating", "summarize", "write_results"]

RESULTS = Path(__file__).resolve().parents[1] / "results"


def run_alternating(sides: Mapping[str, Sequence[str]], repeats: int) -> dict[str, list[dict[str, Any]]]:
    """The figures of every run by side. The order of the sides alternates.

    :param sides: name -> arguments of this Python interpreter.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for round_ in range(repeats):
        for name in list(sides) if round_ % 2 == 0 else list(sides)[::-1]:
            began = time.perf_counter()
            process = subprocess.run([sys.executable, *sides[name]], capture_output=True, text=True)
            if process.returncode:
                raise SystemExit(f"{name} failed ({process.returncode}):\n{process.stderr[-4000:]}")
            figures = json.loads(process.stdout.strip().splitlines()[-1])
            figures["process_s"] = time.perf_counter() - began
            results[name].append(figures)
            print(f"{name}: {figures['seconds']:.2f} s", file=sys.stderr, flush=True)  # noqa: T201
    return results


def summarize(values: Sequence[float]) -> dict[str, Any]:
    """Median, minimum, maximum and number of the values."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "runs": len(values),
    }


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, Any]:
    """Summary of `numerators` / `denominators`, pair by pair."""
    return summarize([a / b for a, b in zip(numerators, denominators, strict=True)])


def peak_mb() -> int:
    """Peak resident memory of this process in MiB (Linux reports KiB, macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak // (2**20 if sys.platform == "darwin" else 2**10))


def write_results(out: Path, result: Mapping[str, Any]) -> None:
    """Writes the figures with the environment."""
    out.parent.mkdir(parents=True, exist_ok=True)
    document = {**result, "load_average": round(os.getloadavg()[0], 2), "environment": environment()}
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
