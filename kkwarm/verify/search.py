"""Adversarial search: generated cases on a verifier, and a smallest counterexample for each kind of wrong verdict.

A `CaseGenerator` makes cases with their labels from a generator of random numbers. Its draws are recorded. A
counterexample is shrunk by deleting and lowering draws and generating again, so a smaller case has a label of its own
(MacIver and Donaldson, "Test-Case Reduction via Test-Case Generation", ECOOP 2020).
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kkwarm.errors import KkwarmError, describe_error
from kkwarm.plugins import Registry
from kkwarm.protocols import PLAIN
from kkwarm.types import Case, CaseGenerator, Completion, Example, Status, Target, Verdict, Verifier
from kkwarm.verify.judge import Judge
from kkwarm.verify.mutations import GENERATORS, PROGRAM_GENERATORS
from kkwarm.verify.probes import make_targets

Scorer = Callable[[Sequence[tuple[Target, Case]]], Sequence[Verdict]]
Report = Callable[[int, float, int], None]

_BATCH = 64
_MAX_DRAWS = 10_000  # of one case; a generator that loops until a draw fits never ends on replayed zeros
_SHRINK_STEPS = 1_500
_LENGTHS = 6  # early draws of which one may be the number of draws that follow
_SHRINK_S = 10.0  # for all cases of a kind


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a search runs.

    :param cases: number of cases per generator; ignored where `seconds` is set.
    :param seconds: time limit, without the shrinking of the last counterexamples. With `cases`, an upper limit.
    :param seed: seed of the cases. The n-th case of a generator depends on nothing else.
    :param shrunk: number of failing cases of a kind that are shrunk; different ones may come from different faults.
    """

    cases: int | None = 200
    seconds: float = 30.0
    seed: int = 0
    shrunk: int = 8


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A shrunk case with a wrong verdict. `count`: how many cases of its generator and kind had one."""

    generator: str
    case: Case
    example: Example
    gold: str
    verdict: Verdict
    count: int
    peers: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its kind, as `check` prints it."""
        return f"{self.generator}: {self.case.kind}"

    @property
    def outcome(self) -> str:
        """``wrongly accepted``, ``wrongly rejected``, or that the verifier failed."""
        if self.verdict.status is Status.ERROR:
            return "the verifier failed"
        return "wrongly rejected" if self.case.expect == "accept" else "wrongly accepted"


