"""Worker processes for verifiers that can hang; a worker is killed when a check takes too long.

Workers are plain subprocesses that exchange pickles over pipes. So the parent, which may hold torch and threads, is
never forked, and its ``__main__`` is not imported. Workers run trusted verifier code only; model-written code runs in
`kkwarm.verify.sandbox`.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import pickle
import resource
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Response, Status, Verdict, Verifier
from kkwarm.verify.calls import call_check, timeout_verdict

__all__ = ["WorkerPool", "shared_workers"]

_START_S = 120.0  # extra time for the first check, in which the worker imports the verifier
_EXTRA_CPU_S = 1.0  # CPU seconds per core beyond the time limit; usually the parent has ended the check by then
_CHECKS_PER_WORKER = 64  # of the shared pool
_HEADER = 8  # bytes of a message's length


@dataclass(eq=False)
class _Worker:
    """One worker process.

    :param ready: it has imported its first verifier.
    :param job: the index of the pair that it is checking.
    :param deadline: when it is killed, in monotonic seconds.
    """

    process: subprocess.Popen[bytes]
    ready: bool = False
    job: int | None = None
    deadline: float = 0.0
    buffer: bytearray = field(default_factory=bytearray)

    def send(self, payload: bytes) -> None:
        assert self.process.stdin is not None
        _write_frame(self.process.stdin, payload)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # with all processes that the verifier started
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class WorkerPool:
    """Runs checks in up to `size` processes. A process is killed when a check exceeds the verifier's time limit."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size or min(8, os.cpu_count() or 1)
        self._workers: list[_Worker] = []
        self._owner = os.getpid()

    def close(self) -> None:
        """Kills every worker."""
        if os.getpid() == self._owner:  # after a fork the workers belong to the parent
            for worker in self._workers:
                worker.kill()
        self._workers.clear()

    def check(self, verifier: Verifier, pairs: Sequence[tuple[Example, Response]]) -> list[Verdict]:
        """A verdict for each pair, in order.

        :raises KkwarmError: `check` is not a module-level function, so a worker cannot import it.
        """
        if not pairs:
            return []
        try:
            jobs = [pickle.dumps((verifier, example, response)) for example, response in pairs]
        except Exception as err:
            raise KkwarmError(
                f"verifier {verifier.name} cannot be sent to a worker: {err}",
                hint='its check must be a module-level function, or its isolation "inline"',
            ) from None
        verdicts: list[Verdict | None] = [None] * len(jobs)
        waiting = list(range(len(jobs)))[::-1]
        try:
            while any(v is None for v in verdicts):
                while len(self._workers) < min(self.size, len(waiting) + self._busy()):
                    self._workers.append(_start())
                for worker in self._workers:
                    if worker.job is None and waiting:
                        self._assign(worker, waiting, jobs, verifier.timeout_s)
                for i, verdict in self._collect(verifier):
                    verdicts[i] = verdict
        except BaseException:
            self.close()  # interrupted: leave no worker with an unfinished job
            raise
        return [v for v in verdicts if v is not None]

    def _busy(self) -> int:
        return sum(w.job is not None for w in self._workers)

    def _assign(self, worker: _Worker, waiting: list[int], jobs: list[bytes], timeout_s: float) -> None:
        job = waiting.pop()
        try:
            worker.send(jobs[job])
        except OSError:  # it died while idle
            worker.kill()
            self._workers.remove(worker)
            waiting.append(job)
            return
        worker.job = job
        worker.deadline = time.monotonic() + timeout_s + (0.0 if worker.ready else _START_S)

    def _collect(self, verifier: Verifier) -> list[tuple[int, Verdict]]:
        """Verdicts that arrive until the next deadline. Workers past their deadline are killed."""
        done: list[tuple[int, Verdict]] = []
        busy = [w for w in self._workers if w.job is not None]
        if not busy:
            return done
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            wait = max(0.0, min(w.deadline for w in busy) - time.monotonic())
            ready = [key.data for key, _ in selector.select(wait)]
        for worker in ready:
            done += self._read(worker, verifier)
        now = time.monotonic()
        for worker in busy:
            if worker.job is not None and worker in self._workers and now >= worker.deadline:
                done.append((worker.job, timeout_verdict(verifier)))
                worker.kill()
                self._workers.remove(worker)
        return done

    def _read(self, worker: _Worker, verifier: Verifier) -> list[tuple[int, Verdict]]:
        assert worker.process.stdout is not None
        assert worker.job is not None
        job = worker.job
        chunk = os.read(worker.process.stdout.fileno(), 1 << 20)
        if not chunk:
            code = worker.process.wait()
            worker.kill()
            self._workers.remove(worker)
            reason = f"verifier {verifier.name} ended its process (exit code {code})"
            return [(job, Verdict(Status.ERROR, reason=reason))]
        worker.buffer += chunk
        done = []
        while (frame := _pop_frame(worker.buffer)) is not None:
            if frame == b"ready":
                # The check starts now; the time limit does not include the imports.
                worker.ready = True
                worker.deadline = time.monotonic() + verifier.timeout_s
                continue
            done.append((job, pickle.loads(frame)))
            worker.job = None
        return done


