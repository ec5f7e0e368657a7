"""Runs verifiers with time limits and process isolation."""

from kkwarm.verify.code import MAX_CHARS as MAX_CODE_CHARS
from kkwarm.verify.code import extract_code
from kkwarm.verify.functions import function_verifier
from kkwarm.verify.judge import Judge, verify
from kkwarm.verify.programs import program_verifier

__all__ = ["MAX_CODE_CHARS", "Judge", "extract_code", "function_verifier", "program_verifier", "verify"]
