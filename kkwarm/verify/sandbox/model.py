"""The nouns of the sandbox: levels, limits, jobs and how they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["CallJob", "End", "Level", "Limits", "Outcome"]

MIB = 1 << 20


class Level(StrEnum):
    """How model-written code is kept in, strongest first."""

    BUBBLEWRAP = "bubblewrap"  # own user, process, network, mount, IPC namespaces; read-only minimal file system
    NAMESPACES = "namespaces"  # the same, set up by ourselves
    # A limited process alone. Where the kernel has Landlock, it reads Python's files only and writes to a folder of its
    # own; elsewhere it can read files, use the network, harm the user's processes.
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one candidate may use. Sizes in bytes, times in seconds.

    Times are CPU times, so that a loaded machine fails nobody; `idle_s` is how long a call may sleep, by the clock (all
    calls together: four times as long).
    `memory` is address space for each process; `file_size` also is the size of the private /tmp; `processes` counts
    threads. `output` limits everything that comes back, `result` one value.
    """

    cpu_s: float = 60.0
    idle_s: float = 5.0
    memory: int = 1024 * MIB
    processes: int = 4
    file_size: int = 16 * MIB
    open_files: int = 64
    output: int = 64 * MIB
    result: int = 16 * MIB

    @property
    def patience_s(self) -> float:
        """How long it may take by the clock on a machine that is not overloaded."""
        return 30.0 + 2.0 * self.cpu_s

    @property
    def wall_s(self) -> float:
        """The last resort by the clock, for a machine that is overloaded beyond use."""
        return 60.0 + 20.0 * self.cpu_s


Judge = Callable[[int, bytes, bool, float], bool]


@dataclass(frozen=True, slots=True)
class CallJob:
    """Code whose function `entry` is called on each input, until `judge` refuses a result.

    `inputs` are argument tuples, each encoded by `kkwarm.verify.sandbox.encode`; every call decodes its own: changing
    them changes nothing else. `limits_s` is CPU seconds for each call, `load_s` for running the code itself.
    ``judge(index, encoded, exact, cpu_s)`` runs on the trusted side; `exact` is False where the value came as a
    library's type (numpy scalar, `Counter`) instead of a built-in one; `cpu_s` is what the candidate's process says the
    call took: believe it of trusted code only. A job may be begun anew (its worker was lost, the machine overloaded):
    then the judge is asked again from index 0. Results are sent in batches; before the calls that `milestones` names,
    what there is is sent, so that a call that hangs cannot hold it back.
    """

    code: str
    entry: str
    inputs: Sequence[bytes]
    limits_s: Sequence[float]
    judge: Judge
    load_s: float = 5.0
    limits: Limits = field(default_factory=Limits)
    milestones: Sequence[int] = ()


class End(StrEnum):
    """Why a job ended. Only `PASSED` means that every result came and was accepted."""

    PASSED = "passed"
    REFUSED = "refused"  # `judge` refused a result
    RAISED = "raised"  # a call raised
    OPAQUE = "opaque"  # a call returned something that is no plain data
    TIMEOUT = "timeout"
    LOAD = "load"  # the code does not run, or does not define the function
    CRASHED = "crashed"  # its process ended without a result
    OUTPUT = "output"  # it sent more than it may, or what is no message
    LOST = "lost"  # the sandbox itself failed, three times


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. `index` is the call that decided it (None: none did), `detail` is short and printable.

    `proven`: False where its time was up by the clock, although it had not used its CPU time: it slept, or did not get
    a core. `repeated`: that happened on an overloaded machine, so it was run once more, alone; this is how that ended.
    """

    end: End
    index: int | None = None
    detail: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_bytes: int = 0
    proven: bool = True
    repeated: bool = False
