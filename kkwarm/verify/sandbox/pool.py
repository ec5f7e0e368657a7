"""Runs many candidates at once, each in a fresh child of a warm worker, and hands their results to trusted judges."""

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
from kkwarm.verify.sandbox.levels import level as strongest
from kkwarm.verify.sandbox.levels import overloaded, permitted
from kkwarm.verify.sandbox.model import CallJob, End, Level, Outcome
from kkwarm.verify.sandbox.worker import Report, Worker, WorkerFailed

__all__ = ["Sandbox", "shared_sandbox"]

_CHUNK = 1 << 18
_GRACE_S = 30.0
_TRIES = 3
_FURTHER_S = 10.0


class Sandbox:
    """A pool of warm workers; they start when first needed and stay until `close`.

    :param workers: candidates that run at once; None: one for each core.
    :param level: None for the strongest that this machine gives.
    :param packages: installed packages that candidates may import, besides the standard library.
    :param trusted: the code is not a model's (reference solutions): any level will do.
    :raises KkwarmError: only level ``process`` is to be had and the user has not allowed it.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        level: Level | None = None,
        packages: Sequence[str] = ("numpy",),
        trusted: bool = False,
    ) -> None:
        chosen = level if level is not None else strongest()
        self.level = chosen if trusted else permitted(chosen)
        self.size = workers or os.cpu_count() or 1
        self.packages = tuple(packages)
        self._workers: list[Worker] = []
        self._owner = os.getpid()
        self._lock = threading.Lock()
        _living.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends every worker and all that runs below it."""
        for worker in self._workers:
            worker.close(owner=os.getpid() == self._owner)
        self._workers.clear()

    def start(self, jobs: int) -> None:
        """Starts the workers that so many jobs will need, without waiting for them."""
        with self._lock:
            self._own()
            self._start(min(self.size, jobs))

    def run_many(self, jobs: Sequence[CallJob]) -> list[Outcome]:
        """How each job ended, in order. A judge that raises ends the batch with that error.

        Where a job's time was up by the clock, not by its CPU time, on an overloaded machine, it runs once more,
        alone, before that is believed.
        """
        with self._lock:
            self._own()
            try:
                outcomes = self._run(jobs, self.size)
                for i, outcome in enumerate(outcomes):
                    if doubtful(outcome):
                        outcomes[i] = replace(self._run([jobs[i]], 1)[0], repeated=True)
                return outcomes
            except BaseException:
                self.close()  # interrupted: nothing may go on running
                raise

    def _own(self) -> None:
        if os.getpid() != self._owner:  # forked: the workers are the parent's
            self.close()
            self._owner = os.getpid()

    def _start(self, count: int) -> None:
        while len(self._workers) < count:
            self._workers.append(Worker(self.level, self.packages))

    def _run(self, jobs: Sequence[CallJob], at_once: int) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(jobs)
        self._start(min(at_once, len(jobs)))
        waiting = deque((i, 1) for i in range(len(jobs)))
        running: dict[Worker, _Run] = {}
        with selectors.DefaultSelector() as selector:
            while waiting or running:
                while waiting and len(running) < at_once:
                    i, attempt = waiting.popleft()
                    try:
                        worker = self._idle(running)
                    except WorkerFailed as err:
                        if not running:  # not one worker: the machine is at fault, and would be for every job
                            raise KkwarmError(f"the sandbox ({self.level}) does not start: {err}") from None
                        self._again(waiting, outcomes, i, attempt, f"no worker starts: {err}")
                        continue
                    try:
                        running[worker] = _Run(worker, jobs[i], i, attempt, selector)
                    except WorkerFailed:  # it died while idle: no fault of the job's
                        self._drop(worker)
                        waiting.appendleft((i, attempt))
                for worker, ended in self._step(selector, running):
                    run = running.pop(worker)
                    run.close()
                    if ended is None:
                        self._drop(worker)
                        self._again(waiting, outcomes, run.index, run.attempt, "its worker was lost")
                    else:
                        outcomes[run.index] = ended
        return [o for o in outcomes if o is not None]

    def _step(
        self, selector: selectors.BaseSelector, running: dict[Worker, _Run]
    ) -> list[tuple[Worker, Outcome | None]]:
        """Serves what is ready. Returns the runs that ended; None for those whose worker was lost."""
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
        gone = {worker for worker, _ in ended}
        now = time.monotonic()
        for worker, run in running.items():
            if worker not in gone and now >= run.deadline and not run.overdue():
                ended.append((worker, None))
        return ended

    def _idle(self, running: dict[Worker, _Run]) -> Worker:
        """A started worker without a job."""
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
    def _again(
        waiting: deque[tuple[int, int]], outcomes: list[Outcome | None], i: int, attempt: int, cause: str
    ) -> None:
        if attempt < _TRIES:
            waiting.appendleft((i, attempt + 1))
        else:
            outcomes[i] = Outcome(End.LOST, detail=f"{cause}, {attempt} times")


