"""Notes about the verdicts of a run: programs that could not be run, and programs that ran out of time."""

from __future__ import annotations

from typing import Any

from kkwarm.errors import warn
from kkwarm.types import Sample, Status

BENCHMARKS = ("humaneval_plus", "mbpp_plus")
_NOTED: set[str] = set()  # benchmarks of this process that had a failure


def note_failure(sample: Sample) -> None:
    """Prints the first failure of a benchmark when it happens, because a run without a sandbox is worth nothing."""
    name = sample.benchmark
    if name.startswith(BENCHMARKS) and sample.verdict.status is Status.ERROR and name not in _NOTED:
        _NOTED.add(name)
        warn(
            f"{name} {sample.id}: the program could not be run, which is not the model's fault: {sample.verdict.reason}"
        )


def note_timeouts(run: Any) -> None:
    """Prints how many programs ran out of time.

    :param run: the finished run.
    """
    for name, figures in run.manifest.benchmarks.items():
        count = figures["status"].get("timeout", 0)
        if name.startswith(BENCHMARKS) and count:
            what = f"{count:,} of {figures['samples']:,} programs ran out of time"
            warn(f"{name}: {what}. A busy machine can be the cause: `kkwarm rescore {run.path}` runs them again.")
