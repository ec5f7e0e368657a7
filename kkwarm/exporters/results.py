"""Exports the results of a run: lm-eval's output folder, evaluation results of the hub, Every Eval Ever's records.

What a run does not store is left out, such as the text of most prompts. Questions and gold answers come from the
installed benchmark, where it is available.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.evaluation.lm_eval_index import LM_EVAL_PREFIX
from kkwarm.plugins import registry
from kkwarm.store import Run
from kkwarm.types import Example, Pin, Sample

_KINDS = ("bench", "score", "import")
_EEE_VERSION = "0.3.0"
_FORCED = "+forced"


@dataclass(frozen=True, slots=True)
class BenchmarkResults:
    """The results of one benchmark: its figures, its samples by question, and what is known about its questions.

    `settings`: protocol and sampling settings; `examples`: by id, empty where the benchmark is not available.
    """

    name: str
    figures: Mapping[str, Any]
    samples: Mapping[str, Sequence[Sample]]
    settings: Mapping[str, Any]
    examples: Mapping[str, Example] = field(default_factory=dict)
    golds: Mapping[str, str] = field(default_factory=dict)
    pin: Pin | None = None

    @property
    def count(self) -> str:
        """Such as ``500 questions, 4 samples each``."""
        n, samples = self.figures["n"], self.figures["samples"]
        each = f"{samples / n:g} sample{'s' if samples != n else ''} each" if n else "no samples"
        return f"{n:,} question{'s' if n != 1 else ''}, {each}"


@dataclass(frozen=True, slots=True)
class RunResults:
    """The results of a run, by benchmark."""

    run: Run
    model: str
    benchmarks: Mapping[str, BenchmarkResults]

    @property
    def version(self) -> str:
        """The version of kkwarm that made the run."""
        return str(self.run.manifest.environment.get("versions", {}).get("kkwarm", "unknown"))

    @property
    def finished(self) -> datetime:
        return datetime.fromisoformat(self.run.manifest.finished.replace("Z", "+00:00"))


def load_results(run: Run, model: str | None = None) -> RunResults:
    """Reads a finished run.

    :param model: the model's name; None: the run's.
    :raises KkwarmError: the run is no evaluation, is in progress, or has no samples.
    """
    manifest = run.manifest
    if manifest.kind not in _KINDS:
        hint = "name one of its bench runs, in its folder steps" if manifest.kind == "study" else "name a bench run"
        raise KkwarmError(f"{run.path} is a run of {manifest.kind}, which has no results to export", hint=hint)
    if not run.done:
        raise KkwarmError(f"{run.path} is in progress", hint="wait until it is done, or repeat its command to resume")
    samples: dict[str, dict[str, list[Sample]]] = {}
    for sample in run.samples():
        samples.setdefault(sample.benchmark, {}).setdefault(sample.id, []).append(sample)
    if not samples:
        raise KkwarmError(f"{run.path} has no samples")
    name = model or (manifest.model.name or manifest.model.checkpoint if manifest.model is not None else "unknown")
    benchmarks = {n: _read_benchmark(run, n, by_id) for n, by_id in samples.items() if n in manifest.benchmarks}
    return RunResults(run, name, benchmarks)


def _read_benchmark(run: Run, name: str, samples: Mapping[str, Sequence[Sample]]) -> BenchmarkResults:
    config, base = run.manifest.config, name.removesuffix(_FORCED)
    settings = {"protocol": config.get("protocols", {}).get(base) or config.get("protocol") or "unknown"}
    settings |= config.get("sampling", {}).get(base, {}) | config.get("evaluation", {}).get(base, {})
    figures = run.manifest.benchmarks[name]
    try:
        benchmark = registry().benchmark(base, from_run=True)
        examples = {e.id: e for e in benchmark.load_all() if e.id in samples}
    except KkwarmError:  # not installed, or its data is missing
        return BenchmarkResults(name, figures, samples, settings)
    task = registry().task_of(benchmark)
    gold = task.gold if task is not None else None
    golds = {i: str(e.answer) if gold is None else gold(e) for i, e in examples.items()}
    pin = None if base in run.manifest.unpinned else benchmark.pin
    return BenchmarkResults(name, figures, samples, settings, examples, golds, pin)


# -- lm-eval -----------------------------------------------------------------------------------------------------------


def lm_eval_files(results: RunResults) -> dict[str, str]:
    """``MODEL/results_DATE.json`` and ``samples_TASK_DATE.jsonl``, as lm-eval 0.4.13 writes with ``--log_samples``.

    ``acc`` of a question is the share of its correct samples. Each sample's own verdict is in ``kkwarm``, which
    `kkwarm import lm-eval` reads.
    """
    model = re.sub(r"[^\w.-]", "__", results.model)
    date = results.finished.strftime("%Y-%m-%dT%H-%M-%S.000000")
    tasks = {_task_name(name): b for name, b in results.benchmarks.items()}
    version = f"kkwarm {results.version}"
    document = {
        "results": {task: _lm_eval_figures(task, b) for task, b in tasks.items()},
        "group_subtasks": {},
        "configs": {task: _lm_eval_config(task, b) for task, b in tasks.items()},
        "versions": dict.fromkeys(tasks, version),
        "n-shot": {task: int(b.settings.get("few_shot") or 0) for task, b in tasks.items()},
        "higher_is_better": {task: {"acc": True} for task in tasks},
        "n-samples": {task: dict.fromkeys(("original", "effective"), b.figures["n"]) for task, b in tasks.items()},
        "config": {"model": version, "model_args": {"pretrained": results.model}},
        "date": results.finished.timestamp(),
        "lm_eval_version": version,
        "model_source": version,
        "model_name": results.model,
        "model_name_sanitized": model,
    }
    files = {f"{model}/results_{date}.json": json.dumps(document, indent=1)}
    for task, benchmark in tasks.items():
        rows = [_lm_eval_row(number, id_, benchmark) for number, id_ in enumerate(benchmark.samples)]
        files[f"{model}/samples_{task}_{date}.jsonl"] = _lines(rows)
    return files


def _task_name(benchmark: str) -> str:
    return re.sub(r"\W+", "_", benchmark.removeprefix(LM_EVAL_PREFIX)).strip("_")


def _lm_eval_figures(task: str, benchmark: BenchmarkResults) -> dict[str, Any]:
    figures = benchmark.figures
    error = "N/A" if figures["stderr"] is None else figures["stderr"]
    row = {"alias": task, "acc,none": figures["accuracy"], "acc_stderr,none": error, "sample_len": figures["n"]}
    return row | {f"{name},none": value for name, value in figures.get("metrics", {}).items()}


def _lm_eval_config(task: str, benchmark: BenchmarkResults) -> dict[str, Any]:
    return {
        "task": task,
        "output_type": "generate_until",
        "num_fewshot": int(benchmark.settings.get("few_shot") or 0),
        "repeats": max(map(len, benchmark.samples.values())),
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "generation_kwargs": _generation(benchmark.settings),
        "metadata": {"kkwarm_benchmark": benchmark.name, "kkwarm_protocol": benchmark.settings["protocol"]},
    }


def _generation(settings: Mapping[str, Any]) -> dict[str, Any]:
    temperature = settings.get("temperature")
    generation: dict[str, Any] = {"until": [], "do_sample": bool(temperature)}
    if "max_tokens" in settings:
        generation["max_gen_toks"] = settings["max_tokens"]
    if temperature:
        generation |= {k: settings[k] for k in ("temperature", "top_p", "top_k") if settings.get(k) is not None}
    return generation


def _lm_eval_row(number: int, id_: str, benchmark: BenchmarkResults) -> dict[str, Any]:
    samples, example = benchmark.samples[id_], benchmark.examples.get(id_)
    texts = [_full_text(s) for s in samples]
    doc = {"id": id_} | ({} if example is None else {"question": example.question, "answer": benchmark.golds[id_]})
    return {
        "doc_id": number,
        "doc": doc,
        "target": benchmark.golds.get(id_, ""),
        "arguments": {"gen_args_0": {"arg_0": "", "arg_1": _generation(benchmark.settings)}},
        "resps": [texts],
        "filtered_resps": [s.verdict.answer or "" for s in samples],
        "filter": "none",
        "metrics": ["acc"],
        "acc": sum(s.verdict.correct for s in samples) / len(samples),
        "doc_hash": _sha256(json.dumps(doc, sort_keys=True)),
        "prompt_hash": samples[0].prompt_hash,
        "target_hash": _sha256(benchmark.golds.get(id_, "")),
        "kkwarm": [{"status": s.verdict.status.value, "answer": s.verdict.answer} for s in samples],
    }


def _full_text(sample: Sample) -> str:
    """The completion, with the reasoning that was separated from it before it."""
    text, reasoning = sample.completion.text, sample.completion.reasoning
    return f"{reasoning}\n{text}" if reasoning else str(text)


# -- the hub -----------------------------------------------------------------------------------------------------------


def hub_entries(results: RunResults, source: str | None = None) -> tuple[list[Any], dict[str, str]]:
    """An `EvalResultEntry` for each benchmark that is a data set on the hub, and why others have none, by benchmark.

    Values are percentages. A revision is named where the content is known to be the hub's.

    :param source: address of the results.
    """
    from huggingface_hub import EvalResultEntry

    entries, skipped = [], {}
    for name, benchmark in results.benchmarks.items():
        pin, accuracy = benchmark.pin, benchmark.figures["accuracy"]
        if name in results.run.manifest.unpinned:
            skipped[name] = "its data is not the published data"
        elif pin is None or not pin.repo or (pin.source and not pin.hub_content):
            skipped[name] = "it is no data set of the hub"
        elif accuracy is None:
            skipped[name] = "it has no accuracy"
        else:
            low, high = _interval(benchmark.figures)
            interval = "" if low is None or high is None else f", 95% interval {100 * low:.1f} to {100 * high:.1f}"
            notes = f"{benchmark.count}, protocol {benchmark.settings['protocol']}{interval}; kkwarm {results.version}"
            known = pin.revision if pin.content == pin.hub_content else None
            date = results.run.manifest.finished
            entries.append(
                EvalResultEntry(
                    *(pin.repo, pin.task_id, round(100 * accuracy, 2)),
                    dataset_revision=known,
                    date=date,
                    source_url=source,
                    notes=notes,
                )
            )
    return entries, skipped


def hub_files(results: RunResults) -> dict[str, str]:
    """``.eval_results/NAME.yaml`` for each data set of the hub, by its path in the model's repository."""
    import yaml
    from huggingface_hub import eval_result_entries_to_yaml

    files: dict[str, str] = {}
    entries, skipped = hub_entries(results)
    if not entries:
        reasons = "; ".join(f"{name}: {why}" for name, why in skipped.items())
        raise KkwarmError(f"{results.run.path} has no results for the hub", hint=reasons)
    for entry in entries:
        name = entry.dataset_id.rpartition("/")[2].lower()
        rows = eval_result_entries_to_yaml([entry])
        files[f".eval_results/{name}.yaml"] = yaml.safe_dump(rows, sort_keys=False, allow_unicode=True)
    return files


