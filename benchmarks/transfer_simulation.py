"""How well the statistics of `kkwarm report` do what they say. Run from the repository root:

    python benchmarks/transfer_simulation.py --studies 250 --closer 750 -o benchmarks/results/transfer_simulation.json

Each simulated study has 6 conditions (the small ones 1 or 2) compared with a base on 4 domains. Questions differ in
difficulty (sd 1.5 on the logit scale) and are shared by both sides; a training seed shifts a condition's logit on a
domain by a normal amount with standard deviation `spread`. "unequal": the spreads of the conditions are 0.05 to 0.4.
"shared": a seed shifts all domains equally, or half of the variance is shared. "against 0.2": each condition is
compared with a trained condition of its own, not with a checkpoint that is the same for all. "common": equal seeds use
equal random numbers on both sides. The truth is a numerical average over questions and seeds. `--fresh` simulates kinds
of studies that were not used to choose the prior: harder and easier domains, 8 domains, 4 conditions, other numbers of
questions, spreads and shares. `--more-seeds` simulates 4, 5 and 8 seeds.

- coverage: the share of 95% intervals that contain the truth: of a condition's change, of its accuracy, of its mean
  over all domains but one. Settings within a point of the limits 93 and 97%, or outside, get `--closer` more studies;
- false gains: without any change, the share of studies in which any of the comparisons (24; 4 or 8) is a gain or loss
  after Holm, of `--null` studies (four times as many where the spreads are unequal, where they are most frequent);
  `false_gain_error` is its Monte Carlo error;
- power: with a change of 0.5 on the logit scale (8 to 11 points), the share of comparisons that are a gain.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from kkwarm.analysis.stats.estimates import Outcome, PairedDifference, decide, estimate_mean, holm, paired_difference
from kkwarm.analysis.stats.seed_variance import SeedEffect, SeedVariance, estimate_seed_variances
from kkwarm.store import environment

BASE = (0.4, 0.5, 0.6, 0.7)
DIFFICULTY = 1.5
FRESH_BASE = (0.15, 0.3, 0.55, 0.85)
UNEQUAL = (0.05, 0.1, 0.1, 0.2, 0.3, 0.4)
SHIFT = 0.5
MARGIN = 0.05
FIGURES = ("coverage_change", "coverage_accuracy", "coverage_mean_of_domains", "false_gain_any", "power")


@dataclass(frozen=True, slots=True)
class Setting:
    """`spreads`: by condition, on the logit scale; `shared`: the share of the variance that is common to all domains;
    `base`: the accuracy of a typical question of each domain; `difficulty`: standard deviation of questions;
    `baseline_spread`: the spread of each condition's own baseline; 0: one checkpoint for all conditions and seeds;
    `common`: equal seeds use equal random numbers.
    """

    seeds: int
    questions: int
    samples: int
    name: str
    spreads: tuple[float, ...]
    shared: float = 0.0
    base: tuple[float, ...] = BASE
    difficulty: float = DIFFICULTY
    baseline_spread: float = 0.0
    common: bool = False


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


@cache
def truth(base: float, shift: float, spread: float, difficulty: float) -> float:
    """Mean accuracy over questions and seeds, by a grid of normal quantiles."""
    from scipy.stats import norm

    grid = norm.ppf((np.arange(800) + 0.5) / 800)
    sd = float(np.hypot(difficulty, spread))  # both are normal on the logit scale
    return float(sigmoid(logit(base) + shift + sd * grid).mean())


Pairs = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def study(rng: np.random.Generator, setting: Setting, shift: float) -> Pairs:
    """Scores of base and condition, each (seeds, questions), by (condition, domain)."""
    seeds, questions, samples = setting.seeds, setting.questions, setting.samples
    seed_shift = rng.normal(0, 1, (len(setting.spreads), seeds, 1))
    pairs: Pairs = {}
    for d, base in enumerate(setting.base):
        hard = rng.normal(0, setting.difficulty, questions)
        uniforms = rng.random((seeds, questions, samples)) if setting.common else None

        def scores(logits: np.ndarray, uniforms: np.ndarray | None = uniforms) -> np.ndarray:
            p = np.broadcast_to(sigmoid(logits), (seeds, questions))
            return rng.binomial(samples, p) / samples if uniforms is None else (uniforms < p[..., None]).mean(axis=2)

        untrained = scores(logit(base) + hard)
        for c, spread in enumerate(setting.spreads):
            shift_by_seed = seed_shift[c] if setting.shared == 1 else rng.normal(0, 1, (seeds, 1))
            if 0 < setting.shared < 1:
                shift_by_seed = np.sqrt(setting.shared) * seed_shift[c] + np.sqrt(1 - setting.shared) * shift_by_seed
            first = untrained
            if setting.baseline_spread:
                first = scores(logit(base) + hard + setting.baseline_spread * rng.normal(0, 1, (seeds, 1)))
            pairs[str(c), str(d)] = (first, scores(logit(base) + shift + hard + spread * shift_by_seed))
    return pairs


def simulate(setting: Setting, studies: int, null: int, seed: int) -> dict[str, float]:
    """The figures of one setting over `studies` studies without a change and as many with one; false gains over `null`
    studies without one.
    """
    rng = np.random.default_rng(seed)
    values: dict[str, list[float]] = {name: [] for name in FIGURES}
    for shift in (0.0, SHIFT):
        for _ in range(studies):
            _evaluate(study(rng, setting, shift), setting, shift, values)
    for _ in range(null - studies):
        pairs = study(rng, setting, 0.0)
        verdicts = decide_all(changes(pairs, setting, seed_variances(pairs, setting)))
        values["false_gain_any"].append(any(v in ("gain", "loss") for v in verdicts))
    rate = float(np.mean(values["false_gain_any"]))
    error = {"false_gain_error": round(float(np.sqrt(rate * (1 - rate) / max(null, studies))), 4)}
    counts = {"studies": studies, "null": max(null, studies)}
    return {name: round(float(np.mean(v)), 4) for name, v in values.items()} | error | counts


def pooled(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """The figures of two simulations of one setting, combined."""
    combined = {}
    for name in FIGURES:
        n = [r["null" if name == "false_gain_any" else "studies"] for r in (one, other)]
        combined[name] = round((one[name] * n[0] + other[name] * n[1]) / sum(n), 4)
    counts = {name: one[name] + other[name] for name in ("studies", "null")}
    rate = combined["false_gain_any"]
    return combined | {"false_gain_error": round(float(np.sqrt(rate * (1 - rate) / counts["null"])), 4)} | counts


def near_limit(row: dict[str, float]) -> bool:
    """Whether a coverage is within a point of the limits 93 and 97%, or outside, where more studies are needed."""
    return not all(0.94 <= value <= 0.96 for name, value in row.items() if name.startswith("coverage"))


def _effect(setting: Setting, pair: tuple[np.ndarray, np.ndarray]) -> SeedEffect:
    return SeedEffect.difference(*pair) if setting.baseline_spread else SeedEffect.vs_fixed_baseline(*pair)


def seed_variances(pairs: Pairs, setting: Setting) -> dict[str, SeedVariance | None]:
    """The seed variance of each condition's change, by the code of the report."""
    effects: dict[str, list[SeedEffect]] = {}
    for (c, _), scores in pairs.items():
        effects.setdefault(c, []).append(_effect(setting, scores))
    return estimate_seed_variances(effects)


