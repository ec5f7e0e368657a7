"""The rules of `kkwarm check` on verdicts, and on the benchmark that is made of them."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

from kkwarm.errors import KkwarmError
from kkwarm.testing.scripted import ScriptedModel
from kkwarm.testing.subject import SAMPLE, Rule, Subject, shorten
from kkwarm.types import Example, Status

__all__ = ["QUICK", "SLOW_S", "VERDICT_PARTS", "VERDICT_RULES"]

QUICK = "verdicts are quick"  # comes first: where it is broken, the other rules would take for ever
SLOW_S = 2.0  # seconds a verdict may take on average before RLVR would wait for it
BUDGET_S = 5.0  # for gold answers: all of them in that time, or as many as there is time for
UNTRIED = "not tried: there is no gold answer"


def _speed(s: Subject) -> Iterator[str]:
    if not s.golds:
        s.note = UNTRIED
        return
    s.verdicts(s.golds[:1])  # starts the worker, where there is one
    for pairs in (s.golds[1:4] or s.golds, s.golds):
        started = time.perf_counter()
        s.verdicts(pairs)
        each = (time.perf_counter() - started) / len(pairs)
        s.note = f"{1e3 * each:.3g} ms a verdict"
        if each > SLOW_S:
            yield f"a verdict takes {each:.1f} s: RLVR would wait for it; no other verdict is tried"
            return


def _gold(s: Subject) -> Iterator[str]:
    if s.domain.gold is None:
        yield "the domain has no gold(example): no right answer can be tried"
        return
    started = time.perf_counter()
    tried = 0
    while tried < len(s.ranked) and (tried < SAMPLE or time.perf_counter() - started < BUDGET_S):
        pairs = [(e, s.gold(e)) for e in s.ranked[tried : tried + SAMPLE]]
        for (e, gold), v in zip(pairs, s.verdicts(pairs), strict=True):
            if not v.correct:
                yield f"the gold answer of {e.id}, {shorten(gold)}, is judged {v.status}" + (
                    v.reason and f": {v.reason}"
                )
        tried += len(pairs)
    s.note = f"{tried:,} of {len(s.ranked):,}"


def _others(s: Subject) -> Iterator[str]:
    golds, pairs = s.golds, s.others
    if len(golds) > 1 and len({gold for _, gold in golds}) == 1:
        yield f"all {len(golds)} gold answers are {shorten(golds[0][1])}: one answer is right everywhere"
    accepted = [pair for pair, v in zip(pairs, s.verdicts(pairs), strict=True) if v.correct]
    s.note = f"{len(pairs)} tried" if pairs else UNTRIED
    if len(accepted) > len(pairs) // 2:
        e, answer = accepted[0]
        count = f"{len(accepted)} of {len(pairs)}"
        yield f"{count} answers of other examples are accepted, such as {shorten(answer)} for {e.id}"


def _empty(s: Subject) -> Iterator[str]:
    for text in ("", " ", "\n", "?", "None"):
        pairs = [(e, text) for e in s.sample if s.domain.gold is None or s.gold(e).strip() != text.strip()]
        for (e, _), v in zip(pairs, s.verdicts(pairs), strict=True):
            if v.correct:
                yield f"the answer {text!r} is accepted for {e.id}"


def _pure(s: Subject) -> Iterator[str]:
    """Answers judged before are judged again, the last one first: what counts or remembers gives itself away."""
    pairs = [*s.golds, *s.others]
    s.note = f"{len(pairs)} judged twice" if pairs else UNTRIED
    before = [s.first[e.id, a] if (e.id, a) in s.first else s.verdicts([(e, a)])[0] for e, a in pairs]
    again = s.verdicts(pairs[::-1])[::-1]
    for (e, answer), a, b in zip(pairs, before, again, strict=True):
        if (a.status, a.answer) != (b.status, b.answer):
            changes = f"{a.status}, then {b.status}" if a.status != b.status else f"{a.answer!r}, then {b.answer!r}"
            yield f"the verdict on {shorten(answer)} for {e.id} changes between two calls: {changes}"


def _left_alone(s: Subject) -> Iterator[str]:
    """Golds and answers of others, so that every branch of a usual verifier is taken."""
    if s.domain.gold is None:
        s.note = UNTRIED
        return
    mine = copy.deepcopy(s.untouched)
    shifted = mine[1:] + mine[:1]
    answers = [s.gold(e) for e in mine], [s.gold(o) for o in shifted]
    verdicts = [v for given in answers for v in s.verdicts(list(zip(mine, given, strict=True)))]
    changed = mine != s.untouched or any(
        v.status is Status.ERROR and "changed the example" in v.reason for v in verdicts
    )
    if changed:
        yield f"verifier {s.verifier.name} of {s.owner} changes the example that it judges"


def _odd(s: Subject) -> Iterator[str]:
    odd = ["\0", "\ud800", "((((" * 500, "9" * 5_000, "<answer>", "ａ", "𝟒", "-", "1e999", "½", "x = y"]
    e = s.sample[0]
    for text, v in zip(odd, s.verdicts([(e, t) for t in odd]), strict=True):
        if v.status is Status.ERROR:
            yield f"on the answer {shorten(text)}, {v.reason}"
    s.note = f"{len(odd)} tried"


def _benchmark(s: Subject) -> Iterator[str]:
    """On a scripted model that answers every question once rightly and once not at all."""
    from kkwarm.evaluation.smoke_run import smoke_run

    def model(examples: dict[str, Example]) -> ScriptedModel:
        def reply(prompt: str, index: int) -> str:
            right = s.domain.gold is not None and index == 0
            return s.format.compose("some reasoning", s.gold(examples[prompt])) if right else ""

        return ScriptedModel(reply)

    try:
        ours, theirs = smoke_run(s.registry, s.domain.name, model, s.judge)
    except KkwarmError as err:  # the data and the sandbox are there: the rules before this one used them
        yield str(err)
        return
    if ours != theirs:
        yield f"its accuracy is {ours:g}, and {theirs:g} by lm-eval"
    if s.domain.gold is not None and ours != 0.5:
        yield f"a model that is right every second time has the accuracy {ours:g}"


VERDICT_RULES: dict[str, Rule] = {
    QUICK: _speed,
    "gold answers are accepted": _gold,
    "others' answers are rejected": _others,
    "empty answers are rejected": _empty,
    "the verifier is pure": _pure,
    "the verifier leaves examples alone": _left_alone,
    "the verifier survives odd input": _odd,
    "the benchmark runs in lm-eval": _benchmark,
}
VERDICT_PARTS: dict[str, str] = dict.fromkeys(VERDICT_RULES, "verifier") | {"gold answers are accepted": "gold"}
