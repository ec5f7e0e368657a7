"""Determines which levels of sandbox work on this machine, by starting one worker at each level."""

from __future__ import annotations

import errno
import functools
import os
import re
import resource
import shutil
import sys
import time

from kkwarm.errors import KkwarmError
from kkwarm.verify.sandbox.model import Level
from kkwarm.verify.sandbox.worker import Worker, WorkerFailed

__all__ = [
    "ALLOW_UNSANDBOXED",
    "FILES_PER_WORKER",
    "allow_open_files",
    "is_overloaded",
    "measure_slowness",
    "probe_levels",
    "require_permission",
    "strongest_level",
    "unsandboxed_allowed",
]

ALLOW_UNSANDBOXED = "KKWARM_ALLOW_UNSANDBOXED_CODE"
_REFERENCE_S = 0.0125  # CPU seconds that `_work` takes on a server core of the 2020s
_PRESSURE_FILE = "/proc/pressure/cpu"
_MAX_PRESSURE = 50.0  # percent of the last 10 seconds in which some process waited for a core
_MAX_LOAD = 1.5  # runnable processes per core
FILES_PER_WORKER = 8
_MORE_FILES = 256
_SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def probe_levels() -> dict[Level, str]:
    """Each level, strongest first, with the reason why it does not work here; empty where it works."""
    return {level: _start_problem(level) for level in Level}


def strongest_level() -> Level:
    """The strongest level that works on this machine.

    :raises KkwarmError: not even a limited process works (Windows).
    """
    for level in Level:
        if not _start_problem(level):
            return level
    raise KkwarmError("model-written code cannot be run on this system", hint="use Linux or macOS")


def unsandboxed_allowed() -> bool:
    """Whether the user allows model-written code to run in a limited process, without a sandbox."""
    return os.environ.get(ALLOW_UNSANDBOXED, "") in ("1", "true", "yes")


def require_permission(level: Level) -> None:
    """Checks that model-written code may run at this level.

    :raises KkwarmError: the level is only a limited process, and the user has not allowed that.
    """
    if level is Level.PROCESS and not unsandboxed_allowed():
        causes = "; ".join(f"{k}: {v}" for k, v in probe_levels().items() if v)
        raise KkwarmError(
            f"model-written code is refused: no sandbox works here ({causes or 'level process'})",
            hint="allow unprivileged user namespaces or install bubblewrap; at your own risk: "
            f"--allow-unsandboxed-code, or {ALLOW_UNSANDBOXED}=1",
        )


def measure_slowness() -> float:
    """How many times slower than a reference core this machine runs Python, at least 1. Based on CPU time.

    The result is cached for a minute.
    """
    return _measure_slowness(int(time.monotonic() / 60))


@functools.lru_cache(maxsize=1)
def _measure_slowness(minute: int) -> float:
    return max(1.0, min(_work() for _ in range(3)) / _REFERENCE_S)


def is_overloaded() -> bool:
    """Whether other processes compete for the cores: by the kernel's pressure statistics, else by the load average."""
    try:
        with open(_PRESSURE_FILE) as pressure:
            waiting = re.search(r"some avg10=([\d.]+)", pressure.read())
    except OSError:
        waiting = None
    if waiting is not None:
        return float(waiting[1]) > _MAX_PRESSURE
    return os.getloadavg()[0] / (os.cpu_count() or 1) > _MAX_LOAD


def _work() -> float:
    start = time.thread_time()
    total, seen = 0, {}
    for i in range(100_000):
        total += i * i % 7
        seen[i & 1023] = total
    return time.thread_time() - start


def allow_open_files(count: int) -> None:
    """Checks that this process may open that many more files, and raises its soft limit otherwise.

    :raises KkwarmError: the hard limit is reached.
    """
    opened: list[int] = []
    try:
        opened += (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(count))
    except OSError as err:
        if err.errno != errno.EMFILE:
            raise
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = soft + count + _MORE_FILES
        if hard != resource.RLIM_INFINITY and wanted > hard:
            raise KkwarmError(
                f"model-written code cannot be run: this process has too many open files (the limit is {hard})",
                hint="raise the limit: ulimit -n 4096",
            ) from None
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    finally:
        for fd in opened:
            os.close(fd)


@functools.cache
def _start_problem(level: Level) -> str:
    """Why a worker of that level does not start; empty where it does.

    :raises KkwarmError: it does not start now, because something has run out. This is no property of the machine.
    """
    if sys.platform == "win32":
        return "not on Windows"
    if level is not Level.PROCESS and sys.platform != "linux":
        return "only on Linux"
    if level is Level.BUBBLEWRAP and os.geteuid() == 0:
        return "not used as root, since the kernel would not limit its processes (level namespaces drops root)"
    if level is Level.BUBBLEWRAP and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    allow_open_files(FILES_PER_WORKER)
    cause = ""
    try:
        worker = Worker(level, ())
    except OSError as err:
        cause = str(err)
    else:
        try:
            worker.wait_started()
        except WorkerFailed as err:
            cause = str(err)
        finally:
            worker.close()
    if any(cause.endswith(os.strerror(code)) for code in _SHORTAGES):
        raise KkwarmError(
            f"no process for model-written code can be started now: {cause}",
            hint="end other processes, or raise this user's limits (ulimit -a)",
        )
    return cause
