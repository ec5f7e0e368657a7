"""Measures commands in turn: A B A B ..., each run a process of its own that prints one JSON line of figures last.

What both sides share (a machine that slows down, a warm file cache) then falls on both alike; a ratio is taken within
each pair. A side's process reports `seconds` of what is compared; its start and imports are in `process_s`.
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

__all__ = ["RESULTS", "in_turn", "keep", "peak_mb", "ratio", "spread"]

RESULTS = Path(__file__).resolve().parents[1] / "results"


def in_turn(sides: Mapping[str, Sequence[str]], repeats: int) -> dict[str, list[dict[str, Any]]]:
    """The figures of every run by side. Even rounds go through the sides backwards.

    :param sides: name -> arguments of this Python.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for number in range(repeats):
        for name in list(sides) if number % 2 == 0 else list(sides)[::-1]:
            began = time.perf_counter()
            done = subprocess.run([sys.executable, *sides[name]], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name} failed ({done.returncode}):\n{done.stderr[-4000:]}")
            figures = json.loads(done.stdout.strip().splitlines()[-1])
            figures["process_s"] = time.perf_counter() - began
            found[name].append(figures)
            print(f"{name}: {figures['seconds']:.2f} s", file=sys.stderr, flush=True)  # noqa: T201
    return found


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, least, most, and how many."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "runs": len(values),
    }


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """The spread of `above` / `below`, pair by pair."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def peak_mb() -> int:
    """Largest resident memory of this process so far, in MiB (Linux counts in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak // (2**20 if sys.platform == "darwin" else 2**10))


def keep(out: Path, result: Mapping[str, Any]) -> None:
    """Writes the figures with what they were measured on."""
    out.parent.mkdir(parents=True, exist_ok=True)
    found = {**result, "load_average": round(os.getloadavg()[0], 2), "environment": environment()}
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