def doubtful(outcome: Outcome) -> bool:
    """Whether a timeout may be the machine's doing. One that sleeps looks like one that is kept from its core."""
    return outcome.end is End.TIMEOUT and not outcome.proven and overloaded()


class _Run:
    """One job in one worker: sends the job, reads records, asks the judge."""

    def __init__(
        self, worker: Worker, job: CallJob, index: int, attempt: int, selector: selectors.BaseSelector
    ) -> None:
        self.worker, self.job, self.index, self.attempt, self.selector = worker, job, index, attempt, selector
        self.outbox = memoryview(_payload(job))
        self.inbox = bytearray()
        self.received = self.next = 0
        self.verdict: tuple[End, int | None, str] | None = None
        self.done = self.cancelled = False
        self.proven = True
        now = time.monotonic()
        self.deadline = now + job.limits.patience_s
        self.last = now + job.limits.wall_s + _GRACE_S  # the supervisor ends the child before that
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

    def overdue(self) -> bool:
        """Past the deadline: the child is ended, or given more time on an overloaded machine. False: it was ended, and
        its report did not come; the worker is to be given up."""
        if self.cancelled:
            return False
        now = time.monotonic()
        if now < self.last and overloaded():
            self.deadline = min(now + _FURTHER_S, self.last)
            return True
        self.proven = False
        self.end(End.TIMEOUT, self.next, "its time by the clock is up")
        return True

    def serve(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            try:
                self.outbox = self.outbox[self.socket.send(self.outbox) :]
            except BlockingIOError:
                pass
            except OSError:  # the child is gone; its report says how
                self.outbox = memoryview(b"")
            if not self.outbox:
                self.selector.modify(self.socket, selectors.EVENT_READ, self)
        if events & selectors.EVENT_READ and not self.read():
            with contextlib.suppress(KeyError):
                self.selector.unregister(self.socket)

    def read(self) -> bool:
        """Takes what has come. False at the end of it."""
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
                self.end(End.OUTPUT, self.next, "what it sent is no result")
                break
            if end - at - size < length:
                break
            data = bytes(self.inbox[at + size : at + size + length])
            at += size + length
            self.take(kind, data, cpu_s)
        del self.inbox[:at]

    def take(self, kind: bytes, data: bytes, cpu_s: float) -> None:
        i = self.next
        if kind == b"D" or i >= len(self.job.inputs):
            self.done = True
        elif kind in b"VN":
            if self.job.judge(i, data, kind == b"V", cpu_s):
                self.next += 1
            else:
                self.end(End.REFUSED, i, "")
        elif kind == b"T":
            self.proven = cpu_s >= self.job.limits_s[i]
            self.end(End.TIMEOUT, i, "" if self.proven else "it slept")
        elif kind == b"L":
            self.end(End.LOAD, None, _printable(data))
        else:
            self.end({b"O": End.OPAQUE, b"X": End.RAISED}.get(kind, End.CRASHED), i, _printable(data))

    def end(self, end: End, index: int | None, detail: str) -> None:
        """Decides the job: nothing that still comes can change it. The child is ended."""
        if self.verdict is None:
            self.verdict = (end, index, detail)
        self.inbox.clear()
        if not self.cancelled:
            self.cancelled = True
            self.deadline = time.monotonic() + _GRACE_S
            self.worker.cancel()

    def finish(self, report: Report) -> Outcome:
        """The child has ended; what it had sent is still read."""
        self.cancelled = True  # there is no one left to end
        while self.verdict is None and not self.done:
            received = self.received
            if not self.read() or self.received == received:
                break
        if self.verdict is None:
            self.verdict = self._undecided(report)
        end, index, detail = self.verdict
        return Outcome(end, index, detail, report.cpu_s, report.wall_s, report.peak_bytes, self.proven)

    def _undecided(self, report: Report) -> tuple[End, int | None, str]:
        if self.next == len(self.job.inputs):
            return End.PASSED, None, ""
        if report.time_up or report.cpu_s >= self.job.limits.cpu_s:
            self.proven = report.cpu_s >= self.job.limits_s[self.next]
            return End.TIMEOUT, self.next, f"{report.cpu_s:.1f} s of CPU time, {report.wall_s:.1f} s by the clock"
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


_living: weakref.WeakSet[Sandbox] = weakref.WeakSet()
_shared: dict[int, Sandbox] = {}


def shared_sandbox() -> Sandbox:
    """The process's own pool, at the strongest level; it ends with the process."""
    pool = _shared.get(os.getpid())
    if pool is None:
        _shared.clear()
        pool = _shared[os.getpid()] = Sandbox()
    return pool


@atexit.register
def _close_all() -> None:
    for sandbox in list(_living):
        if sandbox._owner == os.getpid():
            sandbox.close()