def changes(
    pairs: Pairs, setting: Setting, variances: Mapping[str, SeedVariance | None]
) -> dict[tuple[str, str], PairedDifference]:
    """The matrix's changes, by the code of the report."""
    return {key: paired_difference([p], variances[key[0]], [_effect(setting, p)]) for key, p in pairs.items()}


def decide_all(changes: dict[tuple[str, str], PairedDifference]) -> list[Outcome]:
    """The verdicts after Holm's correction over all changes."""
    adjusted = holm([d.p for d in changes.values()])
    return [decide(d, MARGIN, p) for d, p in zip(changes.values(), adjusted, strict=True)]


def _evaluate(pairs: Pairs, setting: Setting, shift: float, values: dict[str, list[float]]) -> None:
    """Evaluates one study by the code of the report."""
    bases, hard = setting.base, setting.difficulty
    before = {str(d): truth(base, 0.0, setting.baseline_spread, hard) for d, base in enumerate(bases)}
    after = {(c, d): truth(bases[int(d)], shift, setting.spreads[int(c)], hard) for c, d in pairs}
    conditions = [str(c) for c in range(len(setting.spreads))]
    cells = estimate_seed_variances(
        {c: [SeedEffect.single(s) for (own, _), (_, s) in pairs.items() if own == c] for c in conditions}
    )
    variances = seed_variances(pairs, setting)
    differences = changes(pairs, setting, variances)
    for (c, d), change in differences.items():
        values["coverage_change"].append(change.low <= after[c, d] - before[d] <= change.high)
        mean = estimate_mean(pairs[c, d][1], cells[c])
        values["coverage_accuracy"].append(mean.low <= after[c, d] <= mean.high)
    verdicts = decide_all(differences)
    if shift:
        values["power"] += [v == "gain" for v in verdicts]
    else:
        values["false_gain_any"].append(any(v in ("gain", "loss") for v in verdicts))
    others = [str(d) for d in range(1, len(bases))]  # all domains but one, as in claims (i) and (iii)
    for c in conditions:
        change = float(np.mean([after[c, d] - before[d] for d in others]))
        strata = [pairs[c, d] for d in others]
        difference = paired_difference(strata, variances[c], [_effect(setting, s) for s in strata])
        values["coverage_mean_of_domains"].append(difference.low <= change <= difference.high)


