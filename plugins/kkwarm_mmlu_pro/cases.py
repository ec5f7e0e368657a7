"""The case generator of `mmlu_pro`: answers by letter and by text to options that are easy to confuse.

The label comes from the options' texts and from how an answer is made.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from kkwarm.types import Case, CaseGenerator, Example, Target
from kkwarm_mmlu_pro.data import render
from kkwarm_mmlu_pro.extract import LETTERS

__all__ = ["GENERATORS"]

# Options that look like letters, statements of an answer, or each other.
_TEXTS = (
    "Paris", "London", "Always", "I think", "a", "c", "i", "None of the above", "All of the above", "5 m", "-5 m",
    "Both A and C", "Berlin", "Not Paris", "Decreases", "Increases", "0.5", "5", "x = 3", "Either",
    "A rise in prices", "F", "Hydrogen", "Iron", "The answer is unknown", "Cannot be determined",
    "Elements of doubt", "Carbon", "Jupiter", "Copper (II) oxide", "Energy",
)  # fmt: skip
_BY_LETTER = (
    "@", "(@)", "@.", "**@**", "Option @", "The answer is (@).", "\\boxed{@}", "Answer: @", "[@]",
    "$\\boxed{\\text{@}}$", "@)", "## Final Answer: @", "The correct answer is @", "@ is correct", "*Answer: @*",
    "**Answer:** @", "the answer is @.", "It is @", "@ because it is the only one that fits", "So the answer is (@)",
    "option (@)", "> @", "Final Answer: **(@)**", "\\boxed{(@)}", "@ is the correct answer", "The best answer is @.",
    "@:", "Answer is: @", "Letter @", "The final answer is $\\boxed{@}$.",
)  # fmt: skip
_BY_LETTER_AND_TEXT = (
    "@. ~", "(@) ~", "@: ~", "@\n~", "The answer is (@) ~.", "\\boxed{@: ~}", "~ (@)", "**@. ~**", "Option @: ~",
)  # fmt: skip
_BY_TEXT = (
    "~", "~.", "**~**", "The answer is ~", "The answer is: ~.", "Answer: ~", "~ is correct", "\\boxed{~}",
    "\\boxed{\\text{~}}",
)  # fmt: skip
# `@` is the right letter, `&` another one.
_UNDECIDED = (
    "@ or &", "& or @", "@, &", "@ and &", "@/&", "@&", "&@", "@ &", "not @", "anything but (@)", "@?", "maybe @",
    "@, or maybe &", "@ maybe", "neither @ nor &", "either @ or &", "& (@)", "(@)(&)", "\\boxed{@}\\boxed{&}",
    "\\boxed{@ or &}", "@ -> &", "& -> @", "The answer is not @", "The answer is @ or &", "The answer is @ not &",
    "The answer is & not @", "@ is wrong", "@ is incorrect", "It is false that the answer is @",
    "If the answer is @", "The answer could be @", "I would pick @ - a safe choice", "!@", "~@", "The answer is @?",
    "all but @", "@ is not correct", "@ unless & holds", "@ if & is wrong", "@ @", "un@", "@n apple", "@1", "1@",
    "@'", "@\x00", "@\u200b&", "{@, &}", "Both @ and &", "@ instead of &", "@ rather than &", "@ is false",
    "@ cannot be right", "The answer isn't @", "nobody says @", "& is wrong, so maybe @",
    "@ is right only if & is wrong", "@ = &", "@ != &", "@ < &", "I doubt that it is @", "It is not @", "@ (not &)",
    "@ is almost correct", "Is it @", "@ is hardly correct", "& but @", "The answer starts with @",
    "Options @ and &", "First @, then &", "Answer: @ or &", "@ is the worst answer", "@ because &, so &",
    "@ because it looks right, therefore (&)", "@ since it fits. No, &", "@ as it fits, but the answer is &",
)  # fmt: skip
_NO_ANSWER = (
    "I do not know", "A matter of taste", "I think it is hard to say", "Certainly", "Because", "Definitely not", "A",
    "D'oh", "III", "Everything", "Give up", "Jump", "A perfect answer cannot be found.", "I", "None", "Clearly",
    "Hmm", "Go on", "Be careful",
)  # fmt: skip
_FREE_RIGHT = (
    "We think about it. The answer is (@).", "The answer is @ because I computed the integral.",
    "Some work.\n\nAnswer: @", "If the answer is (&) then it would follow, a contradiction. So the answer is (@).",
    "**The answer is (@).** I am confident.", "One might say the answer is &, but the answer is @.",
    "Answer: It is not &, the answer is @", "Some work.\n\\boxed{@}", "Some work.\n\n(@)",
    "The calculated answer is 11. The answer is (@).", "Some work. Therefore, the correct answer is (@) ~.",
    "Some work.\n\nThe correct option is @.", "Let me see.\nSo the answer is @",
    "The answer is not (&). The answer is (@).", "Therefore, the best option is $\\boxed{@}$.",
    "After eliminating & we choose \\boxed{@}.", "Since & is wrong, it must be $\\boxed{\\text{@}}$.",
    "This corresponds to \\boxed{@}, because it fits.", "Thus \\boxed{@} is correct.", "We select option \\boxed{@}.",
)  # fmt: skip
_FREE_WRONG = (
    "I doubt that the answer is (@).", "The answer is @ or &", "It is false that the answer is (@)",
    "The answer is &. No, it is (@)", "If the answer is (@), all is well.", "The answer is not (@).",
    "Maybe the answer is (@)", "The answer is clearly not @.", "Suppose the answer is (@).",
    "The answer is neither & nor @.", "I think the answer may be (@)", "I looked at option @.",
    "Could the answer be (@)?", "Nobody says that the answer is (@).", "The answer is (@)? No.",
    "It is not true that the answer is (@).", "The answer is (@) or (&).", "The answer would be (@) if & was wrong.",
    "Some say the answer is (@).", "The answer isn't (@).", "Unless I am wrong the answer is (@).",
    "The answer is hardly (@).", "A tie between @ and &", "Whether the answer is (@) is open.",
    "The answer is (@), which is wrong.", "The answer is (@) is a false statement.", "The answer is never (@).",
    "Take @ out.", "The answer is either (@) or (&).", "The answer is anything but (@).",
    "The answer is (&), not (@).", "Perhaps the answer is (@).", "The answer is @. Just kidding, &.",
    "The answer is (@). Actually, it is (&).", "The answer is @. Sorry, I meant &.", "The answer is @. Correction: &.",
    "The answer is (@) because & is, so &.", "It is not \\boxed{@}.", "It cannot be \\boxed{@}.",
    "The reverse of \\boxed{@}.", "Suppose \\boxed{@}.", "Anything but \\boxed{@}.", "We rule out \\boxed{@}.",
    "We eliminate \\boxed{@}.", "Someone would choose \\boxed{@}.", "Maybe \\boxed{@}.", "& or \\boxed{@}.",
    "Between & and \\boxed{@}.", "\\boxed{@} is eliminated.", "\\boxed{@} fails.", "\\boxed{@} or &",
    "\\boxed{@} contradicts the premise.", "\\boxed{@}. Scratch that.", "\\boxed{@}. On second thought, &.",
    "\\boxed{@} &", "\\boxed{@}\\boxed{&}", "\\boxed{&}\\boxed{@}", "\\boxed{@}. Hold on. &.",
    "\\boxed{@} was my first choice, & is better.", "The answer is (@). On second thought, (&).",
    "The answer is @. Never mind. &.", "The answer is @. That was a joke.", "The second-best answer is @.",
)  # fmt: skip


def _question(rng: random.Random) -> tuple[Example, str, str]:
    """An example, its letter, and another letter."""
    n = rng.choice((4, 3, 10, 7))
    texts = rng.sample(_TEXTS, n) if rng.randrange(4) else list(_TEXTS[:n])
    letter = rng.choice(LETTERS[:n])
    other = rng.choice([x for x in LETTERS[:n] if x != letter])
    meta = {"category": "generated", "options": texts}
    return Example("generated", render("Which of these is it?", texts), letter, "test", meta), letter, other


def _fill(template: str, example: Example, letter: str, other: str, *, text_of: str = "") -> str:
    text = example.meta["options"][LETTERS.index(text_of or letter)]
    return template.replace("@", letter).replace("&", other).replace("~", text)


def _confusable(example: Example, text: str) -> bool:
    """Whether a text is also a letter, or an option's text but for case."""
    options = [o.casefold() for o in example.meta["options"]]
    return options.count(text.casefold()) != 1 or text.upper() in LETTERS


