"""Draws what the store lacks, judges it in batches and stores it as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from kkwarm.backends.base import Backend, Request
from kkwarm.evaluation.plan import Entry, Item
from kkwarm.evaluation.progress import Bars
from kkwarm.plugins import Registry
from kkwarm.store import Run
from kkwarm.types import Completion, Sample
from kkwarm.verify import Judge

__all__ = ["SampleCollector"]

_BATCH = 64  # completions judged at once
_WAIT = 5.0  # seconds after which fewer are judged, so that little is lost by a kill

Key = tuple[str, str, int]


@dataclass(slots=True)
class SampleCollector:
    """Completes `run`. `seconds` and `tokens` measure generation alone, without judging."""

    run: Run
    backend: Callable[[], Backend]  # opened when the first sample is missing
    samples: int
    judge: Judge
    registry: Registry
    bars: Bars
    seconds: float = 0.0
    tokens: int = 0
    counted: bool = True
    stored: dict[Key, Sample] = field(default_factory=dict)

    def __call__(self, entries: Sequence[Entry]) -> dict[Key, Sample]:
        """All samples of these benchmarks by (benchmark, id, index); generates those that the run lacks."""
        self.stored = {(s.benchmark, s.id, s.index): s for s in self.run.samples()}
        for entry in entries:
            requests = self._missing(entry)
            total = len(entry.items) * self.samples
            self.bars.begin(entry.name, total, total - sum(len(r.samples) for r in requests))
            if requests:
                self._complete(entry, requests)
        return self.stored

    def _missing(self, entry: Entry) -> list[Request]:
        found = []
        for item in entry.items:
            id_ = item.example.id
            lacking = tuple(i for i in range(self.samples) if (entry.name, id_, i) not in self.stored)
            if lacking:
                found.append(Request(f"{entry.name}/{id_}", item.prompt, lacking, entry.format.stop))
        return found

    def _complete(self, entry: Entry, requests: Sequence[Request]) -> None:
        items = {f"{entry.name}/{item.example.id}": item for item in entry.items}
        wave: list[tuple[Item, int, Completion]] = []
        since = time.monotonic()
        for request, index, completion in self._timed(self.backend().generate(requests, entry.sampling)):
            wave.append((items[request.key], index, entry.completed(completion)))
            if len(wave) >= _BATCH or time.monotonic() - since > _WAIT:
                self._store(entry, wave)
                wave, since = [], time.monotonic()
        self._store(entry, wave)

    def _timed(self, draws: Iterator[tuple[Request, int, Completion]]) -> Iterator[tuple[Request, int, Completion]]:
        while True:
            began = time.perf_counter()
            drawn = next(draws, None)
            self.seconds += time.perf_counter() - began
            if drawn is None:
                return
            if drawn[2].n_tokens is None:
                self.counted = False
            self.tokens += drawn[2].n_tokens or 0
            yield drawn

    def _store(self, entry: Entry, wave: Sequence[tuple[Item, int, Completion]]) -> None:
        if not wave:
            return
        facet = entry.benchmark.facet
        verdicts = self.judge.verify(entry.verifier, entry.format, [(item.example, c) for item, _, c in wave])
        new = []
        for (item, index, completion), verdict in zip(wave, verdicts, strict=True):
            example = item.example
            meta = {facet: example.meta[facet]} if facet is not None and facet in example.meta else {}
            new.append(Sample(entry.name, example.id, index, completion, verdict, item.prompt_hash, meta))
        self.run.append(new)
        for sample in new:
            self.stored[sample.benchmark, sample.id, sample.index] = sample
            self.registry.call_hook("kkwarm_sample_scored", sample=sample)
        self.bars.advance(len(new))
