"""The contamination check: compares training questions with evaluation questions before a run trains.

Two questions overlap in one of four ways (`Overlap.how`):

- ``id``: the same id in one domain;
- ``text``: the same text, apart from differences that do not change the question: case, white space, look-alike
  characters, punctuation between sentences, an introductory or closing sentence, the order of options;
- ``identity``: the same problem by the domain's `identity`, such as isomorphic puzzles;
- ``near``: near-duplicates by word 5-grams, for questions without an identity of their own. MinHash finds candidates,
  and the exact Jaccard similarity decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from kkwarm.data.splits import normalise
from kkwarm.errors import ContaminationError

GRAM_WORDS = 5
MIN_SIMILARITY = 0.8  # Jaccard similarity of two questions' 5-grams at which they count as near-duplicates
MIN_WORDS = 12  # shorter questions may follow one template without being the same
_WORD = re.compile(r"\w+|[-+*/^=<>]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_LOOK_ALIKES = str.maketrans("–—−‐‑“”„‘’", '-----"""\'\'')
# LaTeX and Markdown that only change the look, quotes, and separators of thousands.
_LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle)(?![a-z])|\\[,!;: ()\[\]]|[$\"'`]|\*\*|(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))"
)
_FRACTION = re.compile(r"\\[dt]frac(?![a-z])")
_STOP = re.compile(r"(?<![.,;:?])[.,;:?]++(?=\s|$)")
_AROUND_SIGN = re.compile(r"\s*([^\w\s])\s*")
_OPTION = re.compile(r"^\s*[(\[]?[A-J][)\].:]\s+", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.:?!])\s+|\n+")
_MAX_TRIMMED = 3  # sentences that may be removed at either end
_WORDS = r"\\?[^\W\d_]+(?:\{\})?"
_FILLER = re.compile(  # a sentence without content of its own: no digits and no symbols
    rf"{_WORDS}(?:[ ,'’-]+{_WORDS}){{0,15}}[.:?!]?\s*|(?:question|problem|exercise|task|puzzle|q)\s*\d*\s*[:.)]",
    re.IGNORECASE,
)
How = Literal["id", "text", "identity", "near"]


@dataclass(frozen=True, slots=True)
class Item:
    """A question for training or evaluation."""

    domain: str
    id: str
    question: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """An evaluation question that is also trained on. `similarity` is 1 except for near-duplicates."""

    how: How
    trained: Item
    evaluated: Item
    similarity: float = 1.0


Keys = Callable[[Item], Iterable[Hashable]]


def find_overlaps(
    trained: Iterable[Item], evaluated: Iterable[Item], identities: Mapping[str, Callable[[str], str]] | None = None
) -> list[Overlap]:
    """Every evaluation question that is also trained on, once each, with the strictest way in which it overlaps.

    :param identities: each domain's `identity`; domains that share one are compared by it. Two questions with an
        identity are not compared as near-duplicates. A question whose identity equals its normalised text counts as
        having none.
    """
    identities = identities or {}
    train, evaluation = list(trained), list(evaluated)
    overlaps: dict[tuple[str, str], Overlap] = {}

    def add_matches(how: How, train_keys: Keys, eval_keys: Keys | None = None) -> None:
        by_key: dict[Hashable, Item] = {}
        for item in train:
            for k in train_keys(item):
                by_key.setdefault(k, item)
        for item in evaluation:
            for k in (eval_keys or train_keys)(item):
                if k in by_key:
                    overlaps.setdefault((item.domain, item.id), Overlap(how, by_key[k], item))

    @cache
    def identity(item: Item) -> str | None:
        return identities[item.domain](item.question) if item.domain in identities else None

    def has_identity(item: Item) -> bool:
        return identity(item) not in (None, normalise(item.question))

    # Filler sentences are removed from one of the two questions at a time; the rest must equal the whole other one.
    add_matches("text", lambda item: _text_keys(item.question), lambda item: _trimmed_keys(item.question))
    add_matches("text", lambda item: _trimmed_keys(item.question), lambda item: _text_keys(item.question))
    add_matches("id", lambda item: [(item.domain, item.id)])
    add_matches("identity", lambda item: [(identities[item.domain], k)] if (k := identity(item)) is not None else [])
    rest = [i for i in evaluation if (i.domain, i.id) not in overlaps]
    without_identity = [i for i in train if not has_identity(i)]
    # Training questions that their domain's `identity` could not parse may still be near one that has an identity.
    unparsed = [i for i in without_identity if i.domain in identities]
    near = _near_duplicates(without_identity, [i for i in rest if not has_identity(i)])
    near += _near_duplicates(unparsed, [i for i in rest if has_identity(i)])
    for overlap in near:
        overlaps.setdefault((overlap.evaluated.domain, overlap.evaluated.id), overlap)
    return list(overlaps.values())


