"""Reads stored samples into cells (condition x domain), and pairs cells by question."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kkwarm.analysis.metrics import QuestionTally
from kkwarm.analysis.stats.seed_variance import Scores
from kkwarm.data.pins import unpinned_text
from kkwarm.errors import KkwarmError
from kkwarm.protocols import has_reasoning
from kkwarm.schema.manifest import Manifest
from kkwarm.store import Run
from kkwarm.types import REFERENCE_DIFFERS, SPLIT, Protocol, Sample

FORCED = "+forced"  # suffix of benchmark names whose prompts force reasoning
_OFF = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}  # not listed: other tools' runs do not record them
_PROMPTING = ("protocol", "chat", "system", "few_shot")
_SAMPLING = ("temperature", "top_p", *_OFF, "max_tokens")  # a protocol may set its own
_NAMES = {"version": "evaluation version", "chat": "chat template", "few_shot": "solved examples"}
_COMPARED = ("temperature", "top_p", *_OFF, "max_tokens", "samples", *_PROMPTING, "scorer")
_EXTERNAL = ("import", "score")  # kinds of runs whose samples another tool generated


@dataclass(frozen=True, slots=True)
class Cell:
    """The scored samples of one condition on one benchmark.

    `ids`: questions, sorted; `prompts`: the hash of each prompt; `scores`: (seeds, questions), the share of correct
    samples; `reasoning_rate`: share of completions that reason before the answer (None where the protocol cannot tell);
    `tokens`: mean length of completions; `lengths`: their median and 95th percentile. `partial`: some seed still lacks
    questions or samples, which were left out. `external`: another tool generated the samples. `scoring`: how the
    scoring differed from the benchmark's own (another verifier, other gold answers or data), as phrases. `metrics`: the
    mean of each metric of the samples, the reward among them, by name and in the shape of `scores`. `stopped`: the
    record of early stopping; `identities`: the configuration hashes of the runs; `training_split`: number of questions
    in the training split; `tallies`: of each seed.
    """

    condition: str
    benchmark: str
    seeds: tuple[int | None, ...]
    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    scores: Scores
    samples: int
    status: Mapping[str, int]
    settings: Mapping[str, Any]
    reasoning_rate: float | None = None
    tokens: float | None = None
    lengths: tuple[float, float] | None = None
    partial: bool = False
    paths: tuple[str, ...] = ()
    external: bool = False
    scoring: tuple[str, ...] = ()
    metrics: Mapping[str, Scores] = field(default_factory=dict)
    stopped: Mapping[str, Any] | None = None
    identities: tuple[str, ...] = ()
    training_split: int = 0
    tallies: tuple[Tally, ...] = field(default=(), repr=False, compare=False)


class PairingError(KkwarmError):
    """Two cells that cannot be compared. `reason` does not name them."""

    def __init__(self, first: Cell, second: Cell, reason: str, *, hint: str) -> None:
        names = f"{first.condition!r} and {second.condition!r} on {second.benchmark}"
        super().__init__(f"{names} cannot be paired: {reason}", hint=hint)
        self.reason = reason


@dataclass(slots=True)
class Tally:
    """Counts of one run's samples of one benchmark. `facets`: facet -> question id -> value."""

    questions: dict[str, QuestionTally] = field(default_factory=dict)
    facet_names: tuple[str, ...] = ()
    facets: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    prompts: dict[str, str] = field(default_factory=dict)
    training_split: set[str] = field(default_factory=set)
    reasoning: int = 0
    checked_for_reasoning: int = 0
    tokens: list[int] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)  # questions with another gold answer than the benchmark's

    def add(self, sample: Sample, protocol: Protocol | None) -> None:
        question = self.questions.get(sample.id)
        if question is None:
            question = self.questions[sample.id] = QuestionTally()
            self.prompts[sample.id] = sample.prompt_hash
            if sample.meta.get(SPLIT) == "train":
                self.training_split.add(sample.id)
            for name in self.facet_names:
                if sample.meta.get(name) is not None:
                    self.facets[name][sample.id] = str(sample.meta[name])
        question.add(sample)
        reasons = None if protocol is None else has_reasoning(protocol, sample.completion)
        self.checked_for_reasoning += reasons is not None
        self.reasoning += bool(reasons)
        if sample.completion.n_tokens is not None:
            self.tokens.append(sample.completion.n_tokens)
        if sample.meta.get(REFERENCE_DIFFERS):
            self.replaced.add(sample.id)


