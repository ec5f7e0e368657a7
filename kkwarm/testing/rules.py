"""The rules of `kkwarm check`: each yields the problems that it finds in a domain."""

from __future__ import annotations

import copy
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kkwarm.data.contamination import Item, find_overlaps
from kkwarm.data.splits import content_hash, fingerprint, normalise
from kkwarm.errors import KkwarmError, shorten, unknown_name
from kkwarm.plugins import Registry
from kkwarm.protocols import make_renderer
from kkwarm.protocols.readers import reads_tags
from kkwarm.testing.scripted import ScriptedModel
from kkwarm.testing.subprocess_load import load_in_subprocess
from kkwarm.types import Benchmark, Completion, Domain, Example, Protocol, Status, Verdict, Verifier
from kkwarm.verify import Judge
from kkwarm.verify.rewards import Reward, TaskReward

SAMPLE = 40  # examples on which the slower rules are tried
SLOW_S = 2.0  # seconds per verdict, on average, from which on a verifier is too slow for RLVR
GOLD_BUDGET_S = 5.0  # gold answers are verified for this long, if there are more than SAMPLE
NO_GOLD = "not checked: there is no gold answer"
SPEED_RULE = (
    "verdicts are fast"  # it comes first of the verdict rules: with a slow verifier the others would take hours
)
# `{name}` or `{{name}}`, as in a template that was not filled in; not LaTeX's \text{name} or x_{name}.
_PLACEHOLDER = re.compile(r"(?<![\w\\^_}\]{])\{{1,2}[A-Za-z_]\w*\}{1,2}")


@dataclass(slots=True)
class Subject:
    """A loaded domain, with what the rules need. A rule may set `note` (a measurement) and `shown` (text to display).

    :param ranked: the examples in an order that depends on their content only.
    :param sample: the first of them.
    :param untouched: a copy of the sample that no verifier has received.
    :param first_verdicts: the first verdict on each (example id, answer).
    """

    registry: Registry
    domain: Domain
    benchmark: Benchmark
    verifier: Verifier
    protocol: Protocol
    examples: list[Example]
    judge: Judge
    reward: TaskReward
    ranked: list[Example] = field(init=False)
    sample: list[Example] = field(init=False)
    untouched: list[Example] = field(init=False)
    first_verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict)
    note: str = ""
    shown: str = ""

    def __post_init__(self) -> None:
        self.ranked = sorted(self.examples, key=content_hash)
        self.sample = self.ranked[:SAMPLE]
        self.untouched = copy.deepcopy(self.sample)

    @property
    def owner(self) -> str:
        """The plugin that registered the domain, with its distribution."""
        plugin = self.registry.origin.get(("domain", self.domain.name))
        return f"plugin {plugin.name} ({plugin.distribution})" if plugin is not None else "its plugin"

    @property
    def golds(self) -> list[tuple[Example, str]]:
        """The sample, each example with its gold answer; empty where the domain has no `gold`."""
        return [(e, self.gold(e)) for e in self.sample] if self.domain.gold is not None else []

    @property
    def others(self) -> list[tuple[Example, str]]:
        """The sample, each example with the gold answer of another example that has a different answer."""
        golds = self.golds
        return [
            (e, other_gold)
            for (e, gold), (other, other_gold) in zip(golds, golds[1:] + golds[:1], strict=True)
            if gold != other_gold and e.answer != other.answer
        ]

    def gold(self, example: Example) -> str:
        """The text of the example's gold answer.

        :raises TypeError: `gold` returned something other than text.
        """
        assert self.domain.gold is not None
        text = self.domain.gold(example)
        if not isinstance(text, str):
            raise TypeError(f"gold(example) returned {shorten(text)} for {example.id}; it must return text")
        return text

    def verdicts(self, pairs: Sequence[tuple[Example, str]]) -> list[Verdict]:
        """Verdicts on completions that the domain's protocol composes from answers."""
        completions = [(e, self._completion(answer)) for e, answer in pairs]
        verdicts = self.judge.verify(self.verifier, self.protocol, completions)
        for (e, answer), verdict in zip(pairs, verdicts, strict=True):
            self.first_verdicts.setdefault((e.id, answer), verdict)
        return verdicts

    def rewards(self, pairs: Sequence[tuple[Example, str]]) -> list[tuple[Verdict, Reward]]:
        """The first verdicts on these answers, and their rewards.

        :raises RewardError: a reward cannot be used.
        """
        new = [pair for pair in pairs if (pair[0].id, pair[1]) not in self.first_verdicts]
        self.verdicts(new)
        verdicts = [self.first_verdicts[e.id, answer] for e, answer in pairs]
        items = [(e, self._completion(answer), v) for (e, answer), v in zip(pairs, verdicts, strict=True)]
        return list(zip(verdicts, self.reward(items), strict=True))

    def _completion(self, answer: str) -> Completion:
        return Completion(self.protocol.compose("some reasoning", answer), finish_reason="stop")


