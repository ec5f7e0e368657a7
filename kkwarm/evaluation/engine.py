"""Runs benchmarks: prepares a run, collects its samples and computes the scores."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import click

from kkwarm import plugins
from kkwarm.analysis.metrics import advise_on_unusable, summarize
from kkwarm.backends import open_backend
from kkwarm.backends.base import Backend
from kkwarm.backends.checkpoint import (
    LazyTokenizer,
    display_name,
    fingerprint,
    load_tokenizer,
    read_own_sampling,
    trust_remote_code,
)
from kkwarm.backends.hf import HFBackend
from kkwarm.backends.text import raw_text_warning, unknown_token_warning
from kkwarm.data.pins import find_unpinned, unpinned_text
from kkwarm.errors import warn
from kkwarm.evaluation.collect import GenerationStats, RunSink, SampleKey, SampleRequests, collect
from kkwarm.evaluation.early_stopping import EarlyStopping, make_early_stopping
from kkwarm.evaluation.plan import EvalTask, check_benchmark_name, make_eval_task, parse_benchmark_names, shuffle_items
from kkwarm.evaluation.thinking_budget import ThinkingBudget, check_thinking_budget
from kkwarm.plugins import Registry
from kkwarm.progress import GenerationProgress
from kkwarm.protocols import has_reasoning
from kkwarm.schema.manifest import Manifest
from kkwarm.schema.settings import BenchConfig, check_run_size
from kkwarm.store import Run, config_hash, find_training_run, read_contamination, read_training_examples, runs_home
from kkwarm.store.run import EVALUATION_VERSION
from kkwarm.throughput import record_throughput
from kkwarm.tracking import check_trackers, track
from kkwarm.types import Sample, Sampling
from kkwarm.verify import Judge
from kkwarm.verify.source import verifier_provenance

MAX_PROMPT_CHARS = 20_000  # of the stored example of a prompt
_SMALL = 64  # samples; fewer leave most of a batch empty
_LARGEST_METRIC = 1e12  # manifests accept no larger figures, such as the perplexity of an untrained model
_FIGURES = {*("n", "samples", "accuracy", "ci", "stderr", "status", "metrics", "metrics_ci", "mean_tokens")}
_GENERATION = {"tokens", "seconds", "tokens_per_s"}
_LOCAL_BACKENDS = ("hf", "vllm")  # they load the checkpoint here, so it can be fingerprinted before they are opened


@dataclass(slots=True)
class PreparedBench:
    """A run that is checked and planned, before a model is loaded."""

    model: str
    config: BenchConfig
    registry: Registry
    tasks: list[EvalTask]
    settings: dict[str, Any]
    inputs: dict[str, str]
    out: Path
    caller_backend: Backend | None = None
    own_backend: Backend | None = None
    tokenizer: Any = None  # only of a checkpoint that is loaded here

    def backend(self) -> Backend:
        """The backend; it is opened by the first call."""
        if self.caller_backend is not None:
            return self.caller_backend
        if self.own_backend is None:
            options: dict[str, Any] = {}
            if self.config.backend == "hf":
                options = {name: getattr(self.config, name) for name in ("device", "batch_size", "threads")}
            elif self.config.backend == "openai":
                options = {"base_url": self.config.base_url}
            if self.config.backend in _LOCAL_BACKENDS:
                options["dtype"] = None if self.config.dtype == "auto" else self.config.dtype
                options["trust_remote_code"] = self.config.trust_remote_code or None
            self.own_backend = open_backend(self.config.backend, self.model, **{**options, **self.config.engine})
        return self.own_backend

    def generator(self) -> Backend:
        """The backend, which limits the reasoning where there is a thinking budget."""
        backend, budget = self.backend(), self.config.thinking_budget
        return backend if budget is None else ThinkingBudget.of(backend, self.tasks, budget)

    def close(self) -> None:
        """Closes the backend, unless it belongs to the caller."""
        if self.own_backend is not None:
            self.own_backend.close()
            self.own_backend = None


def prepare(
    model: str,
    benchmarks: Sequence[str],
    out: Path | str | None,
    config: BenchConfig,
    backend: Backend | None = None,
    *,
    dry_run: bool = False,
) -> PreparedBench:
    """Resolves names, loads questions, renders prompts and fingerprints the checkpoint.

    :param dry_run: load the tokenizer only where a chat template has to be rendered.
    :raises KkwarmError: unknown benchmark, protocol or backend, no checkpoint, or no server responds.
    """
    names = parse_benchmark_names(benchmarks)
    registry = plugins.registry()
    for name in names:  # report a misspelled name before anything heavy is imported
        check_benchmark_name(name, registry)
    config.check_benchmarks(names)
    prepared = PreparedBench(model, config, registry, [], {}, {}, Path(), backend)
    backend_name = config.backend if backend is None else backend.name
    if backend is None and backend_name in _LOCAL_BACKENDS:
        if config.trust_remote_code:
            trust_remote_code(model)
        checkpoint = fingerprint(model)
        tokenizer = LazyTokenizer.of(model) if dry_run else load_tokenizer(model)
        prepared.tokenizer = tokenizer
    else:
        opened = prepared.backend()
        checkpoint, tokenizer = opened.fingerprint, opened.tokenizer
    try:
        own = cache(partial(read_own_sampling, model)) if prepared.tokenizer is not None else dict
        prepared.tasks = [make_eval_task(n, registry, config, tokenizer, own) for n in names]
        if config.thinking_budget is not None:
            check_thinking_budget(prepared.tasks, config.thinking_budget, model)
        counts = [len(t.items) * t.samples_per_question(config.samples) for t in prepared.tasks]
        check_run_size(sum(counts), "completions")
    except BaseException:
        prepared.close()
        raise
    prepared.settings = _settings(config, names, backend_name, prepared.tasks)
    prepared.inputs = {"checkpoint": checkpoint}
    for task in prepared.tasks:
        prepared.inputs.update(task.fingerprints())
    identity = config_hash({"config": prepared.settings, "inputs": prepared.inputs})
    default = runs_home() / "bench" / f"{display_name(model)}-{identity}"
    prepared.out = Path(out) if out is not None else default
    return prepared


def _settings(config: BenchConfig, names: list[str], backend: str, tasks: Sequence[EvalTask]) -> dict[str, Any]:
    """The settings that decide the run's samples. Other backend options than the dtype change only rounding."""
    settings = {
        "benchmarks": names,
        "samples": config.samples,
        "limit": config.limit,
        "backend": backend,
        "protocols": {t.name: t.protocol.name for t in tasks},
        "sampling": {t.name: asdict(t.sampling) for t in tasks},
        "seed": config.seed,
        "force": config.force,
    }
    if sources := {t.name: t.sampling_source for t in tasks if t.sampling_source}:
        settings["sampling_source"] = sources
    if config.thinking_budget is not None:
        settings["thinking_budget"] = config.thinking_budget
    if prompting := {t.name: changed for t in tasks if (changed := t.renderer.settings())}:
        settings["prompting"] = prompting
    if lm_eval := {t.name: t.lm_eval.evaluation_settings() for t in tasks if t.lm_eval is not None}:
        settings["evaluation"] = lm_eval
    if config.split != "test":
        settings["split"] = config.split
    return settings | ({} if config.dtype == "auto" else {"dtype": config.dtype})