# -- Every Eval Ever ---------------------------------------------------------------------------------------------------


def every_eval_ever_files(results: RunResults) -> dict[str, str]:
    """``data/BENCHMARK/DEVELOPER/MODEL/UUID.json`` and ``UUID_samples.jsonl`` by the schema 0.3.0 of evaleval's
    Every Eval Ever (https://github.com/evaleval/every_eval_ever).

    A model without a developer in its name gets ``unknown``. The UUID is a hash of the run and the benchmark.
    """
    model = results.model if re.fullmatch(r"[\w.-]+/[\w.-]+", results.model) else f"unknown/{_safe(results.model)}"
    files: dict[str, str] = {}
    for name, benchmark in results.benchmarks.items():
        digest = hashlib.sha256(f"{results.run.manifest.config_hash} {name}".encode()).digest()
        stem = f"data/{_safe(name)}/{model}/{uuid.UUID(bytes=digest[:16], version=4)}"
        rows = list(_eee_rows(results, benchmark, model))
        text = _lines(rows)
        detailed = {
            "format": "jsonl",
            "file_path": f"{stem}_samples.jsonl",
            "hash_algorithm": "sha256",
            "checksum": _sha256(text),
            "total_rows": len(rows),
        }
        record = _eee_record(results, benchmark, model) | {"detailed_evaluation_results": detailed}
        files |= {f"{stem}.json": json.dumps(record, indent=2), f"{stem}_samples.jsonl": text}
    return files


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "unknown"


