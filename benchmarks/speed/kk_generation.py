"""Compares the speed of kkwarm's and reasoning-gym's Knights & Knaves generators, in alternation in one process.

    python -m pip install --target /tmp/reasoning-gym reasoning-gym   # not a dependency of kkwarm
    python benchmarks/speed/kk_generation.py --reasoning-gym /tmp/reasoning-gym --out kk_generation.json

Both sample statements of the published grammar (one connective, two operands) and keep new puzzles with exactly one
solution. "structure" is that; "text" adds names and the question in English. The figures are puzzles per CPU second,
which hardly depends on other work on the machine, and per wall second. Each repeat measures kkwarm, then reasoning-
gym.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from kkwarm_kk.english import NAMES, render
from kkwarm_kk.puzzle import Difficulty, Puzzle, generate

PEOPLE = range(2, 9)
N_KKWARM = 20_000  # puzzles per measurement; with 2 people there are too few different ones
N_REASONING_GYM = {2: 200, 3: 200, 4: 120, 5: 80, 6: 50, 7: 30, 8: 20}


def generate_distinct(people: int, count: int, seed: int) -> list[Puzzle]:
    """Puzzles with different statements. Statements are shared objects of the generator, so their ids identify them."""
    seen: set[tuple[int, ...]] = set()
    puzzles = []
    for puzzle in generate(Difficulty(people), seed):
        key = tuple(map(id, puzzle.statements))
        if key not in seen:
            seen.add(key)
            puzzles.append(puzzle)
            if len(puzzles) == count:
                break
    return puzzles


def generate_kkwarm(people: int, count: int, seed: int, text: bool) -> int:
    puzzles = generate_distinct(people, count, seed)
    if text:
        rng = random.Random(seed)
        return len([render(puzzle, rng.sample(NAMES, people), rng) for puzzle in puzzles])
    return len(puzzles)


def generate_reasoning_gym(people: int, count: int, seed: int, text: bool) -> int:
    from reasoning_gym.logic.knights_knaves import KKProblemFormatter, KKProblemSampler

    problems = KKProblemSampler(seed, people).sample_valid_problems(count)
    if text:
        return len([KKProblemFormatter(seed + i, p).format_problem() for i, p in enumerate(problems)])
    return len(problems)


def measure(make: Callable[[int, int, int, bool], int], *args: Any) -> dict[str, float]:
    """Puzzles per CPU second and per wall second of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    n_puzzles = make(*args)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": n_puzzles / cpu, "wall": n_puzzles / wall}


def compare(people: int, text: bool, repeats: int) -> dict[str, Any]:
    count = 200 if people == 2 else N_KKWARM // (10 if text else 1)
    generate_kkwarm(
        people, min(count, 100), 0, text
    )  # imports and the pool of statements are not part of the measurement
    generate_reasoning_gym(people, 2, 0, text)
    runs: dict[str, list[dict[str, float]]] = {"kkwarm": [], "reasoning_gym": []}
    for seed in range(1, repeats + 1):
        runs["kkwarm"].append(measure(generate_kkwarm, people, count, seed, text))
        runs["reasoning_gym"].append(measure(generate_reasoning_gym, people, N_REASONING_GYM[people], seed, text))
    row: dict[str, Any] = {"people": people, "puzzles": {"kkwarm": count, "reasoning_gym": N_REASONING_GYM[people]}}
    for name, timings in runs.items():
        for clock in ("cpu", "wall"):
            rates = sorted(run[clock] for run in timings)
            row[f"{name}_per_{clock}_s"] = {
                "median": round(statistics.median(rates), 1), "min": round(rates[0], 1), "max": round(rates[-1], 1)
            }  # fmt: skip
    medians = [row[f"{name}_per_cpu_s"]["median"] for name in ("kkwarm", "reasoning_gym")]
    row["ratio_cpu"] = round(medians[0] / medians[1], 1)
    return row


def peak_mib(generator: str, args: argparse.Namespace) -> float:
    """Peak resident memory in MiB of a new process that generates 200 puzzles of 8 people with text."""
    command = [sys.executable, __file__, "--peak", generator]
    if args.reasoning_gym:
        command += ["--reasoning-gym", args.reasoning_gym]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def version(package: str, folder: str) -> str:
    found = metadata.distributions(name=package, path=[folder] if folder else sys.path)
    return next((d.version for d in found), "unknown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reasoning-gym", default="", help="Folder that reasoning-gym was installed into.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--peak", choices=["kkwarm", "reasoning_gym"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.reasoning_gym:
        sys.path.append(args.reasoning_gym)
    if args.peak:
        (generate_kkwarm if args.peak == "kkwarm" else generate_reasoning_gym)(8, 200, 0, True)
        sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f}")
        return
    load = os.getloadavg()
    report: dict[str, Any] = {"what": " ".join((__doc__ or "").split("\n\n")[-1].split())}
    for kind in ("structure", "text"):
        report[kind] = []
        for people in PEOPLE:
            row = compare(people, kind == "text", args.repeats)
            report[kind].append(row)
            a, b = row["kkwarm_per_cpu_s"]["median"], row["reasoning_gym_per_cpu_s"]["median"]
            sys.stderr.write(
                f"{kind:9} {people} people: {a:>10,.0f} against {b:>7,.1f} a CPU second, {row['ratio_cpu']:,.0f}x\n"
            )
    report["peak_mib_200_puzzles_of_8_with_text"] = {w: peak_mib(w, args) for w in ("kkwarm", "reasoning_gym")}
    report["environment"] = {
        "command": "python benchmarks/speed/kk_generation.py --reasoning-gym FOLDER --repeats " + str(args.repeats),
        "python": platform.python_version(),
        "numpy": version("numpy", ""),
        "reasoning_gym": version("reasoning-gym", args.reasoning_gym),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load_average": {"before": [round(x, 1) for x in load], "after": [round(x, 1) for x in os.getloadavg()]},
        "note": "one thread each; CPU seconds, because the machine was shared with other work",
    }
    text = json.dumps(report, indent=1) + "\n"
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
