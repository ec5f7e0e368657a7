"""Puts the steps of a search into words, as a reasoning model would: many wordings, the same logic.

What is claimed is always quoted word for word, and every plain "X is a knight" outside quotes is something known,
supposed or concluded at that step: a test reads the text back and checks each of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kkwarm_kk.english import listed, role, say
from kkwarm_kk.puzzle import And, Iff, Implies, Is, Not, Or, Puzzle, Statement, people_in
from kkwarm_kk.steps import Kind, Known, Step, fits, forced, value_of, with_role

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
_FOUND = (
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


def gloss(statement: Statement, true: bool) -> str:
    """What it means for the statement to be true (or false), where that takes a word."""
    match statement:
        case Is() | Not(Is()):
            return ""
        case Not(part):
            return gloss(part, not true)
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
    guessed: bool  # whether any assumption is made

    def pick(self, wordings: Sequence[str]) -> str:
        return self.rng.choice(wordings)

    def claim(self, speaker: int) -> str:
        return say(self.puzzle.statements[speaker], self.names)

    def everybody(self, known: Known) -> str:
        return listed([f"{name} is a {role(bool(v))}" for name, v in zip(self.names, known, strict=True)])

    def facts(self, speaker: int, known: Known, settles: Callable[[Known], bool], given: int = -1) -> str:
        """As few known roles as settle the matter among the people that `speaker` speaks of; "" where none is needed.

        `given`: a person whose role the sentence says anyway.
        """
        about = set(people_in(self.puzzle.statements[speaker])) | {given}
        needed: Known = tuple(v if p in about else None for p, v in enumerate(known))
        for person, value in enumerate(needed):
            fewer = (*needed[:person], None, *needed[person + 1 :])
            if value is not None and person != given and settles(fewer):
                needed = fewer
        return listed([f"{self.names[p]} is a {role(v)}" for p, v in enumerate(needed) if v is not None and p != given])

    def value_facts(self, speaker: int, known: Known, given: int = -1) -> str:
        """The facts that settle whether what `speaker` says is true."""
        true = value_of(self.puzzle, speaker, known)
        return self.facts(speaker, known, lambda k: value_of(self.puzzle, speaker, k) is true, given)

    def fill(self, wording: str, facts: str, **words: str) -> str:
        """`facts` goes in as {facts} (inside a sentence), {Facts} or {So} (at its start), {because} (at its end)."""
        words |= {
            "facts": f"since {facts}, " if facts else "",
            "Facts": f"Since {facts}, " if facts else "",
            "So": f"Given that {facts}, " if facts else "So ",
            "because": f" because {facts}" if facts else "",
        }
        text = wording.format(**words)
        # A sentence may have lost its first words.
        for stop in (". ", "? "):
            head, *rest = text.split(stop)
            text = stop.join([head, *(r[:1].upper() + r[1:] for r in rest)])
        return text

    def introduction(self) -> str:
        names, rng = self.names, self.rng
        opening = self.pick(_OPENINGS).format(n=len(names))
        claims = [self.claim(p) for p in range(len(names))]
        shape = rng.randrange(4)
        if shape == 0:
            said = "\n" + "\n".join(f'- {n}: "{c}"' for n, c in zip(names, claims, strict=True))
        elif shape == 1:
            said = "\n" + "\n".join(
                f'{i}. {n} says "{c}".' for i, (n, c) in enumerate(zip(names, claims, strict=True), 1)
            )
        elif shape == 2:
            verbs = ("says", "claims", "tells us", "states")
            said = " ".join(f'{n} {rng.choice(verbs)} "{c}".' for n, c in zip(names, claims, strict=True))
        else:
            said = f"The people are {listed(names)}, and I have the statement of each."
        return opening + ("" if shape < 2 else " ") + said + ("\n" if shape < 2 else " ") + self.pick(_RULES)

    def step(self, step: Step) -> str:
        method = getattr(self, f"_{step.kind.value}", None)
        return method(step) if method else self._plain(step)

    def _plain(self, step: Step) -> str:
        table = {
            Kind.ASSUME: _ASSUME_MORE if step.depth else _ASSUME,
            Kind.OTHERWISE: _OTHERWISE,
            Kind.REFUTE: _REFUTE,
            Kind.FOUND: _FOUND,
            Kind.ONLY: _ONLY if self.guessed else _ONLY_FORCED,
            Kind.TRUST: _TRUST,
        }
        still = " under the assumptions still standing" if step.depth > 1 else " in this case" if step.depth else ""
        everybody = self.everybody(step.known) if step.kind in (Kind.FOUND, Kind.ONLY, Kind.TRUST) else ""
        return self.pick(table[step.kind]).format(
            p=self.names[step.person], r=role(step.value), x=role(not step.value), still=still, all=everybody
        )

    def _about(self, step: Step, known: Known) -> dict[str, str]:
        """The words that most wordings need; `known` is what the statement's truth value is read under."""
        true = value_of(self.puzzle, step.speaker, known)
        return {
            "s": self.names[step.speaker],
            "c": self.claim(step.speaker),
            "tv": "true" if true else "false",
            "p": self.names[step.person],
            "r": role(step.value),
            "x": role(not step.value),
        }

    def _clash(self, step: Step) -> str:
        words = self._about(step, step.known)
        facts = self.value_facts(step.speaker, step.known, given=step.speaker)
        return self.fill(self.pick(_CLASH), facts, sr=role(bool(step.known[step.speaker])), **words)

    def _paradox(self, step: Step) -> str:
        words = self._about(step, step.known)
        facts = self.facts(step.speaker, step.known, lambda known: not any(fits(self.puzzle, step.speaker, known)))
        return self.fill(self.pick(_PARADOX), facts, **words)

    def _speaker(self, step: Step) -> str:
        if value_of(self.puzzle, step.speaker, step.known) is not None:
            facts = self.value_facts(step.speaker, step.known)
            return self.fill(self.pick(_SPEAKER), facts, **self._about(step, step.known))
        contrary = with_role(step.known, step.person, not step.value)
        facts = self.value_facts(step.speaker, contrary, given=step.speaker)
        return self.fill(self.pick(_SPEAKER_IF), facts, **self._about(step, contrary))

    def _content(self, step: Step) -> str:
        true = bool(step.known[step.speaker])
        words = self._about(step, step.known) | {"tv": "true" if true else "false", "sr": role(true)}
        statement = self.puzzle.statements[step.speaker]
        meaning = gloss(statement, true) if self.rng.random() < 0.7 else ""
        facts = self.facts(
            step.speaker,
            step.known,
            lambda known: forced(self.puzzle, step.speaker, known, step.person) is step.value,
            given=step.speaker,
        )
        return self.fill(self.pick(_CONTENT), facts, gloss=f": {meaning}" if meaning else "", **words)

    def _recheck(self, step: Step) -> str:
        contrary = with_role(step.known, step.person, not step.value)
        words = self._about(step, contrary)
        if step.speaker == step.person:
            return self.fill(self.pick(_RECHECK_SELF), "", **words)
        return self.fill(self.pick(_RECHECK), "", sr=role(bool(step.known[step.speaker])), own="is", **words)

    def _verify(self, step: Step) -> str:
        words = self._about(step, step.known)
        facts = self.value_facts(step.speaker, step.known)
        return self.fill(self.pick(_VERIFY), facts, sr=role(bool(step.known[step.speaker])), **words)


