"""Runs model-written code so that nothing it prints, raises, patches or kills can decide its own verdict.

A `CallJob` holds code, a function's name, inputs, and a `judge` that stays on the trusted side. The judge receives each
result as plain data, and compares it with an expected output that never enters the sandbox. A `ProgramJob` is a program
with a standard input; what it writes comes back as bytes.
"""

from kkwarm.verify.sandbox.codec import DecodeError, decode, encode, short_repr
from kkwarm.verify.sandbox.inside.landlock import unavailable as landlock_unavailable
from kkwarm.verify.sandbox.levels import (
    ALLOW_UNSANDBOXED,
    is_overloaded,
    measure_slowness,
    probe_levels,
    strongest_level,
    unsandboxed_allowed,
)
from kkwarm.verify.sandbox.model import CallJob, End, Level, Limits, Outcome, ProgramJob, ProgramOutcome
from kkwarm.verify.sandbox.pool import Sandbox, shared_sandbox
from kkwarm.verify.sandbox.syscalls import unavailable as seccomp_unavailable

__all__ = [
    "ALLOW_UNSANDBOXED",
    "CallJob",
    "DecodeError",
    "End",
    "Level",
    "Limits",
    "Outcome",
    "ProgramJob",
    "ProgramOutcome",
    "Sandbox",
    "decode",
    "encode",
    "is_overloaded",
    "landlock_unavailable",
    "measure_slowness",
    "probe_levels",
    "seccomp_unavailable",
    "shared_sandbox",
    "short_repr",
    "strongest_level",
    "unsandboxed_allowed",
]
