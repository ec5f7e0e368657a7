"""Progress of a plan on stderr: a bar for the study with the time left, and a bar for each running step.

Where stderr is not a terminal, each finished step is one line, and every minute a line tells what runs.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kkwarm.progress import duration
from kkwarm.study.plan import Plan, Step

LINE_INTERVAL = 60.0  # seconds between two lines about running steps, where stderr is not a terminal
FILES = {"bench": "samples.jsonl", "warmup": "log.jsonl", "rlvr": "log.jsonl"}


def workers(count: int) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{count} worker{'' if count == 1 else 's'}"


class _Counter:
    """Counts the lines of a growing file; each call reads only new lines."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset, self.lines = path, 0, 0

    def count(self) -> int:
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                new = file.read()
        except FileNotFoundError:
            return self.lines
        self.offset += len(new)
        self.lines += new.count(b"\n")
        return self.lines


class Estimate:
    """Estimates the time left: the estimates of the remaining steps, scaled by the measured time of finished ones."""

    def __init__(self, plan: Plan, done: set[str], jobs: int) -> None:
        self.plan, self.done, self.jobs = plan, set(done), max(1, jobs)
        self.measured: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, step: Step, seconds: float) -> None:
        self.done.add(step.id)
        self.measured[step.kind][0] += seconds
        self.measured[step.kind][1] += step.cost.seconds

    def scale(self, kind: str) -> float:
        measured, estimated = self.measured[kind]
        if estimated > 0:
            return measured / estimated
        measured, estimated = (sum(v[i] for v in self.measured.values()) for i in (0, 1))
        return measured / estimated if estimated > 0 else 1.0

    def left(self, fractions: dict[str, float]) -> float:
        """Seconds left, at least those of the longest remaining chain of steps."""
        remaining = {
            key: step.cost.seconds * self.scale(step.kind) * (1 - fractions.get(key, 0.0))
            for key, step in self.plan.steps.items()
            if key not in self.done
        }
        chain: dict[str, float] = {}
        for key, step in self.plan.steps.items():
            chain[key] = remaining.get(key, 0.0) + max((chain[n] for n in step.needs), default=0.0)
        return max(sum(remaining.values()) / self.jobs, max(chain.values(), default=0.0))


class Display:
    """Shows the execution of a plan. Use as a context manager."""

    def __init__(self, plan: Plan, done: set[str], jobs: int, console: Any) -> None:
        self.plan, self.console, self.live = plan, console, console.is_terminal
        self.estimate = Estimate(plan, done, jobs)
        self.running: dict[str, tuple[Step, _Counter | None, Any]] = {}
        self.bars: Any = None
        self._printed = time.monotonic()
        self.total_bar: Any = None

    def __enter__(self) -> Self:
        from rich.progress import BarColumn, Progress, TextColumn

        if self.live:
            self.bars = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[right]}"), console=self.console
            )
            self.bars.start()
            self.total_bar = self.bars.add_task("[bold]study[/]", total=len(self.plan.steps), right="")
            self.tick()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        if self.bars is not None:
            self.bars.stop()

    def started(self, step: Step, folder: Path) -> None:
        counter = _Counter(folder / FILES[step.kind]) if step.kind in FILES and step.total else None
        task = None
        if self.bars is not None:
            from rich.markup import escape

            task = self.bars.add_task(f"  {escape(_short(step))}", total=step.total or None, right="")
        self.running[step.id] = (step, counter, task)

    def finished(self, step: Step, seconds: float) -> None:
        self._remove(step)
        self.estimate.add(step, seconds)
        self._line(step, duration(seconds))

    def failed(self, step: Step, reason: str) -> None:
        self._remove(step)
        self._line(step, f"failed: {reason}", "red")

    def retried(self, step: Step, reason: str) -> None:
        self._remove(step)
        self._line(step, f"tried again: {reason}", "yellow")

    def tick(self) -> None:
        if not self.live and time.monotonic() - self._printed < LINE_INTERVAL:
            return
        fractions, texts = {}, []
        for key, (step, counter, task) in self.running.items():
            count = min(counter.count(), step.total) if counter else 0
            fractions[key] = count / step.total if step.total else 0.0
            unit = "samples" if step.kind == "bench" else "steps"
            right = f"{count}/{step.total} {unit}" if counter else ""
            texts.append(f"{_short(step)} {right}".rstrip())
            if self.bars is not None:
                self.bars.update(task, completed=count, right=right)
        done = len(self.estimate.done)
        left = duration(self.estimate.left(fractions))
        if self.bars is None:
            self._printed = time.monotonic()
            if not texts:
                return
            line = f"running: {', '.join(texts)} ({left} left)"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
            return
        self.bars.update(
            self.total_bar,
            completed=done + sum(fractions.values()),
            right=f"{done}/{len(self.plan.steps)}, {left} left",
        )

    def _remove(self, step: Step) -> None:
        _, _, task = self.running.pop(step.id, (step, None, None))  # a step can end before its start was reported
        if self.bars is not None and task is not None:
            self.bars.remove_task(task)

    def _line(self, step: Step, text: str, style: str = "") -> None:
        done = len(self.estimate.done)
        left = duration(self.estimate.left({}))
        line = f"[{done}/{len(self.plan.steps)}] {_short(step)}: {text} ({left} left)"
        self.console.print(line, style=style, markup=False, soft_wrap=True)


def _short(step: Step) -> str:
    return step.id.rpartition("-")[0]
