"""Ends a verifier that hangs in this process: by a signal in the main thread, the only one that Python interrupts."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

__all__ = ["TimeLimitExceeded", "time_limited"]

T = TypeVar("T")
_LOOKS = 4  # times within the limit that a clock looks


class TimeLimitExceeded(BaseException):
    """A call took too long. No `Exception`: a verifier that catches those must not catch this."""


@contextmanager
def time_limited(seconds: float) -> Iterator[Callable[..., Any]]:
    """Gives ``call(function, *args)``, which raises `Hung` where the function takes longer than `seconds`.

    Code in C that looks at no signals cannot be ended, and off the main thread nothing can: there it just calls.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda function, *args: function(*args)
        return
    began = 0.0  # of the call that is going on; 0: none is
    over = threading.Event()
    main = threading.get_ident()

    def late() -> bool:
        return began > 0 and time.monotonic() - began > seconds

    def watch() -> None:
        while not over.wait(seconds / _LOOKS):
            if late():
                signal.pthread_kill(main, signal.SIGVTALRM)

    def hit(number: int, frame: FrameType | None) -> None:
        if late():
            raise TimeLimitExceeded

    def call(function: Callable[..., T], *args: Any) -> T:
        nonlocal began
        began = time.monotonic()
        try:
            return function(*args)
        finally:
            began = 0.0

    before = signal.signal(signal.SIGVTALRM, hit)
    # Two clocks: the thread's ends what sleeps; the kernel's what computes and lets no other thread run, such as `re`.
    ticking = signal.setitimer(signal.ITIMER_VIRTUAL, seconds / _LOOKS, seconds / _LOOKS)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield call
    finally:
        over.set()
        watcher.join()  # before the handler goes: without one the signal would end this process
        signal.setitimer(signal.ITIMER_VIRTUAL, *ticking)
        signal.signal(signal.SIGVTALRM, before if before is not None else signal.SIG_DFL)
