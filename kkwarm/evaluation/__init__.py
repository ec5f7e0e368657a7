"""Benchmarks checkpoints. Only this package imports lm_eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kkwarm.schema.settings import BenchConfig

if TYPE_CHECKING:
    from kkwarm.backends.base import Backend
    from kkwarm.store import Run

__all__ = ["BenchConfig", "bench"]


def bench(
    model: str,
    benchmarks: Sequence[str],
    out: Path | str | None = None,
    config: BenchConfig | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    progress: bool = True,
    backend: Backend | None = None,
) -> Run:
    """Runs benchmarks on a checkpoint, or resumes an interrupted run. Samples are stored as they are generated.

    :param benchmarks: names as in `kkwarm domains`, ``NAME:FACET``, or ``lm_eval:NAME`` for a task of lm-eval.
    :param out: the run folder; None: ``runs/bench/MODEL-HASH``.
    :param labels: stored in the manifest; not part of the run's identity.
    :param backend: an open backend, which the caller closes; None opens the one that `config` names.
    :returns: the finished run; its manifest's ``results`` hold the scores.
    :raises KkwarmError: unknown benchmark, no checkpoint, or `out` holds a run with other settings.
    """
    from kkwarm.evaluation.engine import run_bench

    return run_bench(model, benchmarks, out, config or BenchConfig(), labels=labels, progress=progress, backend=backend)
