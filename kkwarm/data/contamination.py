"""The contamination check: compares what is trained on with what is evaluated on, before a run trains.

Four ways to be the same question: the same id in one domain; the same text but for what does not make it another
question (case, white space, look-alike signs, punctuation between sentences, a sentence that leads to it, the order
of options); the same problem by the domain's `identity` (isomorphic puzzles, say); and, where an identity says no more
than the text, near-duplicates by word 5-grams (MinHash finds candidates, the exact Jaccard similarity decides).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from kkwarm.data.splits import normalise
from kkwarm.errors import ContaminationError

__all__ = ["Item", "Overlap", "check_overlaps", "contaminated_items", "find_overlaps"]

GRAM = 5  # words
SIMILAR = 0.8  # Jaccard similarity of two questions' 5-grams from which on they are near-duplicates
SHORT = 12  # words; shorter questions of one template are alike without being the same
_WORD = re.compile(r"\w+|[-+*/^=<>]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_SAME_SIGN = str.maketrans("–—−‐‑“”„‘’", '-----"""\'\'')
# Of LaTeX and Markdown, what only changes the look; quotes; separators of thousands.
_LOOKS = re.compile(
    r"\\(?:left|right|displaystyle)(?![a-z])|\\[,!;: ()\[\]]|[$\"'`]|\*\*|(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))"
)
_FRACTION = re.compile(r"\\[dt]frac(?![a-z])")
_STOP = re.compile(r"(?<![.,;:?])[.,;:?]++(?=\s|$)")
_AROUND_SIGN = re.compile(r"\s*([^\w\s])\s*")
_OPTION = re.compile(r"^\s*[(\[]?[A-J][)\].:]\s+", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.:?!])\s+|\n+")
_CUT = 3  # sentences at most on either side
_WORDS = r"\\?[^\W\d_]+(?:\{\})?"
_ASIDE = re.compile(  # a sentence that says nothing of its own: no figure, no sign
    rf"{_WORDS}(?:[ ,'’-]+{_WORDS}){{0,15}}[.:?!]?\s*|(?:question|problem|exercise|task|puzzle|q)\s*\d*\s*[:.)]",
    re.IGNORECASE,
)
How = Literal["id", "text", "identity", "near"]


@dataclass(frozen=True, slots=True)
class Item:
    """A question that is trained on, or evaluated on."""

    domain: str
    id: str
    question: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """An evaluation item that is trained on, and by which likeness. `similarity` is 1 except for near-duplicates."""

    how: How
    trained: Item
    evaluated: Item
    similarity: float = 1.0


Keys = Callable[[Item], Iterable[Hashable]]


def find_overlaps(
    trained: Iterable[Item],
    evaluated: Iterable[Item],
    identities: Mapping[str, Callable[[str], str]] | None = None,
) -> list[Overlap]:
    """Every evaluated item that is trained on, once, by the strongest likeness found.

    :param identities: each domain's `identity`. Two questions that have one are not compared by near-duplicates; one
        whose identity is its normalised text has none.
    """
    identities = identities or {}
    train, evaluation = list(trained), list(evaluated)
    found: dict[tuple[str, str], Overlap] = {}

    def by_keys(how: How, keys: Keys, theirs: Keys | None = None) -> None:
        keyed: dict[Hashable, Item] = {}
        for item in train:
            for k in keys(item):
                keyed.setdefault(k, item)
        for item in evaluation:
            for k in (theirs or keys)(item):
                if k in keyed:
                    found.setdefault((item.domain, item.id), Overlap(how, keyed[k], item))

    @cache
    def identity(item: Item) -> str | None:
        return identities[item.domain](item.question) if item.domain in identities else None

    def named(item: Item) -> bool:
        return identity(item) not in (None, normalise(item.question))

    # What stands beside a question is cut off on one side at a time: the rest must be the whole of the other one.
    by_keys("text", lambda item: _texts(item.question), lambda item: _cut(item.question))
    by_keys("text", lambda item: _cut(item.question), lambda item: _texts(item.question))
    by_keys("id", lambda item: [(item.domain, item.id)])
    by_keys("identity", lambda item: [(item.domain, name)] if (name := identity(item)) is not None else [])
    rest = [i for i in evaluation if (i.domain, i.id) not in found]
    nameless = [i for i in train if not named(i)]
    unread = [i for i in nameless if i.domain in identities]  # reworded puzzles, say: near to a named one or not
    pairs = (nameless, [i for i in rest if not named(i)]), (unread, [i for i in rest if named(i)])
    for overlap in (overlap for some, others in pairs for overlap in _near(some, others)):
        found.setdefault((overlap.evaluated.domain, overlap.evaluated.id), overlap)
    return list(found.values())


