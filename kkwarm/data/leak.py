"""The leak gate: compares what is trained on with what is evaluated on, before a run trains.

Four ways to be the same question: the same id in one domain; the same text once normalised; the same problem by the
domain's `identity` (isomorphic puzzles, say); and, for domains without an identity, near-duplicates by word 5-grams
(MinHash finds candidates, the exact Jaccard similarity decides).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kkwarm.data.splits import normalise
from kkwarm.errors import LeakError

__all__ = ["Item", "Leak", "find_leaks", "gate"]

GRAM = 5  # words
SIMILAR = 0.8  # Jaccard similarity of two questions' 5-grams from which on they are near-duplicates
SHORT = 12  # words; shorter questions of one template are alike without being the same
_WORD = re.compile(r"\w+")
How = Literal["id", "text", "identity", "near"]


@dataclass(frozen=True, slots=True)
class Item:
    """A question that is trained on, or evaluated on."""

    domain: str
    id: str
    question: str


@dataclass(frozen=True, slots=True)
class Leak:
    """An evaluation item that is trained on, and by which likeness. `similarity` is 1 except for near-duplicates."""

    how: How
    trained: Item
    evaluated: Item
    similarity: float = 1.0


def find_leaks(
    trained: Iterable[Item],
    evaluated: Iterable[Item],
    identities: Mapping[str, Callable[[str], str]] | None = None,
) -> list[Leak]:
    """Every evaluated item that is trained on, once, by the strongest likeness found.

    :param identities: each domain's `identity`; its domain's items are then not compared by near-duplicates.
    """
    identities = identities or {}
    train, evaluation = list(trained), list(evaluated)
    found: dict[tuple[str, str], Leak] = {}

    def by_key(how: How, key: Callable[[Item], Any]) -> None:
        keyed: dict[Any, Item] = {}
        for item in train:
            k = key(item)
            if k is not None:
                keyed.setdefault(k, item)
        for item in evaluation:
            k = key(item)
            if k in keyed:
                found.setdefault((item.domain, item.id), Leak(how, keyed[k], item))

    def identity(item: Item) -> tuple[str, str] | None:
        return (item.domain, identities[item.domain](item.question)) if item.domain in identities else None

    by_key("text", lambda item: normalise(item.question))
    by_key("id", lambda item: (item.domain, item.id))
    by_key("identity", identity)
    fuzzy = [i for i in train if i.domain not in identities]
    rest = [i for i in evaluation if i.domain not in identities and (i.domain, i.id) not in found]
    for leak in _near(fuzzy, rest):
        found.setdefault((leak.evaluated.domain, leak.evaluated.id), leak)
    return list(found.values())


def gate(
    trained: Iterable[Item],
    evaluated: Iterable[Item],
    identities: Mapping[str, Callable[[str], str]] | None = None,
    *,
    allow: bool = False,
) -> list[Leak]:
    """The leaks, to be recorded with the run.

    :raises LeakError: there are some and `allow` is False; names the first ones.
    """
    leaks = find_leaks(trained, evaluated, identities)
    if leaks and not allow:
        shown = "; ".join(
            f"{k.evaluated.domain} {k.evaluated.id} = trained {k.trained.id} ({k.how})" for k in leaks[:5]
        )
        more = f" and {len(leaks) - 5} more" if len(leaks) > 5 else ""
        raise LeakError(
            f"{len(leaks)} evaluation items are also trained on: {shown}{more}",
            hint="train on the domain's training split, or go on with --allow-leak, which marks every figure",
        )
    return leaks


def _grams(text: str) -> frozenset[str]:
    words = _WORD.findall(normalise(text))
    if len(words) < SHORT:
        return frozenset()
    return frozenset(" ".join(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1))


def _near(train: Sequence[Item], evaluation: Sequence[Item]) -> list[Leak]:
    if not train or not evaluation:
        return []
    from datasketch import MinHash, MinHashLSH

    def signature(grams: frozenset[str]) -> Any:
        m = MinHash(num_perm=128, seed=1)
        m.update_batch([g.encode() for g in grams])
        return m

    # A lower threshold for candidates than for leaks: MinHash estimates, and a miss would be silent.
    index = MinHashLSH(threshold=SIMILAR - 0.2, num_perm=128)
    grams = [_grams(i.question) for i in train]
    for n, g in enumerate(grams):
        if g:
            index.insert(n, signature(g))
    leaks = []
    for item in evaluation:
        mine = _grams(item.question)
        best, at = 0.0, -1
        for n in index.query(signature(mine)) if mine else ():
            similarity = len(mine & grams[n]) / len(mine | grams[n])
            if similarity > best:
                best, at = similarity, n
        if best >= SIMILAR:
            leaks.append(Leak("near", train[at], item, best))
    return leaks
