"""Error rates and savings of early stopping. Run from the repository root:

    python benchmarks/sequential_simulation.py --runs 400 -o benchmarks/results/sequential_simulation.json

Questions differ in difficulty (sd 1.5 on the logit scale), 4 samples each, in random order.

- score (`bench --until H`): the share of runs in which the interval ever excluded the score of the whole benchmark
  (`missed`), the share of questions used, and that share for an interval of a size fixed in advance;
- decision (`bench --until-decided`): two checkpoints, the second shifted by `shift` on the logit scale, each with
  difficulties of its own (sd 0.5): how often each verdict occurs, and in a single test at the end; how often the usual
  test, repeated each time, finds a difference; and the share of questions used.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kkwarm.analysis.stats.estimates import decide, paired_difference
from kkwarm.analysis.stats.sequential import ConfidenceSequence, GroupSequentialTest
from kkwarm.evaluation.early_stopping import PART
from kkwarm.store import environment

SAMPLES, DIFFICULTY, OWN, MARGIN = 4, 1.5, 0.5, 0.05
SCORES = [
    (n, h, base) for n, h in ((164, 0.05), (500, 0.05), (500, 0.03), (1319, 0.03), (5000, 0.02)) for base in (0.3, 2.0)
]
DECISIONS = [(n, shift) for n in (114, 500, 1319) for shift in (0.0, 0.2, 0.5, 1.0)]


def sample_scores(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    return rng.binomial(SAMPLES, 1 / (1 + np.exp(-logits))) / SAMPLES


def score(setting: tuple[int, float, float], runs: int) -> dict[str, Any]:
    n, target, base = setting
    rng = np.random.default_rng(n)
    missed, used, fixed = [], [], []
    for _ in range(runs):
        scores = sample_scores(rng, rng.normal(base, DIFFICULTY, n))
        sequence, excluded = ConfidenceSequence(n, target), False
        while sequence.count < n and not sequence.reached:
            for value in scores[sequence.count : sequence.count + PART]:
                sequence.add([value])
            low, high = sequence.interval
            excluded |= not low - 1e-9 <= scores.mean() <= high + 1e-9
        missed.append(excluded)
        used.append(sequence.count / n)
        needed = 1.96**2 * scores.var() / target**2
        fixed.append(1 / (n / needed + 1))  # without replacement
    figures = {"missed": np.mean(missed), "used": np.mean(used), "used_by_fixed_size": np.mean(fixed)}
    return {"questions": n, "half_width": target, "logit": base, **{k: round(float(v), 4) for k, v in figures.items()}}


def decision(setting: tuple[int, float], runs: int) -> dict[str, Any]:
    n, shift = setting
    rng = np.random.default_rng(n)
    verdicts, single_test = Counter[str](), Counter[str]()
    used, naive, change = [], [], []
    for _ in range(runs):
        hard = rng.normal(0.3, DIFFICULTY, n)
        first = sample_scores(rng, hard + rng.normal(0, OWN, n))
        second = sample_scores(rng, hard + rng.normal(0, OWN, n) + shift)
        test = GroupSequentialTest(n, MARGIN)
        results = [test.test(first[:k], second[:k]) for k in test.counts]
        final = next(r for r in results if r.verdict is not None)
        verdicts[str(final.verdict)] += 1
        used.append(final.questions / n)
        naive.append(any(r.p <= 0.05 for r in results))
        single_test[decide(paired_difference([(first[None], second[None])]), MARGIN)] += 1
        change.append(second.mean() - first.mean())
    return {
        "questions": n,
        "shift": shift,
        "points": round(100 * float(np.mean(change)), 2),
        "used": round(float(np.mean(used)), 4),
        "verdicts": {k: round(v / runs, 4) for k, v in sorted(verdicts.items())},
        "single_test": {k: round(v / runs, 4) for k, v in sorted(single_test.items())},
        "naive_difference": round(float(np.mean(naive)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    document: dict[str, Any] = {"runs": options.runs}
    parts: tuple[tuple[str, Callable[..., dict[str, Any]], list[Any]], ...] = (
        ("decision", decision, DECISIONS),
        ("score", score, SCORES),
    )
    with ProcessPoolExecutor(options.jobs) as pool:
        for name, simulate, settings in parts:
            document[name] = []
            for row in pool.map(simulate, settings, [options.runs] * len(settings)):
                document[name].append(row)
                sys.stdout.write(f"{name} {json.dumps(row)}\n")
                sys.stdout.flush()
    document |= {"seconds": round(time.perf_counter() - start, 1), "environment": environment()}
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
