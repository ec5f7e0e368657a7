"""Solves a puzzle by assumptions and their consequences, as a list of steps that can each be checked alone.

This module has the logic only: assume, follow, contradict, back up, conclude, verify. `kkwarm_kk.reasoning_text`
renders the steps as text. Every step records the roles known before it, so that a reader (or a test) can replay it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from kkwarm_kk.puzzle import FULL_TABLE, KNIGHT_TABLE, Puzzle, consistent_assignments, people_in

PartialAssignment = tuple[bool | None, ...]
"""One entry per person: True for a knight, False for a knave, None if not known under the open assumptions."""


class StepKind(StrEnum):
    ASSUME = "assume"  # assume that `person` has the role `value`
    OTHERWISE = "otherwise"  # after one branch led to a solution, assume the other one in order to refute it
    SPEAKER = "speaker"  # with the other role, the own statement of `person` would have the wrong truth value
    CONTENT = "content"  # the role of `speaker` makes their statement true (or false), which decides `person`
    CLASH = "clash"  # the statement of `speaker`, whose role is known, has the wrong truth value
    PARADOX = "paradox"  # `speaker` can have neither role
    REFUTE = "refute"  # the assumption that `person` does not have the role `value` is withdrawn
    RECHECK = "recheck"  # repeats why the other role of `person` would give `speaker` the wrong truth value
    SOLVED = "solved"  # every role is known and nothing contradicts
    VERIFY = "verify"  # in the solution, the statement of `speaker` has the right truth value
    ONLY = "only"  # the solution is unique, because every other assumption failed
    TRUST = "trust"  # a solution whose uniqueness was not examined


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `assignment` and `depth` are the known roles and the number of open assumptions before it."""

    kind: StepKind
    assignment: PartialAssignment
    depth: int
    person: int = -1
    value: bool = False
    speaker: int = -1


@dataclass(frozen=True, slots=True)
class Style:
    """Options of a search."""

    order: tuple[int, ...]  # the order in which people are considered
    knight_first: float  # probability that the first assumption about a person is "knight"
    most_mentioned_first: bool  # make assumptions about the most mentioned people first, rather than in `order`
    assume_early: bool  # start with an assumption, and use a statement only once its speaker's role is known or assumed
    thorough: bool  # after a solution, examine the other branches too
    recheck: float  # probability that a conclusion is checked a second time
    verify: bool


def sample_style(people: int, rng: random.Random) -> Style:
    order = list(range(people))
    u = rng.random()
    if u < 0.3:
        order.reverse()
    elif u < 0.7:
        rng.shuffle(order)
    return Style(
        tuple(order),
        knight_first=rng.choice((0.1, 0.5, 0.8, 1.0)),
        most_mentioned_first=rng.random() < 0.4,
        assume_early=rng.random() < 0.6,
        thorough=rng.random() < (0.75 if people < 5 else 0.5),
        recheck=rng.choice((0.05, 0.15, 0.3)),
        verify=rng.random() < 0.85,
    )


def matching_assignments(puzzle: Puzzle, assignment: PartialAssignment) -> int:
    """The truth table of all full assignments that agree with `assignment`, whatever the statements are."""
    table = FULL_TABLE[puzzle.people]
    for person, value in enumerate(assignment):
        if value is not None:
            table &= KNIGHT_TABLE[person] if value else ~KNIGHT_TABLE[person]
    return table


def truth_value(puzzle: Puzzle, speaker: int, assignment: PartialAssignment) -> bool | None:
    """Whether the statement of `speaker` is true; None if `assignment` does not decide it."""
    table = matching_assignments(puzzle, assignment)
    true = table & puzzle.statements[speaker].table
    return None if 0 < true < table else true == table


def with_role(assignment: PartialAssignment, person: int, value: bool) -> PartialAssignment:
    return (*assignment[:person], value, *assignment[person + 1 :])


def can_be_role(puzzle: Puzzle, speaker: int, assignment: PartialAssignment) -> tuple[bool, bool]:
    """Whether `speaker` can make their statement as a knight, and as a knave."""
    return (
        truth_value(puzzle, speaker, with_role(assignment, speaker, True)) is not False,
        truth_value(puzzle, speaker, with_role(assignment, speaker, False)) is not True,
    )


def forced_role(puzzle: Puzzle, speaker: int, assignment: PartialAssignment, person: int) -> bool | None:
    """The role that `person` must have for the statement of `speaker`, whose role is known, to have its truth value."""
    statement = puzzle.statements[speaker]
    table = matching_assignments(puzzle, assignment) & (statement.table if assignment[speaker] else ~statement.table)
    knight = table & KNIGHT_TABLE[person]
    return None if 0 < knight < table or not table else knight == table


