"""SIGTERM, which batch systems send, and SIGHUP, which a closed terminal sends, end a command like Ctrl-C: in order,
and resumable.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

RESUMABLE_RUNS: list[str] = []  # folders of interrupted runs, for the command's last message
_STOPPING = (signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], Any]


def interrupt_on_signals() -> None:
    """Makes SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread. Training replaces this by a stop after its
    step. An ignored SIGHUP stays ignored: ``nohup`` asks for that.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _STOPPING:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _raise)


@contextmanager
def handle_signals(handler: Handler) -> Iterator[None]:
    """Calls `handler` for Ctrl-C, SIGTERM and SIGHUP (unless it is ignored); restores the handlers at the end.

    Outside of the main thread, which alone may set handlers, nothing changes.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *_STOPPING):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def preserve_signal_handlers() -> Iterator[None]:
    """Restores the handlers of SIGINT, SIGTERM and SIGHUP at the end; some libraries replace them when they start."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, *_STOPPING)}
    try:
        yield
    finally:
        _restore(before)


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None:  # None: not installed from Python
            signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
