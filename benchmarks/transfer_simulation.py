"""How well the statistics of `kkwarm report` do what they say. Run from the repository root:

    python benchmarks/transfer_simulation.py --studies 250 --closer 750 -o benchmarks/results/transfer_simulation.json

Each simulated study has 6 conditions (the small ones 1 or 2) compared with a base on 4 domains. Questions differ in
difficulty (sd 1.5 on the logit scale) and are shared by both sides; a training seed moves a condition's logit on a
domain by `spread`. Unequal: the conditions' spreads are 0.05 to 0.4. Shared: a seed moves all domains alike, or half of
what it moves. Against 0.2: each condition is compared with a trained row of its own, not with a checkpoint that is one
for all. Common: equal seeds draw equal random numbers on both sides. The truth is a numerical average over questions
and seeds. `--fresh` simulates other kinds, by which no number was chosen: harder and easier domains, 8 of them, 4
conditions, other numbers of questions, other spreads, other shares. `--more-seeds`: what 4, 5 and 8 seeds buy.

- coverage: 95% intervals that hold the truth: of a condition's change, of its accuracy, of its mean over all domains
  but one. Kinds where one is less than a point inside 93 to 97%, or outside, get `--closer` more studies of each sort;
- false gains: without any change, studies in which any of the comparisons (24; 4 or 8) is called a gain or loss after
  Holm; of `--null` studies, four times as many where they are most frequent (conditions that vary unequally);
  `false_gain_error` is its Monte Carlo error;
- power: with a change of 0.5 on the logit scale (8 to 11 points), the share of comparisons called a gain.
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

from kkwarm.analysis.stats.estimates import PairedDifference, Word, holm, interval, paired, word
from kkwarm.analysis.stats.seed_variance import Moved, Spread, spreads
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
    """`spreads`: by condition, on the logit scale; `shared`: the part of the variance that domains share;
    `base`: the accuracy of a typical question of each domain; `difficulty`: how much questions differ; `against`: the
    spread of the row that a condition is compared with, each its own; 0: one checkpoint for all conditions and seeds;
    `common`: equal seeds draw equal random numbers.
    """

    seeds: int
    questions: int
    samples: int
    name: str
    spreads: tuple[float, ...]
    shared: float = 0.0
    base: tuple[float, ...] = BASE
    difficulty: float = DIFFICULTY
    against: float = 0.0
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
    of_seed = rng.normal(0, 1, (len(setting.spreads), seeds, 1))
    pairs: Pairs = {}
    for d, base in enumerate(setting.base):
        hard = rng.normal(0, setting.difficulty, questions)
        drawn = rng.random((seeds, questions, samples)) if setting.common else None

        def scores(logits: np.ndarray, drawn: np.ndarray | None = drawn) -> np.ndarray:
            p = np.broadcast_to(sigmoid(logits), (seeds, questions))
            return rng.binomial(samples, p) / samples if drawn is None else (drawn < p[..., None]).mean(axis=2)

        untrained = scores(logit(base) + hard)
        for c, spread in enumerate(setting.spreads):
            moved = of_seed[c] if setting.shared == 1 else rng.normal(0, 1, (seeds, 1))
            if 0 < setting.shared < 1:
                moved = np.sqrt(setting.shared) * of_seed[c] + np.sqrt(1 - setting.shared) * moved
            first = untrained
            if setting.against:
                first = scores(logit(base) + hard + setting.against * rng.normal(0, 1, (seeds, 1)))
            pairs[str(c), str(d)] = (first, scores(logit(base) + shift + hard + spread * moved))
    return pairs


def simulate(setting: Setting, studies: int, null: int, seed: int) -> dict[str, float]:
    """The figures of one setting over `studies` studies without a change and as many with one, and false gains of
    `null` without one.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    for shift in (0.0, SHIFT):
        for _ in range(studies):
            _judge(study(rng, setting, shift), setting, shift, found)
    for _ in range(null - studies):
        pairs = study(rng, setting, 0.0)
        called = words(changes(pairs, setting, spread_of(pairs, setting)))
        found["false_gain_any"].append(any(w in ("gain", "loss") for w in called))
    rate = float(np.mean(found["false_gain_any"]))
    told = {"false_gain_error": round(float(np.sqrt(rate * (1 - rate) / max(null, studies))), 4)}
    counts = {"studies": studies, "null": max(null, studies)}
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()} | told | counts


