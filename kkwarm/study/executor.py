"""Where the steps of a plan are done: what an executor is told, and what it tells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kkwarm.study.plan import Step

__all__ = ["Began", "Done", "Event", "Executor", "Failed", "Lost", "Task", "step_folder"]


def step_folder(out: Path, step_id: str) -> Path:
    """The run of a step, in the study's folder."""
    return out / "steps" / step_id


@dataclass(frozen=True, slots=True)
class Task:
    """A step to be done now; everything that it needs is done. `attempt` counts from 1."""

    step: Step
    folder: Path
    attempt: int = 1

    @property
    def payload(self) -> str:
        """What `worker.perform` reads: the step's function and its argument, as JSON."""
        step, steps = self.step, self.folder.parent
        spec = {
            "id": step.id,
            "kind": step.kind,
            "config": dict(step.config),
            "inputs": {k: str(steps / v[1:]) if v.startswith("@") else v for k, v in step.inputs.items()},
            "out": str(self.folder),
            "labels": dict(step.labels),
        }
        return json.dumps({"function": step.function, "spec": spec})


@dataclass(frozen=True, slots=True)
class Began:
    """The step has a worker: `where` names it."""

    id: str
    where: str


@dataclass(frozen=True, slots=True)
class Done:
    id: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The step said no: the same again would fail again."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The step's worker was killed, or its node went: it can be done again."""

    id: str
    why: str


Event = Began | Done | Failed | Lost


class Executor(Protocol):
    """Does tasks, several at once. Made by `executors.open_executor`, ended by `stop`."""

    @property
    def slots(self) -> int:
        """Steps that are done at once, as a rule: what an estimate of the time left rests on."""
        ...

    @property
    def limit(self) -> int | None:
        """Tasks that may be started before others end; None: all, and the executor makes them wait."""
        ...

    @property
    def attempts(self) -> int:
        """How often a step is begun before losing it counts as its own fault."""
        ...

    def start(self, task: Task) -> None: ...

    def events(self, seconds: float) -> Sequence[Event]:
        """What happened; waits at most so long for something to happen."""
        ...

    def stop(self, *, interrupt: bool) -> None:
        """Frees everything. `interrupt`: running steps are asked to save and end, and ended if they do not."""
        ...
