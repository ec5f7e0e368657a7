"""The trusted side of one job in one worker: sends what the child needs, reads what it sends, and limits its time."""

from __future__ import annotations

import contextlib
import marshal
import os
import selectors
import signal
import socket
import struct
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kkwarm.verify.sandbox.inside import wire
from kkwarm.verify.sandbox.model import CallJob, End, Limits, Outcome, ProgramJob, ProgramOutcome
from kkwarm.verify.sandbox.timing import CallTimer
from kkwarm.verify.sandbox.worker import Report, Worker, WorkerFailed

__all__ = ["CallRun", "ProgramRun", "Run"]

_CHUNK = 1 << 18  # bytes
_CREDENTIALS = struct.Struct("iii")  # process, user and group id
_GRACE_S = 30.0  # how long a cancelled child's report may take
_FIRST_CALLS, _GROWTH = 16, 16  # calls in the first batch of a job; the most by which the next may be larger
_BATCH_S, _BATCH_BYTES = 0.03, 1 << 18  # CPU seconds that a batch should take, and the most bytes of its inputs
_SPARE_S = 2.0
_STDERR_BYTES = 1 << 16  # the end of a program's stderr that is kept


class Run(ABC):
    """One job in one worker. Each of its files is registered with the function that serves it.

    :param limits: of the whole run; `load_s`: CPU seconds that the child may use at first.
    :param message: what the child gets first.
    :param streams: descriptors that become the child's standard streams.
    :raises WorkerFailed: the worker has ended.
    """

    job: CallJob | ProgramJob

    def __init__(
        self,
        worker: Worker,
        job: CallJob | ProgramJob,
        place: tuple[int, int],
        selector: selectors.BaseSelector,
        listened: Callable[[], float],
        *,
        limits: Limits,
        load_s: float,
        message: Any,
        streams: Sequence[int] = (),
    ) -> None:
        self.worker, self.limits, self.selector, self.listened = worker, limits, selector, listened
        self.index, self.attempt = place
        self.load_s = load_s
        self.timer: CallTimer | None = None  # from the first message on
        self.greeted = False  # the child was ready to run the candidate
        self.outbox = memoryview(_message(message))
        self.verdict: tuple[End, int | None, str] | None = None
        self.cancelled = False
        self.conclusive = True
        now = time.monotonic()
        self.deadline = self.last_deadline = now + limits.wall_s + _GRACE_S  # the supervisor ends the child earlier
        self.socket, inside = socket.socketpair()
        self.socket.setblocking(False)
        if sys.platform == "linux":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            worker.start(inside, limits, streams)
        except WorkerFailed:
            self.socket.close()
            raise
        finally:
            inside.close()
        selector.register(self.socket, selectors.EVENT_READ, (self, self.serve))
        selector.register(worker.control, selectors.EVENT_READ, (self, None))
        self.write()

    def close(self) -> None:
        """Stops reading from the child, which has ended."""
        for source in (self.socket, self.worker.control):
            self.unregister(source)
        self.socket.close()

    def unregister(self, source: Any) -> None:
        """Stops waiting for a file; it may be unregistered already."""
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(source)

    def on_deadline(self) -> bool:
        """Ends the child if a call has exceeded its limit.

        Returns False where the child had been ended before and its report did not arrive: the worker is lost.
        """
        now = time.monotonic()
        if self.cancelled or self.timer is None or now >= self.last_deadline:
            return False
        if exceeded := self.timer.exceeded():
            self.time_out(exceeded)
        else:
            self.deadline = min(now + self.timer.wait_s(), self.last_deadline)
        return True

    @abstractmethod
    def time_out(self, limit: str) -> None:
        """Ends the child, which has exceeded the limit "cpu" or "sleep"."""

    @abstractmethod
    def read(self) -> bool:
        """Reads from the job's socket what has arrived. Returns False at the end of the stream."""

    @abstractmethod
    def finish(self, report: Report) -> Outcome:
        """Reads what the child sent before it ended, and returns the outcome."""

    def serve(self, events: int) -> None:
        """Handles the job's socket, which is ready."""
        if events & selectors.EVENT_WRITE:
            self.write()
        if events & selectors.EVENT_READ and not self.read():
            self.unregister(self.socket)

    def write(self) -> None:
        """Sends as much as the socket takes."""
        try:
            self.outbox = self.outbox[self.socket.send(self.outbox) :]
        except BlockingIOError:
            pass
        except OSError:  # the child has ended; its report says how
            self.outbox = memoryview(b"")
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.outbox else 0)
        with contextlib.suppress(KeyError):  # it was unregistered at the end of the stream
            if self.selector.get_key(self.socket).events != events:
                self.selector.modify(self.socket, events, (self, self.serve))

    def greet(self) -> bytes:
        """Reads the first byte, which the child sends before it runs the candidate, and the kernel's note of its id."""
        data, notes, _, _ = self.socket.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
        pid = None
        for level, kind, note in notes:
            if sys.platform == "linux" and (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid = _CREDENTIALS.unpack(note)[0] or None
        self.timer = CallTimer(pid, self.limits.idle_s, self.listened)
        self.timer.start(self.load_s)
        self.deadline = time.monotonic() + self.timer.wait_s()
        self.greeted = data == wire.HELLO
        return self.socket.recv(_CHUNK) if self.greeted else data

    def end(self, end: End, index: int | None, detail: str) -> None:
        """Sets the outcome, which later messages cannot change, and ends the child."""
        if self.verdict is None:
            self.verdict = (end, index, detail)
        self.cancel()

    def cancel(self) -> None:
        """Ends the child; its report still arrives."""
        if not self.cancelled:
            self.cancelled = True
            self.deadline = time.monotonic() + _GRACE_S
            self.worker.cancel()

    def used_up(self, report: Report) -> str:
        """The times of a child that exceeded a limit of the whole run; empty where it did not."""
        if not report.time_up and report.cpu_s < self.limits.cpu_s:
            return ""
        self.conclusive = report.cpu_s >= self.limits.cpu_s
        return f"{report.cpu_s:.1f} s of CPU time, {report.wall_s:.1f} s of wall-clock time"


class CallRun(Run):
    """The calls of one candidate: sends the inputs in batches, reads the results, and asks the judge."""

    job: CallJob

    def __init__(
        self,
        worker: Worker,
        job: CallJob,
        place: tuple[int, int],
        selector: selectors.BaseSelector,
        listened: Callable[[], float],
    ) -> None:
        self.job = job
        self.inbox = bytearray()
        self.received = self.next = 0
        self.sent = self.checked = 0  # calls whose inputs were sent; calls before the last checkpoint
        self.batch, self.batch_cpu = _FIRST_CALLS, 0.0
        self.n_bytes = len(job.code)  # of inputs and results since the last checkpoint
        self.loaded = self.done = False
        self.milestones = frozenset(job.milestones)
        message = {"code": job.code, "entry": job.entry, "max_result": job.limits.result}
        options: dict[str, Any] = {"limits": job.limits, "load_s": job.load_s, "message": message}
        super().__init__(worker, job, place, selector, listened, **options)

    def time_out(self, limit: str) -> None:
        """Ends the child in the current call, or while its code is loaded."""
        self.time_out_in(limit, self.next)

    def time_out_in(self, limit: str, index: int) -> None:
        """Ends the child, since this call exceeded a limit."""
        if not self.loaded:
            cause = "it slept" if limit == "sleep" else f"limit of {self.job.load_s:.1f} s of CPU time"
            self.end(End.TIMEOUT, None, f"{cause} while its code was loaded")
        else:
            self.end(End.TIMEOUT, min(index, len(self.job.inputs) - 1), "it slept" if limit == "sleep" else "")

    def read(self) -> bool:
        """See `Run.read`."""
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

    def parse(self) -> None:
        """Handles the messages that have arrived in full."""
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
        """Handles one message of the child."""
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
            self.time_out_in(exceeded, self.next - 1)
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
        """See `Run.end`."""
        super().end(end, index, detail)
        self.inbox.clear()

    def finish(self, report: Report) -> Outcome:
        """See `Run.finish`."""
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
        if self.timer is not None and self.next == len(self.job.inputs):
            exceeded = "" if self.done else self.timer.checkpoint(self.n_bytes, final_cpu=report.cpu_s)
            if exceeded or (report.processes and self.timer.excess > 0):
                return End.TIMEOUT, self.next - 1, "it slept" if exceeded == "sleep" else ""
            return End.PASSED, None, ""
        if times := self.used_up(report):
            return End.TIMEOUT, self.next if self.loaded else None, times
        return End.CRASHED, self.next, f"its process {_describe_end(report)}"


class ProgramRun(Run):
    """One run of a program: collects what it writes to its standard streams."""

    job: ProgramJob

    def __init__(
        self,
        worker: Worker,
        job: ProgramJob,
        place: tuple[int, int],
        selector: selectors.BaseSelector,
        listened: Callable[[], float],
    ) -> None:
        self.job = job
        self.received = 0
        self.written: dict[int, bytearray] = {}  # by the descriptor that is read
        passed = [_input_file(job.stdin)]
        try:
            for _ in ("stdout", "stderr"):
                reader, writer = os.pipe()
                os.set_blocking(reader, False)
                self.written[reader] = bytearray()
                passed.append(writer)
            # The supervisor's limit is the last resort. It ends a process without telling why.
            limits = replace(job.limits, cpu_s=job.limits.cpu_s + _SPARE_S)
            options: dict[str, Any] = {"load_s": job.limits.cpu_s, "message": {"code": job.code}, "streams": passed}
            super().__init__(worker, job, place, selector, listened, limits=limits, **options)
        except BaseException:
            self._close_readers()
            raise
        finally:
            for fd in passed:
                os.close(fd)
        for reader in self.written:
            selector.register(reader, selectors.EVENT_READ, (self, lambda _, fd=reader: self.collect(fd)))

    def close(self) -> None:
        """See `Run.close`."""
        for reader in self.written:
            self.unregister(reader)
        self._close_readers()
        super().close()

    def _close_readers(self) -> None:
        for reader in self.written:
            os.close(reader)

    def time_out(self, limit: str) -> None:
        """See `Run.time_out`."""
        self.end(End.TIMEOUT, None, self._limit(limit))

    def _limit(self, limit: str) -> str:
        return f"it slept for more than {self.limits.idle_s:g} s" if limit == "sleep" else self._cpu_limit()

    def _cpu_limit(self) -> str:
        return f"limit of {self.job.limits.cpu_s:g} s of CPU time"

    def read(self) -> bool:
        """See `Run.read`. After its greeting, only a child that could not start the program sends something."""
        try:
            part = self.socket.recv(_CHUNK) if self.timer is not None else self.greet()
        except BlockingIOError:
            return True
        except OSError:
            return False
        if part:
            self.end(End.LOST, None, _printable(part[wire.RECORD.size :]))
        return bool(part)

    def collect(self, reader: int) -> bool:
        """Reads what the program has written to one stream. Returns False where there is no more for now."""
        try:
            part = os.read(reader, _CHUNK)
        except BlockingIOError:
            return False
        if not part:
            self.unregister(reader)
            return False
        self.received += len(part)
        if self.verdict is None:
            kept = self.written[reader]
            kept += part[: len(part) - max(0, self.received - self.limits.output)]
            if reader == list(self.written)[1]:
                del kept[:-_STDERR_BYTES]
        if self.received > self.limits.output:
            self.end(End.OUTPUT, None, f"more than {self.limits.output / (1 << 20):g} MiB of output")
        return True

    def finish(self, report: Report) -> ProgramOutcome:
        """See `Run.finish`. Every process of the program has ended, so its pipes hold all that is left."""
        self.cancelled = True
        self.read()
        for reader in self.written:
            while self.verdict is None and self.collect(reader):
                pass
        end, _, detail = self.verdict or self._undecided(report)
        exit_code = os.waitstatus_to_exitcode(report.status) if end in (End.EXITED, End.CRASHED) else None
        stdout, stderr = map(bytes, self.written.values())
        times = (report.cpu_s, report.wall_s, report.peak_bytes)
        return ProgramOutcome(end, None, detail, *times, self.conclusive, False, exit_code, stdout, stderr)

    def _undecided(self, report: Report) -> tuple[End, None, str]:
        if self.timer is None:
            return End.LOST, None, f"its process {_describe_end(report)} before the program began"
        exceeded = self.timer.checkpoint(0, final_cpu=report.cpu_s)
        if exceeded or (report.processes and self.timer.excess > 0):
            return End.TIMEOUT, None, self._limit(exceeded)
        if times := self.used_up(report):
            return End.TIMEOUT, None, self._cpu_limit() if self.conclusive else times
        if os.WIFSIGNALED(report.status):
            return End.CRASHED, None, f"its process {_describe_end(report)}"
        return End.EXITED, None, f"exit code {os.waitstatus_to_exitcode(report.status)}"


def _input_file(data: bytes) -> int:
    """The descriptor of a file with this content, since some programs ask for the size of their stdin."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("stdin")
    else:
        fd, path = tempfile.mkstemp()
        Path(path).unlink()
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _describe_end(report: Report) -> str:
    if os.WIFSIGNALED(report.status):
        return f"was ended by {signal.Signals(os.WTERMSIG(report.status)).name}"
    return f"ended early (exit code {os.waitstatus_to_exitcode(report.status)})"


def _message(value: Any) -> bytes:
    data = marshal.dumps(value, 2)
    return len(data).to_bytes(4, "little") + data


def _printable(data: bytes) -> str:
    text = " ".join(data.decode("utf-8", "replace").split())
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
