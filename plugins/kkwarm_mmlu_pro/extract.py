"""Extracts the letter of the chosen option from an answer.

In free text (outputs saved by other tools) this is the first match of the official pattern ``answer is (X)``, without a
guess if there is none. A tagged answer is one letter, alone or with its own option's text, or one option's text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

__all__ = ["LETTERS", "first_stated_letter", "official_letter", "parse_letter"]

LETTERS = "ABCDEFGHIJ"

# The official scorer's patterns (TIGER-AI-Lab/MMLU-Pro, evaluate_from_local.py; MIT) in linear time. Its second pattern
# is `.*[aA]nswer:\s*([A-J])` and its third `\b[A-J]\b(?!.*\b[A-J]\b)` over the whole text; both take quadratic time.
_STATED = re.compile(r"answer is \(?([A-J])\)?")
_AFTER_ANSWER = re.compile(r"[aA]nswer:(?=\s*([A-J]))")
_SINGLE_LETTER = re.compile(r"\b[A-J]\b")

_LETTER_ONLY = re.compile(r"(?:option|choice|answer)?\s*[(\[（]?\s*([A-Ja-j])\s*[)\]）]?\s*[.:)]?", re.IGNORECASE)
_LETTER_AND_TEXT = re.compile(
    r"(?:(?:[Oo]ption|[Cc]hoice)\s+)?[(\[（]?([A-J])(?:[)\]）][.:]?|[.:,]|\s+[-–—])?\s*(?<![A-J])(?=\S)(.+)", re.DOTALL
)
_IS_CORRECT = re.compile(
    r"\s+is\s+(?:the\s+)?(?:correct|right|best)(?:\s+(?:answer|option|choice))?\.?\Z", re.IGNORECASE
)
_INTRODUCTION = re.compile(
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


def first_stated_letter(text: str) -> str | None:
    """The letter of the first ``answer is (X)``, in linear time."""
    position = text.find("answer is ")  # much faster than the same prefix in a pattern
    while position >= 0:
        match = _STATED.match(text, position)
        if match is not None:
            return match[1]
        position = text.find("answer is ", position + 1)
    return None


def official_letter(text: str) -> str | None:
    """The letter that the official scorer's three patterns extract, in linear time.

    kkwarm's verdicts use only the first pattern: the last one takes any single letter (such as the pronoun "I"), which
    is close to a guess. This function is for comparison with scores that were published with all three.
    """
    return first_stated_letter(text) or _after_answer(text) or _last_single_letter(text)


def _after_answer(text: str) -> str | None:
    """The letter after ``Answer:``, the last such letter of the first line that has any, as a greedy `.*` matches."""
    letter = None
    line_end = len(text)
    position = text.find("nswer:")
    while 0 <= position < line_end:
        match = _AFTER_ANSWER.match(text, position - 1) if position else None
        if match is not None:
            if letter is None:
                end = text.find("\n", position)
                line_end = len(text) if end < 0 else end
            letter = match[1]
        position = text.find("nswer:", position + 1)
    return letter


def _last_single_letter(text: str) -> str | None:
    """The last letter A-J that is a word of its own, searched from the end."""
    window = 256
    while True:
        letters = _SINGLE_LETTER.findall(text, max(0, len(text) - window))
        if letters or window >= len(text):
            return letters[-1] if letters else None
        window *= 4


def parse_letter(answer: str, options: Sequence[str] = ()) -> tuple[str | None, str]:
    """The letter that a tagged answer gives, or None and the reason.

    :param options: the options' texts in order, without letters. Empty if unknown; then the letters A-J are allowed.
    """
    text = _strip(answer)
    if not text:
        return None, "the answer is empty"
    allowed = LETTERS[: len(options)] if options else LETTERS
    single = _LETTER_ONLY.fullmatch(text)
    if single is not None and (single[1].isupper() or len(text.strip("().[]: ")) == 1):
        letter = single[1].upper()
        return (letter, "") if letter in allowed else (None, f"{letter} is not one of the options")
    for candidate in (answer, text):
        if (letter := _letter_of_text(candidate, options)) is not None:
            return letter, ""
    with_text = _LETTER_AND_TEXT.fullmatch(text)
    if with_text is not None and with_text[1] in allowed and options:
        option_text = _normalize(options[allowed.index(with_text[1])])
        if _normalize(with_text[2]) == option_text:
            return with_text[1], ""
        return None, f"{with_text[1]} is followed by text that is not its option's"
    return None, "the answer is neither one letter nor one option's text"


def _letter_of_text(text: str, options: Sequence[str]) -> str | None:
    """The letter of the only option with this text: compared with case, then without."""
    if not options or len(text) > 2 * max(map(len, options)) + 100:
        return None
    normalizers: tuple[Callable[[str], str], ...] = (_normalize, lambda t: _normalize(t).casefold())
    for normalize in normalizers:
        letters = [
            letter for letter, option in zip(LETTERS, options, strict=False) if normalize(option) == normalize(text)
        ]
        if len(letters) == 1:
            return letters[0]
    return None


def _normalize(text: str) -> str:
    """Strips emphasis and a final full stop, and collapses white space."""
    text = " ".join(text.split()).strip("*")
    return text[:-1].rstrip() if text.endswith(".") else text


def _strip(answer: str) -> str:
    """Strips emphasis, dollars, a box and "the answer is"."""
    text = answer.strip()
    for _ in range(4):
        before = text
        for begin, end in _PAIRS:
            if len(text) > len(begin + end) and text.startswith(begin) and text.rstrip(".").endswith(end):
                text = text.rstrip(".").removeprefix(begin).removesuffix(end).strip()
        if (box := _BOX.fullmatch(text.rstrip("."))) is not None:
            text = next(inside for inside in box.groups() if inside is not None).strip()
        if (lead := _INTRODUCTION.match(text)) is not None:
            text = text[lead.end() :]
        text = _IS_CORRECT.sub("", text)
        if text == before:
            break
    return text
