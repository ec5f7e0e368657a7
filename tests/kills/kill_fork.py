"""Processes forked from one that has torch and trl imported: a run then starts in a tenth of a second, not in ten."""

import contextlib
import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

__all__ = ["ForkedWorker", "adopt", "children", "descendants", "ended", "fork"]

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt() -> None:
    """Orphans below this process become its children, so that it can see them."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def fork(work: Callable[[], None], log: Path) -> int:
    """Runs `work` in a child process, which ends with 0, with 2 for a user's mistake, or with 1; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        with log.open("a") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        code = _guarded(work)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _guarded(work: Callable[[], None]) -> int:
    from kkwarm.errors import KkwarmError

    try:
        work()
    except KkwarmError as err:
        sys.stderr.write(f"kkwarm: {err}\n")
        return 2
    except BaseException as err:
        if isinstance(err, OSError) and err.errno == errno.ENOSPC:  # as the command line does
            sys.stderr.write(f"kkwarm: {err.filename or 'disk'}: {err.strerror}\n")
            return 2
        traceback.print_exc()
        return 1
    return 0


def ended(pid: int, seconds: float | None = None) -> int | None:
    """The exit status of a child (negative: killed by that signal), or None where it still runs after `seconds`."""
    until = None if seconds is None else time.monotonic() + seconds
    while until is None or time.monotonic() < until:
        found, status = os.waitpid(pid, 0 if until is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def children(pid: int) -> list[int]:
    """Direct children that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def descendants(pid: int) -> list[int]:
    """All processes below."""
    found = children(pid)
    return found + [below for child in found for below in descendants(child)]


class ForkedWorker:
    """As `subprocess.Popen` of a study's worker, by fork: `kkwarm.study.local.spawn` for processes that forked."""

    def __init__(self, log: IO[bytes], env: Any) -> None:
        down, up = os.pipe(), os.pipe()
        self.args, self.returncode = ["forked worker"], None
        self.pid = os.fork()
        if not self.pid:
            self._serve(down[0], up[1], log)
        os.close(down[0])
        os.close(up[1])
        self.stdin, self.stdout = os.fdopen(down[1], "w"), os.fdopen(up[0])

    def _serve(self, asked: int, told: int, log: IO[bytes]) -> None:
        code = 1
        try:
            from kkwarm.study.worker import main

            os.setsid()
            for number, source in enumerate((asked, told, log.fileno())):
                os.dup2(source, number)
            os.closerange(3, 4096)  # other workers' pipes and the parent's lock, as an exec would
            sys.stdin, sys.stderr = os.fdopen(0), os.fdopen(2, "w", buffering=1)
            code = main()
        finally:
            os._exit(code)

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = ended(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
