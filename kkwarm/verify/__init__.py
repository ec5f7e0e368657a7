"""Runs verifiers with time limits and process isolation."""

from kkwarm.verify.functions import function_verifier
from kkwarm.verify.judge import Judge, verify

__all__ = ["Judge", "function_verifier", "verify"]
