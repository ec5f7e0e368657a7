"""Executes a plan on an executor. Steps that are done are skipped, so the same call resumes a study."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kkwarm.errors import KkwarmError
from kkwarm.schema.manifest import StepAttempt
from kkwarm.store import Run
from kkwarm.study.executor import Event, Executor, StepFailed, StepFinished, StepStarted, Task, step_folder
from kkwarm.study.plan import Plan, Step


class ProgressListener(Protocol):
    """Receives the progress of an execution."""

    def started(self, step: Step, folder: Path) -> None: ...
    def finished(self, step: Step, seconds: float) -> None: ...
    def failed(self, step: Step, reason: str) -> None: ...
    def retried(self, step: Step, reason: str) -> None: ...
    def tick(self) -> None: ...


@dataclass(slots=True)
class Outcome:
    """Failed steps with their reasons, and the steps that were blocked because they need a failed one."""

    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)


def is_done(out: Path, step: Step) -> bool:
    """Whether the step's run exists and is done."""
    try:
        return Run.read(step_folder(out, step.id)).done
    except KkwarmError:
        return False  # not started, or killed while its manifest was written for the first time


def execute(
    plan: Plan,
    out: Path,
    executor: Executor,
    listener: ProgressListener,
    record_attempt: Callable[[StepAttempt], None],
) -> Outcome:
    """Runs every step that is not done, and stops the executor at the end.

    Steps with the longest chain behind them start first. A step whose worker is lost is tried again; a step that fails
    blocks only the steps that need it. An interrupt ends the workers, and their steps can be resumed.

    :param record_attempt: called with every attempt that ended.
    """
    return _Execution(plan, out, executor, listener, record_attempt).run()


class _Execution:
    def __init__(
        self,
        plan: Plan,
        out: Path,
        executor: Executor,
        listener: ProgressListener,
        record_attempt: Callable[[StepAttempt], None],
    ) -> None:
        self.plan, self.out, self.executor = plan, out, executor
        self.listener, self.record_attempt = listener, record_attempt
        self.priority = plan.priority()
        self.done = {key for key, step in plan.steps.items() if is_done(out, step)}
        self.attempts: dict[str, int] = {}
        self.running: dict[str, StepAttempt] = {}
        self.outcome = Outcome()
        self.start_time = time.monotonic()

    def run(self) -> Outcome:
        try:
            while self._start_ready():
                for event in self.executor.events(0.5):
                    self._handle(event)
                self.listener.tick()
        except BaseException:
            self.executor.stop(interrupt=True)
            raise
        self.executor.stop(interrupt=False)
        self.outcome.blocked = [k for k in self.plan.steps if k not in self.done and k not in self.outcome.failed]
        return self.outcome

    def _start_ready(self) -> bool:
        """Starts ready steps while there is room; False when nothing runs and nothing can start."""
        limit = self.executor.limit
        ready = sorted((s for s in self.plan.steps.values() if self._is_ready(s)), key=lambda s: -self.priority[s.id])
        for step in ready if limit is None else ready[: max(0, limit - len(self.running))]:
            number = self.attempts[step.id] = self.attempts.get(step.id, 0) + 1
            self.running[step.id] = StepAttempt(step=step.id, number=number, started=self._elapsed())
            self.executor.start(Task(step, step_folder(self.out, step.id), number))
        return bool(self.running)

    def _is_ready(self, step: Step) -> bool:
        handled = step.id in self.done or step.id in self.running or step.id in self.outcome.failed
        return not handled and all(need in self.done for need in step.needs)

    def _handle(self, event: Event) -> None:
        step, attempt = self.plan.steps[event.id], self.running[event.id]
        if isinstance(event, StepStarted):
            attempt.worker, attempt.started = event.worker, self._elapsed()
            self.listener.started(step, step_folder(self.out, step.id))
            return
        del self.running[step.id]
        attempt.ended = self._elapsed()
        if isinstance(event, StepFinished):
            attempt.outcome, attempt.seconds = "done", round(event.seconds, 3)
            self.done.add(step.id)
            self.listener.finished(step, event.seconds)
        elif isinstance(event, StepFailed) or attempt.number >= self.executor.attempts:
            attempt.outcome = "failed"
            self.outcome.failed[step.id] = event.reason
            self.listener.failed(step, event.reason)
        else:
            attempt.outcome = "lost"
            self.listener.retried(step, event.reason)
        self.record_attempt(attempt)

    def _elapsed(self) -> float:
        return round(time.monotonic() - self.start_time, 3)
