"""Stops a benchmark early: questions are drawn in parts, in random order, and a rule looks at each part.

The rule sees the same questions in the same order however often the run was interrupted, so that it stops at the same
one. A stopped run is done; the same command without the rule goes on with it to all questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kkwarm.analysis.cells import protocol
from kkwarm.analysis.stats.sequential import ConfidenceSequence, Decision
from kkwarm.errors import KkwarmError
from kkwarm.evaluation.config import BenchConfig
from kkwarm.evaluation.plan import Entry, Item, shuffled
from kkwarm.schema.manifest import Manifest
from kkwarm.store import Run
from kkwarm.types import Sample

__all__ = ["EarlyStopping", "rule_of"]

PART = 64  # questions between two looks at a score
Draw = Callable[[Sequence[Entry]], Mapping[tuple[str, str, int], Sample]]


@dataclass(slots=True)
class EarlyStopping:
    """What stops the entries of a run: a half-width, or a decision against the scores of another run."""

    config: BenchConfig
    reference: Mapping[str, Mapping[str, float]]  # by entry and question; empty for a half-width
    family: int

    def __call__(self, entries: Sequence[Entry], draw: Draw) -> tuple[list[Entry], dict[str, dict[str, Any]]]:
        """The entries as far as they were drawn, and why each stopped there."""
        ended, told = [], {}
        for entry in entries:
            order = shuffled(entry.items)
            stop = self._score(entry, order, draw) if self.config.until else self._decision(entry, order, draw)
            kept = {item.example.id for item in order[: stop["questions"]]}
            ended.append(replace(entry, items=tuple(i for i in entry.items if i.example.id in kept)))
            saved = (len(order) - stop["questions"]) * self.config.samples
            told[entry.name] = stop | {"of": len(order), "generations_saved": saved}
        return ended, told

    def _score(self, entry: Entry, order: Sequence[Item], draw: Draw) -> dict[str, Any]:
        assert self.config.until is not None
        sequence = ConfidenceSequence(len(order), self.config.until)
        while sequence.count < len(order) and not sequence.reached:
            part = order[: sequence.count + PART]
            sequence.add(self._drawn(entry, part, draw)[sequence.count :])
        low, high = sequence.interval
        return {"rule": "half-width", "until": self.config.until, "questions": sequence.count, "whole": [low, high]}

    def _decision(self, entry: Entry, order: Sequence[Item], draw: Draw) -> dict[str, Any]:
        theirs = self.reference[entry.name]
        before = np.array([theirs[item.example.id] for item in order])
        decision = Decision(len(order), self.config.margin, self.family)
        for questions in decision.at:
            look = decision.look(before[:questions], self._drawn(entry, order[:questions], draw))
            if look.word is not None:
                break
        against = {"rule": "decided", "baseline": self.config.until_decided, "margin": self.config.margin}
        return against | {k if k != "word" else "verdict": v for k, v in asdict(look).items()}

    def _drawn(self, entry: Entry, part: Sequence[Item], draw: Draw) -> Any:
        """The mean score of each question, in the order of `part`."""
        stored = draw([replace(entry, items=tuple(part))])
        k = self.config.samples
        return np.array([sum(stored[entry.name, i.example.id, n].verdict.correct for n in range(k)) / k for i in part])


def rule_of(
    config: BenchConfig, entries: Sequence[Entry], known: Sequence[str], manifest: Manifest
) -> EarlyStopping | None:
    """The rule that the configuration names, or None. `manifest`: of the run that is to be stopped.

    :raises KkwarmError: the other run has other questions, prompts or settings, or a benchmark is lm-eval's own.
    """
    if config.until is None and config.until_decided is None:
        return None
    if known:
        raise KkwarmError(f"{known[0]} is run by lm-eval as a whole", hint="leave --until out for it")
    reference = {}
    if config.until_decided is not None:
        other = Run.read(Path(config.until_decided))
        reference = {e.name: _scores(other, e, manifest) for e in entries}
    return EarlyStopping(config, reference, len(entries))


def _scores(other: Run, entry: Entry, manifest: Manifest) -> dict[str, float]:
    ours, theirs = protocol(manifest, entry.name), protocol(other.manifest, entry.name)
    if ours != theirs:
        differs = ", ".join(k for k in sorted({*ours, *theirs}) if ours.get(k) != theirs.get(k))
        raise KkwarmError(f"{other.path} was not made as this run is, on {entry.name}: it differs in {differs}")
    right: dict[str, list[bool]] = {}
    prompts: dict[str, str] = {}
    for sample in other.samples(entry.name):
        right.setdefault(sample.id, []).append(sample.verdict.correct)
        prompts[sample.id] = sample.prompt_hash
    lacking = [i for i in entry.items if i.example.id not in right]
    if lacking:
        raise KkwarmError(
            f"{other.path} has no answer to {len(lacking)} of the {len(entry.items)} questions of {entry.name}",
            hint="a run to be decided against must be whole: bench it without --until",
        )
    moved = next((i.example.id for i in entry.items if prompts[i.example.id] != i.prompt_hash), None)
    if moved is not None:
        raise KkwarmError(f"{other.path}: question {moved} of {entry.name} was asked in other words there")
    return {id_: sum(r) / len(r) for id_, r in right.items()}
