"""Runs steps in worker processes on this machine. Workers are reused, so that torch and trl are imported once."""

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

from kkwarm.backends.memory import MEMORY_LIMIT, free_memory
from kkwarm.cost import cores, gpus
from kkwarm.study.execute import Event, StepFailed, StepFinished, StepStarted, Task, WorkerLost

GRACE = 60.0  # seconds that an interrupted step has to finish its training step and save


def default_jobs() -> int:
    """One worker per core, or one where there is a GPU (several would share its memory)."""
    return 1 if gpus() else cores()


@dataclass(eq=False)
class _Worker:
    number: int
    process: subprocess.Popen[str]
    log: IO[bytes]
    task: Task | None = None


class LocalExecutor:
    """Runs up to `jobs` processes of `kkwarm.study.worker`, each started when it is first needed."""

    attempts = 2

    def __init__(self, out: Path, jobs: int | None) -> None:
        self.out, self.jobs = out, jobs or default_jobs()
        self._memory = free_memory() // self.jobs
        self._workers: list[_Worker] = []
        self._replies: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = queue.SimpleQueue()
        self._started: list[Event] = []

    @property
    def slots(self) -> int:
        return self.jobs

    @property
    def limit(self) -> int | None:
        return self.jobs

    def start(self, task: Task) -> None:
        worker = next((w for w in self._workers if w.task is None), None) or self._start_worker()
        worker.task = task
        self._started.append(StepStarted(task.step.id, f"worker {worker.number}"))
        assert worker.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died while idle; `events` reports that
            worker.process.stdin.write(task.payload + "\n")
            worker.process.stdin.flush()

    def events(self, seconds: float) -> Sequence[Event]:
        if self._started:
            started, self._started = self._started, []
            return started
        try:
            return self._handle_reply(*self._replies.get(timeout=seconds))
        except queue.Empty:
            return ()

    def stop(self, *, interrupt: bool) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):
                if interrupt and worker.task is not None:
                    worker.process.send_signal(signal.SIGTERM)
                elif worker.process.stdin is not None:
                    worker.process.stdin.close()
        deadline = time.monotonic() + GRACE
        try:
            for worker in self._workers:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.1, deadline - time.monotonic()))
        finally:  # also when a second Ctrl-C ends the wait
            for worker in self._workers:
                worker.process.kill()
                worker.process.wait()
                worker.log.close()
            self._workers.clear()

    def _handle_reply(self, worker: _Worker, reply: Mapping[str, Any] | None) -> Sequence[Event]:
        """Turns a worker's reply into events. `reply` is None when the worker process ended."""
        task, worker.task = worker.task, None
        if reply is None:
            reason = self._remove_worker(worker)
            return [WorkerLost(task.step.id, reason)] if task is not None else []
        if task is None:
            raise RuntimeError(f"worker {worker.number} replied without a step")
        if reply["ok"]:
            return [StepFinished(task.step.id, reply["seconds"])]
        return [StepFailed(task.step.id, reply["error"])]

    def _remove_worker(self, worker: _Worker) -> str:
        """Cleans up after a worker process that ended; returns why it ended."""
        code = worker.process.wait()
        worker.log.close()
        self._workers.remove(worker)
        killed = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"its worker process ended with code {code}{killed}; see {worker.log.name}"

    def _start_worker(self) -> _Worker:
        number = next(n for n in range(self.jobs) if n not in {w.number for w in self._workers})
        logs = self.out / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        log = open(logs / f"worker-{number}.log", "ab")  # noqa: SIM115 (closed when the worker ends)
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
        else:  # the workers share the cores and the memory
            env[MEMORY_LIMIT] = str(self._memory)
            env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(max(1, cores() // self.jobs))
        return env

    def _read(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            self._replies.put((worker, json.loads(line)))
        self._replies.put((worker, None))


def spawn(log: IO[bytes], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Starts a worker process. It ends when its standard input is closed."""
    return subprocess.Popen(
        [sys.executable, "-m", "kkwarm.study.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=env,
        start_new_session=True,  # Ctrl-C reaches only the parent, which ends the workers in order
    )
