"""A verifier for functions that a model writes: the sandbox calls each function on an example's test cases.

The expected results never enter the sandbox. Actual results come back as plain data and are compared here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Response, Status, Verdict, Verifier
from kkwarm.verify.code import extract_code
from kkwarm.verify.sandbox import CallJob, DecodeError, End, Limits, Outcome, decode, encode, shared_sandbox, short_repr

__all__ = ["function_verifier", "results_equal"]

_TOLERANCE = 1e-6


def function_verifier(name: str, *, seconds: float = 5.0) -> Verifier:
    """A verifier of Python functions.

    An example's answer is ``{"entry": "area", "cases": [[[3, 4], 12], ...]}``: the function's name and, for each test
    case, the arguments and the expected result as JSON data. A tuple may stand for a list, and an expected float
    (``12.0``, not ``12``) is compared with a tolerance. All cases must pass. The code is the last fenced block that
    defines the function, or the whole answer.

    :param seconds: CPU time limit of each call.
    """
    return Verifier(name, partial(_check, seconds), check_batch=partial(_check_batch, seconds), answers="program")


def results_equal(result: Any, expected: Any) -> bool:
    """Whether a result equals the expected JSON data: True is not 1, a tuple equals a list, and an expected float
    (``12.0``, not ``12``) has a tolerance.
    """
    if isinstance(expected, bool) or isinstance(result, bool) or expected is None or isinstance(expected, str):
        return type(result) is type(expected) and bool(result == expected)
    if isinstance(expected, int | float):
        if not isinstance(result, int | float):
            return False
        if isinstance(expected, int):  # 12.0 is 12, but 12.0000001 is not
            return result == expected
        try:
            return math.isclose(result, expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        except OverflowError:  # an integer too large for a float
            return False
    if isinstance(expected, list | tuple):
        same_shape = isinstance(result, list | tuple) and len(result) == len(expected)
        return same_shape and all(results_equal(r, w) for r, w in zip(result, expected, strict=True))
    if isinstance(expected, dict):
        same_shape = isinstance(result, dict) and result.keys() == expected.keys()
        return same_shape and all(results_equal(result[key], value) for key, value in expected.items())
    return False


def _check(seconds: float, example: Example, response: Response) -> Verdict:
    return _check_batch(seconds, [(example, response)])[0]


def _check_batch(seconds: float, pairs: Sequence[tuple[Example, Response]]) -> list[Verdict]:
    """:raises KkwarmError: no sandbox is available, or an example's answer has another shape."""
    verdicts: dict[int, Verdict] = {}
    jobs: dict[int, _FunctionJob] = {}
    for i, (example, response) in enumerate(pairs):
        entry, cases = _test_cases(example)
        code = extract_code(response.answer or "", entry, allow_prose=not response.tagged)
        if code is None:
            verdicts[i] = Verdict(Status.UNPARSED, None, f"no code that defines {entry}")
        else:
            jobs[i] = _FunctionJob(code, entry, cases, seconds)
    if jobs:
        outcomes = shared_sandbox().run_many([job.call_job() for job in jobs.values()])
        verdicts |= {i: job.verdict(outcome) for (i, job), outcome in zip(jobs.items(), outcomes, strict=True)}
    return [verdicts[i] for i in range(len(pairs))]


def _test_cases(example: Example) -> tuple[str, list[tuple[list[Any], Any]]]:
    try:
        cases = [(list(args), expected) for args, expected in example.answer["cases"]]
        entry = str(example.answer["entry"])
    except (KeyError, TypeError, ValueError):
        cases = []
    if not cases:  # any answer would be correct
        raise KkwarmError(
            f"the answer of {example.id} has no test cases",
            hint='write {"entry": "f", "cases": [[[1, 2], 3], ...]}: the arguments, then the expected result',
        )
    return entry, cases


class _FunctionJob:
    """Runs one function on its test cases. `rejected` is the last result that differed from the expected one."""

    def __init__(self, code: str, entry: str, cases: list[tuple[list[Any], Any]], seconds: float) -> None:
        self.code, self.entry, self.cases, self.seconds = code, entry, cases, seconds
        self.rejected = ""

    def call_job(self) -> CallJob:
        inputs = [encode(args) for args, _ in self.cases]
        limits = Limits(cpu_s=self.seconds * (len(inputs) + 1))
        return CallJob(self.code, self.entry, inputs, [self.seconds] * len(inputs), self.judge, self.seconds, limits)

    def judge(self, index: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        try:
            result = decode(data)
        except DecodeError:
            self.rejected = "a value that is not plain data"
            return False
        if results_equal(result, self.cases[index][1]):
            return True
        self.rejected = short_repr(result)
        return False

    def verdict(self, outcome: Outcome) -> Verdict:
        if outcome.end is End.PASSED:
            return Verdict(Status.CORRECT, self.code, f"{len(self.cases)} test cases passed")
        if outcome.end is End.LOST:
            return Verdict(Status.ERROR, self.code, f"the sandbox failed: {outcome.detail}")
        reason = {
            End.REJECTED: f"returned {self.rejected}",
            End.RAISED: f"raised {outcome.detail}",
            End.OPAQUE: f"returned a value that is not plain data ({outcome.detail})",
            End.LOAD: f"does not run: {outcome.detail}",
            End.TIMEOUT: f"did not end: {outcome.detail or f'limit of {self.seconds:g} s of CPU time'}",
        }.get(outcome.end, outcome.detail)
        if outcome.index is not None and outcome.index < len(self.cases):
            args = ", ".join(short_repr(a) for a in self.cases[outcome.index][0])
            reason = f"{self.entry}({args}): {reason}"
        return Verdict(Status.TIMEOUT if outcome.end is End.TIMEOUT else Status.WRONG, self.code, reason)
