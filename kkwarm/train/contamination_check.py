"""The contamination check in front of training: what is trained on against what is evaluated on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from kkwarm.data.contamination import Item, check_overlaps, contaminated_items
from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.store import Run, read_contamination
from kkwarm.train import distributed
from kkwarm.types import Example, Trace

__all__ = ["ALLOW_CONTAMINATION", "contamination_check", "decontaminate"]

Question = TypeVar("Question", Example, Trace)

ALLOW_CONTAMINATION = "KKWARM_ALLOW_CONTAMINATION"  # set by `kkwarm study --allow-contamination`, for its workers


def contamination_check(
    run: Run, trained: Iterable[Example | Trace], domains: Sequence[str], against: Sequence[str], *, allow: bool
) -> None:
    """Compares before a run trains, and keeps what leaks in its manifest (``contamination``), with what the model that it
    starts from was trained on.

    :param domains: what is trained on; its own benchmarks are compared with where `against` is empty. Where their data
        cannot be had, the manifest says that it was not compared; benchmarks named in `against` must be there.
    :param against: benchmarks; those of lm-eval's own (``lm_eval:NAME``) cannot be compared and are passed over.
    :param allow: go on in spite of leaks.
    :raises ContaminationError: there are some, and they are not allowed.
    """
    if not distributed.is_main():
        return
    names, asked, unread = _asked(domains, against)
    shown = [_item(t, domains) for t in trained]
    overlaps = check_overlaps(shown, asked, _identities(), allow=allow or os.environ.get(ALLOW_CONTAMINATION) == "1")
    found = [
        {"domain": k.evaluated.domain, "id": k.evaluated.id, "trained": k.trained.id, "how": k.how} for k in overlaps
    ]
    if (start := run.manifest.model) is not None:
        found += [k for k in read_contamination(start.checkpoint) if k not in found]
    run.record(compared_with=[n for n in names if n not in unread], not_compared=unread, contamination=found)


def decontaminate(trained: Sequence[Question], domains: Sequence[str], against: Sequence[str]) -> list[Question]:
    """Those of `trained` that ask nothing that is evaluated, in their order; parameters as in `contamination_check`.

    :raises KkwarmError: a benchmark of `against` does not exist, or cannot be loaded.
    """
    _, asked, _ = _asked(domains, against)
    items = [_item(t, domains) for t in trained]
    gone = contaminated_items(items, asked, _identities())
    return [t for t, item in zip(trained, items, strict=True) if item not in gone]


def _asked(domains: Sequence[str], against: Sequence[str]) -> tuple[list[str], list[Item], dict[str, str]]:
    """The benchmarks' names, what they ask, and, by name, why some could not be read."""
    reg = registry()
    names = [n for n in against or domains if not n.startswith("lm_eval:")]
    asked: list[Item] = []
    unread: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if not against and _base(name) not in reg.benchmarks:
            continue  # something to train on that nobody evaluates
        try:
            asked += [Item(_base(name), e.id, e.question) for e in reg.benchmark(name).load()]
        except KkwarmError as err:
            if against:
                raise
            unread[name] = str(err)
    return names, asked, unread


def _item(trained: Example | Trace, domains: Sequence[str]) -> Item:
    domain = trained.domain if isinstance(trained, Trace) else _base(domains[0])
    return Item(domain, trained.id, trained.question)


def _identities() -> dict[str, Callable[[str], str]]:
    return {base: i for base, d in registry().domains.items() if (i := d.identity) is not None}


def _base(name: str) -> str:
    """``kk`` of ``kk:5``: narrowing changes neither ids nor questions."""
    return name if name in registry().domains else name.partition(":")[0]