def bench(
    model: str,
    benchmarks: Sequence[str],
    out: Path | str | None = None,
    config: BenchConfig | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    progress: bool = True,
    backend: Backend | None = None,
) -> Run:
    """Runs benchmarks on a checkpoint, or resumes an interrupted run. Samples are stored as they are generated.

    :param benchmarks: names as in `kkwarm domains`, ``NAME:FACET``, or ``lm_eval:NAME`` for a task of lm-eval.
    :param out: the run folder; None: ``runs/bench/MODEL-HASH``.
    :param labels: stored in the manifest; not part of the run's identity.
    :param backend: an open backend, which the caller closes; None opens the one that `config` names.
    :returns: the finished run; its manifest's ``results`` hold the scores.
    :raises KkwarmError: unknown benchmark, no checkpoint, or `out` holds a run with other settings.
    """
    config = config or BenchConfig()
    check_trackers(config.track)
    prepared = prepare(model, benchmarks, out, config, backend)
    try:
        version, verifiers = EVALUATION_VERSION, {t.name: {"name": t.verifier.name} for t in prepared.tasks}
        manifest = Manifest(kind="bench", evaluation_version=version, config=prepared.settings, verifiers=verifiers)
        early_stopping = make_early_stopping(config, prepared.tasks, manifest)
        with Run.open(prepared.out, kind="bench", config=prepared.settings, inputs=prepared.inputs) as run:
            run.record(labels=dict(labels or {}), model={"name": display_name(model), "checkpoint": str(model)})
            run.record(contamination=_contamination(model, prepared.tasks), prompts=_example_prompts(prepared.tasks))
            if training_split := {t.name: ids for t in prepared.tasks if (ids := t.training_split)}:
                run.record(training_split=training_split)
            if run.truncated_bytes:
                click.echo(f"{run.path}: the last sample was cut short by a crash; it is generated again", err=True)
            if _is_complete(prepared, run):
                run.record(state="done", results=run.manifest.results | {"labels": run.manifest.labels})
                return run
            _warn_about_prompts(prepared, run)
            _warn_about_solved_examples(prepared.tasks, run)
            _record_unpinned(prepared, run)
            run.record(state="running")  # a run that stopped early is marked done
            rewards = {t.name: t.reward.function if t.reward is not None else None for t in prepared.tasks}
            run.record_verifiers(
                {t.name: verifier_provenance(t.verifier, t.protocol, rewards[t.name]) for t in prepared.tasks}
            )
            with track(run, config.track) as tracking:
                _complete(prepared, run, progress, early_stopping)
                tracking.log({"bench": run.manifest.benchmarks, "throughput": run.manifest.results["throughput"]})
            prepared.registry.call_hook("kkwarm_run_finished", run=run)
            return run
    finally:
        prepared.close()


