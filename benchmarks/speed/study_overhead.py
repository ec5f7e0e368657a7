"""What a study costs beyond its steps: `kkwarm study mini` with one worker, against the time its steps took.

    python benchmarks/speed/study_overhead.py [--set 'seeds=[0]'] [-o benchmarks/results/study_overhead.json]

Overhead is the wall time of the whole command (interpreter, plan, worker, bookkeeping, analysis, report) over the sum
of its steps' seconds, less one. With one worker nothing overlaps, so nothing can hide. The worker's imports fall into
its first steps, as they would into those steps' own commands.
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

from paired import RESULTS, keep, spread


def study(recipe: str, changed: list[str], folder: Path) -> dict[str, Any]:
    began = time.perf_counter()
    command = [sys.executable, "-m", "kkwarm", "study", recipe, "--jobs", "1", "-o", str(folder), "--json"]
    command += [word for change in changed for word in ("--set", change)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1: a claim does not hold
        raise SystemExit(done.stderr[-4000:])
    wall = time.perf_counter() - began
    steps = json.loads((folder / "manifest.json").read_text("utf-8"))["seconds"]
    total = sum(steps.values())
    return {"wall_s": wall, "steps_s": total, "steps": len(steps), "overhead": wall / total - 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "study_overhead.json")
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--set", action="append", default=[], help="as of kkwarm study: seeds=[0] takes a third")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    found = []
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as folder:
            found.append(study(args.recipe, args.set, Path(folder) / "study"))
    asked = " ".join([args.recipe, *args.set])
    result = {
        "what": f"wall time of `kkwarm study {asked} --jobs 1` over the sum of its steps, less one",
        "steps": found[0]["steps"],
        "wall_s": spread([run["wall_s"] for run in found]),
        "steps_s": spread([run["steps_s"] for run in found]),
        "overhead": spread([run["overhead"] for run in found]),
        "target": 0.03,
    }
    keep(args.out, result)
    print(f"{100 * result['overhead']['median']:.1f}% over its steps (target 3%)", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
