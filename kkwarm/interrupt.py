"""Being told to stop. A batch system says so by SIGTERM: it ends a command as Ctrl-C does, in order and resumable."""

from __future__ import annotations

import signal
import threading
from types import FrameType

__all__ = ["terminable"]


def terminable() -> None:
    """From here on SIGTERM raises KeyboardInterrupt in the main thread; training stops after its step instead."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
