"""Reads evalplus's ``*_eval_results.json``, which ``evalplus.evaluate --samples FILE`` writes beside the samples.

A solution is correct if it passes the base and the plus tests. Written for evalplus 0.3.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.importers.records import Answer, Results, TaskResults, read_json
from kkwarm.types import Completion, Status, Verdict

TOOL = "evalplus"
_SUFFIX = "eval_results.json"
_DATASETS = {"HumanEval": "humaneval", "Mbpp": "mbpp"}  # by the first part of a task's id
_FILE_NAME = re.compile(r"(?P<model>.+)_[a-z]+_temp_(?P<temperature>\d+(?:\.\d+)?)")  # of evalplus.codegen


def read(path: Path) -> Results:
    """Reads one evaluation. `path` is its file, or a folder that holds one.

    :raises KkwarmError: there is none, there are several, it has no verdicts yet, or the file is damaged.
    """
    file = _find_file(path)
    document = read_json(file, TOOL)
    verdicts = document.get("eval")
    if not isinstance(verdicts, dict) or not verdicts:
        raise KkwarmError(f"{file} has no verdicts", hint="evaluate the samples with evalplus.evaluate first")
    kinds = {str(id_).partition("/")[0] for id_ in verdicts}
    dataset = _DATASETS.get(next(iter(kinds))) if len(kinds) == 1 else None
    if dataset is None:
        raise KkwarmError(
            f"{file}: unknown tasks {', '.join(sorted(kinds))}", hint="HumanEval+ and MBPP+ are supported"
        )
    answers = [_answer(str(id_), rows, file) for id_, rows in verdicts.items()]
    stem = file.name.removesuffix(_SUFFIX).removesuffix("_") or file.parent.name
    parts = _FILE_NAME.fullmatch(stem)
    counts = {len(a.completions) for a in answers}
    settings: dict[str, Any] = {"few_shot": 0, "scorer": TOOL, "protocol": TOOL}
    if len(counts) == 1:
        settings["samples"] = counts.pop()
    if parts:
        settings["temperature"] = float(parts["temperature"])
    notes = ["completions are the solutions that evalplus extracted from the model's output"]
    if any(not v.metrics.keys() >= {"plus"} for a in answers for v in a.verdicts):
        notes.append("evaluated with --base-only: correct means that the base tests passed")
    model = parts["model"].replace("--", "/") if parts else stem
    task = TaskResults(dataset, f"{dataset}_plus", answers, settings, notes)
    return Results(TOOL, str(document.get("hash") or "unknown")[:12], model, [task], [file])


def _find_file(path: Path) -> Path:
    if not path.exists():
        raise KkwarmError(f"{path} does not exist")
    if path.is_file():
        if not path.name.endswith(_SUFFIX):
            raise KkwarmError(f"{path} is not a *{_SUFFIX} file", hint="evalplus.evaluate writes it beside the samples")
        return path
    files = sorted(path.rglob(f"*{_SUFFIX}"))
    if not files:
        raise KkwarmError(
            f"{path}: no *{_SUFFIX} of evalplus", hint="run evalplus.evaluate on the samples, or use `kkwarm score`"
        )
    if len(files) > 1:
        names = ", ".join(str(f.relative_to(path)) for f in files[:4])
        raise KkwarmError(f"{path} holds {len(files)} evaluations: {names}", hint="name one file")
    return files[0]


def _answer(id_: str, rows: Any, file: Path) -> Answer:
    if not isinstance(rows, list):
        raise KkwarmError(
            f"{file}: {id_} is not in the format of evalplus 0.3", hint="evaluate again with evalplus 0.3"
        )
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
    failure = base if base != "pass" else plus
    if base == "pass" and plus in ("pass", None):
        status = Status.CORRECT
    else:
        status = Status.TIMEOUT if failure == "timeout" else Status.WRONG
    return Verdict(status, None, f"evalplus: base {base}, plus {plus or 'not run'}", metrics)
