"""Runs many candidates in parallel, each in a new child of a running worker, and passes results to trusted judges."""

from __future__ import annotations

import atexit
import contextlib
import marshal
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from kkwarm.errors import KkwarmError
from kkwarm.verify.sandbox.inside import wire
from kkwarm.verify.sandbox.levels import (
    FILES_PER_WORKER,
    allow_open_files,
    is_overloaded,
    require_permission,
    strongest_level,
)
from kkwarm.verify.sandbox.model import CallJob, End, Level, Outcome
from kkwarm.verify.sandbox.timing import CallTimer
from kkwarm.verify.sandbox.worker import Report, Worker, WorkerFailed

__all__ = ["Sandbox", "shared_sandbox"]

_CHUNK = 1 << 18  # bytes
_CREDENTIALS = struct.Struct("iii")  # process, user and group id
_GRACE_S = 30.0  # how long a cancelled child's report may take
_MAX_ATTEMPTS = 3
_FIRST_CALLS, _GROWTH = 16, 16  # calls in the first batch of a job; the most by which the next may be larger
_BATCH_S, _BATCH_BYTES = 0.03, 1 << 18  # CPU seconds that a batch should take, and the most bytes of its inputs


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
                        running[worker] = _Run(worker, jobs[i], i, attempt, selector, lambda: self._listened)
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
        before = time.monotonic()
        ready = selector.select(wait)
        self._listened += time.monotonic() - before
        for key, events in ready:
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
    """One job in one worker: sends the inputs in batches, reads the records, limits the calls and asks the judge."""

    def __init__(
        self,
        worker: Worker,
        job: CallJob,
        index: int,
        attempt: int,
        selector: selectors.BaseSelector,
        listened: Callable[[], float],
    ) -> None:
        self.worker, self.job, self.index, self.attempt, self.selector = worker, job, index, attempt, selector
        self.listened = listened
        self.timer: CallTimer | None = None  # from the first message on
        self.greeted = False  # the child was ready to run the candidate
        self.outbox = memoryview(_message({"code": job.code, "entry": job.entry, "max_result": job.limits.result}))
        self.inbox = bytearray()
        self.received = self.next = 0
        self.sent = self.checked = 0  # calls whose inputs were sent; calls before the last checkpoint
        self.batch, self.batch_cpu = _FIRST_CALLS, 0.0
        self.n_bytes = len(job.code)  # of inputs and results since the last checkpoint
        self.loaded = False
        self.milestones = frozenset(job.milestones)
        self.verdict: tuple[End, int | None, str] | None = None
        self.done = self.cancelled = False
        self.conclusive = True
        now = time.monotonic()
        self.deadline = self.last_deadline = now + job.limits.wall_s + _GRACE_S  # the supervisor ends the child earlier
        self.socket, inside = socket.socketpair()
        self.socket.setblocking(False)
        if sys.platform == "linux":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            worker.start(inside, job.limits)
        except WorkerFailed:
            self.socket.close()
            raise
        finally:
            inside.close()
        selector.register(self.socket, selectors.EVENT_READ, self)
        selector.register(worker.control, selectors.EVENT_READ, self)
        self.write()

    def close(self) -> None:
        for source in (self.socket, self.worker.control):
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(source)
        self.socket.close()

    def on_deadline(self) -> bool:
        """Ends the child if a call has exceeded its limit.

        Returns False where the child had been ended before and its report did not arrive: the worker is lost.
        """
        now = time.monotonic()
        if self.cancelled or self.timer is None or now >= self.last_deadline:
            return False
        if exceeded := self.timer.exceeded():
            self.time_out(exceeded, self.next)
        else:
            self.deadline = min(now + self.timer.wait_s(), self.last_deadline)
        return True

    def time_out(self, limit: str, index: int) -> None:
        if not self.loaded:
            cause = "it slept" if limit == "sleep" else f"limit of {self.job.load_s:.1f} s of CPU time"
            self.end(End.TIMEOUT, None, f"{cause} while its code was loaded")
        else:
            self.end(End.TIMEOUT, min(index, len(self.job.inputs) - 1), "it slept" if limit == "sleep" else "")

    def serve(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self.write()
        if events & selectors.EVENT_READ and not self.read():
            with contextlib.suppress(KeyError):
                self.selector.unregister(self.socket)

    def write(self) -> None:
        try:
            self.outbox = self.outbox[self.socket.send(self.outbox) :]
        except BlockingIOError:
            pass
        except OSError:  # the child has ended; its report says how
            self.outbox = memoryview(b"")
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.outbox else 0)
        with contextlib.suppress(KeyError):  # it was unregistered at the end of the stream
            if self.selector.get_key(self.socket).events != events:
                self.selector.modify(self.socket, events, self)

    def read(self) -> bool:
        """Reads what has arrived. Returns False at the end of the stream."""
        try:
            part = self.socket.recv(_CHUNK) if self.timer is not None else self.greet()
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

    def greet(self) -> bytes:
        """Reads the first byte, which the child sends before it runs the candidate, and the kernel's note of its id."""
        data, notes, _, _ = self.socket.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
        pid = None
        for level, kind, note in notes:
            if sys.platform == "linux" and (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid = _CREDENTIALS.unpack(note)[0] or None
        self.timer = CallTimer(pid, self.job.limits.idle_s, self.listened)
        self.timer.start(self.job.load_s)
        self.deadline = time.monotonic() + self.timer.wait_s()
        self.greeted = data == wire.HELLO
        return self.socket.recv(_CHUNK) if self.greeted else data

    def parse(self) -> None:
        at, size, end, first = 0, wire.RECORD.size, len(self.inbox), self.next
        while end - at >= size and self.verdict is None and not self.done:
            kind, cpu_s, length = wire.RECORD.unpack_from(self.inbox, at)
            if length > self.job.limits.result or kind not in b"VNOXLFC":
                self.end(End.OUTPUT, self.next, "it sent an invalid message")
                break
            if end - at - size < length:
                break
            data = bytes(self.inbox[at + size : at + size + length])
            at += size + length
            self.handle(kind, data, cpu_s)
        del self.inbox[:at]
        if self.timer is not None and self.next > first:
            self.timer.progress()

    def handle(self, kind: bytes, data: bytes, cpu_s: float) -> None:
        i = self.next
        if kind == b"C":
            self.on_checkpoint()
        elif kind == b"L" and not self.loaded:
            self.end(End.LOAD, None, _printable(data))
        elif kind == b"F":
            self.end(End.CRASHED if self.greeted else End.LOST, i, _printable(data))
        elif i >= self.sent:
            self.end(End.OUTPUT, i, "it sent an invalid message")
        elif kind in b"VN":
            assert self.timer is not None
            self.timer.reported += cpu_s if cpu_s > 0 else 0.0  # not a number, perhaps
            self.n_bytes += len(data)
            if self.job.judge(i, data, kind == b"V", cpu_s):
                self.next += 1
            else:
                self.end(End.REJECTED, i, "")
        else:
            self.end(End.OPAQUE if kind == b"O" else End.RAISED, i, _printable(data))

    def on_checkpoint(self) -> None:
        """The child waits. If every call since the last checkpoint kept its limit, lets it go on."""
        assert self.timer is not None
        if self.loaded and self.next == self.checked:  # no call was made
            self.end(End.OUTPUT, self.next, "it sent an invalid message")
            return
        cpu0 = self.timer.cpu0
        if exceeded := self.timer.checkpoint(self.n_bytes):
            self.time_out(exceeded, self.next - 1)
            return
        self.batch_cpu += self.timer.cpu0 - cpu0 if self.loaded else 0.0
        self.loaded, self.checked, self.n_bytes = True, self.next, 0
        if self.next < self.sent:
            self.send(b"")
        elif self.next < len(self.job.inputs):
            self.send(self.next_batch())
        else:
            self.done = True
            self.cancel()
            return
        self.timer.start(self.job.limits_s[self.next])
        self.deadline = time.monotonic() + self.timer.wait_s()

    def next_batch(self) -> list[bytes]:
        """The next inputs: calls with one limit, which should take `_BATCH_S` by the time of earlier ones."""
        first, inputs, limits = self.sent, self.job.inputs, self.job.limits_s
        if first:
            fitting = int(self.batch * _BATCH_S / max(self.batch_cpu, 1e-6))
            self.batch = max(1, min(fitting, self.batch * _GROWTH))
        self.batch_cpu = 0.0
        last, size = first + 1, len(inputs[first])
        while last < min(len(inputs), first + self.batch) and limits[last] == limits[first]:
            size += len(inputs[last])
            if size > _BATCH_BYTES or last in self.milestones:
                break
            last += 1
        self.batch, self.sent, self.n_bytes = last - first, last, size
        return list(inputs[first:last])

    def send(self, value: Any) -> None:
        """Sends a message; ``b""`` lets the child go on with its inputs."""
        data = _message(value) if value else bytes(4)
        self.outbox = memoryview(bytes(self.outbox) + data)
        self.write()

    def end(self, end: End, index: int | None, detail: str) -> None:
        """Sets the outcome, which later messages cannot change, and ends the child."""
        if self.verdict is None:
            self.verdict = (end, index, detail)
        self.inbox.clear()
        self.cancel()

    def cancel(self) -> None:
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
        """The outcome where the child ended by itself, or by the limits of the whole run."""
        times = f"{report.cpu_s:.1f} s of CPU time, {report.wall_s:.1f} s of wall-clock time"
        if self.timer is not None and self.next == len(self.job.inputs):
            exceeded = "" if self.done else self.timer.checkpoint(self.n_bytes, final_cpu=report.cpu_s)
            if exceeded or (report.processes and self.timer.excess > 0):
                return End.TIMEOUT, self.next - 1, "it slept" if exceeded == "sleep" else ""
            return End.PASSED, None, ""
        if report.time_up or report.cpu_s >= self.job.limits.cpu_s:
            self.conclusive = report.cpu_s >= self.job.limits.cpu_s
            return End.TIMEOUT, self.next if self.loaded else None, times
        if os.WIFSIGNALED(report.status):
            name = signal.Signals(os.WTERMSIG(report.status)).name
            return End.CRASHED, self.next, f"its process was ended by {name}"
        return End.CRASHED, self.next, f"its process ended early (exit code {os.waitstatus_to_exitcode(report.status)})"


def _message(value: Any) -> bytes:
    data = marshal.dumps(value, 2)
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
