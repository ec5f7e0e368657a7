"""Reads lm-eval's output folder, which ``lm_eval ... --output_path PATH --log_samples`` writes.

``PATH/MODEL/results_DATE.json`` has the settings. ``samples_TASK_DATE.jsonl`` beside it has a line for each document
and filter. A document is correct if the task's main metric is 1. Written for lm-eval 0.4.13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError, unknown_name
from kkwarm.evaluation.lm_eval_logs import (
    LIKELIHOOD_PROTOCOL,
    PROTOCOL,
    Row,
    main_metric,
    read_answer,
    read_scores,
    read_verdict,
)
from kkwarm.importers.records import Answer, Results, TaskResults, read_json, read_lines
from kkwarm.types import Completion, Status, Verdict

TOOL = "lm-eval"


def read(path: Path, *, filter_name: str | None = None, metric: str | None = None) -> Results:
    """Reads the newest results of each task under `path`, a folder or one ``results_*.json`` file.

    :param filter_name: the filter whose answers count; None: the task's first.
    :param metric: the metric that decides; None: the first of `lm_eval_logs.PREFERRED`, else the task's first.
    :raises KkwarmError: there are no results or no samples, results of several models, or a damaged file.
    """
    documents = _read_documents(path)
    models = {str(d.get("model_name") or d.get("model_source") or "model") for d in documents.values()}
    if len(models) > 1:
        names = ", ".join(sorted(models))
        raise KkwarmError(f"{path} holds results of several models: {names}", hint="name one model's folder")
    newest: dict[str, tuple[Path, dict[str, Any]]] = {}
    for file, document in sorted(documents.items(), key=lambda pair: str(pair[1].get("date"))):
        newest |= dict.fromkeys(document.get("configs", {}), (file, document))
    tasks: list[TaskResults] = []
    files: list[Path] = []
    groups: dict[str, str] = {}
    for task, (file, document) in sorted(newest.items()):
        date = file.stem.partition("_")[2]
        samples = file.with_name(f"samples_{task}_{date}.jsonl")
        if not samples.exists():
            continue
        tasks.append(_task(task, document, list(read_lines(samples, TOOL)), samples, filter_name, metric))
        groups |= {t: g for g, members in _groups(document).items() for t in members}
        files += [file, samples]
    if not tasks:
        raise KkwarmError(
            f"{path} has results of lm-eval, but no samples_*.jsonl", hint="run lm-eval with --log_samples"
        )
    missing = sorted(set(newest) - {t.task for t in tasks})
    if missing:
        raise KkwarmError(f"{path}: no samples of {', '.join(missing)}", hint="run lm-eval with --log_samples")
    version = str(next(iter(documents.values())).get("lm_eval_version") or "unknown_name")
    return Results(TOOL, version, models.pop(), _name_groups(tasks, groups), sorted(set(files)))


def _groups(document: Row) -> dict[str, list[str]]:
    """The tasks of each group that was evaluated as a whole: of the outermost groups only."""
    subtasks = document.get("group_subtasks")
    if not isinstance(subtasks, dict):
        return {}
    children = {str(g): [str(t) for t in members] for g, members in subtasks.items() if isinstance(members, list)}

    def tasks_of(name: str, seen: frozenset[str] = frozenset()) -> list[str]:
        own = [] if name in seen else children.get(name, [])
        return [t for child in own for t in tasks_of(child, seen | {name})] if own else [name]

    inner = {t for members in children.values() for t in members}
    return {g: tasks_of(g) for g, members in children.items() if members and g not in inner}


def _name_groups(tasks: Sequence[TaskResults], groups: Mapping[str, str]) -> list[TaskResults]:
    """Names the tasks of a group as `kkwarm bench --on lm_eval:GROUP` does: one benchmark, with ids that begin with the
    task. Groups whose tasks have different settings stay tasks of their own.
    """
    settings: dict[str, list[Mapping[str, Any]]] = {}
    for task in tasks:
        if task.task in groups:
            settings.setdefault(groups[task.task], []).append(task.settings)
    uniform = {g for g, each in settings.items() if all(s == each[0] for s in each)}
    named = []
    for task in tasks:
        group = groups.get(task.task)
        if group in uniform and list(groups.values()).count(group) > 1:
            answers = [replace(a, id=f"{task.task}/{a.id}", facets={"task": task.task}) for a in task.answers]
            task = replace(task, name=f"lm_eval:{group}", answers=answers)
        named.append(task)
    return named


def _read_documents(path: Path) -> dict[Path, dict[str, Any]]:
    if not path.exists():
        raise KkwarmError(f"{path} does not exist")
    files = [path] if path.is_file() else sorted(path.rglob("results_*.json"))
    documents = {file: read_json(file, TOOL) for file in files}
    documents = {file: document for file, document in documents.items() if "configs" in document}
    if not documents:
        raise KkwarmError(f"{path}: no results_*.json of lm-eval", hint="give the folder of lm-eval's --output_path")
    return documents


def _task(
    task: str, document: Row, rows: Sequence[Row], path: Path, filter_name: str | None, metric: str | None
) -> TaskResults:
    notes = []
    filters = list(dict.fromkeys(str(row.get("filter")) for row in rows))
    if not filters:
        raise KkwarmError(f"{path} is empty", hint="lm-eval may have been interrupted")
    if filter_name is not None and filter_name not in filters:
        raise unknown_name(f"filter of {task}", filter_name, filters)
    selected = filter_name or filters[0]
    if len(filters) > 1:
        notes.append(f"{task} has filters {', '.join(filters)}: answers of {selected} are used (change with --filter)")
    rows = [row for row in rows if str(row.get("filter")) == selected]
    main = _main(task, rows[0], metric)
    answers = [_answer(row, main, path) for row in rows]
    samples = max(len(a.completions) for a in answers)
    scored = len(answers[0].verdicts)
    if samples > scored:
        notes.append(f"{task} has {samples} samples per question, of which lm-eval scored one answer")
    if any(0 < a.verdicts[0].metrics.get(main, 0.0) < 1 for a in answers):
        notes.append(f"{main} of {task} has values between 0 and 1: only 1 counts as correct")
    until = _generation_settings(rows[0], document["configs"][task]).get("until") or ()
    stop_strings = (until,) if isinstance(until, str) else tuple(until)
    if not all(isinstance(stop, str) for stop in stop_strings):
        raise KkwarmError(f"{path}: the stop strings of {task} are not all text")
    settings = _settings(task, document, rows[0]) | {"samples": scored}
    if _own_verdicts(rows[0]):
        settings["scorer"] = "kkwarm"
    return TaskResults(task, f"lm_eval:{task}", answers, settings, notes, stop_strings)


def _main(task: str, row: Row, metric: str | None) -> str:
    scores = read_scores(row)
    if metric is not None and metric not in scores:
        raise unknown_name(f"metric of {task}", metric, list(scores))
    main = metric or main_metric(scores)
    if main is None:
        raise KkwarmError(
            f"{task} has no metric that is a number for each document", hint="such tasks cannot be imported"
        )
    return main


def _answer(row: Row, main: str, path: Path) -> Answer:
    try:
        doc = row["doc"] if isinstance(row["doc"], dict) else {}
        return Answer(
            str(row["doc_id"]),
            tuple(Completion(text) for text in read_answer(row)[0]),
            _own_verdicts(row) or (read_verdict(row, main),),
            doc,
            str(row["prompt_hash"])[:16],
        )
    except (KeyError, IndexError, TypeError) as err:
        hint = "lm-eval 0.4.13 is supported"
        raise KkwarmError(f"{path}: a sample lacks {err}", hint=hint) from None
    except ValueError as err:
        raise KkwarmError(f"{path}: a sample has a value of another kind: {err}") from None


def _own_verdicts(row: Row) -> tuple[Verdict, ...]:
    """The verdict on each sample, which `kkwarm export results` stores; empty in lm-eval's own files."""
    return tuple(Verdict(Status(v["status"]), v["answer"]) for v in row.get("kkwarm", ()))


def _settings(task: str, document: Row, row: Row) -> dict[str, Any]:
    config = document["configs"][task]
    settings: dict[str, Any] = {
        "few_shot": document.get("n-shot", {}).get(task, config.get("num_fewshot")),
        "samples": 1,
        "scorer": TOOL,
        "protocol": PROTOCOL,
    }
    if document.get("chat_template"):
        settings["chat"] = True
    if config.get("output_type") != "generate_until":
        return settings | {"protocol": LIKELIHOOD_PROTOCOL}
    generation = _generation_settings(row, config)
    sampled = bool(generation.get("do_sample", float(generation.get("temperature") or 0) > 0))
    settings["temperature"] = float(generation.get("temperature", 1.0)) if sampled else 0.0
    if sampled:
        settings["top_p"] = float(generation.get("top_p", 1.0))
    if "max_gen_toks" in generation:
        settings["max_tokens"] = int(generation["max_gen_toks"])
    return settings


def _generation_settings(row: Row, config: Row) -> Mapping[str, Any]:
    """The generation settings in effect: those of the task, overridden by the command line."""
    effective = row.get("arguments", {}).get("gen_args_0", {}).get("arg_1")
    return effective if isinstance(effective, dict) else config.get("generation_kwargs") or {}
