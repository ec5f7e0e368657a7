"""Executors run the steps of a plan: on this machine or on a Ray cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from kkwarm.study.plan import Step

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
