"""How well the statistics of `kkwarm report` do what they say. Run from the repository root:

    python benchmarks/transfer_simulation.py --studies 200 -o benchmarks/results/transfer_simulation.json

Each simulated study has 6 conditions compared with a base on 4 domains. Questions differ in difficulty (sd 1.5 on the
logit scale) and are shared by both sides; a training seed moves a condition's logit on a domain by `spread`. Unequal:
the conditions' spreads are 0.05 to 0.4. The truth is a numerical average over questions and seeds.

- coverage: 95% intervals of a condition's change that hold the truth, and of the mean over three domains;
- false gains: without any change, studies in which any of the 24 comparisons is called a gain or loss after Holm;
- power: with a change of 0.5 on the logit scale (8 to 11 points), the share of comparisons called a gain.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from kkwarm.store import environment
from kkwarm.transfer.statistics import holm, interval, paired, prior, seed_variance, word

BASE = (0.4, 0.5, 0.6, 0.7)
CONDITIONS = 6
DIFFICULTY = 1.5
UNEQUAL = (0.05, 0.1, 0.1, 0.2, 0.3, 0.4)
SHIFT = 0.5
MARGIN = 0.05


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


@cache
def truth(base: float, shift: float, spread: float) -> float:
    """Mean accuracy over questions and seeds, by a grid of normal quantiles."""
    from scipy.stats import norm

    grid = norm.ppf((np.arange(800) + 0.5) / 800)
    sd = float(np.hypot(DIFFICULTY, spread))  # both are normal on the logit scale
    return float(sigmoid(logit(base) + shift + sd * grid).mean())


def study(
    rng: np.random.Generator, seeds: int, questions: int, samples: int, spreads: Sequence[float], shift: float
) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    pairs = {}
    for d, base in enumerate(BASE):
        hard = rng.normal(0, DIFFICULTY, questions)
        first = rng.binomial(samples, sigmoid(logit(base) + hard), (seeds, questions)) / samples
        for c in range(CONDITIONS):
            moved = hard + rng.normal(0, spreads[c], (seeds, 1))
            second = rng.binomial(samples, sigmoid(logit(base) + shift + moved)) / samples
            pairs[c, d] = (first, second)
    return pairs


def simulate(
    studies: int, seeds: int, questions: int, samples: int, spreads: Sequence[float], seed: int
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    covered, means, macro, wrong, power = [], [], [], [], []
    for shift in (0.0, SHIFT):
        for _ in range(studies):
            pairs = study(rng, seeds, questions, samples, spreads, shift)
            moderated = prior([seed_variance([p]) for p in pairs.values()])
            cells = prior([seed_variance([(0.0, b)]) for _, b in pairs.values()])
            found = {key: paired([p], moderated) for key, p in pairs.items()}
            for (c, d), difference in found.items():
                after = truth(BASE[d], shift, spreads[c])
                covered.append(difference.low <= after - truth(BASE[d], 0.0, 0.0) <= difference.high)
                cell = interval(pairs[c, d][1], cells)
                means.append(cell.low <= after <= cell.high)
            adjusted = holm([d.p for d in found.values()])
            words = [word(d, MARGIN, p) for d, p in zip(found.values(), adjusted, strict=True)]
            if shift:
                power += [w == "gain" for w in words]
            else:
                wrong.append(any(w in ("gain", "loss") for w in words))
            strata = [[pairs[c, d] for d in (1, 2, 3)] for c in range(CONDITIONS)]
            of_means = prior([seed_variance(s) for s in strata])
            for c, s in enumerate(strata):
                change = np.mean([truth(BASE[d], shift, spreads[c]) - truth(BASE[d], 0.0, 0.0) for d in (1, 2, 3)])
                difference = paired(s, of_means)
                macro.append(difference.low <= change <= difference.high)
    named = zip(
        ("coverage_change", "coverage_accuracy", "coverage_mean_of_domains", "false_gain_any", "power"),
        (covered, means, macro, wrong, power),
        strict=True,
    )
    return {name: round(float(np.mean(values)), 4) for name, values in named}


def settings() -> Iterator[tuple[int, int, int, str, Sequence[float]]]:
    spreads = {"none": (0.0,) * CONDITIONS, "0.2": (0.2,) * CONDITIONS, "unequal": UNEQUAL}
    for seeds, questions, samples in product((1, 2, 3), (50, 164, 500), (1, 4)):
        for name, values in spreads.items():
            if seeds > 1 or name == "none":  # one seed's interval does not claim to cover the spread between seeds
                yield seeds, questions, samples, name, values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("-o", "--out", type=Path)
    chosen = parser.parse_args()
    rows = []
    head = f"{'seeds':>5} {'n':>4} {'k':>2} {'spread':>8}  change accuracy  mean  any false  power"
    sys.stdout.write(f"{head}\n")
    for number, (seeds, questions, samples, name, spreads) in enumerate(settings()):
        r = simulate(chosen.studies, seeds, questions, samples, spreads, number)
        rows.append({"seeds": seeds, "questions": questions, "samples": samples, "spread": name, **r})
        sys.stdout.write(
            f"{seeds:5} {questions:4} {samples:2} {name:>8}  {r['coverage_change']:6.3f} {r['coverage_accuracy']:8.3f} "
            f"{r['coverage_mean_of_domains']:5.3f} {r['false_gain_any']:10.3f} {r['power']:6.3f}\n"
        )
        sys.stdout.flush()
    if chosen.out is not None:
        document = {"studies": chosen.studies, "rows": rows, "environment": environment()}
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
