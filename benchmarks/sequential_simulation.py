"""What stopping early costs and saves. Run from the repository root:

    python benchmarks/sequential_simulation.py --runs 400 -o benchmarks/results/sequential_simulation.json

Questions differ in difficulty (sd 1.5 on the logit scale), 4 samples each, drawn in random order.

- score (`bench --until H`): runs in which the interval ever missed the score that the whole benchmark gives, the share
  of questions asked, and that share for an interval that looks once, at a size known beforehand;
- decision (`bench --until-decided`): two checkpoints, the second shifted by `shift` on the logit scale, each with
  difficulties of its own (sd 0.5); how often it says gain, loss, tie, underpowered; how often one look at all questions
  says so; how often the usual test, looked at each time, would have claimed a difference; the share of questions asked.
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

from kkwarm.analysis.stats.estimates import paired, word
from kkwarm.analysis.stats.sequential import ConfidenceSequence, Decision
from kkwarm.evaluation.early_stopping import PART
from kkwarm.store import environment

SAMPLES, DIFFICULTY, OWN, MARGIN = 4, 1.5, 0.5, 0.05
SCORES = [
    (n, h, base) for n, h in ((164, 0.05), (500, 0.05), (500, 0.03), (1319, 0.03), (5000, 0.02)) for base in (0.3, 2.0)
]
DECISIONS = [(n, shift) for n in (114, 500, 1319) for shift in (0.0, 0.2, 0.5, 1.0)]


def drawn(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    return rng.binomial(SAMPLES, 1 / (1 + np.exp(-logits))) / SAMPLES


def score(setting: tuple[int, float, float], runs: int) -> dict[str, Any]:
    n, target, base = setting
    rng = np.random.default_rng(n)
    missed, asked, fixed = [], [], []
    for _ in range(runs):
        scores = drawn(rng, rng.normal(base, DIFFICULTY, n))
        sequence, out = ConfidenceSequence(n, target), False
        while sequence.count < n and not sequence.reached:
            for value in scores[sequence.count : sequence.count + PART]:
                sequence.add([value])
            low, high = sequence.interval
            out |= not low - 1e-9 <= scores.mean() <= high + 1e-9
        missed.append(out)
        asked.append(sequence.count / n)
        once = 1.96**2 * scores.var() / target**2
        fixed.append(1 / (n / once + 1))  # without replacement
    figures = {"missed": np.mean(missed), "asked": np.mean(asked), "asked_by_one_look": np.mean(fixed)}
    return {"questions": n, "half_width": target, "logit": base, **{k: round(float(v), 4) for k, v in figures.items()}}


def decision(setting: tuple[int, float], runs: int) -> dict[str, Any]:
    n, shift = setting
    rng = np.random.default_rng(n)
    said, at_once = Counter[str](), Counter[str]()
    asked, naive, change = [], [], []
    for _ in range(runs):
        hard = rng.normal(0.3, DIFFICULTY, n)
        first = drawn(rng, hard + rng.normal(0, OWN, n))
        second = drawn(rng, hard + rng.normal(0, OWN, n) + shift)
        rule = Decision(n, MARGIN)
        looks = [rule.look(first[:k], second[:k]) for k in rule.at]
        ended = next(look for look in looks if look.word is not None)
        said[str(ended.word)] += 1
        asked.append(ended.questions / n)
        naive.append(any(look.p <= 0.05 for look in looks))
        at_once[word(paired([(first[None], second[None])]), MARGIN)] += 1
        change.append(second.mean() - first.mean())
    return {
        "questions": n,
        "shift": shift,
        "points": round(100 * float(np.mean(change)), 2),
        "asked": round(float(np.mean(asked)), 4),
        "said": {k: round(v / runs, 4) for k, v in sorted(said.items())},
        "one_look": {k: round(v / runs, 4) for k, v in sorted(at_once.items())},
        "naive_difference": round(float(np.mean(naive)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path)
    chosen = parser.parse_args()
    began = time.perf_counter()
    document: dict[str, Any] = {"runs": chosen.runs}
    parts: tuple[tuple[str, Callable[..., dict[str, Any]], list[Any]], ...] = (
        ("decision", decision, DECISIONS),
        ("score", score, SCORES),
    )
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for name, simulate, settings in parts:
            document[name] = []
            for row in pool.map(simulate, settings, [chosen.runs] * len(settings)):
                document[name].append(row)
                sys.stdout.write(f"{name} {json.dumps(row)}\n")
                sys.stdout.flush()
    document |= {"seconds": round(time.perf_counter() - began, 1), "environment": environment()}
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
