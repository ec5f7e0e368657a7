"""Calls a verifier's functions in this process, and turns exceptions, forks and timeouts into verdicts."""

from __future__ import annotations

import copy
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from kkwarm.errors import KkwarmError, describe_error
from kkwarm.types import Example, Response, Status, Verdict, Verifier

__all__ = [
    "ForkError",
    "TimeLimitExceeded",
    "call_check",
    "call_check_batch",
    "call_precheck",
    "time_limit",
    "timeout_verdict",
]

T = TypeVar("T")
_CLOCK_CHECKS = 4  # how often the clock is checked within the time limit


class ForkError(Exception):
    """A verifier forked its process."""


class TimeLimitExceeded(BaseException):
    """A call took too long. It is not an `Exception`, so that verifiers which catch those do not catch it."""


# -- calls -------------------------------------------------------------------------------------------------------------


def call_check(verifier: Verifier, example: Example, response: Response) -> Verdict:
    """The verdict of `check`; status ``error`` where it raises, returns no verdict, or changes the example."""
    answer = example.answer if isinstance(example.answer, str) else copy.deepcopy(example.answer)
    before = answer, copy.deepcopy(dict(example.meta)) if example.meta else {}
    try:
        result = _call_without_fork(verifier.check, example, response)
    except RecursionError:
        return Verdict(Status.UNPARSED, reason="nested too deeply to be read")
    except (Exception, SystemExit) as err:
        return _error_verdict(verifier, describe_error(err))
    if before != (example.answer, dict(example.meta)):
        return _error_verdict(verifier, "it changed the example")
    return _as_verdict(verifier, result, response)


def call_precheck(verifier: Verifier, example: Example, response: Response) -> Verdict | None:
    """The verdict of `precheck`; None where it cannot decide."""
    assert verifier.precheck is not None
    try:
        result = _call_without_fork(verifier.precheck, example, response)
    except (Exception, SystemExit) as err:
        return _error_verdict(verifier, f"precheck: {describe_error(err)}")
    return None if result is None else _as_verdict(verifier, result, response)


def call_check_batch(verifier: Verifier, pairs: Sequence[tuple[Example, Response]]) -> list[Verdict]:
    """The verdicts of `check_batch`, in order.

    :raises KkwarmError: `check_batch` raised it, because of the environment (no sandbox, say).
    """
    assert verifier.check_batch is not None
    try:
        results = list(_call_without_fork(verifier.check_batch, pairs)) if pairs else []
    except (Exception, SystemExit) as err:
        if isinstance(err, KkwarmError):
            raise
        return [_error_verdict(verifier, describe_error(err))] * len(pairs)
    if len(results) != len(pairs):
        problem = f"it returned {len(results)} verdicts for {len(pairs)} responses"
        return [_error_verdict(verifier, problem)] * len(pairs)
    return [_as_verdict(verifier, result, response) for result, (_, response) in zip(results, pairs, strict=True)]


def timeout_verdict(verifier: Verifier) -> Verdict:
    """The verdict for a check that did not end in time."""
    reason = f"verifier {verifier.name} gave no verdict within {verifier.timeout_s:g} s"
    return Verdict(verifier.timeout_status, reason=reason)


def _as_verdict(verifier: Verifier, result: object, response: Response) -> Verdict:
    if isinstance(result, Verdict) and isinstance(result.status, Status):
        return _error_verdict(verifier, problem) if (problem := _find_problem(result)) else result
    if isinstance(result, bool):
        return Verdict(Status.CORRECT if result else Status.WRONG, response.answer)
    return _error_verdict(verifier, f"it returned {type(result).__name__}, neither a Verdict nor a bool")


def _find_problem(verdict: Verdict) -> str:
    """What keeps a plugin's verdict from being stored; empty where nothing does."""
    if not isinstance(verdict.answer, str | None):
        return f"the answer of its verdict is {type(verdict.answer).__name__}, not text"
    if not isinstance(verdict.reason, str):
        return f"the reason of its verdict is {type(verdict.reason).__name__}, not text"
    for name, score in verdict.metrics.items():
        if not isinstance(name, str) or not isinstance(score, int | float) or not abs(score) < 2**31:
            return f"the metric {name!r} of its verdict is no finite number"
    return ""


def _error_verdict(verifier: Verifier, problem: str) -> Verdict:
    return Verdict(Status.ERROR, reason=f"verifier {verifier.name} failed: {problem[:300]}")


class _ForkCounter(threading.local):
    """Counts the forks of each thread, since other threads may fork while a verifier runs."""

    count = 0


_forks = _ForkCounter()


def _count_fork() -> None:
    _forks.count += 1


os.register_at_fork(after_in_parent=_count_fork)


def _call_without_fork(function: Callable[..., Any], *args: Any) -> Any:
    """Calls the function. Should it fork, the child ends here, so that it does not continue the run.

    :raises ForkError: it forked, which is unsafe next to torch's threads and leaves processes behind.
    """
    pid, forks = os.getpid(), _forks.count
    try:
        result = function(*args)
    finally:
        if os.getpid() != pid:
            os._exit(1)
    if _forks.count != forks:
        raise ForkError("start programs by subprocess instead")
    return result


# -- time limits -------------------------------------------------------------------------------------------------------


@contextmanager
def time_limit(seconds: float) -> Iterator[Callable[..., Any]]:
    """Yields ``call(function, *args)``, which raises `TimeLimitExceeded` if the function takes longer than `seconds`.

    It uses a signal, which Python delivers to the main thread only. On other threads there is no limit. C code that
    does not check for signals cannot be interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda function, *args: function(*args)
        return
    started = 0.0  # when the current call started; 0 between calls
    done = threading.Event()
    main = threading.get_ident()

    def expired() -> bool:
        return started > 0 and time.monotonic() - started > seconds

    def watch() -> None:
        while not done.wait(seconds / _CLOCK_CHECKS):
            if expired():
                signal.pthread_kill(main, signal.SIGVTALRM)

    def on_signal(number: int, frame: FrameType | None) -> None:
        if expired():
            raise TimeLimitExceeded

    def call(function: Callable[..., T], *args: Any) -> T:
        nonlocal started
        started = time.monotonic()
        try:
            return function(*args)
        finally:
            started = 0.0

    old_handler = signal.signal(signal.SIGVTALRM, on_signal)
    # Two clocks are needed. The thread interrupts calls that sleep; the kernel's timer interrupts calls that compute
    # without letting other threads run, such as `re`.
    old_timer = signal.setitimer(signal.ITIMER_VIRTUAL, seconds / _CLOCK_CHECKS, seconds / _CLOCK_CHECKS)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield call
    finally:
        done.set()
        watcher.join()  # before the handler is removed: without a handler the signal would end this process
        signal.setitimer(signal.ITIMER_VIRTUAL, *old_timer)
        signal.signal(signal.SIGVTALRM, old_handler if old_handler is not None else signal.SIG_DFL)
