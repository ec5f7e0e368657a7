"""A verifier for programs that a model writes: the sandbox runs each program on an example's tests.

The expected outputs never enter the sandbox. What a program prints comes back as bytes and is compared here.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from kkwarm.errors import KkwarmError, shorten
from kkwarm.types import Example, Response, Status, Verdict, Verifier
from kkwarm.verify.code import MAX_CHARS, extract_program
from kkwarm.verify.outputs import COMPARISONS, Comparison
from kkwarm.verify.sandbox import End, Limits, ProgramJob, ProgramOutcome, shared_sandbox, short_repr
from kkwarm.verify.workers import shared_workers

__all__ = ["Checker", "program_verifier"]

Checker = Callable[[str, str, str], bool]
Pairs = Sequence[tuple[Example, Response]]

_MIB = 1 << 20
_CHECKER_S = 10.0
_BATCH = 256  # programs that run before their outputs are compared and dropped
_METRIC = "tests_passed"


def program_verifier(
    name: str,
    *,
    compare: Comparison | Checker = "tokens",
    tolerance: float = 1e-6,
    seconds: float = 5.0,
    memory: int = 1 << 30,
) -> Verifier:
    """A verifier of Python programs that read stdin and write stdout.

    An example's answer is ``{"tests": [{"input": "3 4\\n", "output": "7\\n"}, ...]}``; other keys are ignored. All
    tests must pass: the program ends with exit code 0 and prints the right output. The program is the last fenced block
    that is one, or the whole answer. The metric ``tests_passed`` is the share of tests that passed. Where the first
    test exceeds a limit, the others do not run and count as failed.

    :param compare: ``"exact"`` (line by line), ``"tokens"`` (between white space) or ``"floats"`` (tokens, of which
        numbers may differ by `tolerance`); `kkwarm.verify.outputs` has the rules and their sources. Where several
        outputs are right, a checker: ``checker(input, output, expected)`` returns True or False, with the arguments of
        Codeforces' checkers. It gets text only, must be a function of a module, and runs in a worker process for at
        most 10 s. Where it raises or does not end, the verdict is ``error``. Its tests need no ``"output"``.
    :param tolerance: the largest absolute or relative error of a number, for ``"floats"``.
    :param seconds: CPU time limit of each test. It may also sleep for so long, but no longer than 5 s.
    :param memory: memory limit of each process, in bytes.
    :raises KkwarmError: an option is not valid, or the checker cannot be sent to a worker process.
    """
    if not callable(compare) and compare not in list(COMPARISONS):
        raise KkwarmError(
            f"verifier {name}: compare is {shorten(compare)}", hint=f"use {', '.join(COMPARISONS)} or a function"
        )
    if not (0 <= tolerance < math.inf and 0 < seconds < math.inf and memory > 0):
        raise KkwarmError(f"verifier {name}: tolerance, seconds and memory must be positive and finite")
    if callable(compare):
        _require_importable(name, compare)
    options = (name, compare, tolerance, seconds, memory)
    return Verifier(name, partial(_check, *options), check_batch=partial(_check_batch, *options), answers="program")


def _require_importable(name: str, checker: Checker) -> None:
    try:
        pickle.dumps(checker)
    except Exception as err:
        raise KkwarmError(
            f"verifier {name}: the checker cannot be sent to a worker process: {err}",
            hint="define it with `def` at the top level of a module",
        ) from None


# -- tests -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Test:
    input: str
    expected: str


@dataclass(slots=True)
class _Result:
    """The result of one test. `status` is CORRECT where it passed; `stopped`: the program exceeded a limit."""

    status: Status
    reason: str = ""
    stopped: bool = False


@dataclass(slots=True)
class _Program:
    """One program, its tests, and the results so far, in order."""

    code: str
    tests: Sequence[_Test]
    results: list[_Result] = field(default_factory=list)

    def verdict(self) -> Verdict:
        passed = sum(r.status is Status.CORRECT for r in self.results)
        metrics = {_METRIC: passed / len(self.tests)}
        failures = [(i, r) for i, r in enumerate(self.results, 1) if r.status is not Status.CORRECT]
        if not failures:
            return Verdict(Status.CORRECT, self.code, f"{passed} tests passed", metrics)
        # Where the verifier itself failed, nothing is known about the program.
        number, result = next((f for f in failures if f[1].status is Status.ERROR), failures[0])
        others = len(self.tests) - len(self.results)
        reason = f"{passed} of {len(self.tests)} tests passed; test {number}: {result.reason}"
        if others:
            reason += f"; {others} more did not run"
        return Verdict(result.status, self.code, reason, metrics)


def _tests(example: Example, need_output: bool) -> list[_Test]:
    """:raises KkwarmError: the example's answer has another shape, or any program would pass its tests."""
    problem = ""
    rows = example.answer.get("tests") if isinstance(example.answer, Mapping) else None
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
        problem = "has no tests"
    for number, row in enumerate(rows if not problem and rows else (), 1):
        if not isinstance(row, Mapping) or not isinstance(row.get("input", ""), str):
            problem = f"has a test without an input as text (test {number}: {shorten(row)})"
        elif not isinstance(row.get("output", "" if not need_output else None), str):
            problem = f"has a test without an output as text (test {number}: {shorten(row)})"
        if problem:
            break
    tests = [] if problem else [_Test(row.get("input", ""), row.get("output", "")) for row in rows or ()]
    if not problem and need_output and not any(test.expected.strip() for test in tests):
        problem = "has no test with an output, so a program that does nothing would pass"
    if problem:
        raise KkwarmError(
            f"the answer of {example.id} {problem}",
            hint='write {"tests": [{"input": "3 4\\n", "output": "7\\n"}, ...]}: what the program reads and must print',
        )
    return tests


