"""Progress on stderr, with the time left. Nothing is ever printed on stdout."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from kkwarm.errors import warn
from kkwarm.train import distributed

__all__ = ["Progress", "say"]


class Progress:
    """A bar for one job; on a stderr that is no terminal, a line at most every half minute."""

    def __init__(self, title: str, total: int, *, done: int = 0, show: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True)
        show = show and distributed.is_main()
        self._title, self._total, self._done = title, total, done
        self._plain = show and not self._console.is_terminal
        self._started, self._said, self._first = time.monotonic(), time.monotonic(), done
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("[dim]{task.fields[note]}"),
            console=self._console,
            disable=not show or self._plain,
        )
        self._task: Any = None

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task(self._title, total=self._total, completed=self._done, note="")
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.stop()

    def advance(self, note: str = "") -> None:
        self.update(self._done + 1, note)

    def update(self, done: int, note: str = "") -> None:
        """Sets how many are done; `note` is shown behind."""
        self._done = done
        self._bar.update(self._task, completed=done, note=note)
        now = time.monotonic()
        if self._plain and (now - self._said > 30 or (done == self._total and now - self._started > 30)):
            self._said = now
            rate = (done - self._first) / (now - self._started)
            left = f"{(self._total - done) / rate:.0f} s left" if rate > 0 else ""
            self._console.print(
                f"{self._title} {done}/{self._total} {left} {note}".rstrip(), highlight=False, markup=False
            )


def say(message: str, *, everywhere: bool = False) -> None:
    """One line on stderr, of rank 0 only where there are several processes."""
    if everywhere or distributed.is_main():
        warn(message)