@dataclass(slots=True)
class SearchResult:
    """What a search tried and found.

    :param cases: number of cases by generator and kind.
    :param waived: counterexamples of kinds that the domain waives.
    :param peers: for each peer its number of verdicts, wrong verdicts, and cases without a verdict.
    """

    cases: dict[str, Counter[str]] = field(default_factory=dict)
    counterexamples: list[Counterexample] = field(default_factory=list)
    waived: list[Counterexample] = field(default_factory=list)
    peers: dict[str, Counter[str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def n_cases(self) -> int:
        """The number of cases of all generators."""
        return sum(sum(kinds.values()) for kinds in self.cases.values())


class _TooManyDraws(Exception):
    pass


class RecordedRandom(random.Random):
    """A generator of random numbers that records its draws, or replays recorded ones and then draws zeros."""

    def __init__(self, seed: str = "", replay: Sequence[int] | None = None) -> None:
        self.draws: list[int] = []
        self._replay = replay
        super().__init__(seed)

    def getrandbits(self, k: int, /) -> int:
        """`k` random bits; all other methods draw from here."""
        at = len(self.draws)
        if at >= _MAX_DRAWS:
            raise _TooManyDraws
        if self._replay is None:
            value = super().getrandbits(k)
        else:
            value = self._replay[at] & ((1 << k) - 1) if at < len(self._replay) else 0
        self.draws.append(value)
        return value

    def random(self) -> float:
        """A number in [0, 1)."""
        return self.getrandbits(53) * 2.0**-53


# -- one case ----------------------------------------------------------------------------------------------------------


def _make_case(generator: CaseGenerator, target: Target, rng: RecordedRandom) -> Case | None:
    """A case, or None where there is none. The example of a case gets an id made of its content."""
    try:
        case = generator.generate(target, rng)
    except _TooManyDraws:
        return None
    except Exception as err:
        message = f"the case generator {generator.name!r} failed: {describe_error(err)}"
        raise KkwarmError(message, hint="fix the plugin that registers it") from err
    if case is None:
        return None
    if case.example is not None:
        content = json.dumps([case.example.question, case.example.answer, dict(case.example.meta)], default=str)
        id_ = f"generated/{hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
        return replace(case, example=replace(case.example, id=id_))
    if case.expect == "reject" and case.completion.split() == target.compose(target.gold).split():
        return None
    return case


def _is_wrong(case: Case, verdict: Verdict) -> bool:
    return verdict.status is Status.ERROR or verdict.correct != (case.expect == "accept")


def make_scorer(verifier: Verifier, judge: Judge) -> Scorer:
    """A scorer of cases by a verifier: tagged cases by the target's protocol, the others as free text."""

    def score(pairs: Sequence[tuple[Target, Case]]) -> list[Verdict]:
        verdicts: list[Verdict | None] = [None] * len(pairs)
        for free in (False, True):
            places = [i for i, (_, case) in enumerate(pairs) if case.free_text is free]
            chosen = [
                (case.example or target.example, Completion(case.completion, finish_reason="stop"))
                for target, case in (pairs[i] for i in places)
            ]
            if chosen:
                protocol = PLAIN if free else pairs[places[0]][0].protocol
                for place, verdict in zip(places, judge.verify(verifier, protocol, chosen), strict=True):
                    verdicts[place] = verdict
        return [v for v in verdicts if v is not None]

    return score


# -- the search --------------------------------------------------------------------------------------------------------


class _Failure(NamedTuple):
    target: Target
    case: Case
    verdict: Verdict
    draws: list[int]


@dataclass(slots=True)
class _Found:
    """The first failing cases of a kind, and how many there are."""

    generator: CaseGenerator
    failures: list[_Failure] = field(default_factory=list)
    count: int = 0


def search(
    scorer: Scorer,
    targets: Sequence[Target],
    generators: Sequence[CaseGenerator],
    budget: Budget,
    *,
    peers: dict[str, Scorer] | None = None,
    report: Report = lambda cases, share, found: None,
) -> SearchResult:
    """Runs generated cases until the budget is used up, then shrinks one counterexample of each kind.

    :param report: called after each batch with the number of cases, the used share of the budget, and the number of
        kinds that have a counterexample.
    """
    began = time.monotonic()
    result = SearchResult({g.name: Counter() for g in generators}, peers={p: Counter() for p in peers or {}})
    found: dict[tuple[str, str, str, bool], _Found] = {}
    for number, (generator, share) in enumerate(_batches(generators, budget, began)):
        begin = number // len(generators) * _BATCH
        end = begin + _BATCH if budget.cases is None else min(begin + _BATCH, budget.cases)
        batch = make_cases(generator, targets, range(begin, end), budget.seed)
        result.cases[generator.name].update(case.kind for _, case, _ in batch)
        pairs = [(target, case) for target, case, _ in batch]
        for (target, case, draws), verdict in zip(batch, scorer(pairs), strict=True):
            if _is_wrong(case, verdict):
                key = (generator.name, case.kind, case.expect, case.free_text)
                kind = found.setdefault(key, _Found(generator))
                kind.count += 1
                if len(kind.failures) < budget.shrunk:
                    kind.failures.append(_Failure(target, case, verdict, draws))
        for name, peer in (peers or {}).items():
            _count(result.peers[name], pairs, peer(pairs))
        report(result.n_cases, share, len(found))
    for item in found.values():
        result.counterexamples += _smallest(item, scorer)
    for i, example in enumerate(result.counterexamples if peers else ()):
        pair = (Target(example.example, example.gold, (), targets[0].protocol), example.case)
        verdicts = {name: str(peer([pair])[0].status) for name, peer in (peers or {}).items()}
        result.counterexamples[i] = replace(example, peers=verdicts)
    result.seconds = time.monotonic() - began
    return result


def _batches(
    generators: Sequence[CaseGenerator], budget: Budget, began: float
) -> Iterator[tuple[CaseGenerator, float]]:
    """The generators in turn, each with the share of the budget that is used after its batch."""
    rounds = -(-budget.cases // _BATCH) if budget.cases is not None else 0
    number = 0
    while generators and (not rounds or number < rounds):
        for place, generator in enumerate(generators):
            used = (time.monotonic() - began) / budget.seconds
            if used >= 1:
                return
            share = max(used, (number * len(generators) + place + 1) / (rounds * len(generators))) if rounds else used
            yield generator, min(share, 1.0)
        number += 1


def make_cases(
    generator: CaseGenerator, targets: Sequence[Target], places: range, seed: int
) -> list[tuple[Target, Case, list[int]]]:
    """The cases of a generator at these places of its sequence, with the draws that made them.

    The n-th case depends on the seed, the generator's name and the targets only. Some places have no case.
    """
    cases = []
    for i in places:
        rng = RecordedRandom(f"{seed}/{generator.name}/{i}")
        target = targets[i % len(targets)]
        case = _make_case(generator, target, rng)
        if case is not None:
            cases.append((target, case, rng.draws))
    return cases


def _count(counts: Counter[str], pairs: Sequence[tuple[Target, Case]], verdicts: Sequence[Verdict]) -> None:
    for (_, case), verdict in zip(pairs, verdicts, strict=True):
        if verdict.status in (Status.ERROR, Status.TIMEOUT):
            counts["no_verdict"] += 1
        else:
            counts["verdicts"] += 1
            if verdict.correct != (case.expect == "accept"):
                counts["wrongly_rejected" if case.expect == "accept" else "wrongly_accepted"] += 1


# -- shrinking ---------------------------------------------------------------------------------------------------------


def _smallest(found: _Found, scorer: Scorer) -> list[Counterexample]:
    """The different counterexamples that the failures of a kind shrink to, the shortest first."""
    ends = time.monotonic() + _SHRINK_S
    shrunk: dict[str, Counterexample] = {}
    for failure in found.failures:
        target, case, verdict, _ = _shrink(found.generator, failure, scorer, ends)
        gold = target.gold if case.example is None else str(case.example.answer)
        shape = case.completion.replace(gold, "#")
        example = case.example or target.example
        shrunk.setdefault(shape, Counterexample(found.generator.name, case, example, gold, verdict, found.count))
    return sorted(shrunk.values(), key=lambda c: len(c.case.completion))


def _shrink(generator: CaseGenerator, failure: _Failure, scorer: Scorer, ends: float) -> _Failure:
    """The failure with the fewest and smallest draws that is reached within the limits."""
    best, steps = failure, 0

    def attempt(draws: list[int]) -> bool:
        nonlocal best, steps
        steps += 1
        rng = RecordedRandom("", draws)
        case = _make_case(generator, failure.target, rng)
        size = (len(rng.draws), rng.draws)
        if case is None or size >= (len(best.draws), best.draws):
            return False
        old = failure.case
        if (case.kind, case.expect, case.free_text) != (old.kind, old.expect, old.free_text):
            return False
        (verdict,) = scorer([(failure.target, case)])
        if not _is_wrong(case, verdict):
            return False
        best = _Failure(failure.target, case, verdict, rng.draws)
        return True

    shorter, lower = True, True
    while (shorter or lower) and steps < _SHRINK_STEPS and time.monotonic() < ends:
        shorter = lower = False
        for width in (16, 8, 4, 2, 1):
            at = len(best.draws) - width
            while at >= 0 and steps < _SHRINK_STEPS and time.monotonic() < ends:
                shorter = attempt(best.draws[:at] + best.draws[at + width :]) or shorter
                at = min(at - 1, len(best.draws) - width)
        for at in range(len(best.draws) - 1, 0, -1):  # without one draw, and one less of the number of draws
            for before in [i for i in range(min(at, len(best.draws) - 1)) if best.draws[i] > 0][:_LENGTHS]:
                if steps >= _SHRINK_STEPS or time.monotonic() >= ends or at >= len(best.draws):
                    break
                less = [*best.draws[:before], best.draws[before] - 1, *best.draws[before + 1 :]]
                shorter = attempt(less[:at] + less[at + 1 :]) or shorter
        for at in range(len(best.draws)):
            for value in _lower(best.draws[at]) if at < len(best.draws) else ():
                if steps >= _SHRINK_STEPS or time.monotonic() >= ends:
                    break
                if attempt([*best.draws[:at], value, *best.draws[at + 1 :]]):
                    lower = True
                    break
    return best


def _lower(value: int) -> list[int]:
    """Lower values to try instead of a drawn one, the lowest first."""
    halves = [value >> k for k in range(1, value.bit_length())]
    less = [value - (1 << k) for k in range(value.bit_length())]
    return sorted({v for v in (0, 1, 2, 3, *halves, *less) if 0 <= v < value})


# -- a domain ----------------------------------------------------------------------------------------------------------


def search_domain(
    registry: Registry,
    name: str,
    examples: int,
    judge: Judge,
    budget: Budget,
    *,
    protocol_name: str | None = None,
    peers: bool = False,
    report: Report = lambda cases, share, found: None,
) -> SearchResult:
    """Searches with the built-in generators and those that plugins register for the domain.

    :param examples: how many of its evaluation examples the generators get.
    :param peers: also score the cases with the peers that the generators name.
    """
    domain = registry.domain(name)
    protocol = registry.protocol(domain, protocol_name)
    verifier = registry.verifier_of(registry.benchmark(name), protocol)
    generators = generators_for(registry, name, verifier)
    others = {p.name: make_scorer(p, judge) for g in generators for p in g.peers} if peers else {}
    result = search(
        make_scorer(verifier, judge),
        make_targets(registry, name, examples, protocol),
        generators,
        budget,
        peers=others,
        report=report,
    )
    result.waived = [c for c in result.counterexamples if {c.generator, c.name} & set(domain.waivers)]
    result.counterexamples = [c for c in result.counterexamples if c not in result.waived]
    return result


def generators_for(registry: Registry, name: str, verifier: Verifier) -> tuple[CaseGenerator, ...]:
    """The built-in generators for the verifier's kind of answers, and those that plugins register for the domain."""
    return (*(PROGRAM_GENERATORS if verifier.answers == "program" else GENERATORS), *registry.case_generators(name))