# -- running -----------------------------------------------------------------------------------------------------------


def _check(
    name: str,
    compare: Comparison | Checker,
    tolerance: float,
    seconds: float,
    memory: int,
    example: Example,
    response: Response,
) -> Verdict:
    return _check_batch(name, compare, tolerance, seconds, memory, [(example, response)])[0]


def _check_batch(
    name: str, compare: Comparison | Checker, tolerance: float, seconds: float, memory: int, pairs: Pairs
) -> list[Verdict]:
    """:raises KkwarmError: no sandbox is available, or an example's answer has another shape."""
    programs: list[_Program | Verdict] = []
    for example, response in pairs:
        tests = _tests(example, not callable(compare))
        answer = response.answer or ""
        code = extract_program(answer, tagged=response.tagged)
        if code is None:
            reason = (
                "the answer has no Python program"
                if len(answer) <= MAX_CHARS
                else f"the answer is longer than {MAX_CHARS:,} characters"
            )
            programs.append(Verdict(Status.UNPARSED, None, reason, {_METRIC: 0.0}))
        else:
            programs.append(_Program(code, tests))
    limits = Limits(cpu_s=seconds, idle_s=min(seconds, 5.0), memory=memory)
    running = [p for p in programs if isinstance(p, _Program)]
    judge = partial(_judge, name, compare, tolerance)
    _run(running, lambda p: p.tests[:1], judge, limits)
    _run([p for p in running if not p.results[0].stopped], lambda p: p.tests[1:], judge, limits)
    return [p.verdict() if isinstance(p, _Program) else p for p in programs]


_Judge = Callable[[Sequence[tuple[_Test, ProgramOutcome]]], list[_Result]]


def _run(
    programs: Sequence[_Program], choose: Callable[[_Program], Sequence[_Test]], judge: _Judge, limits: Limits
) -> None:
    """Runs the chosen tests of each program, and adds their results to it."""
    chosen = [(program, test) for program in programs for test in choose(program)]
    for start in range(0, len(chosen), _BATCH):
        batch = chosen[start : start + _BATCH]
        jobs = [_job(program.code, test, limits) for program, test in batch]
        outcomes = shared_sandbox().run_programs(jobs)
        results = judge([(test, outcome) for (_, test), outcome in zip(batch, outcomes, strict=True)])
        for (program, _), result in zip(batch, results, strict=True):
            program.results.append(result)


