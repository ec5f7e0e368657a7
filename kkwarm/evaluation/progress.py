"""Progress bars with the remaining time, on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

__all__ = ["ProgressBars"]


class ProgressBars:
    """One bar for each benchmark; nothing is printed if `show` is False or stderr is not a terminal."""

    def __init__(self, show: bool) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not (show and console.is_terminal),
        )
        self._current: Any = None
        self._bars: dict[str, Any] = {}

    def start(self, name: str, total: int, completed: int) -> None:
        """Shows the bar of a benchmark, or updates it; `advance` then refers to it."""
        if name in self._bars:
            self._progress.update(self._bars[name], total=total, completed=completed)
        else:
            self._bars[name] = self._progress.add_task(name, total=total, completed=completed)
        self._current = self._bars[name]

    def advance(self, count: int) -> None:
        self._progress.advance(self._current, count)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()
