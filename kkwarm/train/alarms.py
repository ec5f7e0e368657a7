"""Alarms for RLVR runs, and the best step: pure functions of the step log and the evaluations."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

WINDOW = 10  # steps to average over, at most
GROWTH_STEPS = 4  # a shorter log says nothing about growth
NO_SIGNAL, AT_LIMIT, LENGTH_FACTOR = 0.8, 0.3, 2.0  # thresholds: share of groups, share of completions, growth
DRIFT_GAP, FORGOTTEN = 0.2, 0.05  # thresholds of accuracy
SPLITS = 200  # random halvings of the questions
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Alarm:
    """`kind`: ``nothing learned``, ``no signal``, ``token limit``, ``length``, ``forgetting`` or ``drift``; `text` is
    one sentence; `domain`: the domain that it is about, for ``forgetting``. A run raises each kind once for a domain.
    """

    kind: str
    step: int
    text: str
    domain: str = ""


def _first_and_last(log: Rows, field: str) -> tuple[float, float]:
    """Means over the first and the last steps: `WINDOW` of them, or half of a shorter log."""
    window = min(WINDOW, len(log) // 2)
    return fmean(r[field] for r in log[:window]), fmean(r[field] for r in log[-window:])


def check_step_log(log: Rows) -> list[Alarm]:
    """Alarms for the last `WINDOW` steps of RLVR's log, or for all of a shorter one."""
    if not log:
        return []
    step, last = int(log[-1]["step"]), log[-WINDOW:]
    alarms = []
    silent = fmean(r["no_signal"] for r in last)
    if silent > NO_SIGNAL:
        steps = f"the last {len(last)} steps" if len(last) > 1 else "the last step"
        alarms.append(Alarm("no signal", step, f"{silent:.0%} of the groups gave no signal in {steps}"))
    limited = fmean(r["at_token_limit"] for r in last)
    if limited > AT_LIMIT:
        alarms.append(Alarm("token limit", step, f"{limited:.0%} of the completions were cut at the token limit"))
    if len(log) >= GROWTH_STEPS:
        before, now = _first_and_last(log, "length")
        if before > 0 and now > LENGTH_FACTOR * before:
            alarms.append(Alarm("length", step, f"completions grew from {before:.0f} to {now:.0f} tokens"))
    return alarms


def paired_difference(before: Sequence[int], now: Sequence[int]) -> tuple[float, float]:
    """Mean difference of the same questions' scores, and its standard error (0 for one question)."""
    differences = [b - a for a, b in zip(before, now, strict=True)]
    n, mean = len(differences), fmean(differences)
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1) if n > 1 else 0.0
    return mean, (variance / n) ** 0.5


def check_evals(evals: Rows, log: Rows, trained: str | None) -> list[Alarm]:
    """Alarms for the last in-training evaluation.

    Forgetting: a domain lost more than two standard errors, and 5 points, since the first evaluation. Drift: accuracy
    rose in training, while it did not follow on held-out questions of the trained domain.

    :param evals: rows of the in-training evaluation, ``{"step", "correct": {domain: [0 or 1 for each question]}}``.
    :param trained: the domain that is trained on.
    """
    if len(evals) < 2:
        return []
    first, last = evals[0], evals[-1]
    alarms = []
    for domain, correct in last["correct"].items():
        change, error = paired_difference(first["correct"][domain], correct)
        if change < -max(FORGOTTEN, 2 * error):
            text = f"{domain} fell by {-change:.0%} (standard error {error:.0%}) since step {first['step']}"
            alarms.append(Alarm("forgetting", int(last["step"]), text, domain))
    if trained in last["correct"] and len(log) >= 2 * WINDOW:
        before, now = _first_and_last(log, "accuracy")
        change, error = paired_difference(first["correct"][trained], last["correct"][trained])
        if now - before - change > max(DRIFT_GAP, 2 * error):
            text = f"accuracy rose by {now - before:.0%} in training, by {change:.0%} on held-out {trained}"
            alarms.append(Alarm("drift", int(last["step"]), text))
    return alarms


@dataclass(frozen=True)
class BestStep:
    """The step with the highest mean accuracy over domains. `accuracy` is biased upwards, because the step was selected
    by it; `corrected` estimates its accuracy on questions that did not select it.
    """

    step: int
    accuracy: float
    corrected: float
    evals: int


def _mean_accuracy(row: Mapping[str, Any]) -> float:
    return fmean(fmean(correct) for correct in row["correct"].values())


def best_eval(evals: Rows) -> Mapping[str, Any]:
    """The evaluation with the highest mean accuracy over domains; the earliest among equals."""
    return max(evals, key=_mean_accuracy)


def select_best_step(evals: Rows, seed: int = 0) -> BestStep | None:
    """The best step, corrected for selection: the questions of each domain are halved at random 200 times; the step
    that one half selects is scored on the other half.

    This needs no further evaluation, and no assumption about the dependence between steps. (A correction by the maximum
    of K normals assumes independence, and corrects too much.)
    """
    if not evals:
        return None
    rng = random.Random(seed)
    sizes = {d: len(correct) for d, correct in evals[0]["correct"].items()}

    def score(row: Mapping[str, Any], questions: Mapping[str, Sequence[int]]) -> float:
        return fmean(fmean(row["correct"][d][i] for i in numbers) for d, numbers in questions.items())

    best = best_eval(evals)
    scores = []
    for _ in range(SPLITS):
        order = {d: rng.sample(range(n), n) for d, n in sizes.items()}
        first = {d: numbers[: max(1, len(numbers) // 2)] for d, numbers in order.items()}
        second = {d: numbers[len(numbers) // 2 :] for d, numbers in order.items()}
        scores.append(score(max(evals, key=lambda row: score(row, first)), second))
    return BestStep(int(best["step"]), _mean_accuracy(best), fmean(scores), len(evals))