def _job(code: str, test: _Test, limits: Limits) -> ProgramJob:
    """An output of more than twice the length of the right one, and 1 MiB, is not looked at."""
    limits = replace(limits, output=_MIB + 2 * len(test.expected))
    return ProgramJob(code, _encode(test.input), limits)


# -- judging -----------------------------------------------------------------------------------------------------------


def _judge(
    name: str, compare: Comparison | Checker, tolerance: float, runs: Sequence[tuple[_Test, ProgramOutcome]]
) -> list[_Result]:
    results = [_failure(outcome) for _, outcome in runs]
    open_ = [i for i, result in enumerate(results) if result is None]
    if callable(compare):
        for i, result in zip(open_, _ask_checker(name, compare, [runs[i] for i in open_]), strict=True):
            results[i] = result
    else:
        equal = COMPARISONS[compare]
        for i in open_:
            test, outcome = runs[i]
            passed = equal(outcome.stdout, _encode(test.expected), tolerance)
            results[i] = (
                _Result(Status.CORRECT) if passed else _wrong(test, outcome, f"; right is {_show(test.expected)}")
            )
    return [r for r in results if r is not None]


def _failure(outcome: ProgramOutcome) -> _Result | None:
    """The result of a test whose program did not end with exit code 0; None where it did."""
    if outcome.end is End.EXITED:
        return None if outcome.exit_code == 0 else _Result(Status.WRONG, _describe_exit(outcome))
    if outcome.end is End.TIMEOUT:
        return _Result(Status.TIMEOUT, f"it did not end: {outcome.detail}", True)
    if outcome.end is End.OUTPUT:
        return _Result(Status.WRONG, f"it printed too much: {outcome.detail}", True)
    if outcome.end is End.LOST:
        return _Result(Status.ERROR, f"the sandbox failed: {outcome.detail}")
    return _Result(Status.WRONG, outcome.detail)


def _describe_exit(outcome: ProgramOutcome) -> str:
    lines = outcome.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    last = "".join(c if c.isprintable() else "?" for c in lines[-1])[:200] if lines else ""
    if last.startswith("EOFError"):
        return f"it asked for more input than the test has ({last})"
    return f"it ended with exit code {outcome.exit_code}" + (f" ({last})" if last else "")


def _ask_checker(name: str, checker: Checker, runs: Sequence[tuple[_Test, ProgramOutcome]]) -> list[_Result]:
    """Lets the author's checker compare, in worker processes that end where it hangs."""
    results: list[_Result | None] = []
    asked = []
    for test, outcome in runs:
        try:
            output = outcome.stdout.decode()
        except UnicodeDecodeError:
            results.append(_Result(Status.WRONG, "it printed bytes that are not UTF-8"))
        else:
            results.append(None)
            asked.append((Example("", test.input, test.expected), Response("", "", output)))
    inner = Verifier(f"{name} (its checker)", partial(_call_checker, checker), "process", _CHECKER_S)
    verdicts = iter(shared_workers().check(inner, asked))
    for i, result in enumerate(results):
        if result is None:
            verdict = next(verdicts)
            if verdict.correct:
                results[i] = _Result(Status.CORRECT)
            elif verdict.status is Status.ERROR:
                results[i] = _Result(Status.ERROR, verdict.reason)
            else:
                results[i] = _wrong(*runs[i], ", which the checker rejects")
    return [r for r in results if r is not None]


def _call_checker(checker: Checker, example: Example, response: Response) -> Any:
    return checker(example.question, response.answer or "", example.answer)


def _wrong(test: _Test, outcome: ProgramOutcome, what: str) -> _Result:
    printed = _show(outcome.stdout.decode("utf-8", "backslashreplace"))
    given = f" for the input {_show(test.input)}" if test.input else ""
    return _Result(Status.WRONG, f"it printed {printed}{given}{what}")


def _show(text: str) -> str:
    return short_repr(text[:100])


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
