"""The budget curve: accuracy against the token limit, from the stored samples of one run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kkwarm.analysis.metrics import clustered_mean, mean_interval
from kkwarm.errors import KkwarmError
from kkwarm.store import Run
from kkwarm.types import Sample

_SMALLEST = 16  # tokens of the lowest limit


def budget_curves(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The budget curve of each benchmark of a run."""
    run = Run.read(path)
    samples: dict[str, list[Sample]] = defaultdict(list)
    for sample in run.samples():
        samples[sample.benchmark].append(sample)
    if not samples:
        raise KkwarmError(f"{path} holds no samples", hint="give the folder of a bench run")
    return {name: budget_curve(of_benchmark) for name, of_benchmark in samples.items()}


def budget_curve(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """For limits that double, up to the longest completion: ``max_tokens``, ``accuracy``, its ``stderr`` and 95%
    interval ``ci`` (clustered by question) and ``finished``, the share of completions that end within the limit.

    A completion that is longer than the limit counts as not correct, as if it had been cut there. So each value is the
    accuracy that a run with this limit would have had, unless its answer stands before the cut: then it is a lower
    bound.

    :raises KkwarmError: the tokens of a completion were not counted.
    """
    if any(s.completion.n_tokens is None for s in samples):
        raise KkwarmError(
            f"{samples[0].benchmark}: not all completions have a number of tokens", hint="the server did not count them"
        )
    longest = max(s.completion.n_tokens or 0 for s in samples)
    limits = [_SMALLEST]
    while limits[-1] < longest:
        limits.append(min(2 * limits[-1], longest))
    return [_point(samples, limit) for limit in limits]


def _point(samples: Sequence[Sample], limit: int) -> dict[str, Any]:
    correct: dict[str, list[bool]] = defaultdict(list)
    finished = 0
    for sample in samples:
        within = (sample.completion.n_tokens or 0) <= limit
        correct[sample.id].append(within and sample.verdict.correct)
        finished += within and sample.completion.finish_reason != "length"
    means = [sum(values) / len(values) for values in correct.values()]
    accuracy, stderr = clustered_mean(means)
    figures = {"max_tokens": limit, "accuracy": accuracy, "stderr": stderr, "ci": mean_interval([means])}
    return figures | {"finished": finished / len(samples)}
