"""Renders the steps of a search as the text of a reasoning model: many wordings, the same logic.

Statements are always quoted word for word. Every plain "X is a knight" outside quotes is a role that is known, assumed
or concluded at that step: a test parses the text and checks each of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kkwarm_kk.english import join_words, render_statement, role_name
from kkwarm_kk.puzzle import And, Iff, Implies, Is, Not, Or, Puzzle, Statement, people_in
from kkwarm_kk.search import PartialAssignment, Step, StepKind, can_be_role, forced_role, truth_value, with_role

_OPENINGS = (
    "Okay, so let me work through this puzzle.",
    "Alright, let's see what we have here.",
    "Let me think about this step by step.",
    "Okay, I need to find out who is a knight and who is a knave.",
    "Let's start by writing down what everybody says.",
    "Hmm, let me take this one slowly.",
    "First, let me get the statements straight.",
    "So there are {n} people here, and each of them makes one statement.",
)
_RULES = (
    "Knights always tell the truth and knaves always lie.",
    "A knight's statement has to be true, and a knave's statement has to be false.",
    "Remember the rule: whatever a knight says is true, whatever a knave says is false.",
    "The key is that a statement is true exactly when its speaker is a knight.",
)
_ASSUME = (
    "Let me assume that {p} is a {r}.",
    "Suppose {p} is a {r}.",
    "Let's try it with {p} as a {r}.",
    "I'll start from a guess: say {p} is a {r}.",
    "What happens if {p} is a {r}? Let me assume so.",
)
_ASSUME_MORE = (
    "Nothing more follows directly, so I need another assumption: suppose {p} is a {r}.",
    "That's as far as it goes by itself. Let me further assume that {p} is a {r}.",
    "Still open. Within this case, suppose {p} is a {r}.",
    "Hmm, I have to split again. Let me assume on top of this that {p} is a {r}.",
)
_OTHERWISE = (
    "That works, but is it the only way? Let me try the other case: suppose {p} is a {r}.",
    "To be sure, let me check the alternative too. Assume that {p} is a {r}.",
    "But wait, I should look at the other possibility as well: suppose {p} is a {r}.",
    "Before I settle on this, let me see what happens otherwise. Suppose {p} is a {r}.",
)
_REFUTE = (
    "So {p} can't be a {x}{still}, which means that {p} is a {r}.",
    "That rules it out{still}: {p} is not a {x}, so {p} is a {r}.",
    "Okay, that assumption fails{still}. Let me back up: {p} must be a {r}.",
    "So the guess was wrong{still}. Going back, {p} has to be a {r}.",
    "Therefore, {p} as a {x} is impossible{still}, so {p} must be a {r}.",
)
_CLASH = (
    'But {s} says "{c}", and {facts}that is {tv}. A {sr} can\'t say something {tv}. Contradiction.',
    'Now check {s}, who is a {sr} here: "{c}". {Facts}it comes out {tv}, and no {sr} could say that. Contradiction.',
    'Wait, {s} said "{c}". {Facts}this would be {tv}, but {s} is a {sr} in this case. That doesn\'t work.',
    'Hmm, {s} is a {sr}, yet the statement "{c}" turns out {tv}{because}. That\'s a contradiction.',
)
_PARADOX = (
    'Look at {s}, who says "{c}": as a knight {s} would be saying something false, and as a knave something true'
    "{because}. Neither is possible, so this is a contradiction.",
    '{s} says "{c}". But then {s} can be neither: a knight would be lying and a knave would be telling the truth'
    "{because}. That can't be.",
)
_SPEAKER = (
    'Look at {s}: "{c}". {Facts}that is {tv}, so {s} is a {r}.',
    '{s} says "{c}". {Facts}the statement is {tv}, and only a {r} could say that, so {s} is a {r}.',
    'What about {s}? The statement "{c}" is {tv}{because}, which means {s} must be a {r}.',
    'Next, {s} claims "{c}". {Facts}this is {tv}. So {s} has to be a {r}.',
)
_SPEAKER_IF = (
    'Look at {s}, who says "{c}". If {s} were a {x}, {facts}that would be {tv}, but a {x} can\'t say something {tv}. So'
    " {s} is a {r}.",
    'Could {s} be a {x}? Then "{c}" would be {tv}{because}, and a {x} would never say that. So {s} must be a {r}.',
    'Take the statement of {s}: "{c}". Were {s} a {x}, it would come out {tv}{because}, which is impossible for a {x}.'
    " Hence {s} is a {r}.",
)
_CONTENT = (
    'Since {s} is a {sr}, "{c}" is {tv}{gloss}. {Facts}{p} must be a {r}.',
    '{s} is a {sr}, so the statement "{c}" has to be {tv}{gloss}. {So}{p} is a {r}.',
    '{s} says "{c}". As {s} is a {sr}, that is {tv}{gloss}. {So}{p} has to be a {r}.',
    'We know {s} is a {sr}. So "{c}" must be {tv}{gloss}. {Facts}we get that {p} is a {r}.',
    'Now "{c}", said by {s}, must be {tv}, because {s} is a {sr}{gloss}. {So}{p} is a {r}.',
)
_RECHECK = (
    'Wait, let me double-check that. If {p} were a {x}, "{c}" would be {tv}, but {s} {own} a {sr} and says it. So yes,'
    " {p} is a {r}.",
    "Let me double-check: could {p} be a {x} after all? Then what {s} says would be {tv}, which doesn't fit a {sr}. No,"
    " {p} is a {r}.",
    'Hold on, is that right? {s} said "{c}". With {p} as a {x} it would be {tv}, and {s} {own} a {sr}. Yes, that\'s'
    " right: {p} is a {r}.",
)
_RECHECK_SELF = (
    'Wait, let me double-check that. If {p} were a {x}, "{c}" would be {tv}, and a {x} can\'t say that. So yes,'
    " {p} is a {r}.",
    "Hold on, is that right? With {p} as a {x}, the statement would be {tv}, which no {x} says. Yes, {p} is a {r}.",
)
_SOLVED = (
    "Now everybody is settled{still}: {all}.",
    "That leaves nobody open{still}: {all}. No contradiction so far.",
    "So this case gives{still}: {all}. Nothing contradicts.",
    "And with that all roles are known{still}: {all}.",
)
_ONLY = (
    "Everything else leads to a contradiction, so this is the only solution: {all}.",
    "So there is exactly one consistent assignment: {all}.",
    "The other cases are all ruled out. What remains: {all}.",
)
_ONLY_FORCED = (
    "Every step was forced, so this is the only solution: {all}.",
    "I never had to guess, so there is exactly one consistent assignment: {all}.",
    "All of that followed without any assumption, so it must be: {all}.",
)
_TRUST = (
    "This assignment is consistent, and the puzzle should have one answer: {all}.",
    "I found an assignment that fits every statement: {all}.",
    "That fits everything, so I'll take it: {all}.",
)
_VERIFY_OPENINGS = (
    "Let me verify this against every statement.",
    "Let me double-check all of the statements.",
    "Now let me go through the statements once more.",
    "Quick check of each statement:",
)
_VERIFY = (
    'For {s}, a {sr}: "{c}" is {tv}{because}. Good.',
    '{s} is a {sr}, and "{c}" is {tv}{because}. That fits.',
    '{s} ({sr}): "{c}" comes out {tv}{because}, as it should.',
    'The statement of {s}, "{c}", is {tv}{because}, which is right for a {sr}.',
)
_CLOSINGS = (
    "All statements are consistent, so that's the answer.",
    "Everything checks out.",
    "Great, it all fits together.",
    "So that is the final answer.",
    "",
)
_FILLERS = ("Hmm. ", "Okay. ", "Right. ", "Good. ", "Let me see. ")


def explain_truth_value(statement: Statement, true: bool) -> str:
    """What it means that the statement is true (or false), for statements where that needs an explanation."""
    match statement:
        case Is() | Not(Is()):
            return ""
        case Not(part):
            return explain_truth_value(part, not true)
        case And(parts):
            every = "both parts hold" if len(parts) == 2 else "every part holds"
            return every if true else "at least one part fails"
        case Or(parts):
            none = "neither part holds" if len(parts) == 2 else "no part holds"
            return "at least one part holds" if true else none
        case Implies():
            return (
                "whenever the first part holds, the second does too"
                if true
                else "the first part holds and the second doesn't"
            )
        case Iff():
            return "the two sides agree" if true else "the two sides differ"


@dataclass
class _Writer:
    puzzle: Puzzle
    names: Sequence[str]
    rng: random.Random
    has_assumption: bool

    def choose(self, templates: Sequence[str]) -> str:
        return self.rng.choice(templates)

    def statement(self, speaker: int) -> str:
        return render_statement(self.puzzle.statements[speaker], self.names)

    def render_roles(self, assignment: PartialAssignment) -> str:
        return join_words([f"{name} is a {role_name(bool(v))}" for name, v in zip(self.names, assignment, strict=True)])

    def facts(
        self,
        speaker: int,
        assignment: PartialAssignment,
        suffices: Callable[[PartialAssignment], bool],
        given: int = -1,
    ) -> str:
        """As few known roles as suffice, among the people whom `speaker` mentions. "" if none is needed.

        `given`: a person whose role the sentence states anyway.
        """
        about = set(people_in(self.puzzle.statements[speaker])) | {given}
        needed: PartialAssignment = tuple(v if p in about else None for p, v in enumerate(assignment))
        for person, value in enumerate(needed):
            fewer = (*needed[:person], None, *needed[person + 1 :])
            if value is not None and person != given and suffices(fewer):
                needed = fewer
        return join_words(
            [f"{self.names[p]} is a {role_name(v)}" for p, v in enumerate(needed) if v is not None and p != given]
        )

    def truth_value_facts(self, speaker: int, assignment: PartialAssignment, given: int = -1) -> str:
        """The facts that decide the truth value of the speaker's statement."""
        true = truth_value(self.puzzle, speaker, assignment)
        return self.facts(speaker, assignment, lambda a: truth_value(self.puzzle, speaker, a) is true, given)

    def format(self, template: str, facts: str, **words: str) -> str:
        """Fills in a template. `facts` is for {facts} (mid-sentence), {Facts} and {So} (at its start), {because}."""
        words |= {
            "facts": f"since {facts}, " if facts else "",
            "Facts": f"Since {facts}, " if facts else "",
            "So": f"Given that {facts}, " if facts else "So ",
            "because": f" because {facts}" if facts else "",
        }
        text = template.format(**words)
        # Without facts a sentence loses its first words: capitalize what is left.
        for stop in (". ", "? "):
            head, *rest = text.split(stop)
            text = stop.join([head, *(r[:1].upper() + r[1:] for r in rest)])
        return text

    def introduction(self) -> str:
        names, rng = self.names, self.rng
        opening = self.choose(_OPENINGS).format(n=len(names))
        statements = [self.statement(p) for p in range(len(names))]
        layout = rng.randrange(4)
        if layout == 0:
            body = "\n" + "\n".join(f'- {n}: "{c}"' for n, c in zip(names, statements, strict=True))
        elif layout == 1:
            body = "\n" + "\n".join(
                f'{i}. {n} says "{c}".' for i, (n, c) in enumerate(zip(names, statements, strict=True), 1)
            )
        elif layout == 2:
            verbs = ("says", "claims", "tells us", "states")
            body = " ".join(f'{n} {rng.choice(verbs)} "{c}".' for n, c in zip(names, statements, strict=True))
        else:
            body = f"The people are {join_words(names)}, and I have the statement of each."
        return opening + ("" if layout < 2 else " ") + body + ("\n" if layout < 2 else " ") + self.choose(_RULES)

    def step(self, step: Step) -> str:
        method = getattr(self, f"_{step.kind.value}", None)
        return method(step) if method else self._simple_step(step)

    def _simple_step(self, step: Step) -> str:
        table = {
            StepKind.ASSUME: _ASSUME_MORE if step.depth else _ASSUME,
            StepKind.OTHERWISE: _OTHERWISE,
            StepKind.REFUTE: _REFUTE,
            StepKind.SOLVED: _SOLVED,
            StepKind.ONLY: _ONLY if self.has_assumption else _ONLY_FORCED,
            StepKind.TRUST: _TRUST,
        }
        still = " under the assumptions still standing" if step.depth > 1 else " in this case" if step.depth else ""
        states_roles = step.kind in (StepKind.SOLVED, StepKind.ONLY, StepKind.TRUST)
        return self.choose(table[step.kind]).format(
            p=self.names[step.person],
            r=role_name(step.value),
            x=role_name(not step.value),
            still=still,
            all=self.render_roles(step.assignment) if states_roles else "",
        )

    def _words(self, step: Step, assignment: PartialAssignment) -> dict[str, str]:
        """The fields that most templates need. The statement's truth value is taken under `assignment`."""
        true = truth_value(self.puzzle, step.speaker, assignment)
        return {
            "s": self.names[step.speaker],
            "c": self.statement(step.speaker),
            "tv": "true" if true else "false",
            "p": self.names[step.person],
            "r": role_name(step.value),
            "x": role_name(not step.value),
        }

    def _clash(self, step: Step) -> str:
        words = self._words(step, step.assignment)
        facts = self.truth_value_facts(step.speaker, step.assignment, given=step.speaker)
        speaker_role = role_name(bool(step.assignment[step.speaker]))
        return self.format(self.choose(_CLASH), facts, sr=speaker_role, **words)

    def _paradox(self, step: Step) -> str:
        words = self._words(step, step.assignment)
        facts = self.facts(step.speaker, step.assignment, lambda a: not any(can_be_role(self.puzzle, step.speaker, a)))
        return self.format(self.choose(_PARADOX), facts, **words)

    def _speaker(self, step: Step) -> str:
        if truth_value(self.puzzle, step.speaker, step.assignment) is not None:
            facts = self.truth_value_facts(step.speaker, step.assignment)
            return self.format(self.choose(_SPEAKER), facts, **self._words(step, step.assignment))
        contrary = with_role(step.assignment, step.person, not step.value)
        facts = self.truth_value_facts(step.speaker, contrary, given=step.speaker)
        return self.format(self.choose(_SPEAKER_IF), facts, **self._words(step, contrary))

    def _content(self, step: Step) -> str:
        true = bool(step.assignment[step.speaker])
        words = self._words(step, step.assignment) | {"tv": "true" if true else "false", "sr": role_name(true)}
        statement = self.puzzle.statements[step.speaker]
        meaning = explain_truth_value(statement, true) if self.rng.random() < 0.7 else ""
        facts = self.facts(
            step.speaker,
            step.assignment,
            lambda a: forced_role(self.puzzle, step.speaker, a, step.person) is step.value,
            given=step.speaker,
        )
        return self.format(self.choose(_CONTENT), facts, gloss=f": {meaning}" if meaning else "", **words)

    def _recheck(self, step: Step) -> str:
        contrary = with_role(step.assignment, step.person, not step.value)
        words = self._words(step, contrary)
        if step.speaker == step.person:
            return self.format(self.choose(_RECHECK_SELF), "", **words)
        speaker_role = role_name(bool(step.assignment[step.speaker]))
        return self.format(self.choose(_RECHECK), "", sr=speaker_role, own="is", **words)

    def _verify(self, step: Step) -> str:
        words = self._words(step, step.assignment)
        facts = self.truth_value_facts(step.speaker, step.assignment)
        speaker_role = role_name(bool(step.assignment[step.speaker]))
        return self.format(self.choose(_VERIFY), facts, sr=speaker_role, **words)


