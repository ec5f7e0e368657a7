r"""The verifier of mathematical answers, and a lenient one that reproduces published scores.

`math` accepts an answer only where it is shown to equal the gold answer: the text is read by a closed grammar
(`kkwarm_math.expression`), and compared exactly. Its work is bounded for every input, so it runs in this process.

`math_lenient` is math-verify (Kydlíček, Apache-2.0) as it is, for scores that were published with it.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

from kkwarm.types import Example, Response, Status, Verdict, Verifier
from kkwarm_math.answer_reader import boxed_spans, last_boxed, read_answer
from kkwarm_math.compare import decide

__all__ = ["LENIENT_VERIFIER", "VERIFIER", "check"]

MAX_CHARS = 2_000  # no gold answer of MATH has 250
_MAX_SHOWN = 200
_MAX_TEXT = 40_000  # characters at the end of free text in which a final answer is searched
_CHOICE = re.compile(r"\(?(?:\\(?:text|textbf|mathrm|mbox)\s*\{\s*)?\(?([A-J])\)?\s*\}?\)?")
_CHOICE_WITH_VALUE = re.compile(r"(?:\\(?:text|textbf|mathrm|mbox)\s*\{\s*\(([A-J])\)\s*\}|\(([A-J])\))\\?[^A-Za-z]*")
_NUMBER_WORDS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip


def check(example: Example, response: Response) -> Verdict:
    """The verdict on the answer that the response states."""
    text = response.answer or ""
    if len(text) > _MAX_TEXT:
        text = text[-_MAX_TEXT:] if not response.tagged else text[: MAX_CHARS + 1]
    answer = read_answer(text, tagged=response.tagged, question=example.question)
    if not answer:
        return Verdict(Status.UNPARSED, reason=_why_nothing_is_stated(text))
    if len(answer) > MAX_CHARS:
        return Verdict(Status.UNPARSED, reason=f"the answer has more than {MAX_CHARS:,} characters")
    gold = gold_text(example.answer)
    if (
        answer[0] in "\\("
        and (named := _CHOICE_WITH_VALUE.fullmatch(answer)) is not None
        and (letter := _CHOICE.fullmatch(gold)) is not None
    ):
        equal = letter[1] == (named[1] or named[2])
        return Verdict(Status.CORRECT if equal else Status.WRONG, answer, "choice")
    if answer == gold:
        return Verdict(Status.CORRECT, answer[:_MAX_SHOWN], "same text")
    word = (
        re.sub(r"\\text\{\s*([a-z]+)\s*\}", r"\1", answer.casefold())
        if answer[-1:].isalpha() or answer[-1:] == "}"
        else answer
    )
    decision = decide(gold, _NUMBER_WORDS.get(word, answer), example.question)
    if not decision.readable:
        return Verdict(Status.UNPARSED, answer[:_MAX_SHOWN], decision.reason)
    return Verdict(Status.CORRECT if decision.equal else Status.WRONG, answer[:_MAX_SHOWN], decision.reason)


def _why_nothing_is_stated(text: str) -> str:
    boxes = boxed_spans(text)
    if not boxes:
        return "no answer is stated"
    begin, _, _, end = boxes[-1]
    around = " ".join(text[max(0, begin - 60) : end + 20].split())
    return f"the words around the last box do not state it as the answer: {around[:_MAX_SHOWN]}"


VERIFIER = Verifier("math", check, timeout_s=10.0, timeout_status=Status.TIMEOUT)


def gold_text(answer: Any) -> str:
    """The gold expression. The reference may also be a number or a boxed solution."""
    return _gold_expression(answer if isinstance(answer, str) else str(answer))


@lru_cache(maxsize=8192)
def _gold_expression(text: str) -> str:
    boxed = last_boxed(text)
    if boxed is not None or re.search(r"(?<!\\)\$.*(?<!\\)\$", text):
        return read_answer(text if boxed is None else boxed, tagged=True) or text
    return text


# -- math-verify ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _math_verify() -> Any:
    import math_verify

    for name in ("math_verify.parser", "math_verify.grader"):  # both warn that their time limits are switched off
        logging.getLogger(name).setLevel(logging.ERROR)
    return math_verify


def check_leniently(example: Example, response: Response) -> Verdict:
    """math-verify's own verdict on the whole text. Its time limits use signals and are switched off."""
    lib = _math_verify()
    gold = lib.parse(f"\\boxed{{{gold_text(example.answer)}}}", parsing_timeout=None)
    answer = lib.parse(response.text if not response.tagged else response.answer or "", parsing_timeout=None)
    if not answer:
        return Verdict(Status.UNPARSED, reason="math-verify finds no answer")
    equal = bool(lib.verify(gold, answer, timeout_seconds=None))
    return Verdict(Status.CORRECT if equal else Status.WRONG, str(answer[-1])[:_MAX_SHOWN], "math-verify")


LENIENT_VERIFIER = Verifier(
    "math_lenient", check_leniently, isolation="process", timeout_s=10.0, timeout_status=Status.TIMEOUT
)