def _eee_id(results: RunResults, benchmark: BenchmarkResults, model: str) -> str:
    return f"{benchmark.name}/{model}/{results.finished.timestamp():.0f}"


def _eee_record(results: RunResults, benchmark: BenchmarkResults, model: str) -> dict[str, Any]:
    manifest = results.run.manifest
    served = manifest.config.get("backend") == "openai"
    version = results.version
    return {
        "schema_version": _EEE_VERSION,
        "evaluation_id": _eee_id(results, benchmark, model),
        "evaluation_timestamp": f"{results.finished.timestamp():.0f}",
        "retrieved_timestamp": f"{results.finished.timestamp():.0f}",
        "source_metadata": {
            "source_name": "kkwarm",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "eval_library": {"name": "kkwarm", "version": version},
        "model_info": {
            "name": results.model,
            "id": model,
            "additional_details": {
                "deployment_type": "externally_managed" if served else "self_deployed",
                "model_availability": "unknown",
                "checkpoint_hash": manifest.inputs.get("checkpoint", "unknown"),
            },
        },
        "evaluation_results": [_eee_result(results, benchmark)],
    }


def _eee_result(results: RunResults, benchmark: BenchmarkResults) -> dict[str, Any]:
    figures, settings = benchmark.figures, benchmark.settings
    uncertainty: dict[str, Any] = {"num_samples": figures["n"]}
    if figures["stderr"] is not None:
        method = "clustered by question"
        uncertainty["standard_error"] = {"value": figures["stderr"], "method": method}
        low, high = _interval(figures)
        if low is not None and high is not None:
            interval = {"lower": low, "upper": high, "confidence_level": 0.95, "method": method}
            uncertainty["confidence_interval"] = interval
    arguments = {k: settings[k] for k in ("temperature", "top_p", "top_k", "max_tokens") if settings.get(k) is not None}
    unit = {"metric_kind": "accuracy", "metric_unit": "proportion", "score_type": "continuous"}
    details = {"protocol": str(settings["protocol"]), "samples": str(figures["samples"])}
    return {
        "evaluation_result_id": f"{benchmark.name}:accuracy",
        "evaluation_name": benchmark.name,
        "source_data": _eee_source(results, benchmark),
        "metric_config": {
            "evaluation_description": f"Accuracy on {benchmark.count}",
            "metric_id": "accuracy",
            "metric_name": "Accuracy",
            **unit,
            "lower_is_better": False,
            "min_score": 0.0,
            "max_score": 1.0,
        },
        "score_details": {
            "score": figures["accuracy"],
            "details": {status: str(count) for status, count in figures["status"].items()},
            "uncertainty": uncertainty,
        },
        "generation_config": {"generation_args": arguments, "additional_details": details},
    }


def _eee_source(results: RunResults, benchmark: BenchmarkResults) -> dict[str, Any]:
    hashes = {"content_hash": results.run.manifest.inputs.get(f"data:{benchmark.name}", "unknown")}
    if unpinned := results.run.manifest.unpinned.get(benchmark.name):
        hashes |= {"published_hash": unpinned["pinned"], "content_hash": unpinned["content"]}
    pin = benchmark.pin
    if pin is None or not pin.repo:
        return {"dataset_name": benchmark.name, "source_type": "other", "additional_details": hashes}
    return {
        "dataset_name": benchmark.name,
        "source_type": "hf_dataset",
        "hf_repo": pin.repo,
        "hf_split": "test",
        "samples_number": benchmark.figures["n"],
        "additional_details": hashes,
    }


def _eee_rows(results: RunResults, benchmark: BenchmarkResults, model: str) -> Iterator[dict[str, Any]]:
    """A row for each sample."""
    for id_, samples in benchmark.samples.items():
        example = benchmark.examples.get(id_)
        question = example.question if example is not None else ""
        references = [benchmark.golds[id_]] if id_ in benchmark.golds else []
        for sample in samples:
            verdict, completion = sample.verdict, sample.completion
            details = {"status": verdict.status.value, "sample_index": str(sample.index)}
            if completion.n_tokens is not None:
                details["completion_tokens"] = str(completion.n_tokens)
            reasoning = {"reasoning_trace": [completion.reasoning]} if completion.reasoning else {}
            yield {
                "schema_version": _EEE_VERSION,
                "evaluation_id": _eee_id(results, benchmark, model),
                "model_id": model,
                "evaluation_name": benchmark.name,
                "evaluation_result_id": f"{benchmark.name}:accuracy",
                "sample_id": id_,
                "sample_hash": _sha256(question + "".join(references)),
                "interaction_type": "single_turn",
                "input": {"raw": question, "reference": references},
                "output": {"raw": [str(completion.text)], **reasoning},
                "messages": None,
                "answer_attribution": _attribution(benchmark, sample),
                "evaluation": {"score": float(verdict.correct), "is_correct": verdict.correct},
                "metadata": details,
            }


def _attribution(benchmark: BenchmarkResults, sample: Sample) -> list[dict[str, Any]]:
    if sample.verdict.answer is None:
        return []
    where = {"turn_idx": 0, "source": "output.raw", "extracted_value": sample.verdict.answer}
    return [where | {"extraction_method": f"kkwarm protocol {benchmark.settings['protocol']}", "is_terminal": True}]


# -- common ------------------------------------------------------------------------------------------------------------


def _interval(figures: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The 95% interval of the accuracy."""
    low, high = figures.get("ci", {}).get("pass@1") or (None, None)
    return low, high


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# Each returns the text of its files by their paths in the output folder.
TOOLS = {"lm-eval": lm_eval_files, "hub": hub_files, "every-eval-ever": every_eval_ever_files}
