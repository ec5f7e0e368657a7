"""Expands a domain into task, verifier and benchmark, and narrows them or a teacher by the facet (``NAME:VALUE``)."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

from kkwarm.data.pins import find_mismatch, refuse, unpinned_allowed
from kkwarm.data.splits import normalise
from kkwarm.errors import KkwarmError, unknown_name
from kkwarm.types import Benchmark, Domain, Example, Loader, Mismatch, Split, Task, Teacher, Trace, Verifier

_EXAMINED = 100  # traces that a narrowed teacher examines at most, for each one that is requested


def make_verifier(domain: Domain) -> Verifier:
    """The domain's verifier; a bare `check` function becomes a verifier with the domain's name."""
    if isinstance(domain.verifier, Verifier):
        return domain.verifier
    return Verifier(domain.name, domain.verifier)


def make_task(domain: Domain, verifier: str) -> Task:
    """The task: examples of split ``train`` whose content does not occur among the test examples."""

    def train() -> list[Example]:
        examples = _load_pinned(domain, "train")
        identity = domain.identity or normalise
        test = {identity(e.question) for e in examples if e.split == "test"}
        return [e for e in examples if e.split == "train" and identity(e.question) not in test]

    return Task(
        name=domain.name,
        load=train,
        verifier=verifier,
        protocol=domain.protocol,
        rewards=domain.rewards,
        gold=domain.gold,
        sampling=domain.sampling,
        facet=domain.facet,
        identity=domain.identity,
        reward=domain.reward,
        pin=domain.pins.get("train"),
        find_mismatch=partial(_find_mismatch, domain, "train"),
    )


def make_benchmark(domain: Domain, verifier: str) -> Benchmark:
    """The benchmark: examples of split ``test``."""

    def test() -> list[Example]:
        return [e for e in _load_pinned(domain, "test") if e.split == "test"]

    return Benchmark(
        name=domain.name,
        load=test,
        load_all=partial(_load_pinned, domain, "test", "train"),
        verifier=verifier,
        protocol=domain.protocol,
        sampling=domain.sampling,
        facet=domain.facet,
        facets=domain.facets,
        description=domain.description,
        identity=domain.identity,
        pin=domain.pins.get("test"),
        find_mismatch=partial(_find_mismatch, domain, "test"),
    )


def _load_pinned(domain: Domain, *splits: Split) -> list[Example]:
    """All examples of the domain."""
    examples = _load_examples(domain)
    if domain.pins and not unpinned_allowed():
        for split in splits:
            if (mismatch := _compare(domain, split, examples)) is not None:
                raise refuse(f"{domain.name} ({split} split)", mismatch)
    return examples


def _find_mismatch(domain: Domain, split: Split) -> Mismatch | None:
    return _compare(domain, split, _load_examples(domain)) if split in domain.pins else None


def _compare(domain: Domain, split: Split, examples: list[Example]) -> Mismatch | None:
    pin = domain.pins.get(split)
    return None if pin is None else find_mismatch(pin, [e for e in examples if e.split == split])


def _load_examples(domain: Domain) -> list[Example]:
    """:raises KkwarmError: `load` raised, because the data has an unexpected shape or the plugin has a bug."""
    try:
        return list(domain.load())
    except KkwarmError:
        raise
    except Exception as err:
        at = traceback.extract_tb(err.__traceback__)[-1]
        raise KkwarmError(
            f"the data of {domain.name} cannot be loaded: {type(err).__name__}: {err}",
            hint=f"{at.filename}, line {at.lineno}: the data has an unexpected shape, or the plugin has a bug",
        ) from err


def narrow_task(task: Task, value: str) -> Task:
    """The task with only those examples whose facet has that value."""
    return replace(task, name=f"{task.name}:{value}", load=_narrow("task", task.name, task.load, task.facet, value))


def narrow_benchmark(benchmark: Benchmark, value: str) -> Benchmark:
    """The benchmark with only those examples whose facet has that value."""

    def narrow(load: Loader) -> Callable[[], Iterable[Example]]:
        return _narrow("benchmark", benchmark.name, load, benchmark.facet, value)

    name = f"{benchmark.name}:{value}"
    return replace(benchmark, name=name, load=narrow(benchmark.load), load_all=narrow(benchmark.load_all))


def narrow_teacher(teacher: Teacher, facet: str | None, value: str) -> Teacher:
    """The teacher with only those traces whose ``meta[facet]`` has that value."""
    if facet is None:
        raise KkwarmError(f"domain {teacher.domain!r} has no facet to narrow by", hint=f"use {teacher.domain} alone")

    def traces(n: int, seed: int) -> Iterator[Trace]:
        values: set[str] = set()
        found = 0
        for trace in _until_exhausted(teacher.traces(n * _EXAMINED, seed)):
            if facet not in trace.meta:
                raise KkwarmError(f"the traces of teacher {teacher.name} have no {facet!r} in their meta")
            values.add(str(trace.meta[facet]))
            if str(trace.meta[facet]) == value:
                found += 1
                yield trace
            if found == n:
                return
        if not found:
            raise unknown_name(f"{facet} of {teacher.domain}", value, sorted(values))

    return replace(teacher, traces=traces)


def _until_exhausted(traces: Iterable[Trace]) -> Iterator[Trace]:
    """The traces up to an error, by which a teacher says that it has no more; an error before the first is raised."""
    started = False
    try:
        for trace in traces:
            started = True
            yield trace
    except KkwarmError:
        if not started:
            raise


def _narrow(kind: str, name: str, load: Loader, facet: str | None, value: str) -> Callable[[], list[Example]]:
    if facet is None:
        raise KkwarmError(f"{kind} {name!r} has no facet to narrow by", hint=f"use {name} alone")

    def load_narrowed() -> list[Example]:
        examples = list(load())
        chosen = [e for e in examples if str(e.meta.get(facet)) == value]
        if not chosen:
            values = sorted({str(e.meta.get(facet)) for e in examples})
            raise unknown_name(f"{facet} of {name}", value, values)
        return chosen

    return load_narrowed
