"""Runs many candidates in parallel, each in a new child of a running worker, and passes results to trusted judges."""

from __future__ import annotations

import atexit
import contextlib
import marshal
import os
import selectors
import signal
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from kkwarm.errors import KkwarmError
from kkwarm.verify.sandbox.inside import wire
from kkwarm.verify.sandbox.levels import is_overloaded, require_permission, strongest_level
from kkwarm.verify.sandbox.model import CallJob, End, Level, Outcome
from kkwarm.verify.sandbox.worker import Report, Worker, WorkerFailed

__all__ = ["Sandbox", "shared_sandbox"]

_CHUNK = 1 << 18  # bytes
_GRACE_S = 30.0  # how long a cancelled child's report may take
_MAX_ATTEMPTS = 3
_EXTENSION_S = 10.0  # more wall-clock time for a job on an overloaded machine


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
        with self._lock:
            self._discard_inherited()
            self._start(min(self.size, jobs))

    def run_many(self, jobs: Sequence[CallJob]) -> list[Outcome]:
        """Runs the jobs and returns their outcomes in order. An exception of a judge ends the whole batch.

        A job that exceeds its wall-clock limit, but not its CPU time, on an overloaded machine is run again, alone.
        """
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

    def _run(self, jobs: Sequence[CallJob], parallel: int) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(jobs)
        self._start(min(parallel, len(jobs)))
        waiting = deque((i, 1) for i in range(len(jobs)))
        running: dict[Worker, _Run] = {}
        with selectors.DefaultSelector() as selector:
            while waiting or running:
                while waiting and len(running) < parallel:
                    i, attempt = waiting.popleft()
                    try:
                        worker = self._idle(running)
                    except WorkerFailed as err:
                        if not running:  # no worker starts at all, so every job would fail
                            raise KkwarmError(f"the sandbox ({self.level}) does not start: {err}") from None
                        self._retry(waiting, outcomes, i, attempt, f"no worker starts: {err}")
                        continue
                    try:
                        running[worker] = _Run(worker, jobs[i], i, attempt, selector)
                    except WorkerFailed:  # the worker died while idle
                        self._drop(worker)
                        waiting.appendleft((i, attempt))
                for worker, ended in self._step(selector, running):
                    run = running.pop(worker)
                    run.close()
                    if ended is None:
                        self._drop(worker)
                        self._retry(waiting, outcomes, run.index, run.attempt, "its worker was lost")
                    else:
                        outcomes[run.index] = ended
        return [o for o in outcomes if o is not None]

    def _step(
        self, selector: selectors.BaseSelector, running: dict[Worker, _Run]
    ) -> list[tuple[Worker, Outcome | None]]:
        """Handles the sockets that are ready. Returns the runs that ended, with None where the worker was lost."""
        if not running:
            return []
        wait = max(0.0, min(run.deadline for run in running.values()) - time.monotonic())
        ended: list[tuple[Worker, Outcome | None]] = []
        for key, events in selector.select(wait):
            run: _Run = key.data
            if key.fileobj is run.socket:
                run.serve(events)
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

    def _idle(self, running: dict[Worker, _Run]) -> Worker:
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
        waiting: deque[tuple[int, int]], outcomes: list[Outcome | None], i: int, attempt: int, cause: str
    ) -> None:
        if attempt < _MAX_ATTEMPTS:
            waiting.appendleft((i, attempt + 1))
        else:
            outcomes[i] = Outcome(End.LOST, detail=f"{cause}, {attempt} times")


def is_inconclusive(outcome: Outcome) -> bool:
    """Whether a timeout may be due to load: a candidate that sleeps looks like one that does not get a core."""
    return outcome.end is End.TIMEOUT and not outcome.conclusive and is_overloaded()


