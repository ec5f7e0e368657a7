"""Scores the stored completions of a run again with today's verifiers and data. No model is needed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kkwarm.analysis.metrics import summarize
from kkwarm.data.pins import find_unpinned
from kkwarm.errors import KkwarmError
from kkwarm.evaluation.lm_eval_index import LM_EVAL_PREFIX
from kkwarm.plugins import Registry
from kkwarm.protocols.prompts import requested_protocol
from kkwarm.schema.by_benchmark import check_protocols
from kkwarm.scoring.score import CHUNK, facets_of
from kkwarm.store import Run
from kkwarm.types import Benchmark, Example, Sample
from kkwarm.verify.judge import Judge
from kkwarm.verify.source import verifier_provenance

# Manifest fields that a rescored run does not take over from the original run.
_NOT_COPIED = {
    *(
        "schema_version",
        "kind",
        "evaluation_version",
        "config",
        "inputs",
        "config_hash",
        "created",
        "state",
        "environment",
    ),
    *("finished", "resumed", "results", "rescored_from", "products", "verifiers", "unpinned"),
}


@dataclass(frozen=True, slots=True)
class Flip:
    """A sample whose verdict changed."""

    before: Sample
    after: Sample

    @property
    def other_metrics(self) -> bool:
        """Whether the metrics or the reward differ. Samples that another tool made have no reward."""
        before, after = self.before, self.after
        same_reward = before.reward is None or before.reward == after.reward
        return dict(before.verdict.metrics) != dict(after.verdict.metrics) or not same_reward


@dataclass(slots=True)
class RescoredBenchmark:
    """One benchmark of a run: its samples before and after, in the order of storing.

    `missing` counts samples whose question the benchmark no longer has; they keep their verdict. `skipped` says why
    nothing was scored. `provenance` identifies the verifier's code. `read_by` is the protocol, if another than the
    run's was requested. `unpinned` describes data that is not the published data, as `Manifest.unpinned` holds it.
    """

    benchmark: str
    before: list[Sample] = field(default_factory=list)
    after: list[Sample] = field(default_factory=list)
    figures_before: dict[str, Any] = field(default_factory=dict)
    figures_after: dict[str, Any] = field(default_factory=dict)
    missing: int = 0
    skipped: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    read_by: str = ""
    unpinned: dict[str, str] = field(default_factory=dict)

    @property
    def flips(self) -> list[Flip]:
        """The samples whose status changed."""
        pairs = zip(self.before, self.after, strict=True)
        return [Flip(b, a) for b, a in pairs if b.verdict.status is not a.verdict.status]

    @property
    def other_metrics(self) -> list[Flip]:
        """The samples whose status is the same, but not their metrics or reward."""
        pairs = [Flip(b, a) for b, a in zip(self.before, self.after, strict=True)]
        return [f for f in pairs if f.before.verdict.status is f.after.verdict.status and f.other_metrics]

    @property
    def counts(self) -> dict[str, int]:
        """Number of flips of each kind (``"wrong -> correct"``), most frequent first."""
        kinds = Counter(f"{f.before.verdict.status} -> {f.after.verdict.status}" for f in self.flips)
        return dict(kinds.most_common())


def rescore(
    run: Run,
    registry: Registry,
    *,
    protocol: str | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[RescoredBenchmark]:
    """Today's verdicts on every stored completion, by benchmark.

    :param protocol: reads the completions by another protocol than the run's, as ``--protocol``.
    :raises KkwarmError: the run has no samples, or none of its benchmarks is registered.
    """
    stored: dict[str, list[Sample]] = defaultdict(list)
    for sample in run.samples():
        stored[sample.benchmark].append(sample)
    if not stored:
        raise KkwarmError(f"{run.path} holds no samples", hint="runs of bench, score and import have samples")
    check_protocols(protocol, [name.removesuffix("+forced") for name in stored])
    with Judge(workers) as judge:
        results = [
            rescore_samples(run, registry, judge, name, samples, progress, protocol) for name, samples in stored.items()
        ]
    if all(r.skipped for r in results):
        raise KkwarmError(f"{run.path}: nothing can be scored again: {results[0].skipped}")
    return results


def rescore_samples(
    run: Run,
    registry: Registry,
    judge: Judge,
    name: str,
    samples: list[Sample],
    progress: Callable[[int], None],
    requested: str | None = None,
) -> RescoredBenchmark:
    """Today's verdicts on the samples of one benchmark; `skipped` is set where kkwarm cannot give them."""
    if name.startswith(LM_EVAL_PREFIX):  # a task's code may come with the run: it is not executed for a stored name
        return RescoredBenchmark(name, samples, samples, skipped=f"lm-eval scored {name}: bench again for its scores")
    try:
        benchmark = registry.benchmark(name.removesuffix("+forced"), from_run=True)
    except KkwarmError as err:
        return RescoredBenchmark(name, samples, samples, skipped=str(err))
    other = requested_protocol(requested, benchmark.name)
    used = protocol_name(run, name, registry.saved_protocol(benchmark))
    protocol = registry.protocol(benchmark, other or used)
    verifier, reward = registry.verifier_of(benchmark, protocol), registry.reward_of(benchmark)
    examples = _load_examples(benchmark, samples)
    after: list[Sample] = list(samples)
    places = [i for i, s in enumerate(samples) if s.id in examples]
    for start in range(0, len(places), CHUNK):
        part = places[start : start + CHUNK]
        pairs = [(examples[samples[i].id], samples[i].completion) for i in part]
        verdicts = judge.verify(verifier, protocol, pairs)
        rewards = reward.stored([(*pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True)])
        for i, verdict, earned in zip(part, verdicts, rewards, strict=True):
            after[i] = replace(samples[i], verdict=verdict, reward=earned)
        progress(len(part))
    facets = facets_of(list(examples.values()), benchmark.all_facets)
    figures = summarize(samples, facets), summarize(after, facets)
    provenance = verifier_provenance(verifier, protocol, reward.function)
    return RescoredBenchmark(
        *(name, samples, after, *figures, len(samples) - len(places)),
        provenance=provenance,
        read_by=protocol.name if other else "",
        unpinned=find_unpinned(benchmark) or {},
    )