ProtocolOf = Callable[[str], Protocol | None]


def tally_samples(run: Run, protocol_of: ProtocolOf) -> dict[str, Tally]:
    """Tallies of a run, by benchmark, in the order in which they were asked for.

    :param protocol_of: returns the protocol that splits a benchmark's completions.
    """
    tallies: dict[str, Tally] = {}
    protocols: dict[str, Protocol | None] = {}
    for sample in run.samples():
        name = sample.benchmark
        if name not in tallies:
            tallies[name] = Tally(facet_names=_facet_names(name))
            external = run.manifest.kind in _EXTERNAL  # their prompts may be by another protocol
            protocols[name] = None if external or name.endswith(FORCED) else protocol_of(name)
        tallies[name].add(sample, protocols[name])
    return run.manifest.in_order(tallies)


def make_cell(condition: str, benchmark: str, runs: Sequence[tuple[int | None, Run, Tally]]) -> Cell:
    """One cell from the runs (seed, run, tally) of its seeds, on the questions that all of them have.

    :raises KkwarmError: the settings or the prompts of the runs differ.
    """
    settings = [evaluation_settings(run.manifest, benchmark) for _, run, _ in runs]
    for (_, run, _), other in zip(runs[1:], settings[1:], strict=True):
        if other != settings[0]:
            keys = _describe_difference(settings[0], other)
            raise KkwarmError(f"{runs[0][1].path} and {run.path} are seeds of {condition!r} but differ in {keys}")
    common = set.intersection(*(set(tally.questions) for _, _, tally in runs))
    everything = set.union(*(set(tally.questions) for _, _, tally in runs))
    counts = {question.samples for _, _, tally in runs for question in tally.questions.values()}
    ids = tuple(sorted(common))
    scores = np.array([[t.questions[i].correct / t.questions[i].samples for i in ids] for _, _, t in runs], float)
    first = runs[0][2]
    for _, run, tally in runs[1:]:
        changed = next((i for i in ids if tally.prompts[i] != first.prompts[i]), None)
        if changed is not None:
            raise KkwarmError(
                f"{run.path}: the prompt of question {changed} of {benchmark} differs from {runs[0][1].path}",
                hint="bench both seeds with the same protocol and version",
            )
    checked = sum(t.checked_for_reasoning for _, _, t in runs)
    tokens = np.array([n for _, _, t in runs for n in t.tokens], float)
    status = _count_statuses([tally for _, _, tally in runs], everything)
    return Cell(
        condition=condition,
        benchmark=benchmark,
        seeds=tuple(seed for seed, _, _ in runs),
        ids=ids,
        prompts=tuple(first.prompts[i] for i in ids),
        scores=scores,
        samples=sum(status.values()),
        status=dict(status),
        settings=settings[0],
        reasoning_rate=sum(t.reasoning for _, _, t in runs) / checked if checked else None,
        tokens=float(tokens.mean()) if tokens.size else None,
        lengths=(float(np.median(tokens)), float(np.quantile(tokens, 0.95))) if tokens.size else None,
        partial=len(common) < len(everything) or len(counts) > 1 or not all(run.done for _, run, _ in runs),
        paths=tuple(str(run.path) for _, run, _ in runs),
        external=any(run.manifest.kind in _EXTERNAL for _, run, _ in runs),
        scoring=_describe_scoring(benchmark, runs),
        metrics=_means_of_metrics(ids, [tally for _, _, tally in runs]),
        stopped=runs[0][1].manifest.stopped.get(benchmark),
        identities=tuple(run.manifest.config_hash for _, run, _ in runs),
        training_split=len(first.training_split.intersection(ids)),
        tallies=tuple(tally for _, _, tally in runs),
    )


