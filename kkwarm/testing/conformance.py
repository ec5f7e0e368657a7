"""Rules that every domain keeps, checked without a model. Each rule has a fixture under ``tests/`` that breaks it."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from kkwarm.data.splits import content_hash, fingerprint
from kkwarm.errors import KkwarmError
from kkwarm.plugins import Registry
from kkwarm.testing.elsewhere import loaded_elsewhere
from kkwarm.testing.scripted import ScriptedModel
from kkwarm.types import Benchmark, Completion, Domain, Example, Format, Status, Verdict, Verifier
from kkwarm.verify import Judge

__all__ = ["RULES", "Finding", "Subject", "check_domain"]

SLOW_S = 2.0  # seconds a verdict may take on average before RLVR would wait for it
SAMPLE = 40  # examples on which verdicts are tried; all of them for data that is smaller


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule's outcome: `problem` is empty where it is kept; `note` is what was measured, `shown` what to look at."""

    rule: str
    problem: str = ""
    note: str = ""
    shown: str = ""

    @property
    def ok(self) -> bool:
        """Whether the rule is kept."""
        return not self.problem


@dataclass(slots=True)
class Subject:
    """A loaded domain with what the rules need. `sample` is a spread of its examples, the same at every check.

    `untouched` is a copy of it that no verifier has seen. A rule may leave a `note` and something to be `shown`.
    """

    registry: Registry
    domain: Domain
    benchmark: Benchmark
    verifier: Verifier
    format: Format
    examples: list[Example]
    court: Judge
    sample: list[Example] = field(default_factory=list)
    untouched: list[Example] = field(default_factory=list)
    note: str = ""
    shown: str = ""

    @property
    def owner(self) -> str:
        """The plugin that registered the domain, with its distribution."""
        plugin = self.registry.origin.get(("domain", self.domain.name))
        return f"plugin {plugin.name} ({plugin.distribution})" if plugin is not None else "its plugin"

    def gold(self, example: Example) -> str:
        """The text of the example's right answer."""
        assert self.domain.gold is not None
        return self.domain.gold(example)

    def verdicts(self, pairs: Sequence[tuple[Example, str]]) -> list[Verdict]:
        """Verdicts on completions composed by the domain's format from answer texts."""
        composed = [(e, Completion(self.format.compose("some reasoning", a), finish_reason="stop")) for e, a in pairs]
        return self.court.judge(self.verifier, self.format, composed)


Rule = Callable[[Subject], Iterator[str]]


def check_domain(reg: Registry, name: str, court: Judge) -> list[Finding]:
    """Every rule's finding for the domain of that name. Loading comes first; where it fails, nothing else is tried.

    :raises KkwarmError: unknown domain, or its data cannot be had (the user's environment, not the domain's fault).
    """
    domain = reg.domain(name)
    benchmark = reg.benchmark(name)
    try:
        examples = list(domain.load())
    except KkwarmError:
        raise
    except Exception as err:
        return [Finding("loads", f"load() failed: {type(err).__name__}: {err}")]
    wrong = next((e for e in examples if not isinstance(e, Example)), None)
    if not examples or wrong is not None:
        return [Finding("loads", "load() gave no example" if not examples else f"load() gave {type(wrong).__name__}")]
    verifier, fmt = reg.verifier(benchmark.verifier), reg.format(domain.format)
    subject = Subject(reg, domain, benchmark, verifier, fmt, examples, court)
    ranked = sorted(examples, key=content_hash)
    subject.sample, subject.untouched = ranked[:SAMPLE], copy.deepcopy(ranked[:SAMPLE])
    counts = {s: sum(e.split == s for e in examples) for s in ("train", "test")}
    findings = [Finding("loads", note=f"{counts['train']:,} train, {counts['test']:,} test")]
    for rule_name, rule in RULES.items():
        started = time.perf_counter()
        subject.note = subject.shown = ""
        try:
            problem = next(iter(rule(subject)), "")
        except KkwarmError:
            raise
        except Exception as err:
            problem = f"{type(err).__name__}: {err}"
        note = subject.note or f"{time.perf_counter() - started:.2f} s"
        findings.append(Finding(rule_name, problem, note, subject.shown))
    return findings


