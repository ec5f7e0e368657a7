"""A search through a puzzle as a person would do it, as a list of steps, each of which can be checked by itself.

The words are put in by `kkwarm_kk.prose`; here is only the logic: assume, follow, contradict, back up, conclude,
verify. Every step keeps what was known when it was taken, so that a reader (or a test) can replay it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from kkwarm_kk.puzzle import FULL, KNIGHT, Puzzle, people_in, worlds

Known = tuple[bool | None, ...]
"""One entry for each person: knight, knave, or not known (under the assumptions made)."""


class Kind(StrEnum):
    ASSUME = "assume"  # suppose that `person` is `value`
    OTHERWISE = "otherwise"  # after one branch has worked: suppose the other, to see that it cannot be
    SPEAKER = "speaker"  # if `person` were not `value`, their own statement would have the wrong truth value
    CONTENT = "content"  # what `speaker` is makes their statement true (or false), which makes `person` `value`
    CLASH = "clash"  # the statement of `speaker`, whose role is known, has the wrong truth value
    PARADOX = "paradox"  # `speaker` can be neither
    REFUTE = "refute"  # the assumption that `person` is not `value` is withdrawn
    RECHECK = "recheck"  # were `person` not `value`, the statement of `speaker` would have the wrong truth value
    FOUND = "found"  # everybody's role is known and nothing contradicts
    VERIFY = "verify"  # in the solution, the statement of `speaker` has the right truth value
    ONLY = "only"  # nothing else is possible, because every other assumption failed
    TRUST = "trust"  # a solution; that it is the only one was not examined


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `known` is what held before it; `depth` is the number of open assumptions before it."""

    kind: Kind
    known: Known
    depth: int
    person: int = -1
    value: bool = False
    speaker: int = -1


@dataclass(frozen=True, slots=True)
class Style:
    """How a search goes about it."""

    order: tuple[int, ...]  # the people in the order in which they are considered
    guess: float  # how often the first guess is "knight"
    busiest: bool  # assume first about whom most statements speak, rather than by `order`
    blunt: bool  # guess at once, and look at nobody's words before knowing (or supposing) what they are
    thorough: bool  # after a solution, examine the other branches too
    recheck: float  # how often a conclusion is looked at a second time
    verify: bool


def draw_style(people: int, rng: random.Random) -> Style:
    order = list(range(people))
    shape = rng.random()
    if shape < 0.3:
        order.reverse()
    elif shape < 0.7:
        rng.shuffle(order)
    return Style(
        tuple(order),
        guess=rng.choice((0.1, 0.5, 0.8, 1.0)),
        busiest=rng.random() < 0.4,
        blunt=rng.random() < 0.6,
        thorough=rng.random() < (0.75 if people < 5 else 0.5),
        recheck=rng.choice((0.05, 0.15, 0.3)),
        verify=rng.random() < 0.85,
    )


def possible(puzzle: Puzzle, known: Known) -> int:
    """The assignments that agree with `known`, whatever was said: a truth table."""
    table = FULL[puzzle.people]
    for person, value in enumerate(known):
        if value is not None:
            table &= KNIGHT[person] if value else ~KNIGHT[person]
    return table


def value_of(puzzle: Puzzle, speaker: int, known: Known) -> bool | None:
    """Whether what `speaker` says is true, so far as `known` settles it."""
    table = possible(puzzle, known)
    true = table & puzzle.statements[speaker].table
    return None if 0 < true < table else true == table


def with_role(known: Known, person: int, value: bool) -> Known:
    return (*known[:person], value, *known[person + 1 :])


def fits(puzzle: Puzzle, speaker: int, known: Known) -> tuple[bool, bool]:
    """Whether `speaker` may say what they say as a knight, and as a knave."""
    return (
        value_of(puzzle, speaker, with_role(known, speaker, True)) is not False,
        value_of(puzzle, speaker, with_role(known, speaker, False)) is not True,
    )


def forced(puzzle: Puzzle, speaker: int, known: Known, person: int) -> bool | None:
    """What `person` has to be for the statement of `speaker`, whose role is known, to have the right truth value."""
    statement = puzzle.statements[speaker]
    table = possible(puzzle, known) & (statement.table if known[speaker] else ~statement.table)
    knight = table & KNIGHT[person]
    return None if 0 < knight < table or not table else knight == table