def _load_examples(benchmark: Benchmark, samples: Sequence[Sample]) -> dict[str, Example]:
    """Examples by id: made from the references that the samples carry, else the benchmark's own."""
    examples = {
        s.id: Example(s.id, s.meta.get("question", ""), s.meta["reference"]) for s in samples if "reference" in s.meta
    }
    if any(s.id not in examples for s in samples):
        examples = {**{e.id: e for e in benchmark.load_all()}, **examples}
    return examples


def protocol_name(run: Run, name: str, saved: str) -> str | None:
    """The protocol that read the run's completions of benchmark `name`; None if it was the benchmark's default.

    :param saved: `Registry.saved_protocol` of the benchmark.
    """
    config = run.manifest.config
    recorded = config.get("read_by", {}).get(name) or config.get("protocols", {}).get(name) or config.get("protocol")
    if isinstance(recorded, str) and recorded:
        return recorded
    return saved if run.manifest.kind in ("score", "import") else None


def write_rescored(run: Run, results: Sequence[RescoredBenchmark], path: Path) -> Run:
    """Writes today's verdicts to a new run folder. The original run does not change."""
    if (path / "manifest.json").exists():
        raise KkwarmError(f"{path} already holds a run", hint="use another --out")
    inputs = {**run.manifest.inputs, "rescored_from": str(run.path)}
    config = dict(run.manifest.config)
    if read_by := {r.benchmark: r.read_by for r in results if r.read_by}:
        config["read_by"] = {**config.get("read_by", {}), **read_by}
    with Run.open(path, kind=run.manifest.kind, config=config, inputs=inputs) as new:
        for result in results:
            new.append(result.after)
        new.record_verifiers({r.benchmark: r.provenance for r in results if not r.skipped})
        figures = dict(run.manifest.benchmarks)
        for result in results:
            if not result.skipped:  # figures that do not depend on verdicts, such as lengths, stay
                figures[result.benchmark] = {**figures.get(result.benchmark, {}), **result.figures_after}
        new.finish(
            unpinned={**run.manifest.unpinned, **{r.benchmark: r.unpinned for r in results if r.unpinned}},
            **run.manifest.model_dump(exclude_unset=True, exclude=_NOT_COPIED),
            rescored_from=str(run.path),
            results={**run.manifest.results, "benchmarks": figures, "run": str(path)},
        )
        return new