def _contamination(model: str, tasks: Sequence[EvalTask]) -> list[dict[str, Any]]:
    """The evaluated questions that the checkpoint was trained on: those that its training run found in its data, and,
    where the training split is evaluated, those of the training split that it was trained on.
    """
    entries = read_contamination(model)
    if any(task.training_split for task in tasks):
        known = {(e["domain"], e["id"]) for e in entries}
        entries += [e for e in read_training_examples(model) if (e["domain"], e["id"]) not in known]
    return entries


def solved_overlaps(task: EvalTask) -> list[str]:
    """Ids of the evaluated questions that are among the solved examples of the task's prompts, or nearly the same."""
    from kkwarm.data.contamination import Item, find_overlaps

    solved = {e.id: e for item in task.items for e in task.renderer.solved(item.example)}
    if not solved:
        return []
    name = task.benchmark.name.partition(":")[0]
    identity = task.benchmark.identity
    shown = [Item(name, f"shot/{e.id}", e.question) for e in solved.values()]
    asked = [Item(name, item.example.id, item.example.question) for item in task.items]
    return [o.evaluated.id for o in find_overlaps(shown, asked, {name: identity} if identity is not None else None)]


def _example_prompts(tasks: Sequence[EvalTask]) -> dict[str, dict[str, str]]:
    """The prompt of the question of each benchmark that early stopping would ask first, shortened in its middle where
    it is very long.
    """
    prompts = {}
    for task in tasks:
        if task.items:
            first = shuffle_items(task.items)[0]
            text = first.prompt
            if len(text) > MAX_PROMPT_CHARS:
                half = MAX_PROMPT_CHARS // 2
                text = f"{text[:half]}\n[... {len(text) - 2 * half:,} characters ...]\n{text[-half:]}"
            prompts[task.name] = {"id": first.example.id, "text": text}
    return prompts


def _warn_about_prompts(prepared: PreparedBench, run: Run) -> None:
    warnings = list(dict.fromkeys(note for task in prepared.tasks for note in task.renderer.notes))
    if prepared.tokenizer is not None:
        warnings += _tokenizer_warnings(prepared)
    run.record(warnings=warnings)
    for warning in warnings:
        warn(warning)


def _tokenizer_warnings(prepared: PreparedBench) -> list[str]:
    """What the checkpoint's tokenizer does to the prompts and completions."""
    warnings = []
    for task in prepared.tasks:
        unknown = unknown_token_warning(prepared.tokenizer, [item.prompt for item in task.items], "prompts")
        if message := unknown or task.renderer.lost_tags_warning():
            warnings.append(f"{task.name}: {message}")
    if find_training_run(prepared.model) is None:  # what kkwarm trained on raw text is prompted by it
        raw = list(dict.fromkeys(task.protocol.name for task in prepared.tasks if not task.renderer.chat))
        if prepared.config.chat != "off" and (note := raw_text_warning(prepared.tokenizer, raw)):
            warnings.append(note)
    return warnings


