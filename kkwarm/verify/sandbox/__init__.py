"""Runs model-written code. Nothing that the code prints, raises, patches or kills decides its own verdict.

A `CallJob` is code, a function's name, inputs, and a `judge` that stays on the trusted side: it gets each result as
data and compares it with an expected output that never enters the sandbox.
"""

from kkwarm.verify.sandbox.codec import DecodeError, decode, encode, short
from kkwarm.verify.sandbox.inside.landlock import missing as landlock_missing
from kkwarm.verify.sandbox.levels import ALLOW, allowed, calibrate, level, overloaded, probe
from kkwarm.verify.sandbox.model import CallJob, End, Level, Limits, Outcome
from kkwarm.verify.sandbox.pool import Sandbox, shared_sandbox
from kkwarm.verify.sandbox.syscalls import missing as seccomp_missing

__all__ = [
    "ALLOW",
    "CallJob",
    "DecodeError",
    "End",
    "Level",
    "Limits",
    "Outcome",
    "Sandbox",
    "allowed",
    "calibrate",
    "decode",
    "encode",
    "landlock_missing",
    "level",
    "overloaded",
    "probe",
    "seccomp_missing",
    "shared_sandbox",
    "short",
]