_NEW_PARAGRAPH = frozenset({StepKind.ASSUME, StepKind.OTHERWISE, StepKind.REFUTE, StepKind.ONLY, StepKind.TRUST})


def render_steps(
    puzzle: Puzzle, names: Sequence[str], steps: Sequence[Step], rng: random.Random
) -> list[tuple[Step | None, str]]:
    """Each step with its text, between an introduction and a closing (both with step None)."""
    writer = _Writer(puzzle, names, rng, any(step.kind is StepKind.ASSUME for step in steps))
    texts: list[tuple[Step | None, str]] = [(None, writer.introduction())]
    verifying = False
    for step in steps:
        text = writer.step(step)
        if step.kind is StepKind.VERIFY and not verifying:
            verifying = True
            text = f"{writer.choose(_VERIFY_OPENINGS)} {text}"
        elif step.kind in (StepKind.SPEAKER, StepKind.CONTENT) and rng.random() < 0.08:
            text = writer.choose(_FILLERS) + text
        texts.append((step, text))
    texts.append((None, writer.choose(_CLOSINGS)))
    return texts


def render_reasoning(puzzle: Puzzle, names: Sequence[str], steps: Sequence[Step], rng: random.Random) -> str:
    """The steps as continuous text."""
    parts: list[str] = []
    verifying = False
    for step, text in render_steps(puzzle, names, steps, rng):
        new_paragraph = step is None or step.kind in _NEW_PARAGRAPH or (step.kind is StepKind.VERIFY and not verifying)
        verifying = step is not None and step.kind is StepKind.VERIFY
        if text:
            parts += [("\n\n" if new_paragraph else " ") if parts else "", text]
    return "".join(parts)