def _warn_about_solved_examples(tasks: Sequence[EvalTask], run: Run) -> None:
    """Records and prints which evaluated questions stand solved in the prompts."""
    warnings = []
    for task in tasks:
        if ids := solved_overlaps(task):
            listed = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
            warnings.append(
                f"{task.name}: contaminated: the solved examples of protocol {task.protocol.name} contain "
                f"{len(ids)} evaluated question{'s' if len(ids) > 1 else ''} ({listed})"
            )
    if warnings:
        run.record(warnings=[*run.manifest.warnings, *warnings])
    for warning in warnings:
        warn(warning)


def _record_unpinned(prepared: PreparedBench, run: Run) -> None:
    """Records and prints which benchmarks, or solved examples in their prompts, are not the published data."""
    unpinned = {}
    for task in prepared.tasks:
        solved = prepared.registry.task_of(task.benchmark) if task.renderer.shots else None
        if entry := find_unpinned(task.benchmark) or (find_unpinned(solved) if solved is not None else None):
            unpinned[task.name] = entry
    run.record(unpinned=unpinned)
    for name, entry in unpinned.items():
        warn(f"{name}: {unpinned_text(entry)}")


def _is_complete(prepared: PreparedBench, run: Run) -> bool:
    """Whether the run has results, and all samples that they were computed from. An edited manifest may lack some."""
    results, figures = run.manifest.results, run.manifest.benchmarks
    if not {"model", "throughput", "run"} <= results.keys() or not results["throughput"].keys() >= _GENERATION:
        return False
    if not all(figures.get(t.name, {}).keys() >= _FIGURES and figures[t.name]["n"] for t in prepared.tasks):
        return False
    counts = Counter(sample.benchmark for sample in run.samples())
    samples = prepared.config.samples
    return all(counts[t.name] == t.count_samples(samples) for t in prepared.tasks)


