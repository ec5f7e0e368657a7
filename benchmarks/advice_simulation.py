"""Tests the advice of the report: how many underpowered changes the recommended number of seeds or questions decides.
Run from the repository root:

    python benchmarks/advice_simulation.py -o benchmarks/results/advice_simulation.json

Each study is of `transfer_simulation`'s: 6 conditions, 4 domains, 164 questions x 4 samples. Its changes are
evaluated, the advice is followed (the median of what the underpowered ones need), and the same study is evaluated again
with more seeds or questions. Every underpowered change counts, even if its true value is not the estimate.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from transfer_simulation import MARGIN, UNEQUAL, Pairs, Setting, changes, decide_all, seed_variances, study

from kkwarm.analysis.changes import MAX_FACTOR
from kkwarm.analysis.stats.power import required_count
from kkwarm.store import environment

QUESTIONS, SAMPLES = 164, 4
KINDS = {"none": (0.0,) * 6, "0.2": (0.2,) * 6, "unequal": UNEQUAL}


def simulate(seeds: int, name: str, shift: float, studies: int, seed: int) -> dict[str, float]:
    """The figures of one kind. ``advised``: the median number; ``decided``: the share of underpowered changes that it
    decides; ``beyond``: studies that need more than `MAX_FACTOR` times as many, which both leave out.
    """
    rng = np.random.default_rng(seed)
    largest = Setting(seeds * MAX_FACTOR, QUESTIONS * MAX_FACTOR, SAMPLES, name, KINDS[name])
    advised, decided, beyond, by_seeds = [], [], 0, 0
    for _ in range(studies):
        pool = study(rng, largest, shift)
        first, verdicts = evaluate(pool, seeds, QUESTIONS)
        undecided = [key for key, verdict in verdicts.items() if verdict == "underpowered"]
        if not undecided:
            continue
        by = "seeds" if median(first[key].seed_share for key in undecided) > 0.5 else "questions"
        counts = {"seeds": seeds, "questions": QUESTIONS}
        needed_each = [required_count(first[key], MARGIN, len(first), by) for key in undecided]
        needed = int(np.ceil(min(1e9, median(needed_each))))
        by_seeds += by == "seeds"
        if needed > MAX_FACTOR * counts[by]:
            beyond += 1
            continue
        _, again = evaluate(pool, **{**counts, by: needed})
        advised.append(needed)
        decided.append(np.mean([again[key] != "underpowered" for key in undecided]))
    return {
        "studies": studies,
        "by_seeds": by_seeds,
        "advised": float(np.median(advised)) if advised else 0.0,
        "decided": round(float(np.mean(decided)), 3) if decided else 0.0,
        "beyond": beyond,
    }


def evaluate(pool: Pairs, seeds: int, questions: int) -> tuple[dict, dict]:
    """Changes and verdicts of the study's first seeds and questions."""
    pairs = {key: (a[:seeds, :questions], b[:seeds, :questions]) for key, (a, b) in pool.items()}
    setting = Setting(seeds, questions, SAMPLES, "", ())
    differences = changes(pairs, setting, seed_variances(pairs, setting))
    return differences, dict(zip(differences, decide_all(differences), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    todo = [(seeds, name, shift) for seeds in (2, 3, 4) for name in KINDS for shift in (0.0, 0.3)]
    rows = []
    with ProcessPoolExecutor(options.jobs) as pool:
        results = pool.map(simulate, *zip(*todo, strict=True), [options.studies] * len(todo), range(len(todo)))
        for (seeds, name, shift), figures in zip(todo, results, strict=True):
            rows.append({"seeds": seeds, "spread": name, "shift": shift, **figures})
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    if options.out is not None:
        document = {"questions": QUESTIONS, "samples": SAMPLES, "rows": rows, "environment": environment()}
        options.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
