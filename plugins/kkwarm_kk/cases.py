"""The case generator of `kk`: random puzzles, assignments in many wordings, and wordings that assert nothing.

The label of an assignment comes from the solver of the puzzles, and that of a wording from how it is made.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import islice

from kkwarm.types import Case, CaseGenerator, Example, Target
from kkwarm_kk.data import make_answer
from kkwarm_kk.english import join_words, render
from kkwarm_kk.puzzle import Difficulty, Puzzle, generate, solve

Roles = Mapping[str, str]
_NAMES = ("Zoey", "Bob", "Kim", "Ann", "O'Neil", "Ava", "Michael", "Noah", "Ian", "May", "Will", "Art")
_OTHER = {"knight": "knave", "knave": "knight"}
_HEADS = (
    "", "The answer is: ", "So the final answer is:\n", "Final Answer:\n\n", "Therefore, ", "Thus: ", "In conclusion, ",
    "The identities are:\n", "**Answer:** ", "Here is the solution:\n", "To sum up, ",
)  # fmt: skip
_WRONG_HEADS = (
    "An invalid solution:\n", "Negation of:\n", "It is false that:\n", "It is not the case that ", "Not: ",
    "Assume ", "If we suppose that ", "Suppose: ", "The opposite of:\n", "Wrong answer:\n",
    "A contradiction follows from:\n", "Nobody says that ", "The answer is not:\n", "It cannot be that ",
    "We excluded:\n", "Erroneous:\n", "Invert:\n", "Unless ", "Maybe ", "Perhaps ", "It would be wrong to say that ",
    "The solution is anything but:\n", "Never: ", "One of these is wrong:\n", "False:\n", "No: ", "If ", "Either ",
    "Neither ", "We doubt that ", "Counterexample:\n", "Reverse every role:\n", "Swap the roles:\n",
)  # fmt: skip
_WRONG_ENDS = (
    "?", "\nNone of this is true.", " is false", "\nThe opposite is the case.", ", or not", "\nThis is impossible.",
    " (false)", "\nNot!", "\nThis is a contradiction.", " if I am right", "\nBut one of them lies about it.",
    "\nActually no.", " or the other way round", "\nThis assignment fails.", "\nThe real answer is different.",
    " maybe", "\nSwap the two roles.", "\nExcept for the first one.",
)  # fmt: skip
_INSERTED = (
    "not", "no", "never", "hardly", "maybe", "possibly", "or", "either", "neither", "nor", "if", "unless", "?", "!",
    "false", "wrong", "would", "could", "might", "non", "anti", "pseudo", "~", "\u00ac", "isn't", "un", "former",
    "fake", "except", "almost", "supposed",
)  # fmt: skip
_ENDS = ("", ".", "\n")
_CLOSINGS = ("", "\nEverything checks out.", "\nThis satisfies all statements.")  # of free text


@lru_cache(maxsize=8)
def _puzzles(people: int) -> tuple[Puzzle, ...]:
    return tuple(islice(generate(Difficulty(people), seed=people), 200))


def _puzzle(rng: random.Random) -> tuple[Example, Roles, Roles]:
    """An example, its solution, and an assignment that may be the solution or another one."""
    people = rng.choice((3, 2, 4, 5))
    puzzle = rng.choice(_puzzles(people))
    start = rng.randrange(len(_NAMES))
    names = (_NAMES * 2)[start : start + people]
    (roles,) = solve(puzzle)
    solution = make_answer(names, roles)
    claimed = dict(solution)
    if rng.randrange(2):
        for name in names:
            if rng.randrange(2):
                claimed[name] = _OTHER[claimed[name]]
    return Example("generated", render(puzzle, names, random.Random(0)), solution), solution, claimed


# -- wordings of an assignment -----------------------------------------------------------------------------------------


def _numbered(a: Roles) -> str:
    return "\n".join(f"({i}) {n} is a {r}" for i, (n, r) in enumerate(a.items(), 1))


def _groups(a: Roles) -> tuple[list[str], list[str]]:
    return [n for n, r in a.items() if r == "knight"], [n for n, r in a.items() if r == "knave"]


def _sentences(a: Roles) -> str:
    said = [
        f"{join_words(group)} {'is a' if len(group) == 1 else 'are'} {role}{'s' * (len(group) > 1)}."
        for group, role in zip(_groups(a), ("knight", "knave"), strict=True)
        if group
    ]
    return " ".join(said)


def _named_groups(a: Roles, none: str) -> str:
    return "\n".join(f"{r}: {', '.join(g) or none}" for r, g in zip(("Knights", "Knaves"), _groups(a), strict=True))


_WORDINGS: tuple[Callable[[Roles], str], ...] = (
    _numbered,
    lambda a: ", ".join(f"{n} is a {r}" for n, r in a.items()),
    lambda a: join_words([f"{n} is a {r}" for n, r in a.items()]),
    lambda a: "\n".join(f"{i}. {n}: {r.capitalize()}" for i, (n, r) in enumerate(a.items(), 1)),
    lambda a: "\n".join(f"- **{n}**: {r}" for n, r in a.items()),
    lambda a: json.dumps(dict(a)),
    lambda a: "; ".join(f"{n} = {r.capitalize()}" for n, r in a.items()),
    lambda a: "\n".join(["| Name | Role |", "|---|---|", *(f"| {n} | {r} |" for n, r in a.items())]),
    lambda a: f"| {' | '.join(a)} |\n|{'---|' * len(a)}\n| {' | '.join(a.values())} |",
    lambda a: _named_groups(a, "none"),
    lambda a: _named_groups(a, "(none)"),
    lambda a: _named_groups(a, "nobody"),
    _sentences,
    lambda a: ", ".join(f"{n} ({r})" for n, r in a.items()),
    lambda a: f"\\boxed{{{', '.join(f'{n} is a {r}' for n, r in a.items())}}}",
    lambda a: "\n".join(f"{n} must be a {r}." for n, r in a.items()),
    lambda a: _numbered(a).upper(),
    lambda a: "\n".join(f"{n} -> {r}" for n, r in list(a.items())[::-1]),
    lambda a: ", ".join(f"{n} is {r}" for n, r in a.items()),
)


def _worded(rng: random.Random, claimed: Roles) -> str:
    return rng.choice(_WORDINGS)(claimed)


# -- kinds of cases ----------------------------------------------------------------------------------------------------


def _asserted(t: Target, rng: random.Random) -> Case:
    """A plain wording of an assignment: correct exactly if the assignment solves the puzzle."""
    example, solution, claimed = _puzzle(rng)
    expect = "accept" if claimed == solution else "reject"
    text = _worded(rng, claimed)
    if not text.startswith(("|", "{", "\\")):  # tables and records come without a sentence around them
        text = rng.choice(_HEADS) + text + rng.choice(_ENDS)
    free = not rng.randrange(3)
    if free and not text.startswith("|"):
        text += rng.choice(_CLOSINGS)
    completion = f"Each case was tried.\n\n{text}" if free else t.compose(text)
    return Case(completion, expect, f"assignment{' in free text' if free else ''}", example, free)  # type: ignore[arg-type]


def _denied(t: Target, rng: random.Random) -> Case:
    example, solution, _ = _puzzle(rng)
    text = _worded(rng, solution).rstrip(".")
    if rng.randrange(2):
        kind, text = "denied before", rng.choice(_WRONG_HEADS) + text
    else:
        kind, text = "denied behind", text + rng.choice(_WRONG_ENDS)
    free = not rng.randrange(3)
    return Case(text if free else t.compose(text), "reject", kind + " in free text" * free, example, free)


def _changed_word(t: Target, rng: random.Random) -> Case:
    """A word that denies or doubts, in the middle of a claim."""
    example, solution, _ = _puzzle(rng)
    words = _worded(rng, solution).split(" ")
    places = [
        i for i, w in enumerate(words) if w.strip(".,;)|}").casefold() in ("knight", "knave", "knights", "knaves")
    ]
    if not places:
        words = _numbered(solution).split(" ")
        places = [i for i, w in enumerate(words) if w.split("\n")[0] in ("knight", "knave")]
    at = rng.choice(places)
    word = rng.choice(_INSERTED)
    words[at] = rng.choice((f"{word} {words[at]}", f"{word}{words[at]}", f"{word}-{words[at]}"))
    return Case(t.compose(" ".join(words)), "reject", "word in a claim", example)


def _contradicted(t: Target, rng: random.Random) -> Case:
    example, solution, _ = _puzzle(rng)
    name = rng.choice(list(solution))
    role = solution[name]
    extras = (
        f"{name} is a {_OTHER[role]}", f"{name} is not a {role}", f"Nemo is a {role}", f"{name}: {_OTHER[role]}",
        f"{_OTHER[role].capitalize()}s: {name}", f"{name} is a {role} or a {_OTHER[role]}",
        f"{role.capitalize()}s: none", f"Only Nemo is a {role}", f"Everyone is a {_OTHER[role]}",
        f"All of them are {_OTHER[role]}s",
    )  # fmt: skip
    extra = rng.choice(extras)
    parts = [_worded(rng, solution), extra]
    if rng.randrange(2):
        parts.reverse()
    text = rng.choice(("\n", ". ", "\n\n", ", ")).join(parts)
    return Case(t.compose(text), "reject", "contradicted", example)


def _incomplete(t: Target, rng: random.Random) -> Case:
    example, solution, _ = _puzzle(rng)
    left_out = rng.choice(list(solution))
    part = {n: r for n, r in solution.items() if n != left_out}
    role = solution[left_out]
    rests = (
        "", f"{left_out} is a", f"{left_out} is someone", f"{left_out} is a knight or a knave",
        f"{left_out} is a knight/knave", f"{left_out} is unknown", f"{left_out[:-1]} is a {role}",
        f"{left_out}x is a {role}", f"{left_out} says that {left_out} is a {role}", f"the last one is a {role}",
        f"{left_out} is a {role[:-1]}", f"{left_out} is a {role}ess", f"{left_out}'s claim: {role}",
        f"{left_out} was a {role}",
    )  # fmt: skip
    rest = rng.choice(rests)
    rest = f"\n{rest}" if rest else ""
    return Case(t.compose(_worded(rng, part) + rest), "reject", "incomplete", example)


_MAKERS = (_asserted, _denied, _changed_word, _contradicted, _incomplete)


def _generate(target: Target, rng: random.Random) -> Case | None:
    return rng.choice(_MAKERS)(target, rng)


GENERATORS = (CaseGenerator("kk", _generate, domain="kk"),)
