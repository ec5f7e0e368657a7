"""Enforces the time limits of calls on the trusted side. Nothing that a candidate's process says or patches counts.

A candidate gets its inputs in batches, and waits at checkpoints until it may go on. Between two checkpoints, the
kernel's clock of its process shows the CPU time of all its threads. If this time is within the limit of one call, each
call was. A candidate that waits uses no time, so a late measurement on a loaded machine is as good as an immediate one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from kkwarm.verify.sandbox.levels import is_overloaded

__all__ = ["CallTimer"]

# Calls are measured together until they have taken 0.03 s; then comes the next checkpoint.
_TOLERANCE_S = 0.05
_S_PER_BYTE = 2.5e-7  # for decoding inputs and encoding results, where they have library types
_NAPS = 4  # all calls together may sleep this many times as long as one call
_MAX_DOUBTED_S = 30.0  # where the kernel does not tell sleep from waiting, at most this much counts as waiting
_SETTLE = 10  # times half a millisecond in which a process at a checkpoint comes to wait
_NAP_S = 0.05  # shorter idle times may be those of the messages themselves


class CallTimer:
    """Measures one candidate's process.

    :param pid: its process id; None where the kernel does not tell it. There, and where the kernel does not give CPU
        times of others (macOS), the times that it reports count, within the supervisor's limit for all calls.
    :param listened: wall-clock time so far in which the trusted side waited for messages. While it did something else,
        a candidate that has nothing to do is not asleep.
    """

    def __init__(self, pid: int | None, idle_s: float, listened: Callable[[], float]) -> None:
        self.pid, self.idle_s, self.listened = pid, idle_s, listened
        self.clock = None if pid is None or sys.platform != "linux" else (~pid << 3) | 2  # clock_getcpuclockid(3)
        self.reported = 0.0  # CPU seconds that the candidate reported
        if self._cpu() is None:  # the kernel refuses, or the process has ended
            self.clock = None
        self.limit = self.cpu0 = self.called = 0.0  # CPU seconds: of a call; at the last checkpoint, and result
        self.idle = self.slept = 0.0  # since the last checkpoint, and before it
        self.doubted = 0.0
        self.uncounted = False  # whether the last count was put off, because a thread could run
        self.excess = -1.0  # by how much the worst stretch exceeded its limit, if sleep counts as CPU time
        # Until when idle time is known: the time listened, the CPU time, and the time waited for a core.
        self.listened0, self.used0, self.waited0 = listened(), 0.0, self._threads()[1] or 0.0

    def start(self, limit: float) -> None:
        """The candidate may go on; each call until the next checkpoint has this limit in CPU seconds."""
        self.limit = limit
        if not self.uncounted:
            self.listened0, self.used0 = self.listened(), self.cpu0

    def progress(self) -> None:
        """A result has arrived, so the next call has begun."""
        self.called = self._cpu() or self.called

    def exceeded(self) -> str:
        """Whether the current call has exceeded a limit: "cpu" or "sleep"; empty if it has not, or has just ended."""
        cpu = self._cpu()
        if cpu is None:
            return ""
        if cpu - self.called > self.limit + _TOLERANCE_S:
            return "cpu"
        self._count_idle(cpu)
        return self._overslept()

    def wait_s(self) -> float:
        """After this time a limit may be exceeded. It is exact only if the candidate gets a core of its own."""
        cpu = self._cpu()
        left = self.limit + _TOLERANCE_S - ((self.called if cpu is None else cpu) - self.called)
        return max(0.01, min(left, max(0.1, self.idle_s - self.idle)))

    def checkpoint(self, n_bytes: int, *, final_cpu: float | None = None) -> str:
        """Whether a call since the last checkpoint exceeded its limit, as `exceeded`, now that results have arrived.

        :param n_bytes: the size of inputs and results since then.
        :param final_cpu: the CPU time of a process that has ended.
        """
        cpu = final_cpu if final_cpu is not None else self._cpu()
        if cpu is None:
            cpu = self.cpu0
        self._count_idle(cpu, settle=True)
        allowed = self.limit + _TOLERANCE_S + n_bytes * _S_PER_BYTE
        used = cpu - self.cpu0
        self.excess = max(self.excess, used + self.idle - allowed)
        overslept = self._overslept()
        self.slept, self.idle = self.slept + self.idle, 0.0
        self.cpu0 = self.called = cpu
        return "cpu" if used > allowed else overslept

    def _cpu(self) -> float | None:
        """CPU seconds of the process; None if it has ended."""
        if self.clock is None:
            return self.reported
        try:
            return time.clock_gettime(self.clock)
        except OSError:
            return None

    def _overslept(self) -> str:
        return "sleep" if self.idle > self.idle_s or self.slept + self.idle > _NAPS * self.idle_s else ""

    def _count_idle(self, cpu: float, *, settle: bool = False) -> None:
        """Adds the time since the last count in which the process neither used a core nor waited for one.

        :param settle: the process is at a checkpoint, so that its threads will soon wait.
        """
        listened = self.listened()
        elapsed = listened - self.listened0
        idle = elapsed - (cpu - self.used0)
        if idle <= _NAP_S:
            return
        self.uncounted, waited = self._threads()
        for _ in range(_SETTLE if settle else 0):  # it has just sent a result, and is about to wait
            if not self.uncounted:
                break
            time.sleep(0.0005)
            self.uncounted, waited = self._threads()
        if self.uncounted:  # the kernel adds a wait only when it ends, so what this one hides is not known yet
            return
        self.listened0, self.used0 = listened, cpu
        if waited is None:  # no figures of the process: guess from those of the machine
            self.doubted += idle
            idle = 0.0 if self.doubted <= _MAX_DOUBTED_S and is_overloaded() else idle
        else:
            # Threads that wait at the same time count once.
            idle -= min(elapsed, max(0.0, waited - self.waited0))
            self.waited0 = waited
        self.idle += max(0.0, idle)

    def _threads(self) -> tuple[bool, float | None]:
        """Whether a thread of the process runs or could run, and the time for which its threads, or the trusted side's
        own, have waited for a core: None if unknown."""
        try:
            threads = list(Path("/proc", str(self.pid), "task").iterdir())
        except OSError:
            return False, None
        figures = [_waited_s(thread) for thread in (*threads, Path("/proc/thread-self"))]
        return any(map(_is_runnable, threads)), sum(figures) if any(figures) else None


def _waited_s(thread: Path) -> float:
    try:
        return int((thread / "schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):  # the thread has ended, or the kernel does not count
        return 0.0


def _is_runnable(thread: Path) -> bool:
    try:
        return (thread / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"R"
    except (OSError, IndexError):
        return False
