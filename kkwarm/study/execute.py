"""Executes a plan, here or on a Ray cluster. Steps that are done are skipped, so the same call resumes a study."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from kkwarm.errors import KkwarmError
from kkwarm.schema.manifest import StepAttempt
from kkwarm.store import Run
from kkwarm.study.plan import Plan, Step

ExecutorName = Literal["local", "ray"]


def step_folder(out: Path, step_id: str) -> Path:
    """The run folder of a step, inside the study's folder."""
    return out / "steps" / step_id


@dataclass(frozen=True, slots=True)
class Task:
    """A step to run now; all steps that it needs are done. `attempt` counts from 1."""

    step: Step
    folder: Path
    attempt: int = 1

    @property
    def payload(self) -> str:
        """The argument of `worker.run_task` as JSON: the step's function and the function's argument."""
        step, steps = self.step, self.folder.parent
        spec = {
            "id": step.id,
            "kind": step.kind,
            "config": dict(step.config),
            "inputs": {k: str(steps / v[1:]) if v.startswith("@") else v for k, v in step.inputs.items()},
            "out": str(self.folder),
            "labels": dict(step.labels),
            "domains": list(step.domains),
        }
        return json.dumps({"function": step.function, "spec": spec})


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A worker, named by `worker`, runs the step."""

    id: str
    worker: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """The step is done after `seconds`."""

    id: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepFailed:
    """The step raised an error; another attempt would fail too."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The step's worker or node was lost; the step can be tried again."""

    id: str
    reason: str


Event = StepStarted | StepFinished | StepFailed | WorkerLost


class Executor(Protocol):
    """Runs several tasks at once. Created by `open_executor`, ended by `stop`."""

    @property
    def slots(self) -> int:
        """Number of steps that usually run at once; estimates of the time left use it."""
        ...

    @property
    def limit(self) -> int | None:
        """Number of tasks that may be started before others end; None: all of them, the executor queues them."""
        ...

    @property
    def attempts(self) -> int:
        """Number of attempts after which a step whose worker is lost counts as failed."""
        ...

    def start(self, task: Task) -> None:
        """Starts or queues a task."""
        ...

    def events(self, seconds: float) -> Sequence[Event]:
        """Events since the last call; waits up to `seconds` for the first one."""
        ...

    def stop(self, *, interrupt: bool) -> None:
        """Ends all workers. With `interrupt`, running steps may save first; those that do not end are killed."""
        ...


def open_executor(
    name: ExecutorName,
    out: Path,
    jobs: int | None,
    *,
    address: str | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Executor:
    """The executor `name` for the study in `out`.

    :param jobs: number of steps at once; None: as many as the machine or cluster has room for.
    :param address: of the Ray cluster; None: ``RAY_ADDRESS``, else a local one with this machine's cores and GPUs.
    :param log: called with messages for the user.
    :raises KkwarmError: the executor is not available.
    """
    if name == "ray":
        from kkwarm.study.cluster import RayExecutor

        return RayExecutor(out, jobs, address, log)
    from kkwarm.study.local import LocalExecutor

    return LocalExecutor(out, jobs)


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
    plan: Plan, out: Path, executor: Executor, listener: ProgressListener, record_attempt: Callable[[StepAttempt], None]
) -> Outcome:
    """Runs every step that is not done, and stops the executor at the end.

    Steps with the longest chain behind them start first. A step whose worker is lost is tried again; a step that fails
    blocks only the steps that need it. An interrupt ends the workers, and their steps can be resumed.

    :param record_attempt: called with every attempt that ended.
    """
    return _Execution(plan, out, executor, listener, record_attempt).run()


@dataclass
class _Execution:
    plan: Plan
    out: Path
    executor: Executor
    listener: ProgressListener
    record_attempt: Callable[[StepAttempt], None]

    def __post_init__(self) -> None:
        self.priority = self.plan.priority()
        self.done = {key for key, step in self.plan.steps.items() if is_done(self.out, step)}
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
