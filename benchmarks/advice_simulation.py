"""Whether the report's advice is good: how many of the changes that it leaves undecided are decided by as many seeds or
questions as it says. Run from the repository root:

    python benchmarks/advice_simulation.py -o benchmarks/results/advice_simulation.json

Each study is of `transfer_simulation`'s: 6 conditions, 4 domains, 164 questions x 4 samples. Its changes are judged,
the advice is taken (the median of what the undecided ones need), and the same study with further seeds, or further
questions, is judged again. Every undecided change counts, also one that is not what it was estimated to be.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from transfer_simulation import MARGIN, UNEQUAL, Pairs, Setting, changes, spread_of, study, words

from kkwarm.analysis.advice import MANY, enough
from kkwarm.store import environment

QUESTIONS, SAMPLES = 164, 4
KINDS = {"none": (0.0,) * 6, "0.2": (0.2,) * 6, "unequal": UNEQUAL}


def simulate(seeds: int, name: str, shift: float, studies: int, seed: int) -> dict[str, float]:
    """The figures of one kind. ``advised``: the median number; ``decided``: the share of undecided changes that it
    decides; ``beyond``: studies in which more than `MANY` times as many were needed, which are left out of both.
    """
    rng = np.random.default_rng(seed)
    largest = Setting(seeds * MANY, QUESTIONS * MANY, SAMPLES, name, KINDS[name])
    advised, decided, beyond, by_seeds = [], [], 0, 0
    for _ in range(studies):
        pool = study(rng, largest, shift)
        first, called = judged(pool, seeds, QUESTIONS)
        left = [key for key, word in called.items() if word == "underpowered"]
        if not left:
            continue
        by = "seeds" if median(first[key].of_seeds for key in left) > 0.5 else "questions"
        has = {"seeds": seeds, "questions": QUESTIONS}
        known = [
            {"estimate": d.value, "stderr": d.stderr, "p": d.p, "of_seeds": d.of_seeds, **has}
            for d in map(first.__getitem__, left)
        ]
        needed = int(np.ceil(min(1e9, median(enough(c, MARGIN, len(first), by) for c in known))))
        by_seeds += by == "seeds"
        if needed > MANY * has[by]:
            beyond += 1
            continue
        _, again = judged(pool, **{**has, by: needed})
        advised.append(needed)
        decided.append(np.mean([again[key] != "underpowered" for key in left]))
    return {
        "studies": studies,
        "by_seeds": by_seeds,
        "advised": float(np.median(advised)) if advised else 0.0,
        "decided": round(float(np.mean(decided)), 3) if decided else 0.0,
        "beyond": beyond,
    }


def judged(pool: Pairs, seeds: int, questions: int) -> tuple[dict, dict]:
    """Changes and words of the study's first seeds and questions."""
    pairs = {key: (a[:seeds, :questions], b[:seeds, :questions]) for key, (a, b) in pool.items()}
    setting = Setting(seeds, questions, SAMPLES, "", ())
    found = changes(pairs, setting, spread_of(pairs, setting))
    return found, dict(zip(found, words(found), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path)
    chosen = parser.parse_args()
    todo = [(seeds, name, shift) for seeds in (2, 3, 4) for name in KINDS for shift in (0.0, 0.3)]
    rows = []
    with ProcessPoolExecutor(chosen.jobs) as pool:
        results = pool.map(simulate, *zip(*todo, strict=True), [chosen.studies] * len(todo), range(len(todo)))
        for (seeds, name, shift), found in zip(todo, results, strict=True):
            rows.append({"seeds": seeds, "spread": name, "shift": shift, **found})
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    if chosen.out is not None:
        document = {"questions": QUESTIONS, "samples": SAMPLES, "rows": rows, "environment": environment()}
        chosen.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