def settings() -> Iterator[Setting]:
    """With one seed the spread is 0: the interval does not cover the variation between seeds."""
    for questions, samples in product((50, 164, 500), (1, 4)):
        yield Setting(1, questions, samples, "none", (0.0,) * 6)
    for seeds, questions, samples in product((2, 3), (50, 164, 500), (1, 4)):
        yield Setting(seeds, questions, samples, "none", (0.0,) * 6)
        yield Setting(seeds, questions, samples, "0.2", (0.2,) * 6)
        yield Setting(seeds, questions, samples, "unequal", UNEQUAL)
        if samples == 4:
            yield Setting(seeds, questions, samples, "0.2 shared", (0.2,) * 6, 1.0)
            yield Setting(seeds, questions, samples, "unequal shared", UNEQUAL, 1.0)
        if samples == 4:
            yield Setting(seeds, questions, samples, "0.2 half shared", (0.2,) * 6, 0.5)
            yield Setting(seeds, questions, samples, "0.2 against 0.2", (0.2,) * 6, baseline_spread=0.2)
            yield Setting(seeds, questions, samples, "0.2 common", (0.2,) * 6, common=True)
    for seeds, conditions in product((2, 3), (1, 2)):
        yield Setting(seeds, 164, 4, f"0.2, {conditions} only", (0.2,) * conditions)


def fresh() -> Iterator[Setting]:
    kinds = {
        "0.1": ((0.1,) * 4, 0.0, FRESH_BASE),
        "0.35": ((0.35,) * 4, 0.0, FRESH_BASE),
        "0.3 quarter shared": ((0.3,) * 4, 0.25, FRESH_BASE),
        "0.3 half shared": ((0.3,) * 4, 0.5, FRESH_BASE),
        "one of four varies": ((0.05, 0.05, 0.05, 0.35), 0.0, FRESH_BASE),
        "0.25 on 8 domains": ((0.25,) * 4, 0.0, FRESH_BASE * 2),
        "0.25 shared by 8 domains": ((0.25,) * 4, 0.75, FRESH_BASE * 2),
    }
    for seeds, questions, samples in product((2, 3), (80, 300, 1000), (2,)):
        for name, (spreads_, shared, base) in kinds.items():
            yield Setting(seeds, questions, samples, name, spreads_, shared, base, 1.0)


def more_seeds() -> Iterator[Setting]:
    for seeds in (4, 5, 8):
        for name, spreads_ in (("none", (0.0,) * 6), ("0.2", (0.2,) * 6), ("unequal", UNEQUAL)):
            yield Setting(seeds, 164, 4, name, spreads_)


def print_row(setting: Setting, r: dict[str, float]) -> None:
    sys.stdout.write(
        f"{setting.seeds:5} {setting.questions:4} {setting.samples:2} {setting.name:>24}  "
        f"{r['coverage_change']:6.3f} {r['coverage_accuracy']:8.3f} {r['coverage_mean_of_domains']:5.3f} "
        f"{r['false_gain_any']:10.3f} {r['power']:6.3f}\n"
    )
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--null", type=int, default=1000)
    parser.add_argument("--closer", type=int, default=0, help="more studies where coverage is near a limit")
    parser.add_argument("--fresh", action="store_const", dest="kinds", const=fresh, help="other kinds of studies")
    parser.add_argument("--more-seeds", action="store_const", dest="kinds", const=more_seeds, help="4, 5 and 8 seeds")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    sys.stdout.write(f"{'seeds':>5} {'n':>4} {'k':>2} {'spread':>24}  change accuracy  mean  any false  power\n")
    start, rows = time.perf_counter(), []
    todo = list((options.kinds or settings)())
    counts = [options.studies] * len(todo), [options.null * (4 if s.name == "unequal" else 1) for s in todo]
    with ProcessPoolExecutor(options.jobs) as pool:
        results = pool.map(simulate, todo, *counts, range(len(todo)))
        for setting, row in zip(todo, results, strict=True):
            rows.append(row)
            print_row(setting, row)
        again = [n for n, row in enumerate(rows) if options.closer and near_limit(row)]
        seeds = [1_000 + n for n in again]
        results = pool.map(simulate, [todo[n] for n in again], *[[options.closer] * len(again)] * 2, seeds)
        for n, row in zip(again, results, strict=True):
            rows[n] = pooled(rows[n], row)
            print_row(todo[n], rows[n])
    if options.out is not None:
        seconds = round(time.perf_counter() - start, 1)
        settings_used = {"studies": options.studies, "null": options.null, "closer": options.closer, "seconds": seconds}
        labels = [{"seeds": s.seeds, "questions": s.questions, "samples": s.samples, "spread": s.name} for s in todo]
        labeled = [{**label, **row} for label, row in zip(labels, rows, strict=True)]
        document = {**settings_used, "rows": labeled, "environment": environment()}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
