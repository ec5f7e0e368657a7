"""Reads stored samples into cells (condition x domain) and pairs cells, or says why they cannot be paired."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kkwarm.analysis.stats.seed_variance import Scores
from kkwarm.errors import KkwarmError
from kkwarm.formats import has_reasoning
from kkwarm.schema.manifest import Manifest
from kkwarm.store import Run
from kkwarm.types import Format, Sample

__all__ = ["FORCED", "Cell", "PairingError", "cell", "differing", "of_run", "pair", "protocol"]

FORCED = "+forced"  # benchmark names of samples whose prompt makes the model work step by step end so
_PROTOCOL = ("temperature", "top_p", "max_tokens", "samples", "format", "few_shot", "scorer")
_OUTSIDE = ("import", "score")  # kinds of runs whose samples were not drawn here


@dataclass(frozen=True, slots=True)
class Cell:
    """The judged samples of one condition on one benchmark.

    `ids`: questions, sorted; `prompts`: the hash of each prompt; `scores`: (seeds, questions), the share of correct
    samples; `works`: share of completions that show work (None where no format tells); `tokens`: mean length;
    `lengths`: its median and 95th percentile.
    `partial`: questions or samples that some seed still lacks were left out. `outside`: another tool drew the samples.
    """

    condition: str
    benchmark: str
    seeds: tuple[int, ...]
    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    scores: Scores
    samples: int
    status: Mapping[str, int]
    protocol: Mapping[str, Any]
    works: float | None = None
    tokens: float | None = None
    lengths: tuple[float, float] | None = None
    partial: bool = False
    paths: tuple[str, ...] = ()
    outside: bool = False


class PairingError(KkwarmError):
    """Two cells that may not be compared. `reason` says why, without naming them."""

    def __init__(self, first: Cell, second: Cell, reason: str, *, hint: str) -> None:
        who = f"{first.condition!r} and {second.condition!r} on {second.benchmark}"
        super().__init__(f"{who} cannot be paired: {reason}", hint=hint)
        self.reason = reason


@dataclass(slots=True)
class _Tally:
    """What one run says of one benchmark."""

    correct: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    prompts: dict[str, str] = field(default_factory=dict)
    status: Counter[str] = field(default_factory=Counter)
    works: int = 0
    judged: int = 0
    tokens: list[int] = field(default_factory=list)

    def add(self, sample: Sample, fmt: Format | None) -> None:
        tally = self.correct[sample.id]
        tally[0] += sample.verdict.correct
        tally[1] += 1
        self.prompts.setdefault(sample.id, sample.prompt_hash)
        self.status[sample.verdict.status.value] += 1
        worked = None if fmt is None else has_reasoning(fmt, sample.completion)
        self.judged += worked is not None
        self.works += bool(worked)
        if sample.completion.n_tokens is not None:
            self.tokens.append(sample.completion.n_tokens)


FormatOf = Callable[[str], Format | None]


def of_run(run: Run, format_of: FormatOf) -> dict[str, _Tally]:
    """Tallies of a run's benchmarks. `format_of` names the format that split a benchmark's completions."""
    found: dict[str, _Tally] = {}
    formats: dict[str, Format | None] = {}
    for sample in run.samples():
        name = sample.benchmark
        if name not in found:
            found[name] = _Tally()
            outside = run.manifest.kind in _OUTSIDE  # its prompts asked for another format, if for any
            formats[name] = None if outside or name.endswith(FORCED) else format_of(name)
        found[name].add(sample, formats[name])
    return found


def cell(condition: str, benchmark: str, runs: Sequence[tuple[int, Run, _Tally]]) -> Cell:
    """One cell from the runs (seed, run, tally) of its seeds, on the questions that all of them have.

    :raises KkwarmError: the runs are of different protocols, or asked one question in different words.
    """
    protocols = [protocol(run.manifest, benchmark) for _, run, _ in runs]
    for (_, run, _), other in zip(runs[1:], protocols[1:], strict=True):
        if other != protocols[0]:
            differs = _differing(protocols[0], other)
            raise KkwarmError(f"{runs[0][1].path} and {run.path} are seeds of {condition!r} but differ in {differs}")
    common = set.intersection(*(set(tally.correct) for _, _, tally in runs))
    everything = set.union(*(set(tally.correct) for _, _, tally in runs))
    counts = {tally.correct[i][1] for _, _, tally in runs for i in tally.correct}
    ids = tuple(sorted(common))
    scores = np.array([[t.correct[i][0] / t.correct[i][1] for i in ids] for _, _, t in runs], float)
    first = runs[0][2]
    for _, run, tally in runs[1:]:
        moved = next((i for i in ids if tally.prompts[i] != first.prompts[i]), None)
        if moved is not None:
            raise KkwarmError(
                f"{run.path}: question {moved} of {benchmark} was asked in other words than in {runs[0][1].path}"
            )
    judged = sum(t.judged for _, _, t in runs)
    tokens = np.array([n for _, _, t in runs for n in t.tokens], float)
    status: Counter[str] = Counter()
    for _, _, tally in runs:
        status += tally.status
    return Cell(
        condition=condition,
        benchmark=benchmark,
        seeds=tuple(seed for seed, _, _ in runs),
        ids=ids,
        prompts=tuple(first.prompts[i] for i in ids),
        scores=scores,
        samples=sum(status.values()),
        status=dict(status),
        protocol=protocols[0],
        works=sum(t.works for _, _, t in runs) / judged if judged else None,
        tokens=float(tokens.mean()) if tokens.size else None,
        lengths=(float(np.median(tokens)), float(np.quantile(tokens, 0.95))) if tokens.size else None,
        partial=len(common) < len(everything) or len(counts) > 1 or not all(run.done for _, run, _ in runs),
        paths=tuple(str(run.path) for _, run, _ in runs),
        outside=any(run.manifest.kind in _OUTSIDE for _, run, _ in runs),
    )


def pair(first: Cell, second: Cell, *, common: bool = False) -> tuple[Scores, Scores]:
    """Scores of both cells on the same questions, seed by seed (the mean over seeds where the seeds differ).

    Where another tool drew the samples of one, protocols and prompts may differ: `differing` then says in what.

    :param common: where the questions differ, take those that both have.
    :raises PairingError: they answered different questions, other prompts, or by another protocol; says which.
    """
    lenient = first.outside or second.outside
    if first.protocol != second.protocol and not lenient:
        reason = f"they differ in {_differing(first.protocol, second.protocol)}"
        raise PairingError(first, second, reason, hint=_mend(first.protocol, second.protocol))
    a, b = _shared(first, second)
    missing = len(first.ids) + len(second.ids) - 2 * len(a)
    if not a or (missing and not common):
        few = "1 question is" if missing == 1 else f"{missing} questions are"
        reason = f"{few} in one only, of {len(first.ids)} and {len(second.ids)}"
        mend = (
            "`kkwarm compare --common` takes the questions that both have" if a else "they have no question in common"
        )
        raise PairingError(first, second, reason, hint=mend)
    moved = _moved(first, a, second, b)
    if moved and not lenient:
        raise PairingError(
            first, second, f"question {moved[0]} was asked in other words", hint="use one format for both"
        )
    return _aligned(first, a, second, b)


def differing(first: Cell, second: Cell) -> list[str]:
    """How the protocols of two cells differ, a phrase each; what one side does not tell is said to be unknown."""
    a, b = _shared(first, second)
    told = []
    if "" in {first.prompts[i] for i in a} | {second.prompts[i] for i in b}:
        told.append("the prompts of one are unknown")
    elif moved := _moved(first, a, second, b):
        told.append(f"{len(moved)} of {len(a)} questions were asked in other words")
    for key in ("version", *_PROTOCOL):
        if key == "format" or (key == "version" and (first.outside or second.outside)):
            continue  # the prompts themselves tell
        x, y = first.protocol.get(key), second.protocol.get(key)
        if x != y:
            told.append(f"{key} {_known(x)} and {_known(y)}")
    return told


def _known(value: Any) -> str:
    return "unknown" if value is None else str(value)


def _mend(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    if first.get("version") != second.get("version"):
        return "prompts, splits or verdict rules changed in between: bench the older checkpoint again"
    return "bench one of them again with the other's settings"


def _shared(first: Cell, second: Cell) -> tuple[list[int], list[int]]:
    """Where the questions that both have stand in each."""
    places = {i: n for n, i in enumerate(first.ids)}
    pairs = [(places[i], n) for n, i in enumerate(second.ids) if i in places]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _moved(first: Cell, a: Sequence[int], second: Cell, b: Sequence[int]) -> list[str]:
    """Questions that were asked in other words."""
    return [first.ids[x] for x, y in zip(a, b, strict=True) if first.prompts[x] != second.prompts[y]]


def _aligned(first: Cell, a: list[int], second: Cell, b: list[int]) -> tuple[Scores, Scores]:
    seeds = [s for s in first.seeds if s in second.seeds]
    if seeds and set(first.seeds) == set(second.seeds):
        rows = [first.seeds.index(s) for s in seeds], [second.seeds.index(s) for s in seeds]
        return first.scores[rows[0]][:, a], second.scores[rows[1]][:, b]
    return first.scores[:, a].mean(axis=0, keepdims=True), second.scores[:, b].mean(axis=0, keepdims=True)


def protocol(manifest: Manifest, benchmark: str) -> dict[str, Any]:
    """What must be equal for two runs to be compared: version, samples, and the benchmark's sampling and format."""
    config = manifest.config
    name = benchmark.removesuffix(FORCED)
    found = {"scorer": "kkwarm", **config, **config.get("sampling", {}).get(name, {})}
    if name in config.get("formats", {}):
        found["format"] = config["formats"][name]
    if name.startswith("lm_eval:"):  # lm-eval's own tasks, by its own prompts, settings and scoring
        found = {"scorer": "lm-eval"}
    elif manifest.kind == "bench":
        found |= {"few_shot": 0}
    found |= config.get("protocol", {}).get(name, {})
    if manifest.rescored_from:
        found["scorer"] = "kkwarm"
    return {"version": manifest.protocol, **{k: found[k] for k in _PROTOCOL if k in found}}


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    keys = sorted(k for k in {*first, *second} if first.get(k) != second.get(k))
    named = {"version": "protocol version"}
    return ", ".join(f"{named.get(k, k)} ({first.get(k)} and {second.get(k)})" for k in keys)
