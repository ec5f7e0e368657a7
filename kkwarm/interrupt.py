"""Being told to stop. A batch system says so by SIGTERM: it ends a command as Ctrl-C does, in order and resumable."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["KEPT", "kept", "terminable"]

KEPT: list[str] = []  # run folders that were left resumable, for the last message


def terminable() -> None:
    """From here on SIGTERM raises KeyboardInterrupt in the main thread; training stops after its step instead."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise)


@contextmanager
def kept() -> Iterator[None]:
    """What stops this process stays as it is: some libraries take SIGTERM for themselves when they start."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: not Python's
                signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