class _Search:
    def __init__(self, puzzle: Puzzle, style: Style, rng: random.Random) -> None:
        self.puzzle, self.style, self.rng = puzzle, style, rng
        self.steps: list[Step] = []
        mentions = [0] * puzzle.people
        for statement in puzzle.statements:
            for person in people_in(statement):
                mentions[person] += 1
        self.candidates = sorted(style.order, key=lambda p: -mentions[p]) if style.busiest else list(style.order)

    def speaker_forced(self, known: Known) -> Step | None:
        """Somebody unknown whose own words give them away."""
        for who in self.style.order:
            if known[who] is not None or (self.style.blunt and value_of(self.puzzle, who, known) is None):
                continue
            knight, knave = fits(self.puzzle, who, known)
            if not knight and not knave:
                return Step(Kind.PARADOX, known, 0, speaker=who)
            if not knight or not knave:
                return Step(Kind.SPEAKER, known, 0, who, knight, who)
        return None

    def content_forced(self, known: Known) -> Step | None:
        """What a known person's statement says about somebody unknown."""
        for who in self.style.order:
            if known[who] is None:
                continue
            for person in people_in(self.puzzle.statements[who]):
                if known[person] is None:
                    value = forced(self.puzzle, who, known, person)
                    if value is not None:
                        return Step(Kind.CONTENT, known, 0, person, value, who)
        return None

    def clash(self, known: Known) -> Step | None:
        for who in self.style.order:
            if known[who] is not None and value_of(self.puzzle, who, known) is (not known[who]):
                return Step(Kind.CLASH, known, 0, speaker=who)
        return None

    def add(self, step: Step, depth: int) -> None:
        self.steps.append(Step(step.kind, step.known, depth, step.person, step.value, step.speaker))

    def follow(self, known: Known, depth: int) -> Known | None:
        """Draws every one-statement conclusion. None where that ends in a contradiction."""
        while True:
            step = self.clash(known) or self.content_forced(known) or self.speaker_forced(known)
            if step is None:
                return known
            self.add(step, depth)
            if step.kind in (Kind.CLASH, Kind.PARADOX):
                return None
            known = with_role(known, step.person, step.value)
            if self.rng.random() < self.style.recheck:
                self.add(Step(Kind.RECHECK, known, 0, step.person, step.value, step.speaker), depth)

    def explore(self, known: Known, depth: int) -> bool:
        """True where a solution was found under `known` (which then is in a FOUND step)."""
        at_start = not self.steps
        after = known if at_start and self.style.blunt else self.follow(known, depth)
        if after is None:
            return False
        unknown = [p for p in self.candidates if after[p] is None]
        if not unknown:
            self.add(Step(Kind.FOUND, after, 0), depth)
            return True
        person = unknown[0]
        first = self.rng.random() < self.style.guess
        self.add(Step(Kind.ASSUME, after, 0, person, first), depth)
        if not self.explore(with_role(after, person, first), depth + 1):
            self.add(Step(Kind.REFUTE, after, 0, person, not first), depth)
            return self.explore(with_role(after, person, not first), depth)
        if self.style.thorough:
            self.add(Step(Kind.OTHERWISE, after, 0, person, not first), depth)
            if self.explore(with_role(after, person, not first), depth + 1):
                raise ValueError("the puzzle has more than one solution")
            self.add(Step(Kind.REFUTE, after, 0, person, first), depth)
        return True


def search(puzzle: Puzzle, style: Style, rng: random.Random) -> list[Step]:
    """The steps to the only solution. Raises ValueError where the puzzle has not exactly one."""
    if worlds(puzzle).bit_count() != 1:
        raise ValueError(f"the puzzle has {worlds(puzzle).bit_count()} solutions, not exactly one")
    nothing: Known = (None,) * puzzle.people
    run = _Search(puzzle, style, rng)
    run.explore(nothing, 0)
    steps = run.steps
    found = next(step for step in steps if step.kind is Kind.FOUND)
    # A solution found with no assumption open is the only one: everything else has been refuted.
    settled = style.thorough or found.depth == 0
    ending = [Step(Kind.ONLY if settled else Kind.TRUST, found.known, 0)]
    if style.verify:
        ending += [Step(Kind.VERIFY, found.known, 0, speaker=p) for p in range(puzzle.people)]
    return [*steps, *ending]
