r"""The verifier of mathematical answers: rules and plain comparison first, math-verify for the rest.

`precheck` decides nearly all real answers in microseconds; `check` asks math-verify (Kydlíček, Apache-2.0), in a worker
process that is killed when sympy hangs. Its own time limits use signals and are switched off.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kkwarm.types import Example, Response, Status, Verdict, Verifier
from kkwarm_math.latex import expression, last_boxed, sides
from kkwarm_math.rules import MAX_CHARS, MAX_DEPTH, decide

__all__ = ["VERIFIER", "check", "precheck"]

_TAIL = 4_000  # characters of free text in which a final answer is looked for
_SHOWN = 200
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def precheck(example: Example, response: Response) -> Verdict | None:
    """The verdict where no algebra is needed, else None."""
    gold = _gold(example.answer)
    answer = _answer(response)
    if answer is None:
        return None if not response.tagged and _may_hold_answer(response) else _unparsed("no expression in it")
    if (problem := _oversized(answer)) is not None:
        return _unparsed(problem)
    ruling = decide(gold, answer, example.question)
    if ruling is None:
        return None
    return Verdict(Status.CORRECT if ruling.equal else Status.WRONG, answer[:_SHOWN], ruling.rule)


def check(example: Example, response: Response) -> Verdict:
    """The verdict by rules, else by math-verify."""
    if (verdict := precheck(example, response)) is not None:
        return verdict
    gold = _gold(example.answer)
    answer = _answer(response)
    parsed = _parse(answer) if answer is not None else _search((response.answer or "")[-_TAIL:])
    if not parsed:
        return _unparsed("no expression in it")
    if answer is None:
        # math-verify's pick from free text is held to the same rules as an answer that stands alone
        ruling = decide(gold, str(parsed[-1]), example.question)
        if ruling is not None and not ruling.equal:
            return Verdict(Status.WRONG, str(parsed[-1])[:_SHOWN], ruling.rule)
    equal = _equal(gold, parsed)
    if equal and answer is not None and "=" in answer and "=" not in gold and not _chained(gold, answer):
        return Verdict(Status.WRONG, answer[:_SHOWN], "chain")
    shown = answer if answer is not None else str(parsed[-1])
    return Verdict(Status.CORRECT if equal else Status.WRONG, shown[:_SHOWN], "math-verify")


class _Check:
    """`check`, with math-verify loaded and warm wherever it is unpickled: in a worker, before its clock starts."""

    def __call__(self, example: Example, response: Response) -> Verdict:
        return check(example, response)

    def __reduce__(self) -> tuple[Callable[[], _Check], tuple[()]]:
        return _warm_check, ()


@lru_cache(maxsize=1)
def _warm_check() -> _Check:
    _equal("x^2+1", _parse("\\frac{1}{2}"))  # imports sympy, compiles the patterns, builds the parser
    return _Check()


VERIFIER = Verifier(
    "math", _Check(), isolation="process", timeout_s=10.0, timeout_status=Status.TIMEOUT, precheck=precheck
)


def _gold(answer: Any) -> str:
    """The gold expression; a reference given as a number or as a boxed solution will do."""
    text = answer if isinstance(answer, str) else str(answer)
    if "\\boxed" in text or "$" in text:
        return _gold_expression(text)
    return text


@lru_cache(maxsize=8192)
def _gold_expression(text: str) -> str:
    boxed = last_boxed(text)
    return expression(text if boxed is None else boxed) or text


def _answer(response: Response) -> str | None:
    """The expression that the response gives, or None where free text has no box."""
    text = response.answer or ""
    if response.tagged:
        return expression(text) if len(text) <= 4 * MAX_CHARS else text
    boxed = last_boxed(text)
    if boxed is None:
        return None
    if len(boxed) > MAX_CHARS:
        return boxed
    return expression(boxed) if "$" in boxed or "\\boxed" in boxed or " " in boxed else boxed.strip()


def _may_hold_answer(response: Response) -> bool:
    return any(c.isdigit() or c in "$\\" for c in (response.answer or "")[-_TAIL:])


def _oversized(answer: str) -> str | None:
    if len(answer) > MAX_CHARS:
        return f"the answer has {len(answer):,} characters"
    if ("{" in answer or "}" in answer) and not _balanced(answer):
        return "its braces do not match"
    if answer.count("{") + answer.count("(") + answer.count("[") > MAX_DEPTH and _depth(answer) > MAX_DEPTH:
        return "nested too deeply to be read"
    return None


def _balanced(text: str) -> bool:
    """Whether every brace has its partner, and no closing one comes first: it would end the box we put around."""
    depth = 0
    for found in _BRACE.findall(text):
        depth += {"{": 1, "}": -1}.get(found, 0)
        if depth < 0:
            return False
    return depth == 0


def _depth(text: str) -> int:
    depth = deepest = 0
    for c in text:
        if c in "{([":
            depth += 1
            deepest = max(deepest, depth)
        elif c in "})]":
            depth -= 1
    return deepest


def _unparsed(reason: str) -> Verdict:
    return Verdict(Status.UNPARSED, reason=reason)


# -- math-verify ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _library() -> Any:
    import math_verify

    for name in ("math_verify.parser", "math_verify.grader"):  # both warn that their time limits are off
        logging.getLogger(name).setLevel(logging.ERROR)
    return math_verify


def _parse(expr: str) -> list[Any]:
    """math-verify's reading of exactly this expression: nothing else is looked for where it cannot be read."""
    lib = _library()
    config = [lib.LatexExtractionConfig(boxed_match_priority=0)]
    parsed: list[Any] = lib.parse(f"\\boxed{{{expr}}}", config, extraction_mode="first_match", parsing_timeout=None)
    return parsed


def _search(text: str) -> list[Any]:
    """math-verify's own search for the final expression of free text."""
    parsed: list[Any] = _library().parse(text, parsing_timeout=None)
    return parsed


def _chained(gold: str, answer: str) -> bool:
    """Whether every side of an equation that is a number is the gold answer's (math-verify asks the last side)."""
    before = [_parse(side) for side in sides(answer)[:-1]]
    return all(_equal(gold, side) for side in before if side and not getattr(side[0], "free_symbols", True))


@lru_cache(maxsize=512)
def _parsed_gold(gold: str) -> tuple[Any, ...]:
    return tuple(_parse(gold))


def _equal(gold: str, parsed: list[Any]) -> bool:
    return bool(_library().verify(list(_parsed_gold(gold)), parsed, timeout_seconds=None))