def _means_of_metrics(ids: Sequence[str], tallies: Sequence[Tally]) -> dict[str, Scores]:
    """The mean of each metric for each question and seed; a sample without it counts 0."""
    rows = [[tally.questions[i] for i in ids] for tally in tallies]
    names = sorted({name for row in rows for q in row for name in q.metrics})
    return {
        name: np.array([[q.metrics.get(name, 0.0) / q.samples for q in row] for row in rows], float) for name in names
    }


def restrict(cell: Cell, ids: Sequence[str]) -> Cell:
    """The cell with these of its questions only. Lengths and the reasoning rate stay those of all."""
    if tuple(ids) == cell.ids:
        return cell
    positions = {i: n for n, i in enumerate(cell.ids)}
    at = [positions[i] for i in ids]
    status = _count_statuses(cell.tallies, ids) if cell.tallies else dict(cell.status)
    return replace(
        cell,
        ids=tuple(ids),
        prompts=tuple(cell.prompts[n] for n in at),
        scores=cell.scores[:, at],
        metrics={name: values[:, at] for name, values in cell.metrics.items()},
        status=status,
        samples=sum(status.values()),
    )


def stopped_by(cell: Cell, other: Cell) -> Mapping[str, Any] | None:
    """The record of the group-sequential test by which `cell` was stopped against `other`; None where it was not."""
    record = cell.stopped
    decided = record is not None and record["rule"] == "decided" and record["baseline_hash"] in other.identities
    return record if decided else None


