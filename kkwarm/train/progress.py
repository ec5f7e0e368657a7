"""What a running job reports: progress and messages on stderr, JSON-lines logs, and a watchdog for steps that hang.

Nothing is ever printed on stdout.
"""

from __future__ import annotations

import faulthandler
import json
import statistics
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kkwarm.errors import KkwarmError, warn
from kkwarm.files import read_regular, write_file
from kkwarm.json_text import parse_json
from kkwarm.progress import PLAIN_INTERVAL, duration
from kkwarm.train import distributed


def print_status(message: str, *, all_ranks: bool = False) -> None:
    """Prints one line on stderr; with several processes only rank 0 prints, unless `all_ranks`."""
    if all_ranks or distributed.is_main():
        warn(message)


_LOG_HINT = "the log was edited or damaged: restore it, or delete the run and make it again"


class Progress:
    """A progress bar; where stderr is not a terminal, a line at most every 30 seconds."""

    def __init__(self, title: str, total: int, *, done: int = 0, show: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        self._console = Console(stderr=True)
        show = show and distributed.is_main()
        self._title, self._total, self._done, self._done_at_start = title, total, done, done
        self._plain = show and not self._console.is_terminal
        self._started = self._printed = time.monotonic()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False, table_column=Column()),  # it may wrap
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
        """Sets how many items are done; `note` is shown after the bar."""
        self._done = done
        self._bar.update(self._task, completed=done, note=self._with_time(note))
        late = time.monotonic() - self._started > PLAIN_INTERVAL
        self._print_line(note, now=done == self._total and late)

    def show_note(self, note: str) -> None:
        """Shows another note after the bar."""
        self._bar.update(self._task, note=self._with_time(note))
        self._print_line(note)

    def _with_time(self, note: str) -> str:
        """The note after the time left, or, at the end, the time that it took."""
        elapsed, done = time.monotonic() - self._started, self._done - self._done_at_start
        left = duration((self._total - self._done) * elapsed / done) + " left" if done > 0 else ""
        return ", ".join(filter(None, (duration(elapsed) if self._done >= self._total else left, note)))

    def _print_line(self, note: str, *, now: bool = False) -> None:
        """Prints a line where stderr is not a terminal, if the last one was printed long enough ago, or `now`."""
        if not self._plain or not (now or time.monotonic() - self._printed > PLAIN_INTERVAL):
            return
        self._printed = time.monotonic()
        line = ", ".join(filter(None, (f"{self._title}: {self._done}/{self._total}", self._with_time(note))))
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class StepLog:
    """JSON lines with a ``step`` each: the step log, rollouts, in-training evaluations.

    :param resumed_step: lines of later steps are removed, because those steps run again; 0 empties the file.
    """

    def __init__(self, path: Path, resumed_step: int) -> None:
        self.path = path
        rows = [row for row in self.rows(path) if row["step"] <= resumed_step] if resumed_step else []
        write_file(path, [json.dumps(row) + "\n" for row in rows], hint="free space; the run resumes")
        self._out = path.open("a", encoding="utf-8")

    @staticmethod
    def rows(path: Path) -> list[dict[str, Any]]:
        """The complete lines of the file."""
        try:
            lines = read_regular(path).split(b"\n")[:-1]  # a crash may have left half a line after the last newline
        except FileNotFoundError:
            return []
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                row = parse_json(line)
            except ValueError as err:
                raise KkwarmError(f"{path}, line {number}: {err}", hint=_LOG_HINT) from None
            if not isinstance(row, dict) or type(row.get("step")) is not int:
                raise KkwarmError(f"{path}, line {number}: no object with a step", hint=_LOG_HINT)
            rows.append(row)
        return rows

    def write(self, *rows: dict[str, Any]) -> None:
        """:raises KkwarmError: the disk is full or read-only."""
        try:
            self._out.write("".join(json.dumps(row) + "\n" for row in rows))
            self._out.flush()
        except OSError as err:
            raise KkwarmError(
                f"{self.path} cannot be written: {err.strerror}", hint="free space; the run resumes"
            ) from None

    def close(self) -> None:
        self._out.close()


class Watchdog:
    """Reports a step that hangs and dumps the stacks of all threads. It stops nothing: a slow step may still finish.

    Use as a context manager and call `step_done` after each step.

    :param factor: a step hangs when it takes this many times the median of the last 50 steps.
    :param minimum: seconds below which no step counts as hanging; ten times as many before two steps are done.
    """

    def __init__(self, folder: Path, *, factor: float = 10.0, minimum: float = 60.0) -> None:
        self.folder, self._factor, self._minimum = folder, factor, minimum
        self._durations: deque[float] = deque(maxlen=50)
        self._last = time.monotonic()
        self._reported = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    @property
    def file(self) -> Path:
        return self.folder / f"stacks-{distributed.rank()}.txt"

    @property
    def limit(self) -> float:
        """Seconds after which a step is reported."""
        if len(self._durations) < 2:
            return 10 * self._minimum
        return max(self._minimum, self._factor * statistics.median(self._durations))

    def step_done(self, *, counts: bool = True) -> None:
        """Restarts the clock. Pass ``counts=False`` where the time also went into saving or evaluation."""
        now = time.monotonic()
        if counts:
            self._durations.append(now - self._last)
        self._last, self._reported = now, False

    def __enter__(self) -> Self:
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(min(5.0, self._minimum / 4)):
            waited = time.monotonic() - self._last
            if waited > self.limit and not self._reported:
                self._reported = True
                with self.file.open("a", encoding="utf-8") as out:
                    out.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')}: no step for {waited:.0f} s\n")
                    out.flush()
                    faulthandler.dump_traceback(out, all_threads=True)
                message = f"no step for {waited:.0f} s (limit {self.limit:.0f} s): see {self.file}"
                print_status(message, all_ranks=True)
