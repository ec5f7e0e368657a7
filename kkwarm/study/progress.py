"""Progress of a plan on stderr: one bar for the whole with the time left, one for each running step.

Where stderr is no terminal, each finished step is one line.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kkwarm.study.plan import Plan, Step

__all__ = ["Display", "duration", "workers"]

FILES = {"bench": "samples.jsonl", "warmup": "log.jsonl", "rlvr": "log.jsonl"}


def duration(seconds: float) -> str:
    """Seconds for people: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def workers(count: int) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{count} worker{'' if count == 1 else 's'}"


class _Counter:
    """Counts the lines of a growing file, reading only what is new."""

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
    """The time left: estimated seconds of what is not done, scaled by how long steps of each kind really took."""

    def __init__(self, plan: Plan, done: set[str], jobs: int) -> None:
        self.plan, self.done, self.jobs = plan, set(done), max(1, jobs)
        self.measured: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, step: Step, seconds: float) -> None:
        self.done.add(step.id)
        self.measured[step.kind][0] += seconds
        self.measured[step.kind][1] += step.cost.seconds

    def scale(self, kind: str) -> float:
        took, guessed = self.measured[kind]
        if guessed > 0:
            return took / guessed
        took, guessed = (sum(v[i] for v in self.measured.values()) for i in (0, 1))
        return took / guessed if guessed > 0 else 1.0

    def left(self, fractions: dict[str, float]) -> float:
        """Seconds, at least those of the longest chain of steps that is left."""
        rest = {
            key: step.cost.seconds * self.scale(step.kind) * (1 - fractions.get(key, 0.0))
            for key, step in self.plan.steps.items()
            if key not in self.done
        }
        chain: dict[str, float] = {}
        for key, step in self.plan.steps.items():
            chain[key] = rest.get(key, 0.0) + max((chain[n] for n in step.needs), default=0.0)
        return max(sum(rest.values()) / self.jobs, max(chain.values(), default=0.0))


class Display:
    """Shows a plan being done. Use as a context manager."""

    def __init__(self, plan: Plan, done: set[str], jobs: int, console: Any) -> None:
        self.plan, self.console, self.live = plan, console, console.is_terminal
        self.estimate = Estimate(plan, done, jobs)
        self.running: dict[str, tuple[Step, _Counter | None, Any]] = {}
        self.bars: Any = None
        self.whole: Any = None
        self.began = time.monotonic()

    def __enter__(self) -> Self:
        from rich.progress import BarColumn, Progress, TextColumn

        if self.live:
            self.bars = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[right]}"), console=self.console
            )
            self.bars.start()
            self.whole = self.bars.add_task("[bold]study[/]", total=len(self.plan.steps), right="")
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
        self._ended(step)
        self.estimate.add(step, seconds)
        self._line(step, duration(seconds))

    def failed(self, step: Step, why: str) -> None:
        self._ended(step)
        self._line(step, f"failed: {why}", "red")

    def retried(self, step: Step, why: str) -> None:
        self._ended(step)
        self._line(step, f"tried again: {why}", "yellow")

    def tick(self) -> None:
        if self.bars is None:
            return
        fractions = {}
        for key, (step, counter, task) in self.running.items():
            count = min(counter.count(), step.total) if counter else 0
            fractions[key] = count / step.total if step.total else 0.0
            unit = "samples" if step.kind == "bench" else "steps"
            self.bars.update(task, completed=count, right=f"{count}/{step.total} {unit}" if counter else "")
        done = len(self.estimate.done)
        left = duration(self.estimate.left(fractions))
        self.bars.update(
            self.whole, completed=done + sum(fractions.values()), right=f"{done}/{len(self.plan.steps)}, {left} left"
        )

    def _ended(self, step: Step) -> None:
        _, _, task = self.running.pop(step.id, (step, None, None))  # it may end before it was seen to begin
        if self.bars is not None and task is not None:
            self.bars.remove_task(task)

    def _line(self, step: Step, what: str, style: str = "") -> None:
        done = len(self.estimate.done)
        left = duration(self.estimate.left({}))
        text = f"[{done}/{len(self.plan.steps)}] {_short(step)}: {what} ({left} left)"
        self.console.print(text, style=style, markup=False, soft_wrap=True)


def _short(step: Step) -> str:
    return step.id.rpartition("-")[0]