def _by_letter(t: Target, rng: random.Random) -> Case:
    example, letter, other = _question(rng)
    right = bool(rng.randrange(2))
    text = _fill(rng.choice(_BY_LETTER), example, letter if right else other, letter)
    return Case(t.compose(text), "accept" if right else "reject", "letter", example)


def _by_text(t: Target, rng: random.Random) -> Case | None:
    example, letter, other = _question(rng)
    right = bool(rng.randrange(2))
    named = letter if right else other
    if _confusable(example, example.meta["options"][LETTERS.index(named)]):
        return None
    text = _fill(rng.choice(_BY_TEXT), example, named, other)
    return Case(t.compose(text), "accept" if right else "reject", "text of an option", example)


def _by_letter_and_text(t: Target, rng: random.Random) -> Case:
    """A letter with its own text, or with another option's, which names no option."""
    example, letter, other = _question(rng)
    kind = rng.choice(("own", "other", "swapped"))
    named = letter if kind != "swapped" else other
    text = _fill(rng.choice(_BY_LETTER_AND_TEXT), example, named, other, text_of=letter if kind != "other" else other)
    return Case(t.compose(text), "accept" if kind == "own" else "reject", f"letter with its {kind} text", example)


def _small_letter(t: Target, rng: random.Random) -> Case | None:
    """A small letter is an option's letter, unless an option reads so."""
    example, letter, other = _question(rng)
    named = rng.choice((letter, other)).lower()
    options = example.meta["options"]
    meant = LETTERS[options.index(named)] if named in options else named.upper()
    if [o.casefold() for o in options].count(named) > (named in options):
        return None
    text = rng.choice(("@", "@)", "(@)", "@.", "The answer is (@).")).replace("@", named)
    if named in options and text != named:
        return None
    return Case(t.compose(text), "accept" if meant == letter else "reject", "small letter", example)


