"""Measures the overhead of a study: the time of `kkwarm study mini` with one worker over the time of its steps.

    python benchmarks/speed/study_overhead.py [--set 'seeds=[0]'] [-o benchmarks/results/study_overhead.json]

Overhead is the wall time of the whole command (interpreter, plan, worker, bookkeeping, analysis, report) divided by
the sum of its steps' seconds, minus one. With one worker no steps overlap. The worker's imports count towards its
first steps, as they would for separate commands.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from paired import RESULTS, summarize, write_results


def study(recipe: str, changes: list[str], folder: Path) -> dict[str, Any]:
    began = time.perf_counter()
    command = [sys.executable, "-m", "kkwarm", "study", recipe, "--jobs", "1", "-o", str(folder), "--json"]
    command += [word for change in changes for word in ("--set", change)]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode not in (0, 1):  # 1: a claim does not hold
        raise SystemExit(process.stderr[-4000:])
    wall = time.perf_counter() - began
    steps = json.loads((folder / "manifest.json").read_text("utf-8"))["seconds"]
    total = sum(steps.values())
    return {"wall_s": wall, "steps_s": total, "steps": len(steps), "overhead": wall / total - 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "study_overhead.json")
    parser.add_argument("--recipe", default="mini")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        help="Recipe change, as of kkwarm study. seeds=[0] takes a third of the time.",
    )
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    runs = []
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(study(args.recipe, args.set, Path(folder) / "study"))
    arguments = " ".join([args.recipe, *args.set])
    result = {
        "what": f"wall time of `kkwarm study {arguments} --jobs 1` over the sum of its steps, minus one",
        "steps": runs[0]["steps"],
        "wall_s": summarize([run["wall_s"] for run in runs]),
        "steps_s": summarize([run["steps_s"] for run in runs]),
        "overhead": summarize([run["overhead"] for run in runs]),
        "target": 0.03,
    }
    write_results(args.out, result)
    print(f"{100 * result['overhead']['median']:.1f}% over its steps (target 3%)", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
