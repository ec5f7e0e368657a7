"""From what another tool found to a run of ours: ids matched, verdicts kept (or made anew), differences named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from kkwarm.analysis.metrics import summarize
from kkwarm.data.splits import normalise
from kkwarm.errors import KkwarmError, unknown_name
from kkwarm.importers.records import Answer, Results, TaskResults
from kkwarm.plugins import Registry
from kkwarm.store import Run, config_hash, runs_home
from kkwarm.types import Benchmark, Completion, Example, Format, Sample
from kkwarm.verify import Judge

__all__ = ["store"]


@dataclass(slots=True)
class _Part:
    """One benchmark of the run that is being made."""

    name: str
    samples: list[Sample]
    protocol: dict[str, Any]
    differs: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def store(
    results: Results, registry: Registry, *, names: Mapping[str, str], reverify: bool = False, out: Path | None = None
) -> Run:
    """The run, done; its manifest has ``differs`` (where its protocol is not ours) and ``notes``.

    :param names: task (or a pattern of tasks) -> benchmark; a task without one becomes the benchmark of its own name.
    :param reverify: verify every completion with kkwarm's verifiers; otherwise the tool's verdicts are kept.
    :param out: the run folder; None: ``runs/import/TOOL-MODEL-HASH``.
    :raises KkwarmError: a name that fits nothing, questions that the benchmark does not have, a folder in use.
    """
    named = _named(results, names)
    parts: dict[str, _Part] = {}
    with Judge() as judge:
        for task in results.tasks:
            part = _part(task, named.get(task.task), registry, reverify, judge)
            _merge(parts, part)
    config = {
        "tool": results.tool,
        "version": results.version,
        "model": results.model,
        "benchmarks": sorted(parts),
        "reverify": reverify,
        "protocol": {name: part.protocol for name, part in parts.items()},
    }
    inputs = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in results.files}
    identity = config_hash({"config": config, "inputs": inputs})
    shown = "".join(c if c.isalnum() or c in "-._" else "-" for c in results.model).strip("-._")[-60:]
    path = out or runs_home() / "import" / f"{results.tool}-{shown or 'model'}-{identity}"
    with Run.open(path, kind="import", config=config, inputs=inputs) as run:
        held = {(s.benchmark, s.id, s.index) for s in run.samples()}
        run.append(s for p in parts.values() for s in p.samples if (s.benchmark, s.id, s.index) not in held)
        figures = {name: summarize(part.samples) for name, part in parts.items()}
        run.finish(
            model={"name": results.model, "checkpoint": results.model},
            differs={name: part.differs for name, part in parts.items() if part.differs},
            notes=[note for part in parts.values() for note in part.notes],
            results={"benchmarks": figures, "model": results.model, "run": str(path)},
        )
        return run


# -- inside ------------------------------------------------------------------------------------------------------------


def _named(results: Results, names: Mapping[str, str]) -> dict[str, str]:
    """Task -> benchmark, for the tasks that somebody named one for."""
    known = [t.task for t in results.tasks]
    for pattern in names:
        if not any(fnmatchcase(task, pattern) for task in known):
            raise unknown_name("task", pattern, known)
    return {t: n for p, n in reversed(list(names.items())) for t in known if fnmatchcase(t, p)}


def _part(task: TaskResults, named: str | None, registry: Registry, reverify: bool, judge: Judge) -> _Part:
    benchmark = registry.benchmark(named) if named is not None else registry.benchmarks.get(task.name)
    if benchmark is None:  # nothing can be matched or judged
        if reverify:
            raise KkwarmError(f"no benchmark {task.name} to judge by", hint=f"name one: --as {task.task}=BENCHMARK")
        return _Part(task.name, _kept(task.name, task.answers, None), dict(task.protocol), notes=list(task.notes))
    examples = {e.id: e for e in benchmark.load_all()}
    ids = _matched(task, benchmark.name, examples)
    samples, protocol = _kept(benchmark.name, task.answers, ids), dict(task.protocol)
    if reverify:
        samples = _judged(task, benchmark, examples, ids, registry, judge)
        protocol |= {"scorer": "kkwarm", "samples": max(len(a.completions) for a in task.answers)}
    part = _Part(benchmark.name, samples, protocol, notes=list(task.notes))
    trained = sum(examples[i].split == "train" for i in ids.values())
    if trained:
        part.notes.append(
            f"{trained} of its {len(ids)} questions are on the training side of {benchmark.name}, which `bench` leaves "
            "out: compare with --common"
        )
    part.differs = _differs(task, part, benchmark, examples, ids, registry)
    return part


def _merge(parts: dict[str, _Part], part: _Part) -> None:
    """Several tasks may be parts of one benchmark, as mmlu_pro_physics and mmlu_pro_law are."""
    if part.name not in parts:
        parts[part.name] = part
        return
    whole = parts[part.name]
    clash = {s.id for s in whole.samples} & {s.id for s in part.samples}
    if clash:
        raise KkwarmError(
            f"two tasks become {part.name} and both have question {min(clash)}", hint="name one with --as"
        )
    if whole.protocol != part.protocol:
        raise KkwarmError(f"two tasks become {part.name} but were asked by different settings", hint="import one alone")
    whole.samples += part.samples
    whole.notes += [n for n in part.notes if n not in whole.notes]


def _matched(task: TaskResults, name: str, examples: Mapping[str, Example]) -> dict[str, str]:
    """The tool's id -> ours: by an id that the document carries, else by the text of the question.

    :raises KkwarmError: some documents are no question of the benchmark, or two are the same one.
    """
    fields = [k for k, v in task.answers[0].doc.items() if isinstance(v, str | int) and not isinstance(v, bool)]
    texts = {normalise(e.question): e.id for e in examples.values() if e.question.strip()}
    best: dict[str, str] = {}
    for key in fields:
        values = [(a.id, str(a.doc.get(key, ""))) for a in task.answers]
        for found in (
            {id_: v for id_, v in values if v in examples},
            {id_: texts[n] for id_, v in values if (n := normalise(v)) in texts},
        ):
            if len(set(found.values())) == len(found) > len(best):
                best = found
    if len(best) == len(task.answers):
        return best
    lost = next(a for a in task.answers if a.id not in best)
    raise KkwarmError(
        f"{len(task.answers) - len(best)} of {len(task.answers)} documents of {task.task} are no question of {name}, "
        f"document {lost.id} for one",
        hint="neither an id nor a text in them is the benchmark's: leave --as out, or name the right benchmark",
    )


def _kept(name: str, answers: Sequence[Answer], ids: Mapping[str, str] | None) -> list[Sample]:
    """The tool's own verdicts, on the completions that it judged."""
    return [
        Sample(name, a.id if ids is None else ids[a.id], index, completion, verdict, a.prompt_hash)
        for a in answers
        for index, (completion, verdict) in enumerate(zip(a.completions, a.verdicts, strict=False))
    ]


