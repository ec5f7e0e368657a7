"""How often claim (iv), sample efficiency, is wrong where there is nothing to find. Run from the repository root:

    python benchmarks/efficiency_simulation.py --studies 200 -o benchmarks/results/efficiency_simulation.json

Each simulated study trains by RLVR from two starts. Questions differ in difficulty (sd 1.5 on the logit scale) and are
shared by both; accuracy rises with examples and steps. A training seed moves a start's logit by `spread`, half of the
variance alike at all numbers of examples, half for each number alone. Without a difference the curves are equal; with
one, the warmed start's lies 0.5 higher on the logit scale (8 to 11 points).

- examples: the claim over numbers of examples (10, 25, 50, 100), paired over questions, one sample each; as many of
  three other domains tell how much seeds differ;
- in-training evaluations: the claim over steps where the in-training evaluation watched the same questions, after 4, 8 and 12 steps;
- rollouts: the claim over steps from the training's own rollouts (12 steps of 96), seed by seed;
- saved: of the table of examples saved, whether any of its four rows says "saves" or "costs".

`false`: a gain or loss claimed where there is none, at the 5% level before Holm; `coverage`: 95% intervals that hold
the truth; `power`: the difference found.
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
from kkwarm.analysis.papers.warm_up import by_examples, by_steps
from kkwarm.analysis.stats.estimates import PairedDifference
from kkwarm.analysis.study_data import Condition, Roles, StudyData
from kkwarm.analysis.training import Curve, Training
from kkwarm.store import environment

COUNTS = (0, 10, 25, 50, 100)
LOGITS = dict(zip(COUNTS, (-0.4, 0.0, 0.2, 0.4, 0.6), strict=True))
STEPS, ROLLOUTS, WATCHED = 12, 96, (4, 8, 12)
OTHERS = ("math", "puzzles", "choice")  # that are watched too
RISE = np.linspace(LOGITS[0], LOGITS[100], STEPS)
STARTS = ("base", "warmed")
ROLES = Roles("base", "warmed", "base 100", "warmed 100", "code", "puzzles")


@dataclass(frozen=True, slots=True)
class Setting:
    seeds: int
    questions: int
    spread: float


def study(rng: np.random.Generator, setting: Setting, shift: float) -> StudyData:
    """A study's material, with in-training evaluations."""
    hard = rng.normal(0, DIFFICULTY, setting.questions)
    ids = tuple(f"{i:05}" for i in range(setting.questions))
    seeds = tuple(range(setting.seeds))
    cells, curves, training = {}, [], []
    for start in STARTS:
        lead = shift * (start == "warmed")
        moved = {}  # by domain, of the last number of examples
        for domain in ("code", *OTHERS):
            alike = rng.normal(0, setting.spread / np.sqrt(2), len(seeds))
            for n in COUNTS:
                # Without RLVR, both starts were not trained on this domain: no seed moves them.
                own = (alike + rng.normal(0, setting.spread / np.sqrt(2), len(seeds))) * (n > 0)
                moved[domain] = own
                scores = rng.binomial(1, sigmoid(LOGITS[n] + lead + hard + own[:, None])).astype(float)
                name = f"{start} {n}" if n else start
                cells[name, domain] = Cell(name, domain, seeds, ids, ids, scores, scores.size, {}, {})
        for seed in seeds:
            rise = {d: RISE + lead + own[seed] for d, own in moved.items()}
            hardness = rng.normal(0, DIFFICULTY, (STEPS, ROLLOUTS // 8)).repeat(8, axis=1)
            rollouts = tuple(rng.binomial(1, sigmoid(rise["code"][:, None] + hardness)).mean(axis=1))
            curves.append(Curve(f"{start} 100", seed, tuple(range(1, STEPS + 1)), rollouts, rollouts))
            seen = {s: in_training_eval(rng, rise, s, hard) for s in WATCHED}
            training.append(Training("rlvr", "rlvr", seed, (f"{start} 100",), (), {}, seen))
    grids = {start: {n: f"{start} {n}" for n in COUNTS if n} for start in STARTS}
    conditions = tuple(Condition(name) for name in dict.fromkeys(name for name, _ in cells))
    return StudyData(
        "simulated", conditions, ("code", *OTHERS), cells, curves=tuple(curves), training=tuple(training),
        roles=(ROLES,), grids=grids,
    )  # fmt: skip


def in_training_eval(rng: np.random.Generator, logits: dict[str, np.ndarray], step: int, hard: np.ndarray) -> Any:
    """Whether each watched question of each domain is answered."""
    return {d: rng.binomial(1, sigmoid(rise[step - 1] + hard)) for d, rise in logits.items()}


def truth(logits: list[float], setting: Setting, shift: float, rng: np.random.Generator) -> float:
    """The mean difference over questions and seeds, by drawing a million."""
    sd = float(np.hypot(DIFFICULTY, setting.spread))
    x = rng.normal(0, sd, 1_000_000 // len(logits))
    return float(np.mean([(sigmoid(m + shift + x) - sigmoid(m + x)).mean() for m in logits]))


def simulate(setting: Setting, studies: int, saved: int, seed: int) -> dict[str, Any]:
    """The figures of one setting: `studies` of each kind, of which `saved` have their table of examples judged."""
    rng = np.random.default_rng(seed)
    of = {
        "examples": [LOGITS[n] for n in COUNTS[1:]],
        "evals": [float(RISE[s - 1]) for s in WATCHED],
        "rollouts": list(map(float, RISE)),
    }
    found: dict[str, dict[str, list[bool]]] = {name: defaultdict(list) for name in (*of, "saved")}
    for shift in (0.0, SHIFT):
        lead = {name: truth(logits, setting, shift, rng) for name, logits in of.items()}
        for number in range(studies):
            material = study(rng, setting, shift)
            judged = {"evals": by_steps(material, ROLES), "examples": by_examples(material, ROLES)[0]}
            judged["rollouts"] = by_steps(replace(material, training=()), ROLES)
            for name, claim in judged.items():
                _count(found[name], claim.difference, lead[name], shift)
            if shift == 0 and number < saved:
                rows = sample_efficiency(material)[0]["saved"]
                found["saved"]["false"].append(any(r["verdict"] != "undecided" for r in rows))
    rounded = {name: {k: round(float(np.mean(v)), 4) for k, v in kinds.items()} for name, kinds in found.items()}
    return {"seeds": setting.seeds, "questions": setting.questions, "spread": setting.spread, **rounded}


def _count(kinds: dict[str, list[bool]], found: PairedDifference | None, lead: float, shift: float) -> None:
    assert found is not None
    kinds["coverage"].append(found.low <= lead <= found.high)
    kinds["power" if shift else "false"].append(found.p <= 0.05 and (found.value > 0 or not shift))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--saved", type=int, default=25)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path)
    chosen = parser.parse_args()
    began, rows = time.perf_counter(), []
    todo = [Setting(*s) for s in product((2, 3), (100, 300), (0.0, 0.2, 0.4))]
    with ProcessPoolExecutor(chosen.jobs) as pool:
        counts = [chosen.studies] * len(todo), [chosen.saved] * len(todo)
        for row in pool.map(simulate, todo, *counts, range(len(todo))):
            rows.append(row)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
    if chosen.out is not None:
        seconds = round(time.perf_counter() - began, 1)
        told = {"studies": chosen.studies, "saved": chosen.saved, "seconds": seconds}
        document = {**told, "rows": rows, "environment": environment()}
        chosen.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