Rule = Callable[[Subject], Iterator[str]]


# -- examples, prompts, protocol and rewards ---------------------------------------------------------------------------


def find_unusable_example(examples: Iterable[object]) -> str:
    """Describes the first problem that prevents any further check; empty where there is none."""
    empty = True
    for i, e in enumerate(examples):
        empty = False
        if not isinstance(e, Example):
            return f"load() returned {_type_of(e)}; it must return kkwarm.types.Example objects"
        if not isinstance(e.id, str) or not e.id:
            return f"example {i} has the id {shorten(e.id)}; ids are non-empty strings"
        if not isinstance(e.question, str) or not e.question.strip():
            return f"the question of {e.id} is {shorten(e.question)}; questions are non-empty text"
        if not isinstance(e.meta, Mapping):
            return f"the meta of {e.id} is {_type_of(e.meta)}; it must be a dict"
    return "load() returned no examples" if empty else ""


def _unique_ids(s: Subject) -> Iterator[str]:
    seen: set[str] = set()
    for e in s.examples:
        if e.id in seen:
            yield f"id {e.id!r} occurs twice"
        seen.add(e.id)
    s.note = f"{len(seen):,} ids"


def _unique_answers(s: Subject) -> Iterator[str]:
    first_by_question: dict[str, Example] = {}
    repeated = 0
    for e in s.examples:
        first = first_by_question.setdefault(normalise(e.question), e)
        if first is not e and first.split == e.split:
            repeated += 1
            if first.answer != e.answer:
                yield f"{first.id} and {e.id} have the same question and different answers: {shorten(first.question)}"
    s.note = f"{repeated:,} repeated questions" if repeated else "all questions differ"


def _deterministic_load(s: Subject) -> Iterator[str]:
    again = list(s.domain.load())
    if not again:
        yield "load() returns nothing the second time: it returns an iterator that is used up"
    elif fingerprint(s.examples) != fingerprint(again):
        same = sorted(map(content_hash, s.examples)) == sorted(map(content_hash, again))
        yield f"load() returns {'another order or other ids' if same else 'other examples'} the second time"
    in_subprocess = load_in_subprocess(s.domain, s.registry)
    if in_subprocess is None:
        s.note = "checked in this process only, because load cannot be pickled"
    elif in_subprocess != fingerprint(s.examples):
        yield (
            "load() returns other examples, or another order, in another process:"
            " does it use a set, a clock or an unseeded generator?"
        )
    else:
        s.note = "checked in this and another process"


def _json_data(s: Subject) -> Iterator[str]:
    for e in s.examples:
        for what, value in (("answer", e.answer), ("meta", dict(e.meta))):
            try:
                same = json.loads(json.dumps(value, allow_nan=False)) == value
            except (TypeError, ValueError) as err:
                yield f"{what} of {e.id} is not JSON data: {err}"
                return
            if not same:
                yield f"{what} of {e.id} changes when stored as JSON (tuples, or keys that are not strings)"


def _disjoint_splits(s: Subject) -> Iterator[str]:
    if not any(e.split == "test" for e in s.examples):
        yield "no example has the split test, so there is nothing to evaluate on"
    invalid = next((e for e in s.examples if e.split not in ("train", "test")), None)
    if invalid is not None:
        yield f"{invalid.id} has the split {invalid.split!r}; use train or test"
    test = {content_hash(e): e for e in s.examples if e.split == "test"}
    for e in s.examples:
        if e.split == "train" and content_hash(e) in test:
            yield f"train {e.id} has the same question as test {test[content_hash(e)].id}; use kkwarm.data.holdout"
            return
    trained, evaluated = (
        [Item(s.domain.name, e.id, e.question) for e in s.examples if e.split == split] for split in ("train", "test")
    )
    identities = {} if s.domain.identity is None else {s.domain.name: s.domain.identity}
    for overlap in find_overlaps(trained, evaluated, identities):
        if overlap.how != "id":  # ids have their own rule
            yield (
                f"train {overlap.trained.id} is too similar to test {overlap.evaluated.id} ({overlap.how}), so "
                "the contamination check will stop training; exclude it (holdout's `never`), or set its `identity`"
            )
            return