def check_overlaps(
    trained: Iterable[Item],
    evaluated: Iterable[Item],
    identities: Mapping[str, Callable[[str], str]] | None = None,
    *,
    allow: bool = False,
) -> list[Overlap]:
    """The overlaps, which are recorded with the run.

    :raises ContaminationError: there are overlaps and `allow` is False; the message names the first ones.
    """
    overlaps = find_overlaps(trained, evaluated, identities)
    if overlaps and not allow:
        shown = "; ".join(
            f"{o.evaluated.domain} {o.evaluated.id} = training question {o.trained.id} ({o.how})" for o in overlaps[:5]
        )
        more = f" and {len(overlaps) - 5} more" if len(overlaps) > 5 else ""
        raise ContaminationError(
            f"{len(overlaps)} evaluation questions are also trained on: {shown}{more}",
            hint="--drop-contaminated removes them from training; --allow-contamination marks every result instead",
        )
    return overlaps


def contaminated_items(
    trained: Iterable[Item], evaluated: Iterable[Item], identities: Mapping[str, Callable[[str], str]] | None = None
) -> set[Item]:
    """The training questions to remove so that `find_overlaps` finds nothing."""
    train, evaluation = list(trained), list(evaluated)
    contaminated: set[Item] = set()
    # `find_overlaps` names each evaluation question once, although several training questions may match it. Most of
    # those have the same text, as with several traces per question.
    while overlaps := find_overlaps([i for i in train if i not in contaminated], evaluation, identities):
        questions = {(o.trained.domain, o.trained.question) for o in overlaps if o.how != "id"}
        contaminated.update(o.trained for o in overlaps)
        contaminated.update(i for i in train if (i.domain, i.question) in questions)
    return contaminated


def _canonical_text(text: str) -> str:
    """The text without differences that do not change the question; the normalised text if nothing else remains."""
    plain = normalise(text)
    text = _LAYOUT.sub("", _INVISIBLE.sub("", plain).translate(_LOOK_ALIKES))
    text = _STOP.sub("", _FRACTION.sub(r"\\frac", text))
    return _AROUND_SIGN.sub(r"\1", " ".join(text.split())).strip() or plain


def _text_keys(question: str) -> Iterator[Hashable]:
    """Keys for comparing questions by text: the canonical text, and the same with sorted options."""
    yield _canonical_text(question)
    stem, options = _options(question)
    if options:
        yield _canonical_text(stem), tuple(sorted(map(_canonical_text, options)))


def _trimmed_keys(question: str) -> Iterator[Hashable]:
    """The text keys of the question, and of the question without filler sentences at its beginning and end."""
    yield from _text_keys(question)
    parts = _SENTENCE.split(question.strip())
    first = next(
        (i for i, part in enumerate(parts[:_MAX_TRIMMED]) if not _FILLER.fullmatch(part)), min(_MAX_TRIMMED, len(parts))
    )
    last = next(
        (i for i, part in enumerate(parts[:-_MAX_TRIMMED:-1]) if not _FILLER.fullmatch(part)),
        min(_MAX_TRIMMED, len(parts)),
    )
    for begin in range(first + 1):
        for end in range(len(parts) - last, len(parts) + 1):
            if 0 < end - begin < len(parts):
                yield _canonical_text(" ".join(parts[begin:end]))


def _options(question: str) -> tuple[str, list[str]]:
    """The question without its lettered options, and the options without their letters."""
    lines = question.split("\n")
    options = [_OPTION.sub("", line, count=1) for line in lines if _OPTION.match(line)]
    if len(options) < 2:
        return question, []
    return "\n".join(line for line in lines if not _OPTION.match(line)), options


def _grams(text: str) -> frozenset[str]:
    """Word n-grams. Those of lettered options are separate, so that the order of options does not count."""
    stem, options = _options(text)
    pieces = [_WORD.findall(_canonical_text(piece)) for piece in (stem, *options)]
    if sum(map(len, pieces)) < MIN_WORDS:
        return frozenset()
    return frozenset(" ".join(p[i : i + GRAM_WORDS]) for p in pieces for i in range(max(1, len(p) - GRAM_WORDS + 1)))


def _near_duplicates(train: Sequence[Item], evaluation: Sequence[Item]) -> list[Overlap]:
    if not train or not evaluation:
        return []
    from datasketch import MinHash, MinHashLSH

    def signature(grams: frozenset[str]) -> Any:
        m = MinHash(num_perm=128, seed=1)
        m.update_batch([g.encode() for g in grams])
        return m

    # The threshold for candidates is lower, because MinHash only estimates the similarity.
    index = MinHashLSH(threshold=MIN_SIMILARITY - 0.2, num_perm=128)
    grams = [_grams(i.question) for i in train]
    for n, g in enumerate(grams):
        if g:
            index.insert(n, signature(g))
    overlaps = []
    for item in evaluation:
        item_grams = _grams(item.question)
        best, best_index = 0.0, -1
        for n in index.query(signature(item_grams)) if item_grams else ():
            similarity = len(item_grams & grams[n]) / len(item_grams | grams[n])
            if similarity > best:
                best, best_index = similarity, n
        if best >= MIN_SIMILARITY:
            overlaps.append(Overlap("near", train[best_index], item, best))
    return overlaps
