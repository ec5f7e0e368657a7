"""Reads the logs of training runs: RLVR curves, alarms, and in-training evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from kkwarm.analysis.stats.seed_variance import Scores
from kkwarm.errors import KkwarmError
from kkwarm.files import read_regular
from kkwarm.json_text import parse_json
from kkwarm.store import Run

EVALS = "evals.jsonl"


@dataclass(frozen=True, slots=True)
class Curve:
    """One RLVR run: mean reward and share of correct completions of the rollouts of each step."""

    condition: str
    seed: int
    steps: tuple[int, ...]
    reward: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def has_accuracy(self) -> bool:
        return not any(math.isnan(a) for a in self.accuracy)


@dataclass(frozen=True, slots=True)
class Training:
    """A warm-up or RLVR run that raised alarms or has in-training evaluations.

    `conditions`: the conditions that it trained; `alarms`: ``kind``, ``step``, ``text`` of each; `evals`: accuracy on
    every evaluated domain, by step; `correct`: whether each question was answered correctly, by step and domain;
    `signal`: whether RLVR's rewards ever varied within a group (None where unknown).
    """

    stage: str
    kind: str
    seed: int
    conditions: tuple[str, ...]
    alarms: tuple[Mapping[str, Any], ...]
    evals: Mapping[int, Mapping[str, float]]
    correct: Mapping[int, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    signal: bool | None = None


def read_curve(log: Path, condition: str, seed: int) -> Curve | None:
    """The curve of a ``log.jsonl``; None where there is no step yet."""
    rows = {step: row for step, row in read_steps(log, "reward").items() if _is_number(row["reward"])}
    if not rows:
        return None
    steps = tuple(sorted(rows))
    reward = tuple(float(rows[s]["reward"]) for s in steps)
    accuracy = tuple(float(a) if _is_number(a := rows[s].get("accuracy")) else math.nan for s in steps)
    return Curve(condition, seed, steps, reward, accuracy)


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether a value from a log is a finite number of reasonable size; it may have been edited."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e12


def read_steps(log: Path, required: str) -> dict[int, dict[str, Any]]:
    """The rows of a log that have the field `required`, by step; empty where there is no file. Where a resumed
    run logged a step again, the last row counts.
    """
    rows: dict[int, dict[str, Any]] = {}
    try:
        lines = read_regular(log).splitlines(keepends=True)
    except FileNotFoundError:
        return rows
    for number, raw in enumerate(lines, 1):
        try:
            row = parse_json(raw)
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
            if required in row and "step" in row:
                if type(row["step"]) is not int or not 0 <= row["step"] < 2**31:
                    raise ValueError("its step is not a whole number")
                rows[row["step"]] = row
        except ValueError as err:
            if number == len(lines) and not raw.endswith(b"\n"):
                break  # the line is being written
            raise KkwarmError(f"{log}, line {number}: {err}", hint="the log was edited or damaged") from None
    return rows


def read_training(run: Run, stage: str, seed: int, conditions: tuple[str, ...]) -> Training | None:
    """Alarms and in-training evaluations of a run; None where it has neither and learned something."""
    alarms = tuple(run.manifest.alarms)
    evals = read_steps(run.path / EVALS, "accuracy")
    signal = run.manifest.results.get("signal")
    if not alarms and not evals and signal is not False:
        return None
    accuracy = {step: _accuracies(run, step, row) for step, row in evals.items()}
    correct = {step: _correct(run, step, row) for step, row in evals.items() if "correct" in row}
    return Training(stage, run.manifest.kind, seed, conditions, alarms, accuracy, correct, signal)


def _accuracies(run: Run, step: int, row: Mapping[str, Any]) -> dict[str, float]:
    values = row["accuracy"]
    if isinstance(values, dict) and all(_is_number(v) and 0 <= v <= 1 for v in values.values()):
        return {domain: float(v) for domain, v in values.items()}
    raise _evals_error(run, step, "accuracy", "fractions by domain")


def _correct(run: Run, step: int, row: Mapping[str, Any]) -> dict[str, list[int]]:
    values = row["correct"]
    if isinstance(values, dict) and all(
        isinstance(v, list) and all(type(x) is int and x in (0, 1) for x in v) for v in values.values()
    ):
        return values
    raise _evals_error(run, step, "correct", "lists of 0 and 1 by domain")


def _evals_error(run: Run, step: int, key: str, expected: str) -> KkwarmError:
    return KkwarmError(
        f"{run.path / EVALS}: {key} of step {step} is not made of {expected}", hint="the log was edited or damaged"
    )


def paired_evals(
    training: Sequence[Training], first: str, second: str, domain: str
) -> tuple[list[int], dict[str, tuple[Scores, Scores]]] | None:
    """In-training evaluations of two conditions' RLVR at the same steps (without step 0).

    :returns: the steps at which both evaluated `domain`, and for each domain evaluated at all of them the mean score of
        each question over the steps, as (seeds, questions) of both conditions; None where they share no seed, step or
        number of questions.
    """
    sides = [
        {t.seed: t.correct for t in training if t.kind == "rlvr" and condition in t.conditions}  # of the last stage
        for condition in (first, second)
    ]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    logs = [[side[seed] for seed in seeds] for side in sides]
    evaluated = [{s for s, row in log.items() if s > 0 and domain in row} for side in logs for log in side]
    steps = sorted(set.intersection(*evaluated)) if evaluated else []
    rows = [log[s] for side in logs for log in side for s in steps]
    equal_size = {
        d: len({len(row[d]) for row in rows}) == 1 for d in (rows[0] if rows else ()) if all(d in r for r in rows)
    }
    if not equal_size.get(domain):
        return None
    scores = {
        d: [np.array([[log[s][d] for s in steps] for log in side], float).mean(axis=1) for side in logs]
        for d, equal in equal_size.items()
        if equal
    }
    return steps, {d: (one, other) for d, (one, other) in scores.items()}
