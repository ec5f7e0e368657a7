"""What the rules of `kkwarm check` look at, and what they find."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from kkwarm.data.splits import content_hash
from kkwarm.plugins import Registry
from kkwarm.types import Benchmark, Completion, Domain, Example, Format, Verdict, Verifier
from kkwarm.verify import Judge

__all__ = ["SAMPLE", "Finding", "Rule", "Subject", "shorten"]

SAMPLE = 40  # examples on which a rule is tried that would take long on all of them


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule's outcome: `problem` is empty where it is kept; `note` is what was measured, `shown` what to look at.

    `where` is the part of the domain to mend, with file and line where it is a function: ``load (units.py, line 9)``.
    """

    rule: str
    problem: str = ""
    note: str = ""
    shown: str = ""
    where: str = ""

    @property
    def ok(self) -> bool:
        """Whether the rule is kept."""
        return not self.problem


@dataclass(slots=True)
class Subject:
    """A loaded domain with what the rules need. `ranked` are its examples in an order that depends on content only.

    `sample` is the first of them, `untouched` a copy of it that no verifier has seen, `first` the first verdict that
    each answer ever had. A rule may leave a `note` and something to be `shown`.
    """

    registry: Registry
    domain: Domain
    benchmark: Benchmark
    verifier: Verifier
    format: Format
    examples: list[Example]
    judge: Judge
    ranked: list[Example] = field(init=False)
    sample: list[Example] = field(init=False)
    untouched: list[Example] = field(init=False)
    first: dict[tuple[str, str], Verdict] = field(default_factory=dict)
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
        """The sample, each example with its right answer; nothing where the domain has no `gold`."""
        return [(e, self.gold(e)) for e in self.sample] if self.domain.gold is not None else []

    @property
    def others(self) -> list[tuple[Example, str]]:
        """The sample, each example with the right answer of another one that is not its own."""
        golds = self.golds
        return [
            (e, other)
            for (e, mine), (o, other) in zip(golds, golds[1:] + golds[:1], strict=True)
            if mine != other and e.answer != o.answer
        ]

    def gold(self, example: Example) -> str:
        """The text of the example's right answer.

        :raises TypeError: `gold` gives something else than text.
        """
        assert self.domain.gold is not None
        text = self.domain.gold(example)
        if not isinstance(text, str):
            raise TypeError(f"gold(example) gives {shorten(text)} for {example.id}; it must be text")
        return text

    def verdicts(self, pairs: Sequence[tuple[Example, str]]) -> list[Verdict]:
        """Verdicts on completions composed by the domain's format from answer texts."""
        composed = [(e, Completion(self.format.compose("some reasoning", a), finish_reason="stop")) for e, a in pairs]
        found = self.judge.verify(self.verifier, self.format, composed)
        for (e, answer), verdict in zip(pairs, found, strict=True):
            self.first.setdefault((e.id, answer), verdict)
        return found


Rule = Callable[[Subject], Iterator[str]]


def shorten(value: object, limit: int = 60) -> str:
    """A value as Python writes it, cut where it is long."""
    shown = repr(value)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