def check_overlaps(
    trained: Iterable[Item],
    evaluated: Iterable[Item],
    identities: Mapping[str, Callable[[str], str]] | None = None,
    *,
    allow: bool = False,
) -> list[Overlap]:
    """The leaks, to be recorded with the run.

    :raises ContaminationError: there are some and `allow` is False; names the first ones.
    """
    overlaps = find_overlaps(trained, evaluated, identities)
    if overlaps and not allow:
        shown = "; ".join(
            f"{k.evaluated.domain} {k.evaluated.id} = trained {k.trained.id} ({k.how})" for k in overlaps[:5]
        )
        more = f" and {len(overlaps) - 5} more" if len(overlaps) > 5 else ""
        raise ContaminationError(
            f"{len(overlaps)} evaluation items are also trained on: {shown}{more}",
            hint="--drop-contaminated trains on the others; --allow-contamination goes on and marks every figure",
        )
    return overlaps


def contaminated_items(
    trained: Iterable[Item],
    evaluated: Iterable[Item],
    identities: Mapping[str, Callable[[str], str]] | None = None,
) -> set[Item]:
    """The items of `trained` without which `find_overlaps` finds nothing."""
    train, evaluation = list(trained), list(evaluated)
    found: set[Item] = set()
    # An evaluated item is named once, though several ask it: most of them, as samples do, in the same words.
    while overlaps := find_overlaps([i for i in train if i not in found], evaluation, identities):
        asked = {(k.trained.domain, k.trained.question) for k in overlaps if k.how != "id"}
        found.update(k.trained for k in overlaps)
        found.update(i for i in train if (i.domain, i.question) in asked)
    return found


def _gist(text: str) -> str:
    """The text without what does not make it another question; its normalised text where nothing else would be left."""
    plain = normalise(text)
    gist = _LOOKS.sub("", _INVISIBLE.sub("", plain).translate(_SAME_SIGN))
    gist = _STOP.sub("", _FRACTION.sub(r"\\frac", gist))
    return _AROUND_SIGN.sub(r"\1", " ".join(gist.split())).strip() or plain


def _texts(question: str) -> Iterator[Hashable]:
    """Keys of which two questions of the same text share one: its gist, and that with its options sorted."""
    yield _gist(question)
    stem, options = _options(question)
    if options:
        yield _gist(stem), tuple(sorted(map(_gist, options)))


def _cut(question: str) -> Iterator[Hashable]:
    """Its keys, and those without sentences before or after it that say nothing of their own."""
    yield from _texts(question)
    parts = _SENTENCE.split(question.strip())
    first = next((i for i, part in enumerate(parts[:_CUT]) if not _ASIDE.fullmatch(part)), min(_CUT, len(parts)))
    last = next((i for i, part in enumerate(parts[:-_CUT:-1]) if not _ASIDE.fullmatch(part)), min(_CUT, len(parts)))
    for begin in range(first + 1):
        for end in range(len(parts) - last, len(parts) + 1):
            if 0 < end - begin < len(parts):
                yield _gist(" ".join(parts[begin:end]))


def _options(question: str) -> tuple[str, list[str]]:
    """The question without its lettered options, and these without their letters; no options: all of it."""
    lines = question.split("\n")
    options = [_OPTION.sub("", line, count=1) for line in lines if _OPTION.match(line)]
    if len(options) < 2:
        return question, []
    return "\n".join(line for line in lines if not _OPTION.match(line)), options


def _grams(text: str) -> frozenset[str]:
    """Word n-grams, those of lettered options apart, so that their order does not count."""
    stem, options = _options(text)
    pieces = [_WORD.findall(_gist(piece)) for piece in (stem, *options)]
    if sum(map(len, pieces)) < SHORT:
        return frozenset()
    return frozenset(" ".join(p[i : i + GRAM]) for p in pieces for i in range(max(1, len(p) - GRAM + 1)))


def _near(train: Sequence[Item], evaluation: Sequence[Item]) -> list[Overlap]:
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
    overlaps = []
    for item in evaluation:
        mine = _grams(item.question)
        best, at = 0.0, -1
        for n in index.query(signature(mine)) if mine else ():
            similarity = len(mine & grams[n]) / len(mine | grams[n])
            if similarity > best:
                best, at = similarity, n
        if best >= SIMILAR:
            overlaps.append(Overlap("near", train[at], item, best))
    return overlaps
