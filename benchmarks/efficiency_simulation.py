"""Error rates of claim (iv), sample efficiency. Run from the repository root:

    python benchmarks/efficiency_simulation.py --studies 200 -o benchmarks/results/efficiency_simulation.json

Each simulated study trains by RLVR from two starts. Questions differ in difficulty (sd 1.5 on the logit scale) and are
shared by both; accuracy rises with examples and steps. A training seed shifts a start's logit by a normal amount with
standard deviation `spread`: half of the variance is common to all numbers of examples, half separate. Without a
difference the curves are equal; with one, the warmed start's lies 0.5 higher on the logit scale (8 to 11 points).

- examples: the claim over numbers of examples (10, 25, 50, 100), paired over questions, one sample each; the
  seed variance is estimated from these and three other domains;
- evals: the claim over steps, by in-training evaluations on the same questions after 4, 8 and 12 steps;
- rollouts: the claim over steps from the training's own rollouts (12 steps of 96), seed by seed;
- saved: whether any of the four rows of the table of examples saved has the verdict "saves" or "costs".

`false`: share of gains and losses without a difference, at the 5% level before Holm; `coverage`: share of 95% intervals
that contain the truth; `power`: share of gains with a difference.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from transfer_simulation import DIFFICULTY, SHIFT, sigmoid

from kkwarm.analysis.cells import Cell
from kkwarm.analysis.efficiency import sample_efficiency
from kkwarm.analysis.papers.warm_up import claim_by_examples, claim_by_steps
from kkwarm.analysis.stats.estimates import PairedDifference
from kkwarm.analysis.study_data import Condition, Roles, StudyData
from kkwarm.analysis.training import Curve, Training
from kkwarm.store import environment

COUNTS = (0, 10, 25, 50, 100)
LOGITS = dict(zip(COUNTS, (-0.4, 0.0, 0.2, 0.4, 0.6), strict=True))
STEPS, ROLLOUTS, EVAL_STEPS = 12, 96, (4, 8, 12)
OTHERS = ("math", "puzzles", "choice")  # evaluated in training too
RISE = np.linspace(LOGITS[0], LOGITS[100], STEPS)
STARTS = ("base", "warmed")
ROLES = Roles("base", "warmed", "base 100", "warmed 100", "code", "puzzles")


@dataclass(frozen=True, slots=True)
class Setting:
    seeds: int
    questions: int
    spread: float


def study(rng: np.random.Generator, setting: Setting, shift: float) -> StudyData:
    """The data of a study, with in-training evaluations."""
    hard = rng.normal(0, DIFFICULTY, setting.questions)
    ids = tuple(f"{i:05}" for i in range(setting.questions))
    seeds = tuple(range(setting.seeds))
    cells, curves, training = {}, [], []
    for start in STARTS:
        lead = shift * (start == "warmed")
        shifts = {}  # by domain, of the largest number of examples
        for domain in ("code", *OTHERS):
            common = rng.normal(0, setting.spread / np.sqrt(2), len(seeds))
            for n in COUNTS:
                # Without RLVR, both starts are untrained on this domain: no seed shifts them.
                own = (common + rng.normal(0, setting.spread / np.sqrt(2), len(seeds))) * (n > 0)
                shifts[domain] = own
                scores = rng.binomial(1, sigmoid(LOGITS[n] + lead + hard + own[:, None])).astype(float)
                name = f"{start} {n}" if n else start
                cells[name, domain] = Cell(name, domain, seeds, ids, ids, scores, scores.size, {}, {})
        for seed in seeds:
            rise = {d: RISE + lead + own[seed] for d, own in shifts.items()}
            hardness = rng.normal(0, DIFFICULTY, (STEPS, ROLLOUTS // 8)).repeat(8, axis=1)
            rollouts = tuple(rng.binomial(1, sigmoid(rise["code"][:, None] + hardness)).mean(axis=1))
            curves.append(Curve(f"{start} 100", seed, tuple(range(1, STEPS + 1)), rollouts, rollouts))
            correct = {s: in_training_eval(rng, rise, s, hard) for s in EVAL_STEPS}
            training.append(Training("rlvr", "rlvr", seed, (f"{start} 100",), (), {}, correct))
    grids = {start: {n: f"{start} {n}" for n in COUNTS if n} for start in STARTS}
    conditions = tuple(Condition(name) for name in dict.fromkeys(name for name, _ in cells))
    return StudyData(
        "simulated", conditions, ("code", *OTHERS), cells, curves=tuple(curves), training=tuple(training),
        roles=(ROLES,), grids=grids,
    )  # fmt: skip


def in_training_eval(rng: np.random.Generator, logits: dict[str, np.ndarray], step: int, hard: np.ndarray) -> Any:
    """Whether each evaluation question of each domain is answered correctly."""
    return {d: rng.binomial(1, sigmoid(rise[step - 1] + hard)) for d, rise in logits.items()}


def truth(logits: list[float], setting: Setting, shift: float, rng: np.random.Generator) -> float:
    """The mean difference over questions and seeds, from a million random values."""
    sd = float(np.hypot(DIFFICULTY, setting.spread))
    x = rng.normal(0, sd, 1_000_000 // len(logits))
    return float(np.mean([(sigmoid(m + shift + x) - sigmoid(m + x)).mean() for m in logits]))


def simulate(setting: Setting, studies: int, saved: int, seed: int) -> dict[str, Any]:
    """The figures of one setting: `studies` of each kind, of which `saved` compute the table of examples saved."""
    rng = np.random.default_rng(seed)
    logits_of = {
        "examples": [LOGITS[n] for n in COUNTS[1:]],
        "evals": [float(RISE[s - 1]) for s in EVAL_STEPS],
        "rollouts": list(map(float, RISE)),
    }
    counts: dict[str, dict[str, list[bool]]] = {name: defaultdict(list) for name in (*logits_of, "saved")}
    for shift in (0.0, SHIFT):
        lead = {name: truth(logits, setting, shift, rng) for name, logits in logits_of.items()}
        for number in range(studies):
            data = study(rng, setting, shift)
            claims = {"evals": claim_by_steps(data, ROLES), "examples": claim_by_examples(data, ROLES)[0]}
            claims["rollouts"] = claim_by_steps(replace(data, training=()), ROLES)
            for name, claim in claims.items():
                _count(counts[name], claim.difference, lead[name], shift)
            if shift == 0 and number < saved:
                rows = sample_efficiency(data)[0].saved
                counts["saved"]["false"].append(any(r.verdict != "undecided" for r in rows))
    rounded = {name: {k: round(float(np.mean(v)), 4) for k, v in kinds.items()} for name, kinds in counts.items()}
    return {"seeds": setting.seeds, "questions": setting.questions, "spread": setting.spread, **rounded}


def _count(kinds: dict[str, list[bool]], difference: PairedDifference | None, lead: float, shift: float) -> None:
    assert difference is not None
    kinds["coverage"].append(difference.low <= lead <= difference.high)
    kinds["power" if shift else "false"].append(difference.p <= 0.05 and (difference.value > 0 or not shift))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--saved", type=int, default=25)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    start, rows = time.perf_counter(), []
    todo = [Setting(*s) for s in product((2, 3), (100, 300), (0.0, 0.2, 0.4))]
    with ProcessPoolExecutor(options.jobs) as pool:
        counts = [options.studies] * len(todo), [options.saved] * len(todo)
        for row in pool.map(simulate, todo, *counts, range(len(todo))):
            rows.append(row)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
    if options.out is not None:
        seconds = round(time.perf_counter() - start, 1)
        settings = {"studies": options.studies, "saved": options.saved, "seconds": seconds}
        document = {**settings, "rows": rows, "environment": environment()}
        options.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