class _Search:
    def __init__(self, puzzle: Puzzle, style: Style, rng: random.Random) -> None:
        self.puzzle, self.style, self.rng = puzzle, style, rng
        self.steps: list[Step] = []
        mentions = [0] * puzzle.people
        for statement in puzzle.statements:
            for person in people_in(statement):
                mentions[person] += 1
        self.candidates = list(style.order)
        if style.most_mentioned_first:
            self.candidates.sort(key=lambda p: -mentions[p])

    def find_speaker_step(self, assignment: PartialAssignment) -> Step | None:
        """A person of unknown role whose own statement decides it."""
        for person in self.style.order:
            if assignment[person] is not None:
                continue
            if self.style.assume_early and truth_value(self.puzzle, person, assignment) is None:
                continue
            knight, knave = can_be_role(self.puzzle, person, assignment)
            if not knight and not knave:
                return Step(StepKind.PARADOX, assignment, 0, speaker=person)
            if not knight or not knave:
                return Step(StepKind.SPEAKER, assignment, 0, person, knight, person)
        return None

    def find_content_step(self, assignment: PartialAssignment) -> Step | None:
        """A person of unknown role whose role follows from the statement of someone of known role."""
        for speaker in self.style.order:
            if assignment[speaker] is None:
                continue
            for person in people_in(self.puzzle.statements[speaker]):
                if assignment[person] is None:
                    value = forced_role(self.puzzle, speaker, assignment, person)
                    if value is not None:
                        return Step(StepKind.CONTENT, assignment, 0, person, value, speaker)
        return None

    def find_clash(self, assignment: PartialAssignment) -> Step | None:
        for person in self.style.order:
            role = assignment[person]
            if role is not None and truth_value(self.puzzle, person, assignment) is (not role):
                return Step(StepKind.CLASH, assignment, 0, speaker=person)
        return None

    def add(self, step: Step, depth: int) -> None:
        self.steps.append(Step(step.kind, step.assignment, depth, step.person, step.value, step.speaker))

    def follow(self, assignment: PartialAssignment, depth: int) -> PartialAssignment | None:
        """Adds every conclusion from single statements. None if they end in a contradiction."""
        while True:
            step = (
                self.find_clash(assignment) or self.find_content_step(assignment) or self.find_speaker_step(assignment)
            )
            if step is None:
                return assignment
            self.add(step, depth)
            if step.kind in (StepKind.CLASH, StepKind.PARADOX):
                return None
            assignment = with_role(assignment, step.person, step.value)
            if self.rng.random() < self.style.recheck:
                self.add(Step(StepKind.RECHECK, assignment, 0, step.person, step.value, step.speaker), depth)

    def explore(self, assignment: PartialAssignment, depth: int) -> bool:
        """Whether there is a solution under `assignment`; if so, a SOLVED step has it."""
        at_start = not self.steps
        concluded = assignment if at_start and self.style.assume_early else self.follow(assignment, depth)
        if concluded is None:
            return False
        unknown = [p for p in self.candidates if concluded[p] is None]
        if not unknown:
            self.add(Step(StepKind.SOLVED, concluded, 0), depth)
            return True
        person = unknown[0]
        guess = self.rng.random() < self.style.knight_first
        self.add(Step(StepKind.ASSUME, concluded, 0, person, guess), depth)
        if not self.explore(with_role(concluded, person, guess), depth + 1):
            self.add(Step(StepKind.REFUTE, concluded, 0, person, not guess), depth)
            return self.explore(with_role(concluded, person, not guess), depth)
        if self.style.thorough:
            self.add(Step(StepKind.OTHERWISE, concluded, 0, person, not guess), depth)
            if self.explore(with_role(concluded, person, not guess), depth + 1):
                raise ValueError("the puzzle has more than one solution")
            self.add(Step(StepKind.REFUTE, concluded, 0, person, guess), depth)
        return True


def search(puzzle: Puzzle, style: Style, rng: random.Random) -> list[Step]:
    """The steps to the only solution."""
    n_solutions = consistent_assignments(puzzle).bit_count()
    if n_solutions != 1:
        raise ValueError(f"the puzzle has {n_solutions} solutions, not exactly one")
    run = _Search(puzzle, style, rng)
    run.explore((None,) * puzzle.people, 0)
    steps = run.steps
    solved = next(step for step in steps if step.kind is StepKind.SOLVED)
    # A solution without open assumptions is the only one: everything else has been refuted.
    unique = style.thorough or solved.depth == 0
    ending = [Step(StepKind.ONLY if unique else StepKind.TRUST, solved.assignment, 0)]
    if style.verify:
        ending += [Step(StepKind.VERIFY, solved.assignment, 0, speaker=p) for p in range(puzzle.people)]
    return [*steps, *ending]
