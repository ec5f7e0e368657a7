"""The contamination check of a run: its training questions against the evaluated questions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from kkwarm.data.contamination import Item, check_overlaps, contaminated_items
from kkwarm.data.pins import find_unpinned, unpinned_text
from kkwarm.errors import KkwarmError, warn
from kkwarm.evaluation.lm_eval_index import LM_EVAL_PREFIX
from kkwarm.evaluation.plan import check_benchmark_name
from kkwarm.plugins import registry
from kkwarm.schema.settings import DistillConfig, TrainConfig
from kkwarm.store import Run, read_contamination
from kkwarm.train import distributed
from kkwarm.types import Benchmark, Example, Task, Trace

Question = TypeVar("Question", Example, Trace)

ALLOW_CONTAMINATION = "KKWARM_ALLOW_CONTAMINATION"  # set by `kkwarm study --allow-contamination`, for its workers


def contamination_check(
    run: Run, trained: Iterable[Example | Trace], domains: Sequence[str], config: DistillConfig | TrainConfig
) -> None:
    """Compares training questions with benchmarks before a run trains.

    Records the overlaps in the manifest (``contamination``), together with those of the model that the run starts from,
    and domains whose data is not the published data (``unpinned``).

    :param domains: the domains of `trained`. Where `config` names no benchmarks, their own are compared; one whose data
        is not available is recorded as not compared.
    :raises ContaminationError: there are overlaps, and they are not allowed.
    """
    if not distributed.is_main():
        return
    _record_unpinned(run, domains)
    names, evaluated, unavailable = _evaluated_items(domains, config.decontaminate_against)
    items = [_item(t, domains) for t in trained]
    allow = config.allow_contamination or os.environ.get(ALLOW_CONTAMINATION) == "1"
    overlaps = [
        {"domain": o.evaluated.domain, "id": o.evaluated.id, "trained": o.trained.id, "how": o.how}
        for o in check_overlaps(items, evaluated, _identities(), allow=allow)
    ]
    if run.manifest.model is not None:
        overlaps += [o for o in read_contamination(run.manifest.model.checkpoint) if o not in overlaps]
    compared = [name for name in names if name not in unavailable]
    run.record(compared_with=compared, not_compared=unavailable, contamination=overlaps)


def _record_unpinned(run: Run, domains: Sequence[str]) -> None:
    """Records and prints which domains are trained on data that is not the published data."""
    tasks = {name: task for name in domains if (task := registry().tasks.get(_base(name))) is not None}
    unpinned = {name: entry for name, task in tasks.items() if (entry := find_unpinned(task)) is not None}
    run.record(unpinned=unpinned)
    for name, entry in unpinned.items():
        warn(f"{name}: {unpinned_text(entry)}")


def decontaminate(trained: Sequence[Question], domains: Sequence[str], against: Sequence[str]) -> list[Question]:
    """The items of `trained` that contain no question of the benchmarks `against` (empty: of `domains`), in order."""
    _, evaluated, _ = _evaluated_items(domains, against)
    items = [_item(t, domains) for t in trained]
    contaminated = contaminated_items(items, evaluated, _identities())
    return [t for t, item in zip(trained, items, strict=True) if item not in contaminated]


def _evaluated_items(domains: Sequence[str], against: Sequence[str]) -> tuple[list[str], list[Item], dict[str, str]]:
    """The benchmarks' names, their questions, and the reasons why some benchmarks are unavailable."""
    reg = registry()
    names = list(dict.fromkeys(against or domains))
    items: list[Item] = []
    unavailable: dict[str, str] = {}
    for name in names:
        if name.startswith(LM_EVAL_PREFIX):
            from kkwarm.evaluation.lm_eval_tasks import load_questions

            items += [Item(name, e.id, e.question) for e in load_questions(name)]
            continue
        if not against and _base(name) not in reg.benchmarks:
            continue  # a training domain without a benchmark
        if against:
            check_benchmark_name(name, reg)
        try:
            items += [Item(_base(name), e.id, e.question) for e in reg.benchmark(name, from_run=not against).load()]
        except KkwarmError as err:
            if against:
                raise
            unavailable[name] = str(err)
    return names, items, unavailable


def _item(trained: Example | Trace, domains: Sequence[str]) -> Item:
    domain = trained.domain if isinstance(trained, Trace) else _base(domains[0])
    return Item(domain, trained.id, trained.question)


def _identities() -> dict[str, Callable[[str], str]]:
    reg = registry()
    items: list[Task | Benchmark] = [*reg.tasks.values(), *reg.benchmarks.values()]
    return {item.name: item.identity for item in items if item.identity is not None}


def _base(name: str) -> str:
    """``kk`` for ``kk:5``: narrowing a domain changes neither ids nor questions."""
    return name if name in registry().benchmarks else name.partition(":")[0]