def pooled(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """The figures of both simulations of one setting, as of one."""
    found = {}
    for name in FIGURES:
        n = [r["null" if name == "false_gain_any" else "studies"] for r in (one, other)]
        found[name] = round((one[name] * n[0] + other[name] * n[1]) / sum(n), 4)
    counts = {name: one[name] + other[name] for name in ("studies", "null")}
    rate = found["false_gain_any"]
    return found | {"false_gain_error": round(float(np.sqrt(rate * (1 - rate) / counts["null"])), 4)} | counts


def close(row: dict[str, float]) -> bool:
    """Whether a coverage is less than a point inside 93 to 97%, or outside: what chance may decide."""
    return not all(0.94 <= value <= 0.96 for name, value in row.items() if name.startswith("coverage"))


def _moved(setting: Setting, pair: tuple[np.ndarray, np.ndarray]) -> Moved:
    return Moved.between(*pair) if setting.against else Moved.above(*pair)


def spread_of(pairs: Pairs, setting: Setting) -> dict[str, Spread | None]:
    """By the code of the report: of each condition's change."""
    moved: dict[str, list[Moved]] = {}
    for (c, _), both in pairs.items():
        moved.setdefault(c, []).append(_moved(setting, both))
    return spreads(moved)


def changes(
    pairs: Pairs, setting: Setting, spread: Mapping[str, Spread | None]
) -> dict[tuple[str, str], PairedDifference]:
    """The matrix's changes, by the code of the report."""
    return {key: paired([p], spread[key[0]], [_moved(setting, p)]) for key, p in pairs.items()}


def words(changes: dict[tuple[str, str], PairedDifference]) -> list[Word]:
    adjusted = holm([d.p for d in changes.values()])
    return [word(d, MARGIN, p) for d, p in zip(changes.values(), adjusted, strict=True)]


def _judge(pairs: Pairs, setting: Setting, shift: float, found: dict[str, list[float]]) -> None:
    """One study, by the code of the report."""
    bases, hard = setting.base, setting.difficulty
    before = {str(d): truth(base, 0.0, setting.against, hard) for d, base in enumerate(bases)}
    after = {(c, d): truth(bases[int(d)], shift, setting.spreads[int(c)], hard) for c, d in pairs}
    conditions = [str(c) for c in range(len(setting.spreads))]
    cells = spreads({c: [Moved.alone(s) for (own, _), (_, s) in pairs.items() if own == c] for c in conditions})
    spread = spread_of(pairs, setting)
    differences = changes(pairs, setting, spread)
    for (c, d), change in differences.items():
        found["coverage_change"].append(change.low <= after[c, d] - before[d] <= change.high)
        mean = interval(pairs[c, d][1], cells[c])
        found["coverage_accuracy"].append(mean.low <= after[c, d] <= mean.high)
    called = words(differences)
    if shift:
        found["power"] += [w == "gain" for w in called]
    else:
        found["false_gain_any"].append(any(w in ("gain", "loss") for w in called))
    others = [str(d) for d in range(1, len(bases))]  # all domains but one, as in claims (i) and (iii)
    for c in conditions:
        change = float(np.mean([after[c, d] - before[d] for d in others]))
        strata = [pairs[c, d] for d in others]
        difference = paired(strata, spread[c], [_moved(setting, s) for s in strata])
        found["coverage_mean_of_domains"].append(difference.low <= change <= difference.high)


def settings() -> Iterator[Setting]:
    """One seed: its interval does not claim to cover the spread between seeds, so there is none."""
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
            yield Setting(seeds, questions, samples, "0.2 against 0.2", (0.2,) * 6, against=0.2)
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


def warn(setting: Setting, r: dict[str, float]) -> None:
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
    parser.add_argument("--closer", type=int, default=0, help="so many more studies of kinds whose coverage is close")
    parser.add_argument("--fresh", action="store_const", dest="kinds", const=fresh, help="other kinds of studies")
    parser.add_argument("--more-seeds", action="store_const", dest="kinds", const=more_seeds, help="4, 5 and 8 seeds")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path)
    chosen = parser.parse_args()
    sys.stdout.write(f"{'seeds':>5} {'n':>4} {'k':>2} {'spread':>24}  change accuracy  mean  any false  power\n")
    began, rows = time.perf_counter(), []
    todo = list((chosen.kinds or settings)())
    counts = [chosen.studies] * len(todo), [chosen.null * (4 if s.name == "unequal" else 1) for s in todo]
    with ProcessPoolExecutor(chosen.jobs) as pool:
        results = pool.map(simulate, todo, *counts, range(len(todo)))
        for setting, row in zip(todo, results, strict=True):
            rows.append(row)
            warn(setting, row)
        again = [n for n, row in enumerate(rows) if chosen.closer and close(row)]
        seeds = [1_000 + n for n in again]
        results = pool.map(simulate, [todo[n] for n in again], *[[chosen.closer] * len(again)] * 2, seeds)
        for n, row in zip(again, results, strict=True):
            rows[n] = pooled(rows[n], row)
            warn(todo[n], rows[n])
    if chosen.out is not None:
        seconds = round(time.perf_counter() - began, 1)
        told = {"studies": chosen.studies, "null": chosen.null, "closer": chosen.closer, "seconds": seconds}
        named = [{"seeds": s.seeds, "questions": s.questions, "samples": s.samples, "spread": s.name} for s in todo]
        both = [{**name, **row} for name, row in zip(named, rows, strict=True)]
        document = {**told, "rows": both, "environment": environment()}
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
