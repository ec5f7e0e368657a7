"""Does a plan on this machine, in warm worker processes. What is done stays done: the same call goes on from there."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from kkwarm.errors import KkwarmError
from kkwarm.store import Run
from kkwarm.study.plan import Plan, Step

__all__ = ["Outcome", "Watcher", "cores", "default_jobs", "execute", "gpus", "is_done", "step_folder"]

ATTEMPTS = 2  # a worker that dies takes its step with it; the step is tried once more


class Watcher(Protocol):
    """Told what happens, for progress on the screen."""

    def started(self, step: Step, folder: Path) -> None: ...
    def finished(self, step: Step, seconds: float) -> None: ...
    def failed(self, step: Step, why: str) -> None: ...
    def retried(self, step: Step, why: str) -> None: ...
    def tick(self) -> None: ...


@dataclass(slots=True)
class Outcome:
    """Seconds of the steps done by this call, and why others failed. `blocked`: steps that needed a failed one."""

    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)


@dataclass(eq=False)
class _Worker:
    number: int
    process: subprocess.Popen[str]
    log: IO[bytes]
    step: Step | None = None
    started: float = 0.0


Event = tuple[_Worker, dict[str, Any] | None]


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """CUDA devices that a child may use, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([v for v in visible.split(",") if v.strip() and v.strip() != "-1"])
    return len([p for p in Path("/dev").glob("nvidia*") if p.name.removeprefix("nvidia").isdecimal()])


def default_jobs() -> int:
    """One worker for each core, or one where there is a GPU (several would share its memory)."""
    return 1 if gpus() else cores()


def step_folder(out: Path, step_id: str) -> Path:
    return out / "steps" / step_id


def is_done(out: Path, step: Step) -> bool:
    """Whether the step's run is there and says that it is done."""
    try:
        return Run.read(step_folder(out, step.id)).done
    except KkwarmError:
        return False  # not begun, or killed while its manifest was first written: it is done (again)


def execute(plan: Plan, out: Path, jobs: int, watcher: Watcher, on_done: Callable[[Step, float], None]) -> Outcome:
    """Does every step that is not done, those first that the most work waits for.

    A failed step stops those that need it, and nothing else. On an interrupt the workers are ended, and their steps
    stay resumable.
    """
    return _Execution(plan, out, jobs, watcher, on_done).run()


class _Execution:
    def __init__(
        self, plan: Plan, out: Path, jobs: int, watcher: Watcher, on_done: Callable[[Step, float], None]
    ) -> None:
        self.plan, self.out, self.jobs, self.watcher, self.on_done = plan, out, max(1, jobs), watcher, on_done
        self.priority = plan.priority()
        self.done = {key for key, step in plan.steps.items() if is_done(out, step)}
        self.attempts: dict[str, int] = {}
        self.outcome = Outcome()
        self.workers: list[_Worker] = []
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def run(self) -> Outcome:
        try:
            while self._assign():
                with contextlib.suppress(queue.Empty):
                    self._handle(*self.events.get(timeout=0.5))
                self.watcher.tick()
        except BaseException:
            self._stop(signal.SIGINT)
            raise
        self._stop(None)
        waiting = [k for k in self.plan.steps if k not in self.done and k not in self.outcome.failed]
        self.outcome.blocked = waiting
        return self.outcome

    def _assign(self) -> bool:
        """Gives ready steps to idle workers; False when nothing runs and nothing can."""
        running = {w.step.id for w in self.workers if w.step is not None}
        ready = sorted(
            (s for k, s in self.plan.steps.items() if self._ready(k, s, running)), key=lambda s: -self.priority[s.id]
        )
        for step in ready[: self.jobs - len(running)]:
            worker = next((w for w in self.workers if w.step is None), None) or self._start()
            self._send(worker, step)
            running.add(step.id)
        return bool(running)

    def _ready(self, key: str, step: Step, running: set[str]) -> bool:
        return (
            key not in self.done
            and key not in running
            and key not in self.outcome.failed
            and all(need in self.done for need in step.needs)
        )

    def _send(self, worker: _Worker, step: Step) -> None:
        folder = step_folder(self.out, step.id)
        spec = {
            "id": step.id,
            "kind": step.kind,
            "config": dict(step.config),
            "inputs": {k: self._input(v) for k, v in step.inputs.items()},
            "out": str(folder),
            "labels": dict(step.labels),
        }
        worker.step, worker.started = step, time.monotonic()
        self.attempts[step.id] = self.attempts.get(step.id, 0) + 1
        self.watcher.started(step, folder)
        assert worker.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died while idle: its end is read as an event
            worker.process.stdin.write(json.dumps({"function": step.function, "spec": spec}) + "\n")
            worker.process.stdin.flush()

    def _input(self, value: str) -> str:
        return str(step_folder(self.out, value[1:])) if value.startswith("@") else value

    def _handle(self, worker: _Worker, answer: Mapping[str, Any] | None) -> None:
        step = worker.step
        if answer is None:
            self._dead(worker)
        elif step is None:
            raise RuntimeError(f"worker {worker.number} answered without a step")
        elif answer["ok"]:
            worker.step = None
            self.done.add(step.id)
            self.outcome.seconds[step.id] = answer["seconds"]
            self.watcher.finished(step, answer["seconds"])
            self.on_done(step, answer["seconds"])
        else:
            worker.step = None
            self._fail(step, answer["error"])

    def _dead(self, worker: _Worker) -> None:
        code = worker.process.wait()
        worker.log.close()
        self.workers.remove(worker)
        if worker.step is None:
            return
        killed = " (out of memory?)" if code == -signal.SIGKILL else ""
        why = f"its worker ended with code {code}{killed}; see {worker.log.name}"
        if self.attempts[worker.step.id] < ATTEMPTS:
            self.watcher.retried(worker.step, why)
        else:
            self._fail(worker.step, why)

    def _fail(self, step: Step, why: str) -> None:
        self.outcome.failed[step.id] = why
        self.watcher.failed(step, why)

    def _start(self) -> _Worker:
        number = next(n for n in range(self.jobs) if n not in {w.number for w in self.workers})
        logs = self.out / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        log = open(logs / f"worker-{number}.log", "ab")  # noqa: SIM115 (kept open while the worker lives)
        process = subprocess.Popen(
            [sys.executable, "-m", "kkwarm.study.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=self._environment(number),
            start_new_session=True,  # Ctrl-C reaches this process only, which ends the workers in order
        )
        worker = _Worker(number, process, log)
        threading.Thread(target=self._read, args=(worker,), daemon=True).start()
        self.workers.append(worker)
        return worker

    def _environment(self, number: int) -> dict[str, str]:
        env = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        env["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        if gpus():
            if self.jobs > 1:
                visible = env.get("CUDA_VISIBLE_DEVICES") or ",".join(str(n) for n in range(gpus()))
                devices = [v.strip() for v in visible.split(",") if v.strip()]
                env["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
        else:  # workers that each use every core only get in each other's way
            env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(max(1, cores() // self.jobs))
        return env

    def _read(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            self.events.put((worker, json.loads(line)))
        self.events.put((worker, None))

    def _stop(self, by: int | None) -> None:
        for worker in self.workers:
            with contextlib.suppress(OSError):
                if by is not None and worker.step is not None:
                    worker.process.send_signal(by)
                elif worker.process.stdin is not None:
                    worker.process.stdin.close()
        until = time.monotonic() + 10
        for worker in self.workers:
            try:
                worker.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.log.close()
