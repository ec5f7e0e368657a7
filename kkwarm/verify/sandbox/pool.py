"""Runs many candidates in parallel, each in a new child of a running worker, and passes results to trusted judges."""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self, cast

from kkwarm.errors import KkwarmError
from kkwarm.verify.sandbox.levels import (
    FILES_PER_WORKER,
    allow_open_files,
    is_overloaded,
    require_permission,
    strongest_level,
)
from kkwarm.verify.sandbox.model import CallJob, End, Level, Outcome, ProgramJob, ProgramOutcome
from kkwarm.verify.sandbox.runs import CallRun, ProgramRun, Run
from kkwarm.verify.sandbox.worker import Worker, WorkerFailed

__all__ = ["Sandbox", "shared_sandbox"]

_MAX_ATTEMPTS = 3

Job = CallJob | ProgramJob


class Sandbox:
    """A pool of workers. They start when first needed and run until `close`.

    :param workers: number of candidates that run in parallel; None: one per core.
    :param level: None for the strongest level that works on this machine.
    :param packages: installed packages that candidates may import, besides the standard library.
    :param trusted: the code was not written by a model (reference solutions), so any level is allowed.
    :raises KkwarmError: only level ``process`` works, and the user has not allowed it.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        level: Level | None = None,
        packages: Sequence[str] = ("numpy",),
        trusted: bool = False,
    ) -> None:
        self.level = level if level is not None else strongest_level()
        if not trusted:
            require_permission(self.level)
        self.size = workers or os.cpu_count() or 1
        self.packages = tuple(packages)
        self._workers: list[Worker] = []
        self._owner = os.getpid()
        self._listened = 0.0  # seconds spent waiting for messages
        self._lock = threading.Lock()
        _open_pools.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends every worker and all its child processes."""
        for worker in self._workers:
            worker.close(owner=os.getpid() == self._owner)
        self._workers.clear()

    def start(self, jobs: int) -> None:
        """Starts the workers for that many jobs, without waiting for them."""
        allow_open_files(FILES_PER_WORKER * (self.size + 1))
        with self._lock:
            self._discard_inherited()
            self._start(min(self.size, jobs))

    def run_many(self, jobs: Sequence[CallJob]) -> list[Outcome]:
        """Runs the jobs and returns their outcomes in order. An exception of a judge ends the whole batch.

        A job that exceeds its wall-clock limit, but not its CPU time, on an overloaded machine is run again, alone.
        """
        return self._run_all(jobs)

    def run_programs(self, jobs: Sequence[ProgramJob]) -> list[ProgramOutcome]:
        """`run_many` for programs."""
        return cast(list[ProgramOutcome], self._run_all(jobs))

    def _run_all(self, jobs: Sequence[Job]) -> list[Outcome]:
        allow_open_files(FILES_PER_WORKER * (self.size + 1))
        with self._lock:
            self._discard_inherited()
            try:
                outcomes = self._run(jobs, self.size)
                for i, outcome in enumerate(outcomes):
                    if is_inconclusive(outcome):
                        outcomes[i] = replace(self._run([jobs[i]], 1)[0], rerun=True)
                return outcomes
            except BaseException:
                self.close()  # interrupted: leave nothing running
                raise

    def _discard_inherited(self) -> None:
        if os.getpid() != self._owner:  # forked: the workers belong to the parent
            self.close()
            self._owner = os.getpid()

    def _start(self, count: int) -> None:
        while len(self._workers) < count:
            self._workers.append(Worker(self.level, self.packages))

    def _run(self, jobs: Sequence[Job], parallel: int) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(jobs)
        self._start(min(parallel, len(jobs)))
        waiting = deque((i, 1) for i in range(len(jobs)))
        running: dict[Worker, Run] = {}
        with selectors.DefaultSelector() as selector:
            while waiting or running:
                while waiting and len(running) < parallel:
                    i, attempt = waiting.popleft()
                    try:
                        worker = self._idle(running)
                    except WorkerFailed as err:
                        if not running:  # no worker starts at all, so every job would fail
                            raise KkwarmError(f"the sandbox ({self.level}) does not start: {err}") from None
                        self._retry(waiting, outcomes, jobs[i], (i, attempt), f"no worker starts: {err}")
                        continue
                    try:
                        running[worker] = self._begin(worker, jobs[i], (i, attempt), selector)
                    except WorkerFailed:  # the worker died while idle
                        self._drop(worker)
                        waiting.appendleft((i, attempt))
                for worker, ended in self._step(selector, running):
                    run = running.pop(worker)
                    run.close()
                    if ended is None:
                        self._drop(worker)
                        self._retry(waiting, outcomes, run.job, (run.index, run.attempt), "its worker was lost")
                    else:
                        outcomes[run.index] = ended
        return [o for o in outcomes if o is not None]

    def _step(
        self, selector: selectors.BaseSelector, running: dict[Worker, Run]
    ) -> list[tuple[Worker, Outcome | None]]:
        """Handles the sockets that are ready. Returns the runs that ended, with None where the worker was lost."""
        if not running:
            return []
        wait = max(0.0, min(run.deadline for run in running.values()) - time.monotonic())
        ended: list[tuple[Worker, Outcome | None]] = []
        before = time.monotonic()
        ready = selector.select(wait)
        self._listened += time.monotonic() - before
        for key, events in ready:
            run, serve = key.data
            if serve is not None:
                serve(events)
            else:
                try:
                    ended.append((run.worker, run.finish(run.worker.report())))
                except WorkerFailed:
                    ended.append((run.worker, None))
        finished = {worker for worker, _ in ended}
        now = time.monotonic()
        for worker, run in running.items():
            if worker not in finished and now >= run.deadline and not run.on_deadline():
                ended.append((worker, None))
        return ended

    def _begin(self, worker: Worker, job: Job, place: tuple[int, int], selector: selectors.BaseSelector) -> Run:
        """:param place: the job's index and the number of the attempt."""
        if isinstance(job, ProgramJob):
            return ProgramRun(worker, job, place, selector, lambda: self._listened)
        return CallRun(worker, job, place, selector, lambda: self._listened)

    def _idle(self, running: dict[Worker, Run]) -> Worker:
        """A running worker without a job."""
        while True:
            idle = [w for w in self._workers if w not in running]
            if not idle:
                self._workers.append(Worker(self.level, self.packages))
                idle = self._workers[-1:]
            try:
                idle[0].wait_started()
            except WorkerFailed:
                self._drop(idle[0])
                raise
            return idle[0]

    def _drop(self, worker: Worker) -> None:
        worker.process.kill()
        worker.close()
        with contextlib.suppress(ValueError):
            self._workers.remove(worker)

    @staticmethod
    def _retry(
        waiting: deque[tuple[int, int]], outcomes: list[Outcome | None], job: Job, place: tuple[int, int], cause: str
    ) -> None:
        i, attempt = place
        if attempt < _MAX_ATTEMPTS:
            waiting.appendleft((i, attempt + 1))
        else:
            kind = ProgramOutcome if isinstance(job, ProgramJob) else Outcome
            outcomes[i] = kind(End.LOST, detail=f"{cause}, {attempt} times")


def is_inconclusive(outcome: Outcome) -> bool:
    """Whether a timeout may be due to load: a candidate that sleeps looks like one that does not get a core."""
    return outcome.end is End.TIMEOUT and not outcome.conclusive and is_overloaded()


_open_pools: weakref.WeakSet[Sandbox] = weakref.WeakSet()
_shared: dict[int, Sandbox] = {}


def shared_sandbox() -> Sandbox:
    """The pool that this process shares, at the strongest level. It ends with the process."""
    pool = _shared.get(os.getpid())
    if pool is None:
        _shared.clear()
        pool = _shared[os.getpid()] = Sandbox()
    return pool


@atexit.register
def _close_all() -> None:
    for sandbox in list(_open_pools):
        if sandbox._owner == os.getpid():
            sandbox.close()
