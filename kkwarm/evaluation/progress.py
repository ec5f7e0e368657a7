"""Progress with time left, on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

__all__ = ["Bars"]


class Bars:
    """One bar for each benchmark; silent where `shown` is False or stderr is no terminal."""

    def __init__(self, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Left

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), Left())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, disable=not (shown and console.is_terminal))
        self._task: Any = None
        self._tasks: dict[str, Any] = {}

    def begin(self, name: str, total: int, done: int) -> None:
        """Shows the bar of the next benchmark, `done` of whose `total` samples are stored already."""
        if name in self._tasks:  # it is drawn in parts
            self._progress.update(self._tasks[name], total=total, completed=done)
        else:
            self._tasks[name] = self._progress.add_task(name, total=total, completed=done)
        self._task = self._tasks[name]

    def advance(self, count: int) -> None:
        self._progress.advance(self._task, count)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()
