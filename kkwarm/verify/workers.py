"""Killable worker processes for verifiers that can hang.

Workers are plain subprocesses that talk pickle over their own pipes: no fork of a process that holds torch and
threads, no import of the caller's ``__main__``. They run trusted verifier code only; model-written code runs in
`kkwarm.verify.sandbox`.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Response, Status, Verdict, Verifier

__all__ = ["WorkerPool", "late"]

_START_S = 120.0  # importing a heavy verifier on a loaded machine must not count as its verdict's time
_HEADER = 8


@dataclass(eq=False)
class _Worker:
    """One process. `job` is the index it works on; `deadline` (monotonic seconds) ends it. `ready`: it has imported."""

    process: subprocess.Popen[bytes]
    ready: bool = False
    job: int | None = None
    deadline: float = 0.0
    buffer: bytearray = field(default_factory=bytearray)

    def send(self, payload: bytes) -> None:
        assert self.process.stdin is not None
        write_frame(self.process.stdin, payload)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # with whatever the verifier has started
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class WorkerPool:
    """Checks pairs in up to `size` processes, each killed when a verdict takes longer than the verifier allows."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size or min(8, os.cpu_count() or 1)
        self._workers: list[_Worker] = []
        self._owner = os.getpid()

    def close(self) -> None:
        """Kills every worker."""
        if os.getpid() == self._owner:  # after a fork, the workers are the parent's
            for worker in self._workers:
                worker.kill()
        self._workers.clear()

    def check(self, verifier: Verifier, pairs: Sequence[tuple[Example, Response]]) -> list[Verdict]:
        """A verdict for each pair, in order.

        :raises KkwarmError: the verifier's check is no module-level function, so a worker could not import it.
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
            self.close()  # interrupted: no worker may stay behind with half a job
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
        """Verdicts that arrive until the next deadline; workers past theirs are killed."""
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
                done.append((worker.job, late(verifier)))
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
                # The check itself starts now: its own time, not that of the imports, is what is limited.
                worker.ready = True
                worker.deadline = time.monotonic() + verifier.timeout_s
                continue
            done.append((job, pickle.loads(frame)))
            worker.job = None
        return done


def late(verifier: Verifier) -> Verdict:
    """The verdict of a check that gave none in its time."""
    return Verdict(
        verifier.timeout_status, reason=f"verifier {verifier.name} gave no verdict within {verifier.timeout_s:g} s"
    )


def _start() -> _Worker:
    process = subprocess.Popen(
        [sys.executable, "-m", "kkwarm.verify.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        start_new_session=True,  # Ctrl-C reaches the parent only, which ends the workers itself
    )
    return _Worker(process)


def write_frame(pipe: IO[bytes], payload: bytes) -> None:
    """One length-prefixed message."""
    pipe.write(len(payload).to_bytes(_HEADER, "big") + payload)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> bytes | None:
    """The next message, or None at the end."""
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
