"""Turns the results of another tool into a run: matches ids, keeps or replaces verdicts, and names the differences."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from kkwarm.analysis.metrics import Facets, summarize
from kkwarm.data.splits import normalise
from kkwarm.errors import KkwarmError, unknown_name
from kkwarm.importers.records import Answer, Results, TaskResults
from kkwarm.plugins import Registry
from kkwarm.protocols import make_renderer, prompt_hash
from kkwarm.store import Run, config_hash, runs_home
from kkwarm.types import Benchmark, Completion, Example, Protocol, Sample
from kkwarm.verify import Judge


@dataclass(slots=True)
class _ImportedBenchmark:
    name: str
    samples: list[Sample]
    settings: dict[str, Any]
    differs: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_results(
    results: Results, registry: Registry, *, names: Mapping[str, str], reverify: bool = False, out: Path | None = None
) -> Run:
    """Writes results to a finished run. Its manifest lists ``differs`` (differences from `kkwarm bench`) and ``notes``.

    :param names: benchmark by task or task pattern; other tasks become benchmarks of their own names.
    :param reverify: verify every completion with kkwarm's verifiers instead of keeping the tool's verdicts.
    :param out: the run folder; None: ``runs/import/TOOL-MODEL-HASH``.
    :raises KkwarmError: a name matches no task, a question is not in the benchmark, or the folder is in use.
    """
    benchmark_names = _match_names(results, names)
    benchmarks: dict[str, _ImportedBenchmark] = {}
    with Judge() as judge:
        for task in results.tasks:
            name = benchmark_names.get(task.task)
            _merge(benchmarks, _import_task(task, name, registry, judge if reverify else None))
    config = {
        "tool": results.tool,
        "version": results.version,
        "model": results.model,
        "benchmarks": sorted(benchmarks),
        "reverify": reverify,
        "evaluation": {name: b.settings for name, b in benchmarks.items()},
    }
    inputs = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in results.files}
    identity = config_hash({"config": config, "inputs": inputs})
    model = "".join(c if c.isalnum() or c in "-._" else "-" for c in results.model).strip("-._")[-60:]
    path = out or runs_home() / "import" / f"{results.tool}-{model or 'model'}-{identity}"
    with Run.open(path, kind="import", config=config, inputs=inputs) as run:
        stored = {(s.benchmark, s.id, s.index) for s in run.samples()}
        samples = (s for b in benchmarks.values() for s in b.samples)
        run.append(s for s in samples if (s.benchmark, s.id, s.index) not in stored)
        figures = {name: summarize(b.samples, _facets(b.samples)) for name, b in benchmarks.items()}
        run.finish(
            model={"name": results.model, "checkpoint": results.model},
            differs={name: b.differs for name, b in benchmarks.items() if b.differs},
            notes=[note for b in benchmarks.values() for note in b.notes],
            results={"benchmarks": figures, "model": results.model, "run": str(path)},
        )
        return run


def _facets(samples: Sequence[Sample]) -> Facets:
    facets: dict[str, dict[str, str]] = {}
    for sample in samples:
        for facet in sample.meta:
            facets.setdefault(facet, {})[sample.id] = str(sample.meta[facet])
    return facets


def _match_names(results: Results, names: Mapping[str, str]) -> dict[str, str]:
    """Benchmark by task, for the tasks that the user named one for.

    :raises KkwarmError: a pattern matches no task.
    """
    tasks = [t.task for t in results.tasks]
    for pattern in names:
        if not any(fnmatchcase(task, pattern) for task in tasks):
            raise unknown_name("task", pattern, tasks)
    return {t: n for p, n in reversed(list(names.items())) for t in tasks if fnmatchcase(t, p)}


def _import_task(task: TaskResults, name: str | None, registry: Registry, judge: Judge | None) -> _ImportedBenchmark:
    """Imports a task. With a judge, its completions are verified again."""
    benchmark = registry.benchmark(name) if name is not None else registry.benchmarks.get(task.name)
    if benchmark is None:  # there are no questions to match and no verifier
        if judge is not None:
            raise KkwarmError(f"no benchmark {task.name} to verify with", hint=f"name one: --as {task.task}=BENCHMARK")
        samples = _make_samples(task.name, task.answers, None)
        return _ImportedBenchmark(task.name, samples, dict(task.settings), notes=list(task.notes))
    examples = {e.id: e for e in benchmark.load_all()}
    ids = _match_ids(task, benchmark.name, examples)
    settings, notes = dict(task.settings), list(task.notes)
    if judge is None:
        samples = _make_samples(benchmark.name, task.answers, ids)
    else:
        samples = _verify(task, benchmark, examples, ids, registry, judge)
        settings |= {"scorer": "kkwarm", "samples": max(len(a.completions) for a in task.answers)}
    facets = {i: {f: e.meta[f] for f in benchmark.all_facets if f in e.meta} for i, e in examples.items()}
    samples = [replace(s, meta=facets[s.id]) for s in samples]
    training = sum(examples[i].split == "train" for i in ids.values())
    if training:
        notes.append(
            f"{training} of its {len(ids)} questions are in the training split of {benchmark.name}, which `bench` "
            "omits: compare with --common"
        )
    imported = _ImportedBenchmark(benchmark.name, samples, settings, notes=notes)
    imported.differs = _find_differences(task, settings, benchmark, examples, ids, registry)
    return imported


def _merge(benchmarks: dict[str, _ImportedBenchmark], new: _ImportedBenchmark) -> None:
    """Adds a benchmark. Several tasks can be parts of one benchmark, such as mmlu_pro_physics and mmlu_pro_law.

    :raises KkwarmError: two parts share a question or differ in settings.
    """
    if new.name not in benchmarks:
        benchmarks[new.name] = new
        return
    existing = benchmarks[new.name]
    shared = {s.id for s in existing.samples} & {s.id for s in new.samples}
    if shared:
        raise KkwarmError(
            f"two tasks become {new.name}, and both have question {min(shared)}", hint="name one of them with --as"
        )
    if existing.settings != new.settings:
        raise KkwarmError(f"two tasks become {new.name}, but their settings differ", hint="import them separately")
    existing.samples += new.samples
    existing.notes += [n for n in new.notes if n not in existing.notes]


def _match_ids(task: TaskResults, name: str, examples: Mapping[str, Example]) -> dict[str, str]:
    """kkwarm's id by the tool's id: from an id in the tool's document, else from the text of the question.

    :raises KkwarmError: a document matches no question of the benchmark, or two match the same one.
    """
    twice = [id_ for id_, count in Counter(a.id for a in task.answers).items() if count > 1]
    if twice:
        raise KkwarmError(f"{task.task} has document {twice[0]} twice", hint="its file was edited, or holds two runs")
    fields = [k for k, v in task.answers[0].doc.items() if isinstance(v, str | int) and not isinstance(v, bool)]
    texts = {normalise(e.question): e.id for e in examples.values() if e.question.strip()}
    best: dict[str, str] = {}
    for key in fields:
        values = [(a.id, str(a.doc.get(key, ""))) for a in task.answers]
        for ids in (
            {id_: v for id_, v in values if v in examples},
            {id_: texts[n] for id_, v in values if (n := normalise(v)) in texts},
        ):
            if len(set(ids.values())) == len(ids) > len(best):
                best = ids
    if len(best) == len(task.answers):
        return best
    unmatched = next(a for a in task.answers if a.id not in best)
    raise KkwarmError(
        f"{len(task.answers) - len(best)} of {len(task.answers)} documents of {task.task} match no question of {name}, "
        f"such as document {unmatched.id}",
        hint="neither their ids nor their texts are the benchmark's: omit --as, or name another benchmark",
    )


def _make_samples(name: str, answers: Sequence[Answer], ids: Mapping[str, str] | None) -> list[Sample]:
    """Samples with the tool's verdicts, for the completions that it scored."""
    return [
        Sample(name, a.id if ids is None else ids[a.id], index, completion, verdict, a.prompt_hash, a.facets)
        for a in answers
        for index, (completion, verdict) in enumerate(zip(a.completions, a.verdicts, strict=False))
    ]


