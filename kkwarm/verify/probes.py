"""Adversarial probes: completions that a verifier must reject, and variants of the gold answer that it must accept.

Built-in probes work for any domain, from its examples and gold answers. Plugins add their own by `kkwarm_probes`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from kkwarm.data import content_hash
from kkwarm.plugins import Registry
from kkwarm.types import Completion, Example, Probe, Protocol, Target, Verdict, Verifier
from kkwarm.verify.judge import Judge
from kkwarm.verify.program_probes import PROGRAM_PROBES
from kkwarm.verify.rewards import RewardError, TaskReward

_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,30})?")
_WORD_LIST = re.compile(r"\w+(?: \w+)+")
_NUMBER_LIST = re.compile(r"-?[0-9]+(?: -?[0-9]+)+")
_TUPLE = re.compile(r"\(([^()]+,[^()]+)\)")
_MAX_PHRASE = 80  # characters of a gold answer that is a single expression or phrase
_SEPARATORS = (" or ", ", ", " / ", "\n", " and ", " | ")


@dataclass(frozen=True, slots=True)
class ProbeFailure:
    """A wrong verdict on a probe's completion, or a reward that is too high.

    :param expect: the outcome that is right.
    :param rewarded: the verdict is right, and `verdict` says what is wrong with the reward.
    """

    probe: str
    expect: Literal["accept", "reject"]
    example: str
    completion: str
    verdict: str
    rewarded: bool = False

    @property
    def outcome(self) -> str:
        """What happened, in two words."""
        return f"wrongly {'rewarded' if self.rewarded else 'rejected' if self.expect == 'accept' else 'accepted'}"


# -- wrong answers that resemble the gold answer; each yields nothing for gold answers of another kind -----------------


def outside_tolerance(gold: str, answers: Iterable[str], tolerance: float) -> Iterator[str]:
    """The answers that are not numbers within `tolerance` of the gold answer."""
    for answer in answers:
        both = _NUMBER.fullmatch(gold) and _NUMBER.fullmatch(answer)
        if not both or abs(Decimal(answer) - Decimal(gold)) > Decimal(str(tolerance)):
            yield answer


def other_numbers(gold: str, tolerance: float = 0.0) -> Iterator[str]:
    """Numbers with another sign, digit or power of ten, or just outside the tolerance.

    They expose `abs`, `round`, tolerances that are too wide, and numbers picked out of the text.
    """
    if not _NUMBER.fullmatch(gold):
        return
    value, allowed = Decimal(gold), Decimal(str(tolerance))
    last_digit = Decimal(1).scaleb(int(value.as_tuple().exponent))
    far = [-value, value * 10, Decimal(gold.replace(".", "")), Decimal(gold.lstrip("-")[::-1].strip("."))]
    near = [value + sign * (allowed + step) for step in (last_digit, Decimal("0.001"), value / 128) for sign in (1, -1)]
    yield from outside_tolerance(gold, [f"{other:f}" for other in dict.fromkeys(far + near)], tolerance)


def parts(gold: str) -> Iterator[str]:
    """Parts of the gold answer. They expose a verifier with swapped arguments: ``answer in gold``."""
    if _NUMBER.fullmatch(gold):
        if "." not in gold and len(gold.lstrip("-")) > 1:  # a part of a decimal number may be its rounding
            yield from (gold[:-1], gold.lstrip("-")[1:])
    elif _NUMBER_LIST.fullmatch(gold):
        yield gold.rpartition(" ")[0]
    elif len(gold) >= 4 and gold.replace(" ", "").isalpha():
        yield from (gold[:1], gold[:2], gold[1:-1])


def extensions(gold: str) -> Iterator[str]:
    """The gold answer with characters attached. They expose patterns without an end, and dropped letters or digits."""
    if not gold or "\n" in gold or len(gold) > _MAX_PHRASE:
        return
    yield from (f"{gold}abc", f"{gold}7")
    if _NUMBER.fullmatch(gold):
        yield f"9{gold.lstrip('-')}"
    elif gold.isalpha():
        yield f"un{gold}"


def rearrangements(gold: str) -> Iterator[str]:
    """The parts of the gold answer in another order or number. They expose comparison as sets or as sorted lists."""
    if _NUMBER_LIST.fullmatch(gold):
        yield from _unless_equal(gold, " ".join(reversed(gold.split())))
    if _WORD_LIST.fullmatch(gold) or _NUMBER_LIST.fullmatch(gold):
        yield f"{gold} {gold.split()[-1]}"
    elif (inner := _TUPLE.fullmatch(gold)) is not None:
        items = [item.strip() for item in inner[1].split(",")]
        yield from _unless_equal(f"({', '.join(items)})", f"({', '.join(reversed(items))})")
    elif len(gold) >= 3 and gold.isalpha():
        yield from _unless_equal(gold, gold[::-1])


def python_expressions(gold: str) -> Iterator[str]:
    """Python expressions whose value is the gold answer. They expose `eval`."""
    if _NUMBER.fullmatch(gold):
        yield from (f"[{gold}][0]", f"sum([{gold}])", f"{gold} if True else 0", f"(lambda: {gold})()")
    elif len(gold) <= _MAX_PHRASE and not re.search(r"['\\\n]", gold):
        yield f"''.join(['{gold}'])"


def _unless_equal(gold: str, other: str) -> Iterator[str]:
    if gold.casefold() != other.casefold():
        yield other


# -- the built-in probes ----------------------------------------------------------------------------------------------


def _homoglyphs(t: Target) -> Iterator[str]:
    """Another answer, written in look-alike letters."""
    table = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
    other = next((o for o in t.others if o != t.gold), None)
    if other is not None and other.translate(table) != other:
        yield t.compose(other.translate(table))


def _homoglyph_tags(t: Target) -> Iterator[str]:
    yield f"some reasoning <\u200b/think> <аnswer> {t.gold} </аnswer>"


def _expensive_answers(t: Target) -> Iterator[str]:
    yield t.compose("9^{9^{9^{9^9}}}")
    yield t.compose("factorial(10**9)")
    yield t.compose("(" * 3_000 + ")" * 3_000)


def _all_at_once(t: Target) -> Iterator[str]:
    """The gold answer among others, to hedge."""
    others = [o for o in dict.fromkeys(t.others) if o.strip().casefold() != t.gold.strip().casefold()][:3]
    # Multi-line texts one after the other (programs, say) need not contradict each other.
    separators = [s for s in _SEPARATORS if s != "\n" or "\n" not in t.gold]
    for separator in separators if others else ():
        yield t.compose(separator.join([*others, t.gold]))
        yield t.compose(separator.join([t.gold, *others]))


def _similar(name: str, answers: Callable[[str], Iterable[str]], *, partial: bool = True) -> Probe:
    def completions(t: Target) -> Iterator[str]:
        return map(t.compose, outside_tolerance(t.gold, answers(t.gold), t.tolerance))

    return Probe(name, completions, partial=partial, answers="text")


PROBES: tuple[Probe, ...] = (
    Probe("empty", lambda t: ["", " ", t.compose(""), t.compose(" \n ")]),
    Probe("echo of the prompt", lambda t: [t.example.question, t.compose(t.example.question)]),
    Probe(
        "gold answer only in the reasoning",
        lambda t: [t.compose("see above", f"The answer is {t.gold}."), f"The answer is {t.gold} </think>"],
        uses_tags=True,
    ),
    Probe(
        "gold answer of another example", lambda t: [t.compose(o) for o in t.others[:1]], partial=True, answers="text"
    ),
    Probe("every answer at once", _all_at_once, answers="text"),
    Probe(
        "negated",
        lambda t: [
            t.compose(f"not {t.gold}"),
            t.compose(f"It is false that {t.gold}"),
            t.compose(f"anything but {t.gold}"),
        ],
        answers="text",
    ),
    Probe(
        "two answers",
        lambda t: [f"r </think> <answer> {o} </answer> <answer> {t.gold} </answer>" for o in t.others[:1]],
        uses_tags=True,
    ),
    Probe("nested tags", lambda t: [f"r </think> <answer> <answer> {t.gold} </answer> </answer>"], uses_tags=True),
    Probe("unclosed answer", lambda t: [f"r </think> <answer> {t.gold}"], uses_tags=True),
    Probe("homoglyphs", _homoglyphs, answers="text"),
    Probe("homoglyph tags", _homoglyph_tags, uses_tags=True),
    Probe(
        "placeholder", lambda t: [t.compose(x) for x in ("answer here", "X", "...", "None", "null", "True", "*", ".*")]
    ),
    Probe(
        "forged verdict", lambda t: [t.compose(x) for x in ('{"status": "correct"}', "correct", "PASS", "reward: 2.0")]
    ),
    Probe("one megabyte", lambda t: [t.compose("0" * 1_000_000), t.compose("a " * 500_000)]),
    Probe("expensive answer", _expensive_answers),
    Probe("other number", lambda t: map(t.compose, other_numbers(t.gold, t.tolerance)), partial=True, answers="text"),
    _similar("part of the gold answer", parts),
    _similar("gold answer with an extension", extensions),
    _similar("gold answer rearranged", rearrangements),
    _similar("gold answer as Python", python_expressions, partial=False),
)
ACCEPT_PROBES: tuple[Probe, ...] = (
    Probe(
        "gold answer",
        lambda t: [
            t.compose(t.gold),
            t.compose(t.gold, "Wait, <answer> is where it goes."),
            t.compose(f"\n{t.gold}\n"),
        ],
        expect="accept",
    ),
)


# -- running probes ---------------------------------------------------------------------------------------------------

Scorer = Callable[[Sequence[tuple[Example, Completion]]], Sequence[Verdict]]


def make_targets(registry: Registry, name: str, examples: int, protocol: Protocol | None = None) -> list[Target]:
    """Targets from a domain's evaluation examples. The selection is deterministic.

    :param examples: the maximum number of targets.
    :param protocol: used instead of the domain's protocol.
    """
    domain, benchmark = registry.domain(name), registry.benchmark(name)
    assert domain.gold is not None  # the conformance rules are checked before
    chosen = sorted(benchmark.load(), key=content_hash)[:examples]
    golds = [domain.gold(e) for e in chosen]
    tolerance = registry.verifier(benchmark.verifier).tolerance
    targets = []
    for i, example in enumerate(chosen):
        # The gold answer of another example is used only where it really is a different answer.
        different = [g for g, o in zip(golds, chosen, strict=True) if o.answer != example.answer and g != golds[i]]
        others = list(outside_tolerance(golds[i], different, tolerance))
        targets.append(Target(example, golds[i], others, protocol or registry.protocol(domain), tolerance))
    return targets


@dataclass(slots=True)
class ProbeReport:
    """What the probes of a domain found.

    :param failures: of probes that are not waived, as `probe_scorer` returns them.
    :param counts: the number of completions of each probe that has any.
    :param waived: for each probe that the domain waives, the number of its failures.
    :param not_applicable: for each other probe, why it was not tried.
    """

    failures: list[ProbeFailure]
    counts: dict[str, int]
    waived: dict[str, int]
    not_applicable: dict[str, str]


def all_probes(registry: Registry, name: str) -> list[Probe]:
    """The built-in probes, and those that plugins register for the domain."""
    return [*PROBES, *ACCEPT_PROBES, *PROGRAM_PROBES, *registry.probes(name)]


def probe_domain(
    registry: Registry, name: str, examples: int, judge: Judge, protocol_name: str | None = None
) -> ProbeReport:
    """Runs the built-in probes, and those that plugins register for the domain, on the domain's verifier.

    :param examples: how many of its evaluation examples are used.
    :param protocol_name: the protocol to use instead of the default; probes of tags apply only to those with tags.
    """
    waivers = registry.domain(name).waivers
    protocol = registry.protocol(registry.domain(name), protocol_name)
    verifier = registry.verifier_of(registry.benchmark(name), protocol)
    targets = make_targets(registry, name, examples, protocol)
    tagged = protocol.split(Completion(protocol.compose("r", "x"), finish_reason="stop")).tagged
    # Probes for programs do not concern other domains. What a domain of programs misses is reported.
    probes = [p for p in all_probes(registry, name) if p.answers in ("any", "text", verifier.answers)]
    not_applicable = {p.name: why for p in probes if (why := _inapplicable(p, verifier, tagged))}
    applicable = [p for p in probes if p.name not in not_applicable]
    reward = registry.reward_of(registry.benchmark(name))
    failures, counts = probe_verifier(verifier, protocol, targets, judge, applicable, reward)
    not_applicable |= {probe: "no completions for these examples" for probe, n in counts.items() if not n}
    waived = {probe: sum(f.probe == probe for f in failures) for probe, n in counts.items() if n and probe in waivers}
    return ProbeReport(
        [f for f in failures if f.probe not in waived],
        {probe: n for probe, n in counts.items() if n},
        waived,
        not_applicable,
    )


def _inapplicable(probe: Probe, verifier: Verifier, tagged: bool) -> str:
    """Why a probe does not apply to a verifier behind a protocol; empty where it does."""
    if probe.answers not in ("any", verifier.answers):
        return "they edit text, and the answers are programs"
    return "" if tagged or not probe.uses_tags else "they are about tags, which the protocol does not use"


def probe_verifier(
    verifier: Verifier,
    protocol: Protocol,
    targets: Sequence[Target],
    judge: Judge,
    probes: Iterable[Probe] = (*PROBES, *ACCEPT_PROBES),
    reward: TaskReward | None = None,
) -> tuple[list[ProbeFailure], dict[str, int]]:
    """Runs probes on a verifier behind a protocol. Returns the same as `probe_scorer`."""
    return probe_scorer(lambda pairs: judge.verify(verifier, protocol, pairs), targets, probes, reward)


def probe_scorer(
    scorer: Scorer,
    targets: Sequence[Target],
    probes: Iterable[Probe] = (*PROBES, *ACCEPT_PROBES),
    reward: TaskReward | None = None,
) -> tuple[list[ProbeFailure], dict[str, int]]:
    """Runs probes on any function from (example, completion) pairs to verdicts.

    A completion that must be rejected is left out where it equals the gold completion up to white space.

    :param reward: gives the rewards to check. A rejected completion must earn no more than the table states for its
        status, or, for probes with `partial`, less than a correct one.
    :returns: the wrong verdicts and rewards, for each probe the shortest completion first, and the number of
        completions by probe.
    """
    failures: list[ProbeFailure] = []
    counts: dict[str, int] = {}
    for probe in probes:
        pairs = []
        for target in targets:
            gold = target.compose(target.gold).split()
            for text in probe.completions(target):
                if probe.expect == "accept" or text.split() != gold:
                    pairs.append((target.example, Completion(text, finish_reason="stop")))
        counts[probe.name] = len(pairs)
        for (example, completion), verdict in zip(pairs, scorer(pairs), strict=True):
            if verdict.correct != (probe.expect == "accept"):
                shown = f"{verdict.status}: {verdict.reason}" if verdict.reason else str(verdict.status)
                failures.append(ProbeFailure(probe.name, probe.expect, example.id, completion.text, shown))
            elif reward is not None and (shown := _excess_reward(reward, probe, (example, completion, verdict))):
                failures.append(ProbeFailure(probe.name, probe.expect, example.id, completion.text, shown, True))
    return sorted(failures, key=lambda f: (f.expect == "accept", f.probe, len(f.completion))), counts


def _excess_reward(reward: TaskReward, probe: Probe, item: tuple[Example, Completion, Verdict]) -> str:
    """What is wrong with the reward of a completion that has the right verdict; empty where nothing is."""
    try:
        earned = reward([item])[0].total
    except RewardError as err:
        return err.message
    status = item[2].status
    allowed = reward.table.for_status(status)
    if probe.partial or earned <= allowed + 1e-9:
        return ""
    return f"{status}: it earns {earned:g}, but it holds no part of the answer, so the table allows {allowed:g}"
