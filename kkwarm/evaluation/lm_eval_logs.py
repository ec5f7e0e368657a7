"""Reads what lm-eval logs for one document, in memory or in ``samples_*.jsonl``.

Written for lm-eval 0.4.13 (evaluator.py, ``log_samples``). A document counts as correct if its main metric is 1.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from typing import Any

from kkwarm.types import Status, Verdict

PREFERRED = ("exact_match", "acc", "accuracy", "pass@1")  # candidates for the main metric, in order
PROTOCOL, LIKELIHOOD_PROTOCOL = "lm-eval", "lm-eval likelihood"  # as runs name lm-eval's prompts
Row = Mapping[str, Any]


def numeric_scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of one document that are numbers. lm-eval's ``perplexity`` of one document is its log-likelihood, and
    is renamed accordingly.
    """
    values = {str(m): float(v) for m, v in metrics.items() if _is_number(v)}
    return {"loglikelihood" if m == "perplexity" else m: v for m, v in values.items()}


def read_scores(row: Row) -> dict[str, float]:
    """The numeric metrics of a logged document by name."""
    return numeric_scores({m: row.get(m) for m in row["metrics"]})


def main_metric(scores: Mapping[str, float]) -> str | None:
    """The metric that decides: the first of `PREFERRED`, else the first of the task; None without metrics."""
    return next((m for m in PREFERRED if m in scores), next(iter(scores), None))


def read_verdict(row: Row, metric: str) -> Verdict:
    """lm-eval's own verdict on the document, by its main `metric`."""
    scores = read_scores(row)
    status = Status.CORRECT if scores.get(metric) == 1.0 else Status.WRONG
    return Verdict(status, read_answer(row)[1], f"lm-eval: {metric} = {scores.get(metric, math.nan):g}", scores)


def read_answer(row: Row) -> tuple[list[str], str]:
    """The completions and the extracted answer; for multiple choice, the most likely continuation is both."""
    if len(row["resps"]) > 1:  # one request for each choice: [[log-likelihood, is greedy]]
        best = max(range(len(row["resps"])), key=lambda i: float(row["filtered_resps"][i][0]))
        text = _continuation(row["arguments"], best)
        return [text], text.strip()
    texts = [_text(response) for response in row["resps"][0]]
    return texts, _text(row["filtered_resps"][0])


def _continuation(arguments: Any, number: int) -> str:
    """The choice of request `number`. Arguments are named in files, and tuples in memory."""
    if isinstance(arguments, Mapping):
        return str(arguments[f"gen_args_{number}"]["arg_1"])
    return str(arguments[number][1])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, numbers.Real) and math.isfinite(value)  # numpy's too
    except OverflowError:  # an integer that no float can hold
        return False
