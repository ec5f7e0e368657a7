"""What lm-eval logs of one document, in memory or in ``samples_*.jsonl``: the answer, and whether it counts as right.

Written against lm-eval 0.4.13 (evaluator.py, ``log_samples``). A document counts as right where its main metric is 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from kkwarm.types import Status, Verdict

__all__ = ["PREFERRED", "Row", "main_metric", "said", "scores", "verdict"]

PREFERRED = ("exact_match", "acc", "accuracy", "pass@1")  # main metrics, the first that a task has
Row = Mapping[str, Any]


def scores(row: Row) -> dict[str, float]:
    """The metrics that are numbers for a single document, by name.

    What lm-eval calls a document's ``perplexity`` is the log-likelihood that goes into it, and is named so.
    """
    numbers = {str(m): row[m] for m in row["metrics"] if _number(row.get(m))}
    return {"loglikelihood" if m == "perplexity" else m: float(v) for m, v in numbers.items()}


def main_metric(found: Mapping[str, float]) -> str | None:
    """The metric that decides: the first of `PREFERRED`, else the task's first; None where there is none."""
    return next((m for m in PREFERRED if m in found), next(iter(found), None))


def verdict(row: Row, main: str) -> Verdict:
    """lm-eval's own verdict on the document, by the metric `main`."""
    found = scores(row)
    status = Status.CORRECT if found.get(main) == 1.0 else Status.WRONG
    return Verdict(status, said(row)[1], f"lm-eval: {main} = {found.get(main, math.nan):g}", found)


def said(row: Row) -> tuple[list[str], str]:
    """The completions, and the answer read off them: of multiple choice, the most likely continuation."""
    if len(row["resps"]) > 1:  # one request for each choice: [[log-likelihood, is greedy]]
        likely = max(range(len(row["resps"])), key=lambda i: float(row["filtered_resps"][i][0]))
        text = _continuation(row["arguments"], likely)
        return [text], text.strip()
    answer = row["filtered_resps"][0]
    texts = [_text(drawn) for drawn in row["resps"][0]]
    return texts, _text(answer)


def _continuation(arguments: Any, number: int) -> str:
    """The choice that a request asked the likelihood of: files name arguments, memory has them as tuples."""
    if isinstance(arguments, Mapping):
        return str(arguments[f"gen_args_{number}"]["arg_1"])
    return str(arguments[number][1])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _number(value: Any) -> bool:
    return isinstance(value, bool | int | float) and math.isfinite(value)
