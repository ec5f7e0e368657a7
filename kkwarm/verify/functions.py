"""A verifier for functions that a model writes: each is called on an example's cases, in the sandbox.

What the calls should return stays on this side; results come back as plain data and are compared here.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Response, Status, Verdict, Verifier
from kkwarm.verify.sandbox import CallJob, DecodeError, End, Limits, Outcome, decode, encode, shared_sandbox, short

__all__ = ["extract_code", "function_verifier", "same"]

_MAX_CHARS = 100_000
_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_TOLERANCE = 1e-6


def function_verifier(name: str, *, seconds: float = 5.0) -> Verifier:
    """A verifier of Python functions.

    An example's answer is ``{"entry": "area", "cases": [[[3, 4], 12], ...]}``: the function's name, and for each case
    its arguments and what it must return (JSON data: a tuple counts as a list, a float as near ones do). All cases must
    hold. The code is the last fenced block that defines the function, or the whole answer.

    :param seconds: CPU time for each call.
    """
    return Verifier(name, partial(_check, seconds), check_batch=partial(_check_batch, seconds))


def extract_code(text: str, entry: str) -> str | None:
    """The code in `text` that defines the function `entry` at its top level; None where there is none."""
    if len(text) > _MAX_CHARS:
        return None
    blocks = [m.group(1) for m in _FENCE.finditer(text)] if "```" in text else [text]
    return next((block for block in reversed(blocks) if _defines(block, entry)), None)


def same(result: Any, wanted: Any) -> bool:
    """Whether a call's result is what JSON data asks for: True is no 1, a tuple may be a list, floats may be near."""
    if isinstance(wanted, bool) or isinstance(result, bool) or wanted is None or isinstance(wanted, str):
        return type(result) is type(wanted) and bool(result == wanted)
    if isinstance(wanted, int | float):
        if not isinstance(result, int | float):
            return False
        if isinstance(wanted, int) and isinstance(result, int):
            return result == wanted
        try:
            return math.isclose(result, wanted, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        except OverflowError:  # an integer beyond any float
            return False
    if isinstance(wanted, list | tuple):
        alike = isinstance(result, list | tuple) and len(result) == len(wanted)
        return alike and all(same(r, w) for r, w in zip(result, wanted, strict=True))
    if isinstance(wanted, dict):
        alike = isinstance(result, dict) and result.keys() == wanted.keys()
        return alike and all(same(result[key], value) for key, value in wanted.items())
    return False


def _check(seconds: float, example: Example, response: Response) -> Verdict:
    return _check_batch(seconds, [(example, response)])[0]


def _check_batch(seconds: float, pairs: Sequence[tuple[Example, Response]]) -> list[Verdict]:
    """:raises KkwarmError: no sandbox can be had; an example's answer is not of the shape that is wanted."""
    verdicts: dict[int, Verdict] = {}
    trials: dict[int, _Trial] = {}
    for i, (example, response) in enumerate(pairs):
        entry, cases = _asked(example)
        code = extract_code(response.answer or "", entry)
        if code is None:
            verdicts[i] = Verdict(Status.UNPARSED, None, f"no code that defines {entry}")
        else:
            trials[i] = _Trial(code, entry, cases, seconds)
    if trials:
        outcomes = shared_sandbox().run_many([trial.job() for trial in trials.values()])
        verdicts |= {i: trial.verdict(o) for (i, trial), o in zip(trials.items(), outcomes, strict=True)}
    return [verdicts[i] for i in range(len(pairs))]


def _asked(example: Example) -> tuple[str, list[tuple[list[Any], Any]]]:
    try:
        cases = [(list(args), wanted) for args, wanted in example.answer["cases"]]
        entry = str(example.answer["entry"])
    except (KeyError, TypeError, ValueError):
        cases = []
    if not cases:  # without one, anything would be right
        raise KkwarmError(
            f"the answer of {example.id} holds no cases",
            hint='write {"entry": "f", "cases": [[[1, 2], 3], ...]}: arguments, then what f returns',
        )
    return entry, cases


class _Trial:
    """One function on its cases. `given` is the last result that was refused."""

    def __init__(self, code: str, entry: str, cases: list[tuple[list[Any], Any]], seconds: float) -> None:
        self.code, self.entry, self.cases, self.seconds = code, entry, cases, seconds
        self.given = ""

    def job(self) -> CallJob:
        inputs = [encode(args) for args, _ in self.cases]
        limits = Limits(cpu_s=self.seconds * (len(inputs) + 1))
        return CallJob(self.code, self.entry, inputs, [self.seconds] * len(inputs), self.judge, self.seconds, limits)

    def judge(self, index: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        try:
            result = decode(data)
        except DecodeError:
            self.given = "a value that is no plain data"
            return False
        if same(result, self.cases[index][1]):
            return True
        self.given = short(result)
        return False

    def verdict(self, outcome: Outcome) -> Verdict:
        if outcome.end is End.PASSED:
            return Verdict(Status.CORRECT, self.code, f"{len(self.cases)} cases hold")
        if outcome.end is End.LOST:
            return Verdict(Status.ERROR, self.code, f"the sandbox failed: {outcome.detail}")
        what = {
            End.REFUSED: f"gave {self.given}",
            End.RAISED: f"raised {outcome.detail}",
            End.OPAQUE: f"gave no plain data ({outcome.detail})",
            End.LOAD: f"does not run: {outcome.detail}",
            End.TIMEOUT: f"no end: {outcome.detail}"
            if outcome.detail
            else f"no end within {self.seconds:g} s of CPU time",
        }.get(outcome.end, outcome.detail)
        if outcome.index is not None and outcome.index < len(self.cases):
            args = ", ".join(short(a) for a in self.cases[outcome.index][0])
            what = f"{self.entry}({args}): {what}"
        return Verdict(Status.TIMEOUT if outcome.end is End.TIMEOUT else Status.WRONG, self.code, what)


def _defines(code: str, entry: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes are the model's own
            body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.FunctionDef) and node.name == entry for node in body)
