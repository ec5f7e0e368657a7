"""The rules of `kkwarm check` on examples, prompts, format and rewards: no verifier is asked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping

from kkwarm.data.contamination import Item, find_overlaps
from kkwarm.data.splits import content_hash, fingerprint, normalise
from kkwarm.testing.subject import Rule, Subject, shorten
from kkwarm.testing.subprocess_load import load_in_subprocess
from kkwarm.types import Completion, Example, Status

__all__ = ["DATA_PARTS", "DATA_RULES", "unusable"]

# `{name}` or `{{name}}`, as a template leaves it that was not filled in; not LaTeX's \text{name} or x_{name}.
_FIELD = re.compile(r"(?<![\w\\^_}\]{])\{{1,2}[A-Za-z_]\w*\}{1,2}")


def unusable(examples: Iterable[object]) -> str:
    """Why a list of what `load` gave cannot be looked at any further; empty: it can."""
    empty = True
    for at, e in enumerate(examples):
        empty = False
        if not isinstance(e, Example):
            return f"load() gave {_a(e)}; it must give kkwarm.types.Example objects"
        if not isinstance(e.id, str) or not e.id:
            return f"example {at} has the id {shorten(e.id)}; ids are non-empty strings"
        if not isinstance(e.question, str) or not e.question.strip():
            return f"the question of {e.id} is {shorten(e.question)}; questions are non-empty text"
        if not isinstance(e.meta, Mapping):
            return f"the meta of {e.id} is {_a(e.meta)}; it must be a dict"
    return "load() gave no example" if empty else ""


def _ids(s: Subject) -> Iterator[str]:
    seen: set[str] = set()
    for e in s.examples:
        if e.id in seen:
            yield f"id {e.id!r} stands twice"
        seen.add(e.id)
    s.note = f"{len(seen):,} ids"


def _questions(s: Subject) -> Iterator[str]:
    asked: dict[str, Example] = {}
    again = 0
    for e in s.examples:
        first = asked.setdefault(normalise(e.question), e)
        if first is not e and first.split == e.split:
            again += 1
            if first.answer != e.answer:
                yield f"{first.id} and {e.id} ask the same and have other answers: {shorten(first.question)}"
    s.note = f"{again:,} ask again what another one asks" if again else "each asks something else"


def _deterministic(s: Subject) -> Iterator[str]:
    again = list(s.domain.load())
    if not again:
        yield "load() gives nothing the second time: it hands out an iterator that is used up"
    elif fingerprint(s.examples) != fingerprint(again):
        same = sorted(map(content_hash, s.examples)) == sorted(map(content_hash, again))
        yield f"load() gives {'another order or other ids' if same else 'other examples'} the second time"
    elsewhere = load_in_subprocess(s.domain, s.registry)
    if elsewhere is None:
        s.note = "in this process; its load cannot be sent to another one"
    elif elsewhere != fingerprint(s.examples):
        yield "load() gives other examples, or another order, in another process: a set, a clock, a generator unseeded?"
    else:
        s.note = "here and in another process"


def _json(s: Subject) -> Iterator[str]:
    for e in s.examples:
        for what, value in (("answer", e.answer), ("meta", dict(e.meta))):
            try:
                same = json.loads(json.dumps(value, allow_nan=False)) == value
            except (TypeError, ValueError) as err:
                yield f"{what} of {e.id} is no JSON data: {err}"
                return
            if not same:
                yield f"{what} of {e.id} changes on the way through JSON (tuples, or keys that are no strings)"


def _splits(s: Subject) -> Iterator[str]:
    if not any(e.split == "test" for e in s.examples):
        yield "no example has the split test: nothing to evaluate on"
    odd = next((e for e in s.examples if e.split not in ("train", "test")), None)
    if odd is not None:
        yield f"{odd.id} has the split {odd.split!r}; there are train and test"
    side = {content_hash(e): e for e in s.examples if e.split == "test"}
    for e in s.examples:
        if e.split == "train" and content_hash(e) in side:
            yield f"train {e.id} asks the same as test {side[content_hash(e)].id}; kkwarm.data.holdout keeps them apart"
            return
    trained, asked = (
        [Item(s.domain.name, e.id, e.question) for e in s.examples if e.split == w] for w in ("train", "test")
    )
    identities = {} if s.domain.identity is None else {s.domain.name: s.domain.identity}
    for k in find_overlaps(trained, asked, identities):
        if k.how != "id":  # a rule of its own
            yield (
                f"train {k.trained.id} is too like test {k.evaluated.id} ({k.how}): the contamination check will stop on it;"
                " train on another (holdout's `never`), or give the domain an `identity`"
            )
            return


def _facets(s: Subject) -> Iterator[str]:
    facet = s.domain.facet
    if facet is None:
        s.note = "none"
        return
    lacking = next((e for e in s.examples if facet not in e.meta), None)
    if lacking is not None:
        has = ", ".join(map(str, lacking.meta)) or "nothing"
        yield f"the domain's facet {facet!r} is not in the meta of {lacking.id}, which has {has}"
    s.note = f"{facet}: {len({str(e.meta.get(facet)) for e in s.examples}):,} values"


def _prompts(s: Subject) -> Iterator[str]:
    fields = [set(_FIELD.findall(e.question)) for e in s.sample]
    if len(fields) > 1 and (left := set.intersection(*fields)):
        yield f"every question has {min(left)}: a template that was not filled in?"
    if s.format.chat:
        s.note = "by the checkpoint's own chat template"
        s.shown = s.sample[0].question
        return
    s.shown = s.format.render(s.sample[0].question)
    made: dict[str, Example] = {}
    for e in s.sample:
        prompt = s.format.render(e.question)
        if not isinstance(prompt, str) or not prompt.strip():
            yield f"the prompt of {e.id} is empty"
        if prompt != s.format.render(e.question):
            yield f"the prompt of {e.id} changes between two renderings"
        other = made.setdefault(prompt, e)
        if normalise(other.question) != normalise(e.question):
            yield f"{other.id} and {e.id} ask different things and have one prompt"


def _round_trip(s: Subject) -> Iterator[str]:
    for e in s.sample[:5]:
        answer = s.gold(e) if s.domain.gold is not None else "x"
        response = s.format.split(Completion(s.format.compose("because", answer), finish_reason="stop"))
        if response.problem or (response.answer or "").strip() != answer.strip():
            got = response.problem or f"it reads {shorten(response.answer)}"
            yield f"format {s.format.name} does not split what it composed of {shorten(answer)} for {e.id}: {got}"


def _complete(s: Subject) -> Iterator[str]:
    table = {status: s.domain.rewards.for_status(status) for status in Status}
    s.note = ", ".join(f"{status} {value:+g}" for status, value in table.items())
    for status, value in table.items():
        if not math.isfinite(value):
            yield f"status {status} is rewarded {value}"


def _rewards(s: Subject) -> Iterator[str]:
    rewards = {status: s.domain.rewards.for_status(status) for status in Status}
    best = rewards.pop(Status.CORRECT)
    for status, value in rewards.items():
        if value >= best:
            yield f"status {status} is rewarded {value:g}, no less than correct ({best:g})"


DATA_RULES: dict[str, Rule] = {
    "ids are unique": _ids,
    "a question has one answer": _questions,
    "loading is deterministic": _deterministic,
    "examples are JSON data": _json,
    "splits are disjoint": _splits,
    "facets are given": _facets,
    "prompts render": _prompts,
    "the format round-trips": _round_trip,
    "the reward table is complete": _complete,
    "correct is rewarded most": _rewards,
}


# The part of a domain that each rule is about.
DATA_PARTS: dict[str, str] = dict.fromkeys(DATA_RULES, "load") | {
    "facets are given": "facet",
    "the format round-trips": "format",
    "the reward table is complete": "rewards",
    "correct is rewarded most": "rewards",
}


def _a(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