def _ids(s: Subject) -> Iterator[str]:
    seen: set[str] = set()
    for e in s.examples:
        if not isinstance(e.id, str) or not e.id:
            yield f"an example has the id {e.id!r}; ids are non-empty strings"
        if e.id in seen:
            yield f"id {e.id!r} stands twice"
        seen.add(e.id)


def _deterministic(s: Subject) -> Iterator[str]:
    if fingerprint(s.examples) != fingerprint(list(s.domain.load())):
        yield "load() gives other examples, or another order, the second time"
    elsewhere = loaded_elsewhere(s.domain, s.registry)
    if elsewhere is None:
        s.note = "in this process; its load cannot be sent to another one"
    elif elsewhere != fingerprint(s.examples):
        yield "load() gives other examples, or another order, in another process: a set, a clock, a generator unseeded?"


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
        yield "no example has the split test"
    odd = next((e for e in s.examples if e.split not in ("train", "test")), None)
    if odd is not None:
        yield f"{odd.id} has the split {odd.split!r}; there are train and test"
    side = {content_hash(e): e for e in s.examples if e.split == "test"}
    for e in s.examples:
        if e.split == "train" and content_hash(e) in side:
            yield f"train {e.id} asks the same as test {side[content_hash(e)].id}"


def _prompts(s: Subject) -> Iterator[str]:
    if getattr(s.format, "chat", False):
        s.note = "by the checkpoint's own chat template"
        s.shown = s.sample[0].question
        return
    s.shown = s.format.render(s.sample[0].question)
    for e in s.sample:
        prompt = s.format.render(e.question)
        if not isinstance(prompt, str) or not prompt.strip():
            yield f"the prompt of {e.id} is empty"
        if prompt != s.format.render(e.question):
            yield f"the prompt of {e.id} changes between two renderings"


def _gold(s: Subject) -> Iterator[str]:
    if s.domain.gold is None:
        yield "the domain has no gold(example): no right answer can be tried"
        return
    for e, v in zip(s.sample, s.verdicts([(e, s.gold(e)) for e in s.sample]), strict=True):
        if not v.correct:
            yield f"the gold answer of {e.id} ({_short(s.gold(e))}) is judged {v.status}: {v.reason}"


def _others(s: Subject) -> Iterator[str]:
    if s.domain.gold is None:
        return
    shifted = s.sample[1:] + s.sample[:1]
    pairs = [(e, o) for e, o in zip(s.sample, shifted, strict=True) if s.gold(e) != s.gold(o) and e.answer != o.answer]
    accepted = [
        (e, o) for (e, o), v in zip(pairs, s.verdicts([(e, s.gold(o)) for e, o in pairs]), strict=True) if v.correct
    ]
    if pairs and len(accepted) > len(pairs) // 2:
        e, o = accepted[0]
        yield f"{len(accepted)} of {len(pairs)} answers of other examples are accepted, such as {o.id}'s for {e.id}"


def _empty(s: Subject) -> Iterator[str]:
    for text in ("", " ", "\n", "?", "None"):
        pairs = [(e, text) for e in s.sample if s.domain.gold is None or s.gold(e).strip() != text.strip()]
        for (e, _), v in zip(pairs, s.verdicts(pairs), strict=True):
            if v.correct:
                yield f"the answer {text!r} is accepted for {e.id}"


def _formats(s: Subject) -> Iterator[str]:
    for e in s.sample[:5]:
        answer = s.gold(e) if s.domain.gold is not None else "x"
        response = s.format.split(Completion(s.format.compose("because", answer), finish_reason="stop"))
        if response.problem or (response.answer or "").strip() != answer.strip():
            got = response.problem or repr(response.answer)
            yield f"format {s.format.name} does not split what it composed for {e.id}: {got}"


