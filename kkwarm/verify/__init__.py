"""Runs verifiers with time and process isolation. A verdict is decided where model-written code cannot reach."""

from kkwarm.verify.judge import Judge, judge

__all__ = ["Judge", "judge"]
