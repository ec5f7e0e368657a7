"""SIGTERM, which batch systems send, ends a command like Ctrl-C: in order, and resumable."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["RESUMABLE_RUNS", "interrupt_on_sigterm", "preserve_signal_handlers"]

RESUMABLE_RUNS: list[str] = []  # folders of interrupted runs, for the command's last message


def interrupt_on_sigterm() -> None:
    """Makes SIGTERM raise KeyboardInterrupt in the main thread. Training replaces this by a stop after its step."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise)


@contextmanager
def preserve_signal_handlers() -> Iterator[None]:
    """Restores the handlers of SIGINT and SIGTERM at the end; some libraries replace them when they start."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: not installed from Python
                signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
