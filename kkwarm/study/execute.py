"""Does a plan on an executor. What is done stays done: the same call goes on from there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kkwarm.errors import KkwarmError
from kkwarm.store import Run
from kkwarm.study.executor import Began, Done, Event, Executor, Failed, Task, step_folder
from kkwarm.study.plan import Plan, Step

__all__ = ["Outcome", "Turn", "Watcher", "execute", "is_done"]


@dataclass(slots=True)
class Turn:
    """One attempt at a step: `began` and `ended` in seconds since this call, `seconds` by its worker's clock."""

    step: str
    attempt: int
    where: str = ""
    began: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    end: str = "running"  # done, failed or lost


class Watcher(Protocol):
    """Told what happens, for progress on the screen."""

    def started(self, step: Step, folder: Path) -> None: ...
    def finished(self, step: Step, seconds: float) -> None: ...
    def failed(self, step: Step, why: str) -> None: ...
    def retried(self, step: Step, why: str) -> None: ...
    def tick(self) -> None: ...


@dataclass(slots=True)
class Outcome:
    """Why steps failed; `blocked`: steps that needed a failed one."""

    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)


def is_done(out: Path, step: Step) -> bool:
    """Whether the step's run is there and says that it is done."""
    try:
        return Run.read(step_folder(out, step.id)).done
    except KkwarmError:
        return False  # not begun, or killed while its manifest was first written: it is done (again)


def execute(plan: Plan, out: Path, executor: Executor, watcher: Watcher, ended: Callable[[Turn], None]) -> Outcome:
    """Does every step that is not done, those first that the most work waits for; stops the executor at the end.

    A step whose worker is lost is done again; one that fails stops those that need it, and nothing else. On an
    interrupt the workers are ended, and their steps stay resumable.

    :param ended: told of every attempt that ended, however it did.
    """
    return _Execution(plan, out, executor, watcher, ended).run()


class _Execution:
    def __init__(
        self, plan: Plan, out: Path, executor: Executor, watcher: Watcher, ended: Callable[[Turn], None]
    ) -> None:
        self.plan, self.out, self.executor, self.watcher, self.ended = plan, out, executor, watcher, ended
        self.priority = plan.priority()
        self.done = {key for key, step in plan.steps.items() if is_done(out, step)}
        self.attempts: dict[str, int] = {}
        self.running: dict[str, Turn] = {}
        self.outcome = Outcome()
        self.clock = time.monotonic()

    def run(self) -> Outcome:
        try:
            while self._assign():
                for event in self.executor.events(0.5):
                    self._handle(event)
                self.watcher.tick()
        except BaseException:
            self.executor.stop(interrupt=True)
            raise
        self.executor.stop(interrupt=False)
        self.outcome.blocked = [k for k in self.plan.steps if k not in self.done and k not in self.outcome.failed]
        return self.outcome

    def _assign(self) -> bool:
        """Starts the steps that are ready and have room; False when nothing runs and nothing can."""
        limit = self.executor.limit
        ready = sorted((s for s in self.plan.steps.values() if self._ready(s)), key=lambda s: -self.priority[s.id])
        for step in ready if limit is None else ready[: max(0, limit - len(self.running))]:
            attempt = self.attempts[step.id] = self.attempts.get(step.id, 0) + 1
            self.running[step.id] = Turn(step.id, attempt, began=self._now())
            self.executor.start(Task(step, step_folder(self.out, step.id), attempt))
        return bool(self.running)

    def _ready(self, step: Step) -> bool:
        taken = step.id in self.done or step.id in self.running or step.id in self.outcome.failed
        return not taken and all(need in self.done for need in step.needs)

    def _handle(self, event: Event) -> None:
        step, turn = self.plan.steps[event.id], self.running[event.id]
        if isinstance(event, Began):
            turn.where, turn.began = event.where, self._now()
            self.watcher.started(step, step_folder(self.out, step.id))
            return
        del self.running[step.id]
        turn.ended = self._now()
        if isinstance(event, Done):
            turn.end, turn.seconds = "done", round(event.seconds, 3)
            self.done.add(step.id)
            self.watcher.finished(step, event.seconds)
        elif isinstance(event, Failed) or turn.attempt >= self.executor.attempts:
            turn.end = "failed"
            self.outcome.failed[step.id] = event.why
            self.watcher.failed(step, event.why)
        else:
            turn.end = "lost"
            self.watcher.retried(step, event.why)
        self.ended(turn)

    def _now(self) -> float:
        return round(time.monotonic() - self.clock, 3)