_NEW_PARAGRAPH = frozenset({Kind.ASSUME, Kind.OTHERWISE, Kind.REFUTE, Kind.ONLY, Kind.TRUST})


def sentences(
    puzzle: Puzzle, names: Sequence[str], steps: Sequence[Step], rng: random.Random
) -> list[tuple[Step | None, str]]:
    """Each step with its words, between an introduction and a closing (None)."""
    writer = _Writer(puzzle, names, rng, any(step.kind is Kind.ASSUME for step in steps))
    written: list[tuple[Step | None, str]] = [(None, writer.introduction())]
    verifying = False
    for step in steps:
        text = writer.step(step)
        if step.kind is Kind.VERIFY and not verifying:
            verifying = True
            text = f"{writer.pick(_VERIFY_OPENINGS)} {text}"
        elif step.kind in (Kind.SPEAKER, Kind.CONTENT) and rng.random() < 0.08:
            text = writer.pick(_FILLERS) + text
        written.append((step, text))
    written.append((None, writer.pick(_CLOSINGS)))
    return written


def prose(puzzle: Puzzle, names: Sequence[str], steps: Sequence[Step], rng: random.Random) -> str:
    """The steps as running text."""
    parts: list[str] = []
    verifying = False
    for step, text in sentences(puzzle, names, steps, rng):
        opens = step is None or step.kind in _NEW_PARAGRAPH or (step.kind is Kind.VERIFY and not verifying)
        verifying = step is not None and step.kind is Kind.VERIFY
        if text:
            parts += [("\n\n" if opens else " ") if parts else "", text]
    return "".join(parts)