def _verify(
    task: TaskResults,
    benchmark: Benchmark,
    examples: Mapping[str, Example],
    ids: Mapping[str, str],
    registry: Registry,
    judge: Judge,
) -> list[Sample]:
    """Samples with kkwarm's verdicts, for all completions."""
    protocol = registry.protocol(benchmark, registry.saved_protocol(benchmark))
    verifier = registry.verifier_of(benchmark, protocol)
    rows = [
        (a, index, _restore_stop_string(c, protocol, task.stop_strings))
        for a in task.answers
        for index, c in enumerate(a.completions)
    ]
    verdicts = judge.verify(verifier, protocol, [(examples[ids[a.id]], c) for a, _, c in rows])
    return [
        Sample(benchmark.name, ids[a.id], index, completion, verdict, a.prompt_hash)
        for (a, index, completion), verdict in zip(rows, verdicts, strict=True)
    ]


def _restore_stop_string(completion: Completion, protocol: Protocol, stop_strings: Sequence[str]) -> Completion:
    """Appends the stop string that the tool removed, if the protocol then finds an answer, or tags around it."""
    response = protocol.split(completion)
    if response.answer is None or not response.tagged:
        for stop in stop_strings:
            restored = replace(completion, text=completion.text + stop)
            closed = protocol.split(restored)
            if closed.answer is not None and (response.answer is None or closed.tagged):
                return restored
    return completion


def _find_differences(
    task: TaskResults,
    settings: dict[str, Any],
    benchmark: Benchmark,
    examples: Mapping[str, Example],
    ids: Mapping[str, str],
    registry: Registry,
) -> list[dict[str, Any]]:
    """Differences from the defaults of `kkwarm bench`: ``what``, ``theirs``, ``ours``.

    Sets the protocol in the settings to kkwarm's if all prompts are the same.
    """
    sampling = benchmark.sampling
    ours: dict[str, Any] = {
        "few_shot": 0,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "scorer": "kkwarm",
    }
    differences = [
        {"what": key, "theirs": settings.get(key), "ours": value}
        for key, value in ours.items()
        if settings.get(key) != value and not (key == "top_p" and settings.get("temperature") == 0)
    ]
    protocol = registry.protocol(benchmark)
    render = make_renderer(protocol)
    hashes = {a.id: a.prompt_hash for a in task.answers}
    if not any(hashes.values()):
        prompts = f"not stored by {settings['protocol']}"
    elif changed := sum(hashes[id_] != prompt_hash(render(examples[own])) for id_, own in ids.items()):
        prompts = f"different in {changed} of {len(ids)} questions"
    else:
        settings["protocol"] = protocol.name
        return differences
    return [{"what": "prompt", "theirs": prompts, "ours": protocol.name}, *differences]
