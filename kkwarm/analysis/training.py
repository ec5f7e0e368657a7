"""What a training run told about itself: its alarms, and the in-training evaluation's evaluations between the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kkwarm.analysis.curves import logged_steps
from kkwarm.analysis.stats.seed_variance import Scores
from kkwarm.store import Run

__all__ = ["Training", "compare_evals", "trained"]

EVALS = "evals.jsonl"


@dataclass(frozen=True, slots=True)
class Training:
    """A warm-up or RLVR that raised alarms or was watched.

    `conditions`: the rows that were made by it; `alarms`: ``kind``, ``step``, ``text`` of each; `in-training evaluations`: for each
    step of the in-training evaluation the accuracy on every watched domain; `correct`: whether each question was answered.
    """

    stage: str
    kind: str
    seed: int
    conditions: tuple[str, ...]
    alarms: tuple[Mapping[str, Any], ...]
    evals: Mapping[int, Mapping[str, float]]
    correct: Mapping[int, Mapping[str, Sequence[int]]] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """For the report's document: ``in-training evaluations`` is a list, in the order of steps."""
        return {
            "stage": self.stage,
            "kind": self.kind,
            "seed": self.seed,
            "conditions": list(self.conditions),
            "alarms": [dict(a) for a in self.alarms],
            "evals": [{"step": s, "accuracy": dict(a)} for s, a in sorted(self.evals.items())],
        }


def trained(run: Run, stage: str, seed: int, conditions: tuple[str, ...]) -> Training | None:
    """What the run told; None where it raised no alarm and was not watched.

    :raises KkwarmError: its in-training evaluations cannot be read.
    """
    alarms = tuple(run.manifest.alarms)
    evals = logged_steps(run.path / EVALS, "accuracy")
    if not alarms and not evals:
        return None
    kind = run.manifest.kind
    accuracy = {step: row["accuracy"] for step, row in evals.items()}
    correct = {step: row["correct"] for step, row in evals.items() if "correct" in row}
    return Training(stage, kind, seed, conditions, alarms, accuracy, correct)


def compare_evals(
    training: Sequence[Training], first: str, second: str, domain: str
) -> tuple[list[int], dict[str, tuple[Scores, Scores]]] | None:
    """The steps after which both conditions' RLVR watched `domain`, the start left out, and for each domain that was
    watched there what each question scored on average over them: (seeds, questions) of both. None where they share no
    seed, step or number of questions.
    """
    sides = [
        {t.seed: t.correct for t in training if t.kind == "rlvr" and condition in t.conditions}  # its last stage's
        for condition in (first, second)
    ]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    logs = [[side[seed] for seed in seeds] for side in sides]
    watched = [{s for s, row in log.items() if s > 0 and domain in row} for side in logs for log in side]
    steps = sorted(set.intersection(*watched)) if watched else []
    rows = [log[s] for side in logs for log in side for s in steps]
    alike = {d: len({len(row[d]) for row in rows}) == 1 for d in (rows[0] if rows else ()) if all(d in r for r in rows)}
    if not alike.get(domain):
        return None
    scores = {
        d: [np.array([[log[s][d] for s in steps] for log in side], float).mean(axis=1) for side in logs]
        for d, same in alike.items()
        if same
    }
    return steps, {d: (one, other) for d, (one, other) in scores.items()}
