"""Samples, figures and training logs as pandas data frames. pandas is imported only when a frame is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kkwarm.json_text import parse_json
from kkwarm.types import Sample

if TYPE_CHECKING:
    import pandas

SAMPLE_COLUMNS = (
    "benchmark",
    "id",
    "index",
    "status",
    "correct",
    "answer",
    "reason",
    "reward",
    "n_tokens",
    "finish_reason",
    "reasoning",
    "text",
)
_NESTED = ("status", "metrics")


def samples_frame(samples: Iterable[Sample]) -> pandas.DataFrame:
    """A row for each sample, in their order.

    The columns are `benchmark`, `id` (of the question), `index` (of the sample, from 0), `status`, `correct`, `answer`
    (as it was read), `reason`, `reward`, `n_tokens` (of all tokens, reasoning included), `finish_reason`, `reasoning`,
    `text`, and ``metrics.NAME`` for each metric. `reward` is missing where it depends on the status alone, `reasoning`
    where nothing separated it from the text, and `n_tokens` where the backend did not count them.
    """
    import pandas

    rows = []
    for s in samples:
        completion, verdict = s.completion, s.verdict
        values: tuple[Any, ...] = (s.benchmark, s.id, s.index, str(verdict.status), verdict.correct, verdict.answer)
        values += (verdict.reason, s.reward, completion.n_tokens, completion.finish_reason, completion.reasoning)
        row = dict(zip(SAMPLE_COLUMNS, (*values, completion.text), strict=True))
        rows.append(row | {f"metrics.{name}": value for name, value in verdict.metrics.items()})
    columns = list(dict.fromkeys([*SAMPLE_COLUMNS, *(name for row in rows for name in row)]))
    return pandas.DataFrame(rows, columns=columns).astype({"reward": "float64", "n_tokens": "Int64"})


def figures_frame(benchmarks: Mapping[str, Mapping[str, Any]]) -> pandas.DataFrame:
    """A row for each benchmark of a run's results, indexed by `benchmark`.

    The columns are `n` (questions), `samples`, `accuracy` and `stderr` (fractions), ``pass@k``, ``status.NAME``
    (numbers of completions), ``metrics.NAME``, and the run's other figures that are a number or a text.
    """
    import pandas

    rows = []
    for figures in benchmarks.values():
        flat = {k: v for k, v in figures.items() if isinstance(v, int | float | str) or v is None}
        for key in _NESTED:
            flat |= {f"{key}.{name}": value for name, value in (figures.get(key) or {}).items()}
        rows.append(flat)
    return pandas.DataFrame(rows, index=pandas.Index(list(benchmarks), name="benchmark"))


def log_frame(path: Path) -> pandas.DataFrame:
    """A row for each step of a training's ``log.jsonl``, indexed by `step`; empty where there is none yet.

    The columns are the other fields of the log: `loss`, `learning_rate`, `grad_norm` and `seconds`; for a warm-up also
    `token_accuracy` and `tokens` (so far); for RLVR also `reward`, `accuracy`, `status` (a mapping) and more. A step
    that was repeated after an interruption counts once. An incomplete last line is skipped.
    """
    import pandas

    rows: dict[int, dict[str, Any]] = {}
    text = path.read_text("utf-8") if path.exists() else ""
    for line in text.splitlines(keepends=True):
        row = parse_json(line) if line.endswith("\n") else None
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.setdefault(row["step"], {}).update(row)
    frame = pandas.DataFrame(list(rows.values()), columns=None if rows else ["step"])
    return frame.set_index("step").sort_index()