@dataclass(slots=True)
class SampleCollector:
    """Completes the samples of a run. The backend is opened when the first sample is missing."""

    run: Run
    backend: Callable[[], Backend]
    samples: int  # for each question
    judge: Judge
    registry: Registry
    bars: GenerationProgress
    stats: GenerationStats = field(default_factory=GenerationStats)
    sink: RunSink = field(init=False)

    def __post_init__(self) -> None:
        self.sink = RunSink(self.run, self._on_stored)

    def __call__(self, tasks: Sequence[EvalTask]) -> dict[SampleKey, Sample]:
        """All samples of the run, after generating those of `tasks` that were missing."""
        missing = {t.name: self._missing(t) for t in tasks}
        totals = {t.name: t.count_samples(self.samples) for t in tasks}
        likelihoods = [t for t in tasks if t.lm_eval is not None and t.lm_eval.scores_likelihoods]
        for task in likelihoods:
            self._collect_likelihoods(task, missing.pop(task.name))
        for group in _group_small(list(missing.values())):
            requested = sum(r.samples for r in group)
            name, longest = ", ".join(r.name for r in group), max(r.sampling.max_tokens for r in group)
            total = sum(totals[r.name] for r in group)
            self.bars.start(name, total, total - requested, longest)
            if requested:
                collect(group, self.backend(), self.judge, self.sink, self.stats, self.bars.add_tokens)
        return self.sink.samples

    def _missing(self, task: EvalTask) -> SampleRequests:
        count = task.samples_per_question(self.samples)
        return task.sample_requests(partial(self.sink.missing, task.name, count=count))

    def _collect_likelihoods(self, task: EvalTask, requests: SampleRequests) -> None:
        from kkwarm.evaluation.likelihood import collect_likelihoods

        assert task.lm_eval is not None
        self.bars.start(task.name, len(task.items), len(task.items) - requests.samples)
        if requests.samples:
            collect_likelihoods(requests, task.lm_eval, self.backend(), self.sink)

    def text_likelihoods(self, name: str, texts: Sequence[str]) -> list[float]:
        """The log-likelihood of each text, for the benchmark `name`."""
        from kkwarm.evaluation.likelihood import require_likelihoods, text_likelihoods

        self.bars.start(name, len(texts), 0)
        return text_likelihoods(require_likelihoods(self.backend(), name), texts, self.bars.add_scored)

    def _on_stored(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self.registry.call_hook("kkwarm_sample_scored", sample=sample)
        self.bars.add_samples(samples)


def _group_small(requests: Sequence[SampleRequests]) -> list[list[SampleRequests]]:
    """Benchmarks with fewer than `_SMALL` samples to generate are generated together, because each alone would leave
    most of a batch empty. Their sampling settings must be equal, except for the token limit.
    """
    groups: list[list[SampleRequests]] = []
    together: dict[Sampling, list[SampleRequests]] = {}
    for each in requests:
        key = replace(each.sampling, max_tokens=0)
        if 0 < each.samples < _SMALL and key in together:
            together[key].append(each)
            continue
        groups.append([each])
        if 0 < each.samples < _SMALL:
            together[key] = groups[-1]
    return groups


def _complete(prepared: PreparedBench, run: Run, progress: bool, early_stopping: EarlyStopping | None) -> None:
    config = prepared.config
    results: dict[str, Any] = {}
    stopped: dict[str, Any] = {}
    tasks = prepared.tasks
    with Judge() as judge, GenerationProgress(progress) as bars:
        collector = SampleCollector(run, prepared.generator, config.samples, judge, prepared.registry, bars)
        earlier = dict(run.manifest.generation)
        try:
            if early_stopping is not None:
                tasks, stopped = early_stopping.run(tasks, collector)
            if tasks:
                results |= _score(tasks, config.samples, collector)
        finally:  # an interrupted run keeps its throughput
            run.record(generation=_total_generation(earlier, collector.stats))
            _record_throughput(prepared, collector.stats)
        prepared.close()
    _mark_contamination(results, run.manifest.contamination, tasks)
    for name, entry in run.manifest.unpinned.items():
        results[name]["unpinned"] = entry
    for name, reason in stopped.items():
        results[name]["stopped"] = reason
    generation = run.manifest.generation
    seconds, tokens = generation["seconds"], generation["tokens"]
    speed = tokens / seconds if seconds and tokens else None
    run.finish(
        stopped=stopped,
        results={
            "benchmarks": results,
            "model": display_name(prepared.model),
            "checkpoint": str(prepared.model),
            "labels": run.manifest.labels,
            "throughput": generation | {"tokens_per_s": speed, "gpu_hours": _gpu_hours(prepared, run, seconds)},
            "run": str(run.path),
        },
    )


def _gpu_hours(prepared: PreparedBench, run: Run, seconds: float) -> float | None:
    """The time of generation times the number of visible GPUs; None without one, and where a server generates."""
    gpus = len(run.manifest.environment.get("gpu", ()))
    return seconds * gpus / 3600 if gpus and prepared.settings["backend"] in _LOCAL_BACKENDS else None


def _record_throughput(prepared: PreparedBench, stats: GenerationStats) -> None:
    """Stores the speed of a checkpoint in this process, for later dry runs."""
    backend = prepared.own_backend or prepared.caller_backend
    if isinstance(backend, HFBackend) and stats.tokens_known:
        cuda = backend.model is not None and backend.model.device.type == "cuda"
        threads = prepared.config.threads
        record_throughput(prepared.model, "generate", stats.tokens, stats.seconds, cuda=cuda, threads=threads)


def _mark_contamination(
    results: dict[str, Any], overlaps: Sequence[Mapping[str, Any]], tasks: Sequence[EvalTask]
) -> None:
    """Adds ``contaminated`` to a benchmark's scores: the number of its questions that the checkpoint was trained on."""
    for task in tasks:
        name = task.benchmark.name
        trained_ids = {o["id"] for o in overlaps if o["domain"] in (name, name.partition(":")[0])}
        if count := len(trained_ids.intersection(i.example.id for i in task.items)):
            results[task.name]["contaminated"] = count


def _score(tasks: Sequence[EvalTask], samples: int, collector: SampleCollector) -> dict[str, Any]:
    """Scores of all benchmarks, by kkwarm and by lm-eval.

    :raises RuntimeError: the two differ, which would be an error in kkwarm.
    """
    from kkwarm.evaluation.lm import evaluate_lm_eval_task, evaluate_tasks

    own = [task for task in tasks if task.lm_eval is None]
    by_lm_eval = evaluate_tasks(own, samples, collector) if own else {}
    results = {}
    for task in tasks:
        table = evaluate_lm_eval_task(task, samples, collector) if task.lm_eval is not None else None
        if task.lm_eval is not None and not task.lm_eval.has_scores:
            results[task.name] = _figures_of_texts(task, table or {})
            continue
        keys = [(task.name, i.example.id, k) for i in task.items for k in range(task.samples_per_question(samples))]
        scores = _summarize_task(task, [collector.sink.samples[key] for key in keys])
        if table is None:
            _check_agreement(task.name, scores["accuracy"], float(by_lm_eval[task.name]["accuracy"]))
        else:
            scores["lm_eval"] = table
            for metric, value, expected in _shared_figures(task, scores, table):
                _check_agreement(f"{task.name} {metric}", value, expected)
        results[task.name] = scores
    return results


def _check_agreement(name: str, ours: float, by_lm_eval: float) -> None:
    if abs(ours - by_lm_eval) > 1e-9 * max(1.0, abs(ours)):
        raise RuntimeError(f"{name}: the score is {ours}, but {by_lm_eval} by lm-eval")


def _shared_figures(
    task: EvalTask, scores: Mapping[str, Any], table: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, float, float]]:
    """Each averaged metric of a single task of lm-eval: its name, kkwarm's figure, and lm-eval's."""
    assert task.lm_eval is not None
    if len(table) != 1:  # a group, whose figures lm-eval weighs in its own way
        return
    (row,) = table.values()
    (lm_eval_task,) = task.lm_eval.tasks.values()
    names = task.lm_eval.metric_names(lm_eval_task)
    for metric, key in names.items():
        if metric in scores["metrics"] and key in row:
            yield metric, scores["metrics"][metric], float(row[key])


