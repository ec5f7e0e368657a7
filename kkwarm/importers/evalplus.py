"""evalplus's results: ``*_eval_results.json``, as ``evalplus.evaluate --samples FILE`` writes it beside the samples.

Right is what passes the base and the plus tests. Written against evalplus 0.3.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.importers.records import Answer, Results, TaskResults, read_json
from kkwarm.types import Completion, Status, Verdict

__all__ = ["read"]

TOOL = "evalplus"
_ENDING = "eval_results.json"
_DATASETS = {"HumanEval": "humaneval", "Mbpp": "mbpp"}  # by the first part of a task's id
_NAMED = re.compile(r"(?P<model>.+)_[a-z]+_temp_(?P<temperature>\d+(?:\.\d+)?)")  # as evalplus.codegen names its files


def read(path: Path) -> Results:
    """One evaluation; `path` is its file, or a folder that holds one.

    :raises KkwarmError: none, several, not judged yet, or a damaged file.
    """
    file = _file(path)
    document = read_json(file, TOOL)
    judged = document.get("eval")
    if not isinstance(judged, dict) or not judged:
        raise KkwarmError(f"{file} has no verdicts in it", hint="evaluate the samples with evalplus.evaluate first")
    kinds = {str(id_).partition("/")[0] for id_ in judged}
    dataset = _DATASETS.get(next(iter(kinds))) if len(kinds) == 1 else None
    if dataset is None:
        raise KkwarmError(f"{file}: tasks of {', '.join(sorted(kinds))}", hint="HumanEval+ and MBPP+ are known")
    answers = [_answer(str(id_), rows, file) for id_, rows in judged.items()]
    stem = file.name.removesuffix(_ENDING).removesuffix("_") or file.parent.name
    named = _NAMED.fullmatch(stem)
    counts = {len(a.completions) for a in answers}
    protocol: dict[str, Any] = {"few_shot": 0, "scorer": TOOL, "format": TOOL}
    if len(counts) == 1:
        protocol["samples"] = counts.pop()
    if named:
        protocol["temperature"] = float(named["temperature"])
    notes = ["completions are the solutions that evalplus ran, cut out of what the model wrote"]
    if any(not v.metrics.keys() >= {"plus"} for a in answers for v in a.verdicts):
        notes.append("judged with --base-only: right means the base tests alone")
    model = named["model"].replace("--", "/") if named else stem
    task = TaskResults(dataset, f"{dataset}_plus", answers, protocol, notes)
    return Results(TOOL, str(document.get("hash") or "unknown")[:12], model, [task], [file])


def _file(path: Path) -> Path:
    if not path.exists():
        raise KkwarmError(f"{path} does not exist")
    if path.is_file():
        if not path.name.endswith(_ENDING):
            raise KkwarmError(f"{path} is no *{_ENDING}", hint="it lies beside the samples, once they are evaluated")
        return path
    files = sorted(path.rglob(f"*{_ENDING}"))
    if not files:
        raise KkwarmError(
            f"{path}: no *{_ENDING} of evalplus",
            hint="run evalplus.evaluate on the samples, or judge them here with `kkwarm score`",
        )
    if len(files) > 1:
        names = ", ".join(str(f.relative_to(path)) for f in files[:4])
        raise KkwarmError(f"{path} holds {len(files)} evaluations: {names}", hint="name one file")
    return files[0]


def _answer(id_: str, rows: Any, file: Path) -> Answer:
    if not isinstance(rows, list):
        raise KkwarmError(f"{file}: {id_} is not as evalplus 0.3 writes it", hint="evaluate again with evalplus 0.3")
    try:
        completions = tuple(Completion(str(row["solution"])) for row in rows)
        return Answer(id_, completions, tuple(_verdict(row) for row in rows), {"task_id": id_})
    except (KeyError, TypeError) as err:
        raise KkwarmError(f"{file}: {id_} lacks {err}", hint="evaluate again with evalplus 0.3") from None


def _verdict(row: Mapping[str, Any]) -> Verdict:
    base, plus = row["base_status"], row.get("plus_status")
    metrics = {"base": float(base == "pass")}
    if plus is not None:
        metrics["plus"] = float(base == plus == "pass")
    right = base == "pass" and plus in ("pass", None)
    failed = base if base != "pass" else plus
    status = Status.CORRECT if right else Status.TIMEOUT if failed == "timeout" else Status.WRONG
    return Verdict(status, None, f"evalplus: base {base}, plus {plus or 'not run'}", metrics)