def _facets(s: Subject) -> Iterator[str]:
    names = [*([] if s.domain.facet is None else [s.domain.facet]), *s.domain.facets]
    notes = []
    for facet in names:
        without = next((e for e in s.examples if facet not in e.meta), None)
        if without is not None:
            keys = ", ".join(map(str, without.meta)) or "no keys"
            yield f"the domain's facet {facet!r} is not in the meta of {without.id}, which has {keys}"
        notes.append(f"{facet}: {len({str(e.meta.get(facet)) for e in s.examples}):,} values")
    s.note = ", ".join(notes) or "none"


def _prompts(s: Subject) -> Iterator[str]:
    placeholders = [set(_PLACEHOLDER.findall(e.question)) for e in s.sample]
    if len(placeholders) > 1 and (common := set.intersection(*placeholders)):
        yield f"every question contains {min(common)}: is it a template that was not filled in?"
    render = make_renderer(s.protocol, task=s.registry.task(s.domain.name))
    s.shown = render(s.sample[0])
    first_by_prompt: dict[str, Example] = {}
    for e in s.sample:
        prompt = render(e)
        if not isinstance(prompt, str) or not prompt.strip():
            yield f"the prompt of {e.id} is empty"
        if prompt != render(e):
            yield f"the prompt of {e.id} changes between two renderings"
        first = first_by_prompt.setdefault(prompt, e)
        if normalise(first.question) != normalise(e.question):
            yield f"{first.id} and {e.id} have different questions and the same prompt"


def _round_trip(s: Subject) -> Iterator[str]:
    _, tag, after = s.protocol.compose("because", "x").partition("</think>")
    separated = Completion(after, finish_reason="stop", reasoning="because")
    if tag and not reads_tags(s.protocol) and s.protocol.split(separated).problem:
        problem = f"the reader of protocol {s.protocol.name} needs tags in the text"
        yield f"{problem}: give it the attribute reads_tags = True"
    for e in s.sample[:5]:
        answer = s.gold(e) if s.domain.gold is not None else "x"
        response = s.protocol.split(Completion(s.protocol.compose("because", answer), finish_reason="stop"))
        read = (response.answer or "").strip()
        if response.problem or not (read == answer.strip() if response.tagged else answer.strip() in read):
            result = response.problem or f"it reads {shorten(response.answer)}"
            composed = f"what it composed from {shorten(answer)} for {e.id}"
            yield f"protocol {s.protocol.name} cannot split {composed}: {result}"


def _complete_rewards(s: Subject) -> Iterator[str]:
    rewards = {status: s.domain.rewards.for_status(status) for status in Status}
    s.note = ", ".join(f"{status} {value:+g}" for status, value in rewards.items())
    for status, value in rewards.items():
        if not math.isfinite(value):
            yield f"status {status} has the reward {value}"


def _highest_reward(s: Subject) -> Iterator[str]:
    rewards = {status: s.domain.rewards.for_status(status) for status in Status}
    best = rewards.pop(Status.CORRECT)
    for status, value in rewards.items():
        if value >= best:
            yield f"status {status} has the reward {value:g}, which is not less than that of correct ({best:g})"


# -- rewards of verdicts -----------------------------------------------------------------------------------------------

_BY_TABLE = "by the table alone"


def _right_answers_earn_most(s: Subject) -> Iterator[str]:
    """Compares the rewards of right and other answers to the same example."""
    if not s.reward.graded or not s.golds:
        s.note = NO_GOLD if s.reward.graded else _BY_TABLE
        return
    rewards = s.rewards(s.golds)
    highest = {e.id: reward.total for (e, _), (_, reward) in zip(s.golds, rewards, strict=True)}
    names = {name for verdict, _ in rewards for name in verdict.metrics}
    pairs = [*s.others, *((e, "?") for e in s.sample)]
    for (e, answer), (verdict, reward) in zip(pairs, s.rewards(pairs), strict=True):
        names |= set(verdict.metrics)
        if not verdict.correct and reward.total >= highest[e.id]:
            yield (
                f"the answer {shorten(answer)} to {e.id} is {verdict.status} and earns {reward.total:g}, "
                f"but the gold answer earns {highest[e.id]:g}"
            )
    if (name := s.domain.rewards.partial) and name not in names:
        yield f"no verdict has the metric {name!r}, which gives partial credit; they have {', '.join(names) or 'none'}"
    low, high = min(highest.values()), max(highest.values())
    s.note = f"gold answers earn {low:g}" + (f" to {high:g}" if high > low else "")