def _judged(
    task: TaskResults,
    benchmark: Benchmark,
    examples: Mapping[str, Example],
    ids: Mapping[str, str],
    registry: Registry,
    judge: Judge,
) -> list[Sample]:
    fmt, verifier = registry.format(benchmark.saved_format), registry.verifier(benchmark.verifier)
    rows = [(a, i, _whole(c, fmt, task.cut)) for a in task.answers for i, c in enumerate(a.completions)]
    verdicts = judge.verify(verifier, fmt, [(examples[ids[a.id]], c) for a, _, c in rows])
    return [
        Sample(benchmark.name, ids[a.id], index, completion, verdict, a.prompt_hash)
        for (a, index, completion), verdict in zip(rows, verdicts, strict=True)
    ]


def _whole(completion: Completion, fmt: Format, cut: Sequence[str]) -> Completion:
    """With the string that ended it and that the tool took off, where the format finds no answer without it."""
    if fmt.split(completion).answer is None:
        for end in cut:
            longer = replace(completion, text=completion.text + end)
            if fmt.split(longer).answer is not None:
                return longer
    return completion


def _differs(
    task: TaskResults,
    part: _Part,
    benchmark: Benchmark,
    examples: Mapping[str, Example],
    ids: Mapping[str, str],
    registry: Registry,
) -> list[dict[str, Any]]:
    """Where the tool asked or judged otherwise than `kkwarm bench` does by itself: ``what``, ``theirs``, ``ours``."""
    sampling = benchmark.sampling
    ours: dict[str, Any] = {
        "few_shot": 0,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "scorer": "kkwarm",
    }
    found = [
        {"what": key, "theirs": part.protocol.get(key), "ours": value}
        for key, value in ours.items()
        if part.protocol.get(key) != value and not (key == "top_p" and part.protocol.get("temperature") == 0)
    ]
    fmt = registry.format(benchmark.format)
    hashes = {a.id: a.prompt_hash for a in task.answers}
    if any(hashes.values()):
        other = sum(hashes[i] != _hash(fmt.render(examples[ours_].question)) for i, ours_ in ids.items())
        if not other:
            part.protocol["format"] = fmt.name
            return found
        found.insert(0, {"what": "prompt", "theirs": f"other words in {other} of {len(ids)}", "ours": fmt.name})
    else:
        found.insert(0, {"what": "prompt", "theirs": f"not kept by {part.protocol['format']}", "ours": fmt.name})
    return found


def _hash(prompt: str) -> str:
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]