def _undecided(t: Target, rng: random.Random) -> Case | None:
    example, letter, other = _question(rng)
    if any(len(o) == 1 and o.isalpha() for o in example.meta["options"]):
        return None  # "C, A" may then be the letter C with its own text
    template = rng.choice(_UNDECIDED)
    text = template.replace("@", letter).replace("&", other)
    if text.casefold() in (o.casefold() for o in example.meta["options"]):
        return None
    return Case(t.compose(text), "reject", "undecided", example)


def _no_answer(t: Target, rng: random.Random) -> Case | None:
    example, letter, _ = _question(rng)
    text = rng.choice(_NO_ANSWER)
    if text == letter or any(text.casefold() == o.casefold() for o in example.meta["options"]):
        return None
    lead = rng.choice(("", "The answer is ", "Answer: ", "I would say: "))
    return Case(t.compose(lead + text), "reject", "no answer", example)


def _free_text(t: Target, rng: random.Random) -> Case | None:
    example, letter, other = _question(rng)
    right = bool(rng.randrange(2))
    if not right and any(len(o) == 1 and o.isalpha() for o in example.meta["options"]):
        return None  # "\\boxed{B} F" may then be the letter B with its own text
    text = _fill(rng.choice(_FREE_RIGHT if right else _FREE_WRONG), example, letter, other)
    return Case(text, "accept" if right else "reject", "free text", example, free_text=True)


_MAKERS: tuple[Callable[[Target, random.Random], Case | None], ...] = (
    _by_letter, _undecided, _by_text, _by_letter_and_text, _small_letter, _no_answer, _free_text,
)  # fmt: skip


def _generate(target: Target, rng: random.Random) -> Case | None:
    return rng.choice(_MAKERS)(target, rng)


GENERATORS = (CaseGenerator("mmlu_pro", _generate, domain="mmlu_pro"),)
