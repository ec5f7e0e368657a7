"""Judges the stored completions of a run again, by today's verifiers and data; no model is needed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kkwarm.analysis.metrics import summarize
from kkwarm.errors import KkwarmError
from kkwarm.plugins import Registry
from kkwarm.scoring.score import CHUNK, facets_of
from kkwarm.store import Run
from kkwarm.types import Benchmark, Example, Sample
from kkwarm.verify.judge import Judge

__all__ = ["Flip", "Rescored", "judged_again", "rescore", "write_rescored"]

# Fields of a manifest that belong to the run itself; all others are facts about its samples, and are carried over.
_OWN = {
    "schema_version", "kind", "protocol", "config", "inputs", "config_hash", "created", "state", "environment", "finished", "resumed",
    "results", "rescored_from", "products", "verifiers",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flip:
    """A sample whose status is another one today."""

    before: Sample
    after: Sample


@dataclass(slots=True)
class Rescored:
    """One benchmark of a run: samples before and after, in the order of storing."""

    benchmark: str
    before: list[Sample] = field(default_factory=list)
    after: list[Sample] = field(default_factory=list)
    figures_before: dict[str, Any] = field(default_factory=dict)
    figures_after: dict[str, Any] = field(default_factory=dict)
    gone: int = 0  # samples whose question the benchmark no longer has: their verdict stays
    skipped: str = ""  # why nothing of it could be judged

    @property
    def flips(self) -> list[Flip]:
        """The samples whose status changed."""
        pairs = zip(self.before, self.after, strict=True)
        return [Flip(b, a) for b, a in pairs if b.verdict.status is not a.verdict.status]

    @property
    def counts(self) -> dict[str, int]:
        """``"wrong -> correct"`` -> how many, most first."""
        kinds = Counter(f"{f.before.verdict.status} -> {f.after.verdict.status}" for f in self.flips)
        return dict(kinds.most_common())


def rescore(
    run: Run,
    registry: Registry,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Rescored]:
    """Today's verdicts on every stored completion, by benchmark.

    :raises KkwarmError: the run holds no samples, or none of its benchmarks is known here.
    """
    stored: dict[str, list[Sample]] = defaultdict(list)
    for sample in run.samples():
        stored[sample.benchmark].append(sample)
    if not stored:
        raise KkwarmError(f"{run.path} holds no samples", hint="runs of bench, score and import have some")
    results = []
    with Judge(workers) as judge:
        for name, samples in stored.items():
            results.append(judged_again(run, registry, judge, name, samples, progress))
    if all(r.skipped for r in results):
        raise KkwarmError(f"{run.path}: nothing can be judged again: {results[0].skipped}")
    return results


def judged_again(
    run: Run, registry: Registry, judge: Judge, name: str, samples: list[Sample], progress: Callable[[int], None]
) -> Rescored:
    """Today's verdicts on samples of one benchmark; `skipped` says why where it is not known here."""
    try:
        benchmark = registry.benchmark(name.removesuffix("+forced"))  # as bench names answers that it forced to work
    except KkwarmError as err:
        return Rescored(name, samples, samples, skipped=str(err))
    fmt = registry.format(format_name(run, name, benchmark))
    verifier = registry.verifier(benchmark.verifier)
    known = _examples(benchmark, samples)
    after: list[Sample] = list(samples)
    there = [i for i, s in enumerate(samples) if s.id in known]
    for begin in range(0, len(there), CHUNK):
        part = there[begin : begin + CHUNK]
        pairs = [(known[samples[i].id], samples[i].completion) for i in part]
        for i, verdict in zip(part, judge.verify(verifier, fmt, pairs), strict=True):
            after[i] = replace(samples[i], verdict=verdict)
        progress(len(part))
    facets = facets_of(list(known.values()), benchmark.facet)
    gone = len(samples) - len(there)
    return Rescored(name, samples, after, summarize(samples, facets), summarize(after, facets), gone)


def _examples(benchmark: Benchmark, samples: Sequence[Sample]) -> dict[str, Example]:
    """Id -> example: the benchmark's own, or made of the reference that was scored against."""
    known = {s.id: Example(s.id, "", s.meta["reference"]) for s in samples if "reference" in s.meta}
    if any(s.id not in known for s in samples):
        known = {**{e.id: e for e in benchmark.load_all()}, **known}
    return known


def format_name(run: Run, name: str, benchmark: Benchmark) -> str:
    """The format by which the run's completions were split, as its configuration says; else the benchmark's."""
    config = run.manifest.config
    formats = config.get("formats")
    named = formats.get(name) if isinstance(formats, dict) else None
    named = named or config.get("format")
    if isinstance(named, str) and named:
        return named
    return benchmark.saved_format if run.manifest.kind in ("score", "import") else benchmark.format


def write_rescored(run: Run, results: Sequence[Rescored], path: Path) -> Run:
    """A new run folder with today's verdicts; the old one is left as it is.

    :raises KkwarmError: the folder is a run already, or cannot be written.
    """
    if (path / "manifest.json").exists():
        raise KkwarmError(f"{path} is a run already", hint="choose another folder with -o")
    inputs = {**run.manifest.inputs, "rescored_from": str(run.path)}
    with Run.open(path, kind=run.manifest.kind, config=run.manifest.config, inputs=inputs) as new:
        for result in results:
            new.append(result.after)
        carried = run.manifest.model_dump(exclude_unset=True, exclude=_OWN)
        old = run.manifest.results
        figures = dict(old.get("benchmarks", {}))
        for result in results:
            if not result.skipped:  # what other figures a benchmark has (lengths, say) does not depend on verdicts
                figures[result.benchmark] = {**figures.get(result.benchmark, {}), **result.figures_after}
        results_now = {**old, "benchmarks": figures, "run": str(path)}
        new.finish(**carried, rescored_from=str(run.path), results=results_now)
        return new
