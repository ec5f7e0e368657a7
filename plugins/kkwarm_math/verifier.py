r"""The verifier of mathematical answers: rules and string comparison first, math-verify for the rest.

`precheck` decides nearly all real answers in microseconds. `check` calls math-verify (Kydlíček, Apache-2.0) in a worker
process that is killed when sympy hangs. math-verify's own time limits use signals and are switched off.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kkwarm.types import Example, Response, Status, Verdict, Verifier
from kkwarm_math.latex import equation_sides, extract_expression, last_boxed
from kkwarm_math.rules import MAX_CHARS, MAX_DEPTH, decide

__all__ = ["VERIFIER", "check", "precheck"]

_TAIL = 4_000  # characters at the end of free text that are searched for a final answer
_MAX_SHOWN = 200
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def precheck(example: Example, response: Response) -> Verdict | None:
    """The verdict if no algebra is needed, otherwise None."""
    gold = _gold_text(example.answer)
    answer = _answer(response)
    if answer is None:
        return (
            None
            if not response.tagged and _may_contain_answer(response)
            else _unparsed("the answer contains no expression")
        )
    if (problem := _find_problem(answer)) is not None:
        return _unparsed(problem)
    decision = decide(gold, answer, example.question)
    if decision is None:
        return None
    return Verdict(Status.CORRECT if decision.equal else Status.WRONG, answer[:_MAX_SHOWN], decision.rule)


def check(example: Example, response: Response) -> Verdict:
    """The verdict by the rules, otherwise by math-verify."""
    if (verdict := precheck(example, response)) is not None:
        return verdict
    gold = _gold_text(example.answer)
    answer = _answer(response)
    parsed = _parse(answer) if answer is not None else _search((response.answer or "")[-_TAIL:])
    if not parsed:
        return _unparsed("the answer contains no expression")
    if answer is None:
        # the same rules apply to the expression that math-verify finds in free text
        decision = decide(gold, str(parsed[-1]), example.question)
        if decision is not None and not decision.equal:
            return Verdict(Status.WRONG, str(parsed[-1])[:_MAX_SHOWN], decision.rule)
    equal = _equal(gold, parsed)
    if equal and answer is not None and "=" in answer and "=" not in gold and not _all_sides_equal(gold, answer):
        return Verdict(Status.WRONG, answer[:_MAX_SHOWN], "chain")
    answer_text = answer if answer is not None else str(parsed[-1])
    return Verdict(Status.CORRECT if equal else Status.WRONG, answer_text[:_MAX_SHOWN], "math-verify")


class _Check:
    """`check`. Unpickling it loads math-verify, so that a worker does this before its time limit starts."""

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


def _gold_text(answer: Any) -> str:
    """The gold expression. The reference may also be a number or a boxed solution."""
    text = answer if isinstance(answer, str) else str(answer)
    if "\\boxed" in text or "$" in text:
        return _gold_expression(text)
    return text


@lru_cache(maxsize=8192)
def _gold_expression(text: str) -> str:
    boxed = last_boxed(text)
    return extract_expression(text if boxed is None else boxed) or text


def _answer(response: Response) -> str | None:
    """The expression that the response gives, or None if free text has no box."""
    text = response.answer or ""
    if response.tagged:
        return extract_expression(text) if len(text) <= 4 * MAX_CHARS else text
    boxed = last_boxed(text)
    if boxed is None:
        return None
    if len(boxed) > MAX_CHARS:
        return boxed
    return extract_expression(boxed) if "$" in boxed or "\\boxed" in boxed or " " in boxed else boxed.strip()


def _may_contain_answer(response: Response) -> bool:
    return any(c.isdigit() or c in "$\\" for c in (response.answer or "")[-_TAIL:])


def _find_problem(answer: str) -> str | None:
    if len(answer) > MAX_CHARS:
        return f"the answer has {len(answer):,} characters"
    if ("{" in answer or "}" in answer) and not _balanced(answer):
        return "the braces of the answer do not match"
    if answer.count("{") + answer.count("(") + answer.count("[") > MAX_DEPTH and _depth(answer) > MAX_DEPTH:
        return "the answer is nested too deeply"
    return None


def _balanced(text: str) -> bool:
    """Whether all braces match. An unmatched closing brace would end the box that `_parse` adds."""
    depth = 0
    for brace in _BRACE.findall(text):
        depth += {"{": 1, "}": -1}.get(brace, 0)
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
def _math_verify() -> Any:
    import math_verify

    for name in ("math_verify.parser", "math_verify.grader"):  # both warn that their time limits are switched off
        logging.getLogger(name).setLevel(logging.ERROR)
    return math_verify


def _parse(expr: str) -> list[Any]:
    """Parses exactly this expression by math-verify, without searching for another one."""
    lib = _math_verify()
    config = [lib.LatexExtractionConfig(boxed_match_priority=0)]
    parsed: list[Any] = lib.parse(f"\\boxed{{{expr}}}", config, extraction_mode="first_match", parsing_timeout=None)
    return parsed


def _search(text: str) -> list[Any]:
    """Searches free text for its final expression by math-verify."""
    parsed: list[Any] = _math_verify().parse(text, parsing_timeout=None)
    return parsed


def _all_sides_equal(gold: str, answer: str) -> bool:
    """Whether every numeric side of an equation equals the gold answer. math-verify compares the last side only."""
    other_sides = [_parse(side) for side in equation_sides(answer)[:-1]]
    return all(_equal(gold, side) for side in other_sides if side and not getattr(side[0], "free_symbols", True))


@lru_cache(maxsize=512)
def _parsed_gold(gold: str) -> tuple[Any, ...]:
    return tuple(_parse(gold))


def _equal(gold: str, parsed: list[Any]) -> bool:
    return bool(_math_verify().verify(list(_parsed_gold(gold)), parsed, timeout_seconds=None))