def _count_statuses(tallies: Sequence[Tally], ids: Collection[str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for tally in tallies:
        for i in ids:
            if i in tally.questions:
                counts.update({status.value: n for status, n in tally.questions[i].status.items()})
    return dict(counts)


def _facet_names(benchmark: str) -> tuple[str, ...]:
    """The facets of a benchmark; none where no installed plugin registers it."""
    from kkwarm.plugins import registry

    if benchmark.startswith("lm_eval:"):
        return ("task",)
    try:
        return registry().benchmark(benchmark.removesuffix(FORCED), from_run=True).all_facets
    except KkwarmError:
        return ()


def _describe_scoring(benchmark: str, runs: Sequence[tuple[int | None, Run, Tally]]) -> tuple[str, ...]:
    phrases = []
    own = _own_verifier(benchmark)
    names = sorted({name for _, run, _ in runs if (name := _recorded_verifier(run.manifest, benchmark))} - {own or ""})
    if names and own is not None:
        phrases.append(f"scored by the verifier {' and '.join(names)}, not by the benchmark's own ({own})")
    if replaced := set[str]().union(*(tally.replaced for _, _, tally in runs)):
        count = "1 question is" if len(replaced) == 1 else f"{len(replaced):,} questions are"
        phrases.append(f"{count} scored against another gold answer than the benchmark's")
    unpinned = {unpinned_text(entry) for _, run, _ in runs if (entry := run.manifest.unpinned.get(benchmark))}
    return (*phrases, *sorted(unpinned))


def _recorded_verifier(manifest: Manifest, benchmark: str) -> str | None:
    name: str | None = manifest.verifiers.get(benchmark, {}).get("name")
    return name


def _own_verifier(benchmark: str, protocol: str | None = None) -> str | None:
    """The name of the benchmark's verifier, under a protocol; None where no installed plugin registers them."""
    from kkwarm.plugins import registry

    try:
        reg = registry()
        own = reg.benchmark(benchmark.removesuffix(FORCED), from_run=True)
        return (protocol and reg.protocol(own, protocol).verifier) or own.verifier
    except KkwarmError:
        return None


def pair(first: Cell, second: Cell, *, common: bool = False, across_protocols: bool = False) -> tuple[Scores, Scores]:
    """Scores of both cells on the same questions, seed by seed (the mean over seeds where the seeds differ).

    Where another tool generated the samples of one, settings and prompts may differ; `settings_differences` lists how.
    A run that was stopped early answered a random part of the questions: that part is compared.

    :param common: where the questions differ, use those that both have.
    :param across_protocols: the protocols, with their prompts and sampling settings, may differ.
    :raises PairingError: the questions, prompts or settings differ.
    """
    lenient = first.external or second.external
    differing = {k for k in {*first.settings, *second.settings} if first.settings.get(k) != second.settings.get(k)}
    of_protocol = bool(differing.intersection(_PROMPTING)) and differing.issubset((*_PROMPTING, *_SAMPLING))
    if of_protocol and across_protocols:
        lenient = True
    if differing and not lenient:
        reason = f"they differ in {_describe_difference(first.settings, second.settings)}"
        if first.settings.get("version") != second.settings.get("version"):
            hint = "prompts, splits or verdict rules changed between the versions: bench the older checkpoint again"
        elif of_protocol:
            hint = "bench one of them again with the other's protocol, or use --across-protocols"
        else:
            hint = "bench one of them again with the other's settings"
        raise PairingError(first, second, reason, hint=hint)
    a, b = _common_positions(first, second)
    missing = len(first.ids) + len(second.ids) - 2 * len(a)
    common = common or first.stopped is not None or second.stopped is not None
    if not a or (missing and not common):
        few = "1 question is" if missing == 1 else f"{missing} questions are"
        reason = f"{few} in one only, of {len(first.ids)} and {len(second.ids)}"
        hint = (
            "use `kkwarm compare --common` to compare the questions that both have" if a else "no question is in both"
        )
        raise PairingError(first, second, reason, hint=hint)
    changed = _changed_prompts(first, a, second, b)
    if changed and not lenient:
        raise PairingError(
            first, second, f"the prompts of question {changed[0]} differ", hint="use one protocol for both"
        )
    return _aligned(first, a, second, b)


def pair_metrics(first: Cell, second: Cell) -> dict[str, tuple[Scores, Scores]]:
    """The metrics that both cells have, as `pair` gives the scores, on the questions that both have."""
    a, b = _common_positions(first, second)
    return {
        name: _aligned(replace(first, scores=values), a, replace(second, scores=second.metrics[name]), b)
        for name, values in first.metrics.items()
        if name in second.metrics
    }


def measured_differently(first: Cell, second: Cell) -> bool:
    """Whether two cells that may be compared differ in settings, or may differ because another tool made one."""
    return (
        first.external
        or second.external
        or first.settings != second.settings
        or _stopped_against_another(first, second)
    )


def _stopped_against_another(first: Cell, second: Cell) -> bool:
    """Whether a test against a third run stopped one of both."""
    return any(
        a.stopped is not None and a.stopped["rule"] == "decided" and stopped_by(a, b) is None
        for a, b in ((first, second), (second, first))
    )


def settings_differences(first: Cell, second: Cell) -> list[str]:
    """How the settings of two cells differ, as phrases; a setting that one side does not record is unknown."""
    a, b = _common_positions(first, second)
    phrases = []
    if "" in {first.prompts[i] for i in a} | {second.prompts[i] for i in b}:
        phrases.append("the prompts of one are unknown")
    elif changed := _changed_prompts(first, a, second, b):
        phrases.append(f"{len(changed)} of {len(a)} prompts differ")
    external = first.external or second.external
    for key in ("version", *_COMPARED):
        if external and key in ("protocol", "version"):
            continue  # compared by the prompts themselves
        if first.settings.get(key) != second.settings.get(key):
            x, y = (
                _value(key, c.settings) if key in c.settings or not external else "unknown" for c in (first, second)
            )
            phrases.append(f"{_NAMES.get(key, key)} {x} and {y}")
    if _stopped_against_another(first, second):
        phrases.append("one was stopped by a test against another run, so its p-value is too small")
    return phrases


def _common_positions(first: Cell, second: Cell) -> tuple[list[int], list[int]]:
    """The positions in each cell of the questions that both have."""
    positions = {i: n for n, i in enumerate(first.ids)}
    pairs = [(positions[i], n) for n, i in enumerate(second.ids) if i in positions]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _changed_prompts(first: Cell, a: Sequence[int], second: Cell, b: Sequence[int]) -> list[str]:
    return [first.ids[x] for x, y in zip(a, b, strict=True) if first.prompts[x] != second.prompts[y]]


def _aligned(first: Cell, a: list[int], second: Cell, b: list[int]) -> tuple[Scores, Scores]:
    seeds = [s for s in first.seeds if s in second.seeds]
    if seeds and set(first.seeds) == set(second.seeds):
        rows = [first.seeds.index(s) for s in seeds], [second.seeds.index(s) for s in seeds]
        return first.scores[rows[0]][:, a], second.scores[rows[1]][:, b]
    return first.scores[:, a].mean(axis=0, keepdims=True), second.scores[:, b].mean(axis=0, keepdims=True)


def evaluation_settings(manifest: Manifest, benchmark: str) -> dict[str, Any]:
    """What two runs must share to be compared: version, samples, and the benchmark's sampling settings and protocol."""
    config = manifest.config
    name = benchmark.removesuffix(FORCED)
    settings = {"scorer": "kkwarm", **config, **config.get("sampling", {}).get(name, {})}
    if name in config.get("protocols", {}):
        settings["protocol"] = config["protocols"][name]
    if manifest.kind == "bench":
        prompting = config.get("prompting", {}).get(name, {})
        settings |= {"few_shot": prompting.get("shots", 0)} | {k: v for k, v in prompting.items() if k != "shots"}
    settings |= config.get("evaluation", {}).get(name, {})
    if manifest.rescored_from:
        settings["scorer"] = "kkwarm"
    if reader := config.get("read_by", {}).get(benchmark):
        settings["scorer"] = f"kkwarm by protocol {reader}"
    verifier, own = _recorded_verifier(manifest, benchmark), _own_verifier(benchmark, settings.get("protocol"))
    if verifier and own and verifier != own and settings["scorer"] == "kkwarm":
        settings["scorer"] = f"kkwarm's {verifier}"
    listed = {k: settings[k] for k in _COMPARED if k in settings and (k not in _OFF or settings[k] != _OFF[k])}
    return {"version": manifest.evaluation_version, **listed}


def protocol_label(settings: Mapping[str, Any]) -> str:
    """The protocol of a cell's settings with what was changed about it, such as ``plain (chat, 4 shots)``."""
    changes = ["chat"] if settings.get("chat") else []
    if shots := settings.get("few_shot"):
        changes.append(f"{shots} shot{'s' if shots != 1 else ''}")
    if "system" in settings:
        changes.append("other system prompt" if settings["system"] else "no system prompt")
    name = str(settings.get("protocol") or "")
    return f"{name} ({', '.join(changes)})" if name and changes else name


def _describe_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The settings that differ. Where the protocols do, the prompts and sampling that follow from them are left out."""
    keys = sorted(k for k in {*first, *second} if first.get(k) != second.get(k))
    if "protocol" in keys:
        keys = [k for k in keys if k == "protocol" or k not in (*_PROMPTING, *_SAMPLING)]
    return ", ".join(f"{_NAMES.get(k, k)} ({_value(k, first)} and {_value(k, second)})" for k in keys)


def _value(key: str, settings: Mapping[str, Any]) -> str:
    value = settings.get(key, _OFF.get(key))
    if value is None or isinstance(value, bool):
        return "on" if value else "off" if key == "chat" else "none"
    return str(value)
