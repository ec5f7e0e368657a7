"""sympy as a scorer of mathematical answers, to compare verdicts in the adversarial search."""

from __future__ import annotations

import re
from typing import Any

from kkwarm.types import Example, Response, Status, Verdict, Verifier
from kkwarm_math.answer_reader import last_boxed

__all__ = ["SYMPY"]


def _parsed(text: str) -> Any:
    from latex2sympy2_extended import latex2sympy

    return latex2sympy(text)


def _check(example: Example, response: Response) -> Verdict:
    """Whether sympy finds the last box, or else the whole answer, equal to the gold answer."""
    text = response.answer or ""
    boxed = last_boxed(text)
    answer = boxed if boxed is not None else re.sub(r"\\[()\[\]]|\$", "", text)
    try:
        gold, given = _parsed(str(example.answer)), _parsed(answer)
        equal = gold == given or bool((gold - given).equals(0))
    except Exception as err:
        return Verdict(Status.UNPARSED, answer[:200], f"sympy: {type(err).__name__}")
    return Verdict(Status.CORRECT if equal else Status.WRONG, answer[:200])


SYMPY = Verifier("sympy", _check, isolation="process", timeout_s=60.0, timeout_status=Status.TIMEOUT)
