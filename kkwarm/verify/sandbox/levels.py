"""Which level of sandbox this machine gives: found out by starting it, once."""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
import time

from kkwarm.errors import KkwarmError
from kkwarm.verify.sandbox.model import Level
from kkwarm.verify.sandbox.worker import Worker, WorkerFailed

__all__ = ["ALLOW", "allowed", "calibrate", "level", "overloaded", "permitted", "probe"]

ALLOW = "KKWARM_ALLOW_UNSANDBOXED_CODE"
_TYPICAL_S = 0.0125  # what `calibrate`'s work takes on a 2020s server core
_PRESSURE_FILE = "/proc/pressure/cpu"
_PRESSURE = 50.0  # percent of the last 10 seconds in which something waited for a core; a full pool alone makes few
_LOAD = 1.5  # processes that want to run, per core


def probe() -> dict[Level, str]:
    """Each level, strongest first, with why it is not to be had here ("" where it is)."""
    return {at: _try(at) for at in Level}


def level() -> Level:
    """The strongest level that works on this machine.

    :raises KkwarmError: not even a limited process can be had (Windows).
    """
    for at in Level:
        if not _try(at):
            return at
    raise KkwarmError("model-written code cannot be run on this system", hint="use Linux or macOS")


def allowed() -> bool:
    """Whether the user has allowed model-written code in a limited process alone."""
    return os.environ.get(ALLOW, "") in ("1", "true", "yes")


def permitted(at: Level) -> Level:
    """`at`, if model-written code may run there.

    :raises KkwarmError: it is a limited process alone, and the user has not allowed that.
    """
    if at is Level.PROCESS and not allowed():
        causes = "; ".join(f"{k}: {v}" for k, v in probe().items() if v)
        raise KkwarmError(
            f"model-written code is refused: no namespaces are to be had here ({causes or 'level process'})",
            hint="allow unprivileged user namespaces or install bubblewrap; at your own risk: "
            f"--allow-unsandboxed-code, or {ALLOW}=1",
        )
    return at


def calibrate() -> float:
    """How many times slower than a typical core this one runs Python now (CPU time, so load hardly matters); >= 1.

    Measured anew every minute.
    """
    return _measured(int(time.monotonic() / 60))


@functools.lru_cache(maxsize=1)
def _measured(minute: int) -> float:
    return max(1.0, min(_work() for _ in range(3)) / _TYPICAL_S)


def overloaded() -> bool:
    """Whether others compete for the cores right now: by the kernel's pressure figures, else by the load average."""
    try:
        with open(_PRESSURE_FILE) as pressure:
            waiting = re.search(r"some avg10=([\d.]+)", pressure.read())
    except OSError:
        waiting = None
    if waiting is not None:
        return float(waiting[1]) > _PRESSURE
    return os.getloadavg()[0] / (os.cpu_count() or 1) > _LOAD


def _work() -> float:
    start = time.thread_time()
    total, seen = 0, {}
    for i in range(100_000):
        total += i * i % 7
        seen[i & 1023] = total
    return time.thread_time() - start


@functools.cache
def _try(at: Level) -> str:
    """Why a worker of that level does not start; "" where it does."""
    if sys.platform == "win32":
        return "not on Windows"
    if at is not Level.PROCESS and sys.platform != "linux":
        return "only on Linux"
    if at is Level.BUBBLEWRAP and os.geteuid() == 0:
        return "not used as root: the kernel would not limit its processes (level namespaces gives root up)"
    if at is Level.BUBBLEWRAP and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    try:
        worker = Worker(at, ())
    except OSError as err:
        return str(err)
    try:
        worker.wait_started()
    except WorkerFailed as err:
        return str(err)
    finally:
        worker.close()
    return ""
