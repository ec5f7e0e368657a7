"""Steps in warm worker processes on this machine."""

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kkwarm.study.executor import Began, Done, Event, Failed, Lost, Task

__all__ = ["LocalExecutor", "cores", "default_jobs", "gpus"]

GRACE = 60.0  # seconds in which an interrupted step can end its training step and save it


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


@dataclass(eq=False)
class _Worker:
    number: int
    process: subprocess.Popen[str]
    log: IO[bytes]
    task: Task | None = None


class LocalExecutor:
    """`jobs` processes of `kkwarm.study.worker`, each started when it is first needed and kept warm."""

    attempts = 2

    def __init__(self, out: Path, jobs: int | None) -> None:
        self.out, self.jobs = out, jobs or default_jobs()
        self._workers: list[_Worker] = []
        self._answers: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = queue.SimpleQueue()
        self._begun: list[Event] = []

    @property
    def slots(self) -> int:
        return self.jobs

    @property
    def limit(self) -> int | None:
        return self.jobs

    def start(self, task: Task) -> None:
        worker = next((w for w in self._workers if w.task is None), None) or self._start_worker()
        worker.task = task
        self._begun.append(Began(task.step.id, f"worker {worker.number}"))
        assert worker.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died while idle: its end is read as an event
            worker.process.stdin.write(task.payload + "\n")
            worker.process.stdin.flush()

    def events(self, seconds: float) -> Sequence[Event]:
        if self._begun:
            begun, self._begun = self._begun, []
            return begun
        try:
            return self._told(*self._answers.get(timeout=seconds))
        except queue.Empty:
            return ()

    def stop(self, *, interrupt: bool) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):
                if interrupt and worker.task is not None:
                    worker.process.send_signal(signal.SIGTERM)
                elif worker.process.stdin is not None:
                    worker.process.stdin.close()
        until = time.monotonic() + GRACE
        try:
            for worker in self._workers:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.1, until - time.monotonic()))
        finally:  # also where a second Ctrl-C ends the waiting
            for worker in self._workers:
                worker.process.kill()
                worker.process.wait()
                worker.log.close()
            self._workers.clear()

    def _told(self, worker: _Worker, answer: Mapping[str, Any] | None) -> Sequence[Event]:
        task, worker.task = worker.task, None
        if answer is None:
            why = self._buried(worker)
            return [Lost(task.step.id, why)] if task is not None else []
        if task is None:
            raise RuntimeError(f"worker {worker.number} answered without a step")
        if answer["ok"]:
            return [Done(task.step.id, answer["seconds"])]
        return [Failed(task.step.id, answer["error"])]

    def _buried(self, worker: _Worker) -> str:
        code = worker.process.wait()
        worker.log.close()
        self._workers.remove(worker)
        killed = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"its worker ended with code {code}{killed}; see {worker.log.name}"

    def _start_worker(self) -> _Worker:
        number = next(n for n in range(self.jobs) if n not in {w.number for w in self._workers})
        logs = self.out / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        log = open(logs / f"worker-{number}.log", "ab")  # noqa: SIM115 (kept open while the worker lives)
        worker = _Worker(number, spawn(log, self._environment(number)), log)
        threading.Thread(target=self._read, args=(worker,), daemon=True).start()
        self._workers.append(worker)
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
            self._answers.put((worker, json.loads(line)))
        self._answers.put((worker, None))


def spawn(log: IO[bytes], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """A worker process; it ends when its standard input does."""
    return subprocess.Popen(
        [sys.executable, "-m", "kkwarm.study.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=env,
        start_new_session=True,  # Ctrl-C reaches the parent only, which ends the workers in order
    )