def _deterministic_rewards(s: Subject) -> Iterator[str]:
    """Computes rewards again in reverse order, from the same verdicts."""
    if not s.reward.graded:
        s.note = _BY_TABLE
        return
    pairs = [*s.golds, *s.others, *((e, "?") for e in s.sample)]
    first, again = s.rewards(pairs), s.rewards(pairs[::-1])[::-1]
    for (e, answer), (_, a), (_, b) in zip(pairs, first, again, strict=True):
        if a != b:
            yield f"the reward of {shorten(answer)} for {e.id} changes between two calls: {a.total:g}, then {b.total:g}"
    s.note = f"{len(pairs)} rewards computed twice"


# -- verdicts ----------------------------------------------------------------------------------------------------------


def _speed(s: Subject) -> Iterator[str]:
    if not s.golds:
        s.note = NO_GOLD
        return
    s.verdicts(s.golds[:1])  # starts the worker process, if there is one
    for pairs in (s.golds[1:4] or s.golds, s.golds):
        started = time.perf_counter()
        s.verdicts(pairs)
        each = (time.perf_counter() - started) / len(pairs)
        s.note = f"{1e3 * each:.3g} ms per verdict"
        if each > SLOW_S:
            yield f"a verdict takes {each:.1f} s, which would slow down RLVR; no further verdicts are checked"
            return


def _gold_answers(s: Subject) -> Iterator[str]:
    if s.domain.gold is None:
        yield "the domain has no gold(example), so no correct answer can be checked"
        return
    started = time.perf_counter()
    count = 0
    while count < len(s.ranked) and (count < SAMPLE or time.perf_counter() - started < GOLD_BUDGET_S):
        pairs = [(e, s.gold(e)) for e in s.ranked[count : count + SAMPLE]]
        for (e, gold), v in zip(pairs, s.verdicts(pairs), strict=True):
            if not v.correct:
                reason = f": {v.reason}" if v.reason else ""
                yield f"the gold answer of {e.id}, {shorten(gold)}, has the verdict {v.status}{reason}"
        count += len(pairs)
    s.note = f"{count:,} of {len(s.ranked):,}"


def _other_answers(s: Subject) -> Iterator[str]:
    golds, pairs = s.golds, s.others
    if len(golds) > 1 and len({gold for _, gold in golds}) == 1:
        yield f"all {len(golds)} gold answers are {shorten(golds[0][1])}, so one answer is always correct"
    accepted = [pair for pair, v in zip(pairs, s.verdicts(pairs), strict=True) if v.correct]
    s.note = f"{len(pairs)} answers" if pairs else NO_GOLD
    if len(accepted) > len(pairs) // 2:
        e, answer = accepted[0]
        count = f"{len(accepted)} of {len(pairs)}"
        yield f"{count} answers of other examples are accepted, such as {shorten(answer)} for {e.id}"


def _empty_answers(s: Subject) -> Iterator[str]:
    for text in ("", " ", "\n", "?", "None"):
        pairs = [(e, text) for e in s.sample if s.domain.gold is None or s.gold(e).strip() != text.strip()]
        for (e, _), v in zip(pairs, s.verdicts(pairs), strict=True):
            if v.correct:
                yield f"the answer {text!r} is accepted for {e.id}"


def _pure(s: Subject) -> Iterator[str]:
    """Verifies earlier answers again in reverse order, which exposes verifiers with state."""
    pairs = [*s.golds, *s.others]
    s.note = f"{len(pairs)} answers verified twice" if pairs else NO_GOLD
    before = [s.first_verdicts.get((e.id, answer)) or s.verdicts([(e, answer)])[0] for e, answer in pairs]
    after = s.verdicts(pairs[::-1])[::-1]
    for (e, answer), a, b in zip(pairs, before, after, strict=True):
        if (a.status, a.answer) != (b.status, b.answer):
            change = f"{a.status}, then {b.status}" if a.status != b.status else f"{a.answer!r}, then {b.answer!r}"
            yield f"the verdict on {shorten(answer)} for {e.id} changes between two calls: {change}"


