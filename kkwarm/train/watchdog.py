"""A step that hangs: says so and dumps the stacks of all threads. It ends nothing: a slow step may still end."""

from __future__ import annotations

import faulthandler
import statistics
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

from kkwarm.train import distributed
from kkwarm.train.progress import say

__all__ = ["Watchdog"]


class Watchdog:
    """Watches the time since the last `beat`. Use as a context manager.

    :param factor: of the median of the last 50 steps: a step that takes longer hangs.
    :param least: seconds below which no step hangs; before two steps are done, ten times as many.
    """

    def __init__(self, folder: Path, *, factor: float = 10.0, least: float = 60.0) -> None:
        self.folder, self._factor, self._least = folder, factor, least
        self._steps: deque[float] = deque(maxlen=50)
        self._at = time.monotonic()
        self._told = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    @property
    def file(self) -> Path:
        return self.folder / f"stacks-{distributed.rank()}.txt"

    @property
    def limit(self) -> float:
        """Seconds."""
        if len(self._steps) < 2:
            return 10 * self._least
        return max(self._least, self._factor * statistics.median(self._steps))

    def beat(self, *, counted: bool = True) -> None:
        """A step is done; one that also saved or evaluated is not `counted`."""
        now = time.monotonic()
        if counted:
            self._steps.append(now - self._at)
        self._at, self._told = now, False

    def __enter__(self) -> Self:
        self._at = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(min(5.0, self._least / 4)):
            waited = time.monotonic() - self._at
            if waited > self.limit and not self._told:
                self._told = True
                with self.file.open("a", encoding="utf-8") as out:
                    out.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')}: no step for {waited:.0f} s\n")
                    out.flush()
                    faulthandler.dump_traceback(out, all_threads=True)
                say(f"no step for {waited:.0f} s, {self.limit:.0f} are usual at most: see {self.file}", everywhere=True)
