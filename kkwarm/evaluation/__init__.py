"""Benchmarks a checkpoint: builds lm-eval tasks in memory from Benchmarks. The only importer of lm_eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kkwarm.evaluation.config import BenchConfig

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
    """Runs benchmarks on a checkpoint, or goes on with a run that was begun, and stores every sample as it comes.

    :param benchmarks: names as `kkwarm domains` lists them, ``NAME:FACET``, or ``lm_eval:NAME`` for lm-eval's own.
    :param out: the run folder; None: ``runs/bench/MODEL-HASH``.
    :param labels: kept in the manifest; they do not decide whether two runs are the same.
    :param backend: an open one to use; the caller closes it.
    :returns: the run, done; its manifest's ``results`` are the figures.
    :raises KkwarmError: unknown benchmark, no checkpoint, or a folder that holds another run.
    """
    from kkwarm.evaluation.engine import run_bench

    return run_bench(model, benchmarks, out, config or BenchConfig(), labels=labels, progress=progress, backend=backend)
