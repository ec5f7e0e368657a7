"""Data types of the sandbox: levels, limits, jobs and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["CallJob", "End", "Level", "Limits", "Outcome", "ProgramJob", "ProgramOutcome"]

MIB = 1 << 20


class Level(StrEnum):
    """How model-written code is isolated, strongest first."""

    BUBBLEWRAP = "bubblewrap"  # own user, process, network, mount, IPC namespaces; read-only minimal file system
    NAMESPACES = "namespaces"  # the same, set up by kkwarm
    # Only a limited process. Where the kernel has Landlock, it can read Python's files and write to its own folder.
    # Elsewhere it can read files, use the network and harm the user's processes.
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of one candidate. Sizes are in bytes, times in seconds.

    :param cpu_s: CPU time, so that load on the machine does not count.
    :param idle_s: wall-clock time that one call may sleep. All calls together may sleep four times as long. Where a
        candidate starts processes, sleep counts as CPU time.
    :param memory: address space of each process.
    :param threads: number of threads at one time.
    :param processes: number of processes that it may start, in total.
    :param file_size: size of a file, and of the private /tmp.
    :param output: total size of all results, or of all that a program writes to stdout and stderr; `result`: size of
        one result.
    """

    cpu_s: float = 60.0
    idle_s: float = 5.0
    memory: int = 1024 * MIB
    threads: int = 128
    processes: int = 4
    file_size: int = 16 * MIB
    open_files: int = 64
    output: int = 64 * MIB
    result: int = 16 * MIB

    @property
    def wall_s(self) -> float:
        """Wall-clock limit of the whole run: the last resort, since CPU time and sleep are limited before."""
        return 60.0 + 10.0 * self.cpu_s


Judge = Callable[[int, bytes, bool, float], bool]


@dataclass(frozen=True, slots=True)
class CallJob:
    """Code whose function `entry` is called on each input, until `judge` rejects a result.

    :param inputs: argument tuples, each encoded by `kkwarm.verify.sandbox.encode`. Every call decodes its own copy.
    :param limits_s: CPU seconds for each call, measured by the trusted side to 0.05 s.
    :param judge: ``judge(index, encoded, exact, cpu_s)`` runs on the trusted side and returns whether to accept.
        `exact` is False where the result had a library's type (numpy scalar, `Counter`) instead of a built-in one.
        `cpu_s` is reported by the candidate's process, so it can be forged; limits do not depend on it. A job may be
        restarted, because its worker was lost or the machine overloaded; the judge is then called again from index 0.
    :param load_s: CPU seconds for executing the code itself.
    :param milestones: a candidate gets its inputs in batches, and sends the results of one before it gets the next. A
        new batch begins at each of these calls, so that a call that hangs does not hold back earlier results.
    """

    code: str
    entry: str
    inputs: Sequence[bytes]
    limits_s: Sequence[float]
    judge: Judge
    load_s: float = 5.0
    limits: Limits = field(default_factory=Limits)
    milestones: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class ProgramJob:
    """A program that is run once, as ``python main.py`` would. It can import nothing of kkwarm.

    :param stdin: the content of its standard input, which then ends.
    """

    code: str
    stdin: bytes = b""
    limits: Limits = field(default_factory=Limits)


class End(StrEnum):
    """Why a job ended. Only `PASSED` means that every result came and was accepted."""

    PASSED = "passed"
    REJECTED = "rejected"  # `judge` rejected a result
    RAISED = "raised"  # a call raised
    OPAQUE = "opaque"  # a call returned something other than plain data
    TIMEOUT = "timeout"
    LOAD = "load"  # the code raised, or does not define the function
    EXITED = "exited"  # the program ended by itself, with any exit code
    CRASHED = "crashed"  # its process ended without a result, or a signal ended the program
    OUTPUT = "output"  # it sent too much, or an invalid message
    LOST = "lost"  # the sandbox itself failed, three times


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    :param index: the call that decided the outcome; None where no call did.
    :param detail: a short, printable explanation.
    :param conclusive: False for a timeout by wall-clock time of a candidate that neither used its CPU time nor slept,
        so it did not get a core.
    :param rerun: the first attempt was inconclusive on an overloaded machine, and this is the outcome of a second one,
        which ran alone.
    """

    end: End
    index: int | None = None
    detail: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_bytes: int = 0
    conclusive: bool = True
    rerun: bool = False


@dataclass(frozen=True, slots=True)
class ProgramOutcome(Outcome):
    """How the run of a program ended.

    :param exit_code: minus the number of the signal that ended it; None where a limit did.
    :param stderr: at most the last 64 KiB.
    """

    exit_code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