class _Run:
    """One job in one worker: sends the job, reads the records and calls the judge."""

    def __init__(
        self, worker: Worker, job: CallJob, index: int, attempt: int, selector: selectors.BaseSelector
    ) -> None:
        self.worker, self.job, self.index, self.attempt, self.selector = worker, job, index, attempt, selector
        self.outbox = memoryview(_payload(job))
        self.inbox = bytearray()
        self.received = self.next = 0
        self.verdict: tuple[End, int | None, str] | None = None
        self.done = self.cancelled = False
        self.conclusive = True
        now = time.monotonic()
        self.deadline = now + job.limits.soft_wall_s
        self.last_deadline = now + job.limits.wall_s + _GRACE_S  # the supervisor ends the child earlier
        self.socket, inside = socket.socketpair()
        self.socket.setblocking(False)
        try:
            worker.start(inside, job.limits)
        except WorkerFailed:
            self.socket.close()
            raise
        finally:
            inside.close()
        selector.register(self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
        selector.register(worker.control, selectors.EVENT_READ, self)

    def close(self) -> None:
        for source in (self.socket, self.worker.control):
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(source)
        self.socket.close()

    def on_deadline(self) -> bool:
        """Ends the child, or gives it more time on an overloaded machine.

        Returns False where the child had been ended before and its report did not arrive: the worker is lost.
        """
        if self.cancelled:
            return False
        now = time.monotonic()
        if now < self.last_deadline and is_overloaded():
            self.deadline = min(now + _EXTENSION_S, self.last_deadline)
            return True
        self.conclusive = False
        self.end(End.TIMEOUT, self.next, "wall-clock limit reached")
        return True

    def serve(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            try:
                self.outbox = self.outbox[self.socket.send(self.outbox) :]
            except BlockingIOError:
                pass
            except OSError:  # the child has ended; its report says how
                self.outbox = memoryview(b"")
            if not self.outbox:
                self.selector.modify(self.socket, selectors.EVENT_READ, self)
        if events & selectors.EVENT_READ and not self.read():
            with contextlib.suppress(KeyError):
                self.selector.unregister(self.socket)

    def read(self) -> bool:
        """Reads what has arrived. Returns False at the end of the stream."""
        try:
            part = self.socket.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not part:
            return False
        self.received += len(part)
        if self.verdict is None and not self.done:
            self.inbox += part
            if self.received > self.job.limits.output:
                self.end(End.OUTPUT, self.next, f"more than {self.job.limits.output >> 20} MiB of results")
            else:
                self.parse()
        return True

    def parse(self) -> None:
        at, size, end = 0, wire.RECORD.size, len(self.inbox)
        while end - at >= size and self.verdict is None and not self.done:
            kind, cpu_s, length = wire.RECORD.unpack_from(self.inbox, at)
            if length > self.job.limits.result or kind not in b"VNOXTLDF":
                self.end(End.OUTPUT, self.next, "it sent an invalid message")
                break
            if end - at - size < length:
                break
            data = bytes(self.inbox[at + size : at + size + length])
            at += size + length
            self.handle(kind, data, cpu_s)
        del self.inbox[:at]

    def handle(self, kind: bytes, data: bytes, cpu_s: float) -> None:
        i = self.next
        if kind == b"D" or i >= len(self.job.inputs):
            self.done = True
        elif kind in b"VN":
            if self.job.judge(i, data, kind == b"V", cpu_s):
                self.next += 1
            else:
                self.end(End.REJECTED, i, "")
        elif kind == b"T":
            self.conclusive = cpu_s >= self.job.limits_s[i]
            self.end(End.TIMEOUT, i, "" if self.conclusive else "it slept")
        elif kind == b"L":
            self.end(End.LOAD, None, _printable(data))
        else:
            self.end({b"O": End.OPAQUE, b"X": End.RAISED}.get(kind, End.CRASHED), i, _printable(data))

    def end(self, end: End, index: int | None, detail: str) -> None:
        """Sets the outcome, which later messages cannot change, and ends the child."""
        if self.verdict is None:
            self.verdict = (end, index, detail)
        self.inbox.clear()
        if not self.cancelled:
            self.cancelled = True
            self.deadline = time.monotonic() + _GRACE_S
            self.worker.cancel()

    def finish(self, report: Report) -> Outcome:
        """Reads what the child sent before it ended, and returns the outcome."""
        self.cancelled = True  # the child needs no cancelling any more
        while self.verdict is None and not self.done:
            received = self.received
            if not self.read() or self.received == received:
                break
        if self.verdict is None:
            self.verdict = self._undecided(report)
        end, index, detail = self.verdict
        return Outcome(end, index, detail, report.cpu_s, report.wall_s, report.peak_bytes, self.conclusive)

    def _undecided(self, report: Report) -> tuple[End, int | None, str]:
        if self.next == len(self.job.inputs):
            return End.PASSED, None, ""
        if report.time_up or report.cpu_s >= self.job.limits.cpu_s:
            self.conclusive = report.cpu_s >= self.job.limits_s[self.next]
            return End.TIMEOUT, self.next, f"{report.cpu_s:.1f} s of CPU time, {report.wall_s:.1f} s of wall-clock time"
        if os.WIFSIGNALED(report.status):
            name = signal.Signals(os.WTERMSIG(report.status)).name
            return End.CRASHED, self.next, f"its process was ended by {name}"
        return End.CRASHED, self.next, f"its process ended early (exit code {os.waitstatus_to_exitcode(report.status)})"


def _payload(job: CallJob) -> bytes:
    data = marshal.dumps(
        {
            "code": job.code,
            "entry": job.entry,
            "inputs": list(job.inputs),
            "limits": [float(s) for s in job.limits_s],
            "load_s": float(job.load_s),
            "milestones": list(job.milestones),
            "max_result": job.limits.result,
        },
        2,
    )
    return len(data).to_bytes(4, "little") + data


def _printable(data: bytes) -> str:
    text = " ".join(data.decode("utf-8", "replace").split())
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


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