class _SharedPool(WorkerPool):
    """A pool that several threads may use, one at a time. Few checks start few workers, since a start takes long."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._largest = self.size

    def check(self, verifier: Verifier, pairs: Sequence[tuple[Example, Response]]) -> list[Verdict]:
        """See `WorkerPool.check`."""
        with self._lock:
            self.size = min(self._largest, 1 + len(pairs) // _CHECKS_PER_WORKER)
            return super().check(verifier, pairs)


_shared: dict[int, _SharedPool] = {}


def shared_workers() -> WorkerPool:
    """The pool that this process shares. It ends with the process."""
    if os.getpid() not in _shared:
        _shared.clear()
        _shared[os.getpid()] = _SharedPool()
        atexit.register(_shared[os.getpid()].close)
    return _shared[os.getpid()]


def _start() -> _Worker:
    process = subprocess.Popen(
        [sys.executable, "-c", "from kkwarm.verify.workers import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if _is_open(2) else subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        start_new_session=True,  # Ctrl-C reaches only the parent, which ends the workers
    )
    return _Worker(process)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# -- inside a worker process -------------------------------------------------------------------------------------------


def serve() -> None:
    """Reads (verifier, example, response) from stdin and writes verdicts to stdout, until stdin ends.

    What a verifier prints goes to stderr, so it cannot forge a verdict.
    """
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    threading.Thread(target=_end_with_parent, args=(requests.fileno(),), daemon=True).start()
    while (frame := _read_frame(requests)) is not None:
        verifier, example, response = pickle.loads(frame)  # written by the parent, which is trusted
        _write_frame(replies, b"ready")
        _limit_cpu_time(verifier.timeout_s)
        _write_frame(replies, pickle.dumps(call_check(verifier, example, response)))


def _end_with_parent(requests: int) -> None:
    """Ends this process, and what the verifier started, when the parent is killed and its end of the pipe closes."""
    poll = select.poll()
    poll.register(requests, 0)  # a hang-up is always reported
    poll.poll()
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _limit_cpu_time(seconds: float) -> None:
    """Lets the kernel end a check when the parent no longer can: a long call in C blocks `_end_with_parent`."""
    limit = math.ceil(time.process_time() + (seconds + _EXTRA_CPU_S) * (os.cpu_count() or 1))
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


# -- messages ----------------------------------------------------------------------------------------------------------


def _write_frame(pipe: IO[bytes], payload: bytes) -> None:
    """Writes one length-prefixed message."""
    pipe.write(len(payload).to_bytes(_HEADER, "big") + payload)
    pipe.flush()


def _read_frame(pipe: IO[bytes]) -> bytes | None:
    """Reads the next message; None at the end of the stream."""
    header = pipe.read(_HEADER)
    if len(header) < _HEADER:
        return None
    return pipe.read(int.from_bytes(header, "big"))


def _pop_frame(buffer: bytearray) -> bytes | None:
    if len(buffer) < _HEADER:
        return None
    size = int.from_bytes(buffer[:_HEADER], "big")
    if len(buffer) < _HEADER + size:
        return None
    frame = bytes(buffer[_HEADER : _HEADER + size])
    del buffer[: _HEADER + size]
    return frame
