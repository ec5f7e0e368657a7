"""The letter that the official scorer of MMLU-Pro extracts from free text, in linear time."""

from __future__ import annotations

import re

__all__ = ["LETTERS", "first_stated_letter", "official_letter"]

LETTERS = "ABCDEFGHIJ"

# The official scorer's patterns (TIGER-AI-Lab/MMLU-Pro, evaluate_from_local.py; MIT) in linear time. Its second pattern
# is `.*[aA]nswer:\s*([A-J])` and its third `\b[A-J]\b(?!.*\b[A-J]\b)` over the whole text; both take quadratic time.
_STATED = re.compile(r"answer is \(?([A-J])\)?")
_AFTER_ANSWER = re.compile(r"[aA]nswer:(?=\s*([A-J]))")
_SINGLE_LETTER = re.compile(r"\b[A-J]\b")


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
