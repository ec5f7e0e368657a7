"""What can go wrong in RLVR while the reward rises: pure functions of the step log and the in-training evaluation's rows."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

__all__ = ["Alarm", "Best", "alarms_of_evals", "alarms_of_log", "best_step", "leader", "paired"]

WINDOW = 10  # steps that are averaged
SILENT, CUT, LONGER, APART, LOST = 0.8, 0.3, 2.0, 0.2, 0.05
SPLITS = 200


@dataclass(frozen=True)
class Alarm:
    """`kind`: ``no signal``, ``truncation``, ``length``, ``forgetting`` or ``drift``; `text` is one sentence."""

    kind: str
    step: int
    text: str


def _ends(log: Sequence[Mapping[str, Any]], field: str) -> tuple[float, float]:
    return fmean(r[field] for r in log[:WINDOW]), fmean(r[field] for r in log[-WINDOW:])


def alarms_of_log(log: Sequence[Mapping[str, Any]]) -> list[Alarm]:
    """Alarms of the last `WINDOW` steps of RLVR's log; none before there are so many."""
    if len(log) < WINDOW:
        return []
    step = int(log[-1]["step"])
    found = []
    _, silent = _ends(log, "no_signal")
    if silent > SILENT:
        found.append(Alarm("no signal", step, f"{silent:.0%} of the groups gave no signal in the last {WINDOW} steps"))
    _, cut = _ends(log, "truncated")
    if cut > CUT:
        found.append(Alarm("truncation", step, f"{cut:.0%} of the completions were cut at the token limit"))
    before, now = _ends(log, "length")
    if before > 0 and now > LONGER * before:
        found.append(Alarm("length", step, f"completions grew from {before:.0f} to {now:.0f} tokens"))
    return found


def paired(before: Sequence[int], now: Sequence[int]) -> tuple[float, float]:
    """Mean difference of the same questions' scores, and its standard error (0 for one question)."""
    gaps = [b - a for a, b in zip(before, now, strict=True)]
    n, mean = len(gaps), fmean(gaps)
    variance = sum((g - mean) ** 2 for g in gaps) / (n - 1) if n > 1 else 0.0
    return mean, (variance / n) ** 0.5


def alarms_of_evals(
    evals: Sequence[Mapping[str, Any]], log: Sequence[Mapping[str, Any]], trained: str | None
) -> list[Alarm]:
    """Forgetting: a domain lost more than two standard errors, and 5 points, since the first in-training evaluation. Drift: the reward
    rose in training while the trained domain's accuracy did not follow on questions that are not trained on.

    :param in-training evaluations: rows of the in-training evaluation, ``{"step", "correct": {domain: [0 or 1 for each question]}}``.
    :param trained: the domain that is trained on, where it is watched.
    """
    if len(evals) < 2:
        return []
    first, last = evals[0], evals[-1]
    found = []
    for domain, now in last["correct"].items():
        change, error = paired(first["correct"][domain], now)
        if change < -max(LOST, 2 * error):
            text = f"{domain} fell by {-change:.0%} (standard error {error:.0%}) since step {first['step']}"
            found.append(Alarm("forgetting", int(last["step"]), text))
    if trained in last["correct"] and len(log) >= 2 * WINDOW:
        before, now_trained = _ends(log, "accuracy")
        change, error = paired(first["correct"][trained], last["correct"][trained])
        if now_trained - before - change > max(APART, 2 * error):
            text = f"accuracy rose by {now_trained - before:.0%} in training, by {change:.0%} on held-out {trained}"
            found.append(Alarm("drift", int(last["step"]), text))
    return found


@dataclass(frozen=True)
class Best:
    """The step with the highest mean accuracy over domains. `accuracy` is too high, because it was picked for it;
    `corrected` is what a step picked in this way has on questions that did not pick it.
    """

    step: int
    accuracy: float
    corrected: float
    evals: int


def _mean(in_training_eval: Mapping[str, Any]) -> float:
    return fmean(fmean(marks) for marks in in_training_eval["correct"].values())


def leader(evals: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The in-training evaluation with the highest mean accuracy over domains; the first of equals: the least trained."""
    return max(evals, key=_mean)


def best_step(evals: Sequence[Mapping[str, Any]], seed: int = 0) -> Best | None:
    """The best in-training evaluation, with the correction for having picked it: the questions of each domain are halved at random 200
    times; a step picked by one half is scored on the other. Nothing more is evaluated for it, and no assumption is made
    about how the steps' scores depend on each other (a correction by the maximum of K normals assumes that they do not,
    and corrects too much).
    """
    if not evals:
        return None
    draws = random.Random(seed)
    sizes = {d: len(marks) for d, marks in evals[0]["correct"].items()}

    def score(in_training_eval: Mapping[str, Any], chosen: Mapping[str, Sequence[int]]) -> float:
        return fmean(fmean(in_training_eval["correct"][d][i] for i in places) for d, places in chosen.items())

    best = leader(evals)
    held = []
    for _ in range(SPLITS):
        order = {d: draws.sample(range(n), n) for d, n in sizes.items()}
        one = {d: places[: max(1, len(places) // 2)] for d, places in order.items()}
        other = {d: places[len(places) // 2 :] for d, places in order.items()}
        held.append(score(max(evals, key=lambda f: score(f, one)), other))
    return Best(int(best["step"]), _mean(best), fmean(held), len(evals))