def _figures_of_texts(task: EvalTask, table: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of a benchmark without scores of single questions, such as a perplexity: lm-eval's, and no samples."""
    rows = [row for row in table.values() if len(table) == 1]
    metrics = {k.partition(",")[0]: v for row in rows for k, v in row.items() if "," in k and "_stderr" not in k}
    numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, int | float) and abs(v) <= _LARGEST_METRIC}
    figures: dict[str, Any] = {"n": len(task.items), "samples": 0, "accuracy": None, "stderr": None, "pass@1": None}
    figures |= {"ci": {}, "status": {}, "metrics": numbers, "metrics_stderr": {}, "metrics_ci": {}, "mean_chars": None}
    return figures | {"mean_tokens": None, "protocol": task.protocol.name, "lm_eval": dict(table)}


def _summarize_task(task: EvalTask, samples: Sequence[Sample]) -> dict[str, Any]:
    """`summarize`, with ``reasoning_rate`` (None where the protocol does not delimit reasoning), ``tokens``, and
    ``advice`` where no completion can be scored.
    """
    scores = summarize(samples, task.facets)
    reasons = [r for s in samples if (r := has_reasoning(task.protocol, s.completion)) is not None]
    lengths = [s.completion.n_tokens for s in samples if s.completion.n_tokens is not None]
    scores["reasoning_rate"] = statistics.fmean(reasons) if reasons else None
    scores["tokens"] = None
    if lengths:
        scores["tokens"] = {
            "mean": statistics.fmean(lengths),
            "median": statistics.median(lengths),
            "max": max(lengths),
        }
    if advice := advise_on_unusable(scores["status"]):
        scores["advice"] = advice
    scores["training_split"] = len(task.training_split)
    scores["protocol"] = task.protocol.name
    scores["verifier"] = task.verifier.name
    return scores


def _total_generation(earlier: Mapping[str, Any], stats: GenerationStats) -> dict[str, Any]:
    """Tokens and seconds of all sessions of the run."""
    return {
        "tokens": int(earlier.get("tokens", 0)) + stats.tokens,
        "seconds": round(float(earlier.get("seconds", 0.0)) + stats.seconds, 3),
        "tokens_known": bool(earlier.get("tokens_known", True)) and stats.tokens_known,
    }
