"""Runs a Python program in the sandbox, for code that a model wrote: ``kkwarm.sandbox.run("print(input())", "hello")``.

The program sees no network, no file of the user and no other process (docs/pages/verdicts.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from kkwarm.errors import KkwarmError
from kkwarm.verify.sandbox import End, Limits, ProgramJob, shared_sandbox

__all__ = ["Limits", "ProgramResult", "run"]

_LIMITS = Limits(cpu_s=10.0, output=16 << 20)


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """How a program ended, and what it wrote.

    :param stdout: what it wrote to stdout, as UTF-8 with U+FFFD for each invalid byte; `stdout_bytes`: the bytes.
    :param stderr: the last 64 KiB that it wrote to stderr; the traceback of an exception, for example.
    :param exit_code: 0, where the program ended without an error. Minus the signal's number, where one ended it. None,
        where a limit did.
    :param timed_out: it exceeded its CPU time, or slept too long.
    :param reason: how it ended, in a few words.
    :param cpu_s, wall_s: CPU and wall-clock time, in seconds.
    :param peak_bytes: the most memory that one of its processes used.
    """

    stdout: str
    stderr: str
    exit_code: int | None
    timed_out: bool
    reason: str
    cpu_s: float
    wall_s: float
    peak_bytes: int
    stdout_bytes: bytes

    @property
    def ok(self) -> bool:
        """Whether the program ended by itself, with exit code 0."""
        return self.exit_code == 0


def run(program: str, stdin: str | bytes = "", *, limits: Limits = _LIMITS) -> ProgramResult:
    """Runs a Python program once, as ``python main.py`` would.

    :param stdin: the content of its standard input, which then ends: a program that asks for more gets an EOFError.
    :param limits: by default 10 s of CPU time, 5 s of sleep, 1 GiB of memory, 4 more processes and 16 MiB of output.
    :raises KkwarmError: no sandbox works here, and the user has not allowed to run code without one; or the sandbox
        failed three times.
    """
    data = stdin if isinstance(stdin, bytes) else stdin.encode("utf-8", "surrogateescape")
    (outcome,) = shared_sandbox().run_programs([ProgramJob(program, data, limits)])
    if outcome.end is End.LOST:
        raise KkwarmError(f"the sandbox failed: {outcome.detail}", hint="see `kkwarm doctor`")
    return ProgramResult(
        outcome.stdout.decode("utf-8", "replace"),
        outcome.stderr.decode("utf-8", "replace"),
        outcome.exit_code,
        outcome.end is End.TIMEOUT,
        outcome.detail,
        outcome.cpu_s,
        outcome.wall_s,
        outcome.peak_bytes,
        outcome.stdout,
    )
