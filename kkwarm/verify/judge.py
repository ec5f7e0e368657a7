"""From completions to verdicts: split by the format, judge by the verifier, under its isolation.

The same function serves RLVR, evaluation, rescoring and distillation's rejection filter.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from kkwarm.errors import KkwarmError, describe_error
from kkwarm.types import Completion, Example, Format, Response, Status, Verdict, Verifier
from kkwarm.verify.time_limit import TimeLimitExceeded, time_limited
from kkwarm.verify.workers import WorkerPool, late

__all__ = ["Judge", "verify"]

MAX_CHARS = 2_000_000  # longer completions are no answer of any domain; splitting them would only cost memory


class Judge:
    """Judges completions; keeps its worker processes warm between calls. Use as a context manager, or `close` it.

    :param workers: processes for verifiers with ``isolation="process"``; None: one for each core, at most 8.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._pool = WorkerPool(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()

    def verify(self, verifier: Verifier, fmt: Format, pairs: Sequence[tuple[Example, Completion]]) -> list[Verdict]:
        """A verdict for each pair, in order. Equal completions of one example are judged once.

        A verifier that raises, or returns something that is no verdict, gives status ``error`` with its name and the
        cause; the others are not affected.
        """
        verdicts: list[Verdict | None] = [None] * len(pairs)
        pending: dict[tuple[str, str, str, bool], list[int]] = {}
        todo: list[tuple[Example, Response]] = []
        for i, (example, completion) in enumerate(pairs):
            response = self._split(fmt, completion)
            if isinstance(response, Verdict):
                verdicts[i] = response
                continue
            key = (example.id, response.answer or "", response.text, response.truncated)
            if key not in pending:
                pending[key] = []
                todo.append((example, response))
            pending[key].append(i)
        for places, verdict, (_, response) in zip(
            pending.values(), self._run_verifier(verifier, todo), todo, strict=True
        ):
            if verdict.status is Status.UNPARSED and response.truncated:
                verdict = Verdict(Status.TRUNCATED, verdict.answer, "stopped at the token limit", verdict.metrics)
            for i in places:
                verdicts[i] = verdict
        return [v for v in verdicts if v is not None]

    def _split(self, fmt: Format, completion: Completion) -> Response | Verdict:
        """The response, or the verdict where its format already decides."""
        if not isinstance(completion.text, str):
            return Verdict(Status.UNPARSED, reason=f"the completion is {type(completion.text).__name__}, not text")
        if len(completion.text) > MAX_CHARS:
            return Verdict(Status.MALFORMED, reason=f"the completion has {len(completion.text):,} characters")
        try:
            response = fmt.split(completion)
        except Exception as err:
            return Verdict(Status.ERROR, reason=f"format {fmt.name} failed: {describe_error(err)}")
        if response.problem or response.answer is None:
            problem = response.problem or "no answer"
            if response.truncated:
                return Verdict(Status.TRUNCATED, reason=f"stopped at the token limit: {problem}")
            return Verdict(Status.MALFORMED, reason=problem)
        return response

    def _run_verifier(self, verifier: Verifier, todo: Sequence[tuple[Example, Response]]) -> list[Verdict]:
        if verifier.check_batch is not None:
            return _check_batch(verifier, todo)
        verdicts: list[Verdict | None] = [None] * len(todo)
        with time_limited(verifier.timeout_s) as call:
            if verifier.precheck is not None:
                for i, (example, response) in enumerate(todo):
                    verdicts[i] = _in_time(call, _quick, verifier, example, response)
            slow = [i for i, v in enumerate(verdicts) if v is None]
            if verifier.isolation == "inline":
                for i in slow:
                    verdicts[i] = _in_time(call, checked, verifier, *todo[i])
                slow = []
        judged = self._pool.check(verifier, [todo[i] for i in slow])
        for i, verdict in zip(slow, judged, strict=True):
            verdicts[i] = verdict
        return [v for v in verdicts if v is not None]


def verify(verifier: Verifier, fmt: Format, pairs: Sequence[tuple[Example, Completion]]) -> list[Verdict]:
    """`Judge.verify` once, with workers that end afterwards."""
    with Judge() as judge:
        return judge.verify(verifier, fmt, pairs)


def _in_time(
    call: Callable[..., Verdict | None],
    judged: Callable[[Verifier, Example, Response], Verdict | None],
    verifier: Verifier,
    example: Example,
    response: Response,
) -> Verdict | None:
    try:
        return call(judged, verifier, example, response)
    except TimeLimitExceeded:
        return late(verifier)


def checked(verifier: Verifier, example: Example, response: Response) -> Verdict:
    """The verifier's verdict; status ``error`` where it raises, returns no verdict, or changes the example."""
    before = copy.deepcopy(example.answer), copy.deepcopy(dict(example.meta))
    try:
        result = _alone(verifier.check, example, response)
    except RecursionError:
        return Verdict(Status.UNPARSED, reason="nested too deeply to be read")
    except (Exception, SystemExit) as err:
        return _failed(verifier, describe_error(err))
    if before != (example.answer, dict(example.meta)):
        return _failed(verifier, "it changed the example")
    return as_verdict(verifier, result, response)


def _alone(function: Callable[..., Any], *args: Any) -> Any:
    """What it returns, in this process only: a copy that it forked must not go on with the run.

    :raises Forked: it forked, which is unsafe beside torch's threads and leaves processes behind.
    """
    pid, forks = os.getpid(), _made.forks
    try:
        result = function(*args)
    finally:
        if os.getpid() != pid:
            os._exit(1)
    if _made.forks != forks:
        raise Forked("start programs by subprocess instead")
    return result


class Forked(Exception):
    """A verifier made a copy of its process."""


class _Made(threading.local):
    """By this thread, so far: others may fork while a verdict is made."""

    forks = 0


def _forked() -> None:
    _made.forks += 1


_made = _Made()
os.register_at_fork(after_in_parent=_forked)


def as_verdict(verifier: Verifier, result: object, response: Response) -> Verdict:
    """What a check returned, as a verdict."""
    if isinstance(result, Verdict) and isinstance(result.status, Status):
        return result
    if isinstance(result, bool):
        return Verdict(Status.CORRECT if result else Status.WRONG, response.answer)
    return _failed(verifier, f"it returned {type(result).__name__}, neither a Verdict nor a bool")


def _quick(verifier: Verifier, example: Example, response: Response) -> Verdict | None:
    assert verifier.precheck is not None
    try:
        result = _alone(verifier.precheck, example, response)
    except (Exception, SystemExit) as err:
        return _failed(verifier, f"precheck: {describe_error(err)}")
    return None if result is None else as_verdict(verifier, result, response)


def _check_batch(verifier: Verifier, todo: Sequence[tuple[Example, Response]]) -> list[Verdict]:
    assert verifier.check_batch is not None
    try:
        results = list(_alone(verifier.check_batch, todo)) if todo else []
    except (Exception, SystemExit) as err:
        if isinstance(err, KkwarmError):  # the environment's fault (no sandbox, say), for the user to mend
            raise
        return [_failed(verifier, describe_error(err))] * len(todo)
    if len(results) != len(todo):
        return [_failed(verifier, f"it returned {len(results)} verdicts for {len(todo)} responses")] * len(todo)
    return [as_verdict(verifier, r, response) for r, (_, response) in zip(results, todo, strict=True)]


def _failed(verifier: Verifier, why: str) -> Verdict:
    return Verdict(Status.ERROR, reason=f"verifier {verifier.name} failed: {why[:300]}")
