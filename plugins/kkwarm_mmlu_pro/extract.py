"""Reads the chosen letter out of an answer.

Free text (outputs saved by other tools): the first match of the official pattern ``answer is (X)``, and no guess where
there is none. A tagged answer: one letter, alone or with its own option's text, or exactly one option's text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

__all__ = ["LETTERS", "choice", "first_stated", "official_pick"]

LETTERS = "ABCDEFGHIJ"

# The official scorer's patterns (TIGER-AI-Lab/MMLU-Pro, evaluate_from_local.py; MIT), without their quadratic cost:
# there the second is `.*[aA]nswer:\s*([A-J])` and the third `\b[A-J]\b(?!.*\b[A-J]\b)` over the whole text.
_STATED = re.compile(r"answer is \(?([A-J])\)?")
_ANSWER = re.compile(r"[aA]nswer:(?=\s*([A-J]))")
_LONE = re.compile(r"\b[A-J]\b")

_ONE = re.compile(r"(?:option|choice|answer)?\s*[(\[（]?\s*([A-Ja-j])\s*[)\]）]?\s*[.:)]?", re.IGNORECASE)
_WITH_TEXT = re.compile(
    r"(?:(?:[Oo]ption|[Cc]hoice)\s+)?[(\[（]?([A-J])(?:[)\]）][.:]?|[.:,]|\s+[-–—])?\s*(?<![A-J])(?=\S)(.+)", re.DOTALL
)
_PRAISE = re.compile(r"\s+is\s+(?:the\s+)?(?:correct|right|best)(?:\s+(?:answer|option|choice))?\.?\Z", re.IGNORECASE)
_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+|correct\s+|right\s+|best\s+)?(?:answer|option|choice)"
    r"\s*(?:is|:)\s*:?\s*",
    re.IGNORECASE,
)
_TEXT = r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}"
_BOX = re.compile(rf"\\boxed\s*\{{\s*(?:{_TEXT}|([^{{}}]*))\s*\}}|{_TEXT}")
_PAIRS = (
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("“", "”"),
    ("‘", "’"),
    *((m, m) for m in ("**", "__", "`", "$", "*", '"', "'")),
)


def first_stated(text: str) -> str | None:
    """The letter of the first ``answer is (X)``. Linear."""
    at = text.find("answer is ")  # much faster than the same prefix in a pattern
    while at >= 0:
        match = _STATED.match(text, at)
        if match is not None:
            return match[1]
        at = text.find("answer is ", at + 1)
    return None


def official_pick(text: str) -> str | None:
    """What the official scorer's three patterns pick, one after the other; linear, identical picks.

    kkwarm's verdicts use the first pattern only: the last one takes any lone letter (the pronoun "I", say), which is
    close to a guess. This one is kept to compare scores that were published with it.
    """
    return first_stated(text) or _after_answer(text) or _last_lone(text)


def _after_answer(text: str) -> str | None:
    """The letter after an ``Answer:``: the last one of the first line that has any, as a greedy `.*` picks it."""
    letter = None
    line_end = len(text)
    at = text.find("nswer:")
    while 0 <= at < line_end:
        match = _ANSWER.match(text, at - 1) if at else None
        if match is not None:
            if letter is None:
                end = text.find("\n", at)
                line_end = len(text) if end < 0 else end
            letter = match[1]
        at = text.find("nswer:", at + 1)
    return letter


def _last_lone(text: str) -> str | None:
    """The last letter A-J that stands alone, looked for from the end."""
    window = 256
    while True:
        lone = _LONE.findall(text, max(0, len(text) - window))
        if lone or window >= len(text):
            return lone[-1] if lone else None
        window *= 4


def choice(answer: str, options: Sequence[str] = ()) -> tuple[str | None, str]:
    """The one letter that a tagged answer gives, and why there is none otherwise.

    :param options: the texts in order, without letters; empty where they are not known (then letters A-J are allowed).
    """
    text = _unwrapped(answer)
    if not text:
        return None, "empty answer"
    allowed = LETTERS[: len(options)] if options else LETTERS
    one = _ONE.fullmatch(text)
    if one is not None and (one[1].isupper() or len(text.strip("().[]: ")) == 1):
        letter = one[1].upper()
        return (letter, "") if letter in allowed else (None, f"{letter} is not one of the options")
    for whole in (answer, text):
        if (letter := _by_text(whole, options)) is not None:
            return letter, ""
    named = _WITH_TEXT.fullmatch(text)
    if named is not None and named[1] in allowed and options:
        own = _plain(options[allowed.index(named[1])])
        if _plain(named[2]) == own:
            return named[1], ""
        return None, f"{named[1]} is followed by other text than its option's"
    return None, "neither one letter nor one option's text"


def _by_text(text: str, options: Sequence[str]) -> str | None:
    """The letter of the only option that reads exactly so, case and all, or else but for case."""
    if not options or len(text) > 2 * max(map(len, options)) + 100:
        return None
    readings: tuple[Callable[[str], str], ...] = (_plain, lambda t: _plain(t).casefold())
    for same in readings:
        hits = [letter for letter, option in zip(LETTERS, options, strict=False) if same(option) == same(text)]
        if len(hits) == 1:
            return hits[0]
    return None


def _plain(text: str) -> str:
    """Without emphasis and a final full stop, white space collapsed."""
    text = " ".join(text.split()).strip("*")
    return text[:-1].rstrip() if text.endswith(".") else text


def _unwrapped(answer: str) -> str:
    """Without emphasis, dollars, a box and "the answer is" around it."""
    text = answer.strip()
    for _ in range(4):
        before = text
        for begin, end in _PAIRS:
            if len(text) > len(begin + end) and text.startswith(begin) and text.rstrip(".").endswith(end):
                text = text.rstrip(".").removeprefix(begin).removesuffix(end).strip()
        if (box := _BOX.fullmatch(text.rstrip("."))) is not None:
            text = next(inside for inside in box.groups() if inside is not None).strip()
        if (lead := _LEAD.match(text)) is not None:
            text = text[lead.end() :]
        text = _PRAISE.sub("", text)
        if text == before:
            break
    return text