def _unmodified_examples(s: Subject) -> Iterator[str]:
    """Uses gold answers and answers of other examples, so that a typical verifier runs every branch."""
    if s.domain.gold is None:
        s.note = NO_GOLD
        return
    examples = copy.deepcopy(s.untouched)
    shifted = examples[1:] + examples[:1]
    answers = [s.gold(e) for e in examples], [s.gold(e) for e in shifted]
    verdicts = [v for texts in answers for v in s.verdicts(list(zip(examples, texts, strict=True)))]
    if examples != s.untouched or any(v.status is Status.ERROR and "changed the example" in v.reason for v in verdicts):
        yield f"verifier {s.verifier.name} of {s.owner} modifies the example"


def _odd_input(s: Subject) -> Iterator[str]:
    texts = ["\0", "\ud800", "((((" * 500, "9" * 5_000, "<answer>", "ａ", "𝟒", "-", "1e999", "½", "x = y"]
    if s.verifier.answers == "program":  # what programs print is input too, of a checker
        texts += [f"print({text!a}, end='')" for text in ("", *texts)]
    e = s.sample[0]
    for text, v in zip(texts, s.verdicts([(e, t) for t in texts]), strict=True):
        if v.status is Status.ERROR:
            yield f"on the answer {shorten(text)}, {v.reason}"
    s.note = f"{len(texts)} answers"


def _waivers(s: Subject) -> Iterator[str]:
    from kkwarm.verify.probes import all_probes
    from kkwarm.verify.search import generators_for

    probes = {p.name for p in all_probes(s.registry, s.domain.name)}
    generators = {g.name for g in generators_for(s.registry, s.domain.name, s.verifier)}
    for name in s.domain.waivers:
        if name not in probes and name not in generators and not any(name.startswith(f"{g}: ") for g in generators):
            yield str(unknown_name("probe", name, probes | generators))
    s.note = f"{len(s.domain.waivers)} waived" if s.domain.waivers else "none"


def _benchmark(s: Subject) -> Iterator[str]:
    """Uses a scripted model that answers each question twice: once correctly and once with nothing."""
    from kkwarm.evaluation.smoke_run import smoke_run

    def model(examples: dict[str, Example]) -> ScriptedModel:
        def reply(prompt: str, index: int) -> str:
            correct = s.domain.gold is not None and index == 0
            return s.protocol.compose("some reasoning", s.gold(examples[prompt])) if correct else ""

        return ScriptedModel(reply)

    try:
        ours, lm_eval = smoke_run(s.registry, s.domain.name, model, s.judge, protocol=s.protocol.name)
    except KkwarmError as err:  # not the environment, since earlier rules used the data and the sandbox
        yield str(err)
        return
    if ours != lm_eval:
        yield f"its accuracy is {ours:g}, but {lm_eval:g} in lm-eval"
    if s.domain.gold is not None and ours != 0.5:
        yield f"a model with half of its answers correct has the accuracy {ours:g}"


RULES: dict[str, Rule] = {
    "ids are unique": _unique_ids,
    "a question has one answer": _unique_answers,
    "loading is deterministic": _deterministic_load,
    "examples are JSON data": _json_data,
    "splits are disjoint": _disjoint_splits,
    "facets are present": _facets,
    "prompts render": _prompts,
    "the protocol round-trips": _round_trip,
    "the reward table is complete": _complete_rewards,
    "correct has the highest reward": _highest_reward,
    SPEED_RULE: _speed,
    "gold answers are accepted": _gold_answers,
    "answers of other examples are rejected": _other_answers,
    "empty answers are rejected": _empty_answers,
    "the verifier is pure": _pure,
    "the verifier does not modify examples": _unmodified_examples,
    "the verifier survives odd input": _odd_input,
    "right answers earn the most": _right_answers_earn_most,
    "rewards are deterministic": _deterministic_rewards,
    "waivers name probes": _waivers,
    "the benchmark runs in lm-eval": _benchmark,
}
# The part of a domain that each rule checks.
RULE_PARTS: dict[str, str] = {
    name: "load" if i < list(RULES).index(SPEED_RULE) else "verifier" for i, name in enumerate(RULES)
} | {
    "facets are present": "facet",
    "the protocol round-trips": "protocol",
    "the reward table is complete": "rewards",
    "correct has the highest reward": "rewards",
    "right answers earn the most": "reward",
    "rewards are deterministic": "reward",
    "gold answers are accepted": "gold",
    "waivers name probes": "waivers",
}


def _type_of(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