def _complete(s: Subject) -> Iterator[str]:
    table = {}
    for status in Status:
        value = s.domain.rewards.of(status)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            yield f"the reward of {status} is {value!r}, not a number"
        table[status] = value
    s.note = ", ".join(f"{status} {value:+g}" for status, value in table.items())


def _rewards(s: Subject) -> Iterator[str]:
    rewards = {status: s.domain.rewards.of(status) for status in Status}
    best = rewards.pop(Status.CORRECT)
    for status, value in rewards.items():
        if value >= best:
            yield f"status {status} is rewarded {value:g}, no less than correct ({best:g})"


def _pure(s: Subject) -> Iterator[str]:
    if s.domain.gold is None:
        return
    pairs = [(e, s.gold(e)) for e in s.sample]
    first, second = s.verdicts(pairs), s.verdicts(pairs)
    for e, a, b in zip(s.sample, first, second, strict=True):
        if (a.status, a.answer) != (b.status, b.answer):
            yield f"the verdict on {e.id} changes between two calls: {a.status}, then {b.status}"


def _left_alone(s: Subject) -> Iterator[str]:
    """Golds and answers of others, so that every branch of a usual verifier is taken."""
    if s.domain.gold is None:
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


def _benchmark(s: Subject) -> Iterator[str]:
    """On a scripted model that answers every question once rightly and once not at all."""
    from kkwarm.harness.rehearse import rehearse

    def model(examples: dict[str, Example]) -> ScriptedModel:
        def reply(prompt: str, index: int) -> str:
            right = s.domain.gold is not None and index == 0
            return s.format.compose("some reasoning", s.gold(examples[prompt])) if right else ""

        return ScriptedModel(reply)

    try:
        ours, theirs = rehearse(s.registry, s.domain.name, model, s.court)
    except KkwarmError as err:  # the data and the sandbox are there: the rules before this one used them
        yield str(err)
        return
    if ours != theirs:
        yield f"its accuracy is {ours:g}, and {theirs:g} by lm-eval"
    if s.domain.gold is not None and ours != 0.5:
        yield f"a model that is right every second time has the accuracy {ours:g}"


def _errors(s: Subject) -> Iterator[str]:
    odd = ["\0", "\ud800", "((((" * 500, "9" * 5_000, "<answer>", "ａ", "𝟒"]
    e = s.sample[0]
    for text, v in zip(odd, s.verdicts([(e, t) for t in odd]), strict=True):
        if v.status is Status.ERROR:
            yield f"the verifier fails on {_short(text)}: {v.reason}"


def _speed(s: Subject) -> Iterator[str]:
    if s.domain.gold is None:
        return
    pairs = [(e, s.gold(e)) for e in s.sample]
    started = time.perf_counter()
    s.verdicts(pairs)
    each = (time.perf_counter() - started) / len(pairs)
    s.note = f"{1e3 * each:.3g} ms a verdict"
    if each > SLOW_S:
        yield f"a verdict takes {each:.1f} s: RLVR would wait for it"


RULES: dict[str, Rule] = {
    "ids are unique": _ids,
    "loading is deterministic": _deterministic,
    "examples are JSON data": _json,
    "splits are disjoint": _splits,
    "prompts render": _prompts,
    "the format round-trips": _formats,
    "gold answers are accepted": _gold,
    "others' answers are rejected": _others,
    "empty answers are rejected": _empty,
    "the verifier is pure": _pure,
    "the verifier leaves examples alone": _left_alone,
    "the verifier survives odd input": _errors,
    "the reward table is complete": _complete,
    "correct is rewarded most": _rewards,
    "verdicts are quick": _speed,
    "the benchmark runs in lm-eval": _benchmark,
}


def _short(text: str, limit: int = 60) -> str:
    shown = repr(text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def failed(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that are problems."""
    return [f for f in findings if not f.ok]
