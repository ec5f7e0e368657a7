"""Runs verifiers with time and process isolation. A verdict is decided where model-written code cannot reach."""

from kkwarm.verify.functions import function_verifier
from kkwarm.verify.judge import Judge, verify

__all__ = ["Judge", "function_verifier", "verify"]
