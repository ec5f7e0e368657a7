"""The figures of one benchmark, as the manifest and `--json` give them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from kkwarm.analysis.metrics import summarize
from kkwarm.evaluation.plan import Entry
from kkwarm.formats import has_reasoning
from kkwarm.types import Sample

__all__ = ["figures"]


def figures(entry: Entry, samples: Sequence[Sample]) -> dict[str, Any]:
    """`summarize` of the samples, with ``worked`` (share with reasoning, None where no format tells) and ``tokens``
    (mean, median, max).
    """
    found = summarize(samples, entry.facet_of)
    worked = [w for s in samples if (w := has_reasoning(entry.format, s.completion)) is not None]
    found["worked"] = statistics.fmean(worked) if worked else None
    lengths = [s.completion.n_tokens for s in samples if s.completion.n_tokens is not None]
    found["tokens"] = None
    if lengths:
        found["tokens"] = {"mean": statistics.fmean(lengths), "median": statistics.median(lengths), "max": max(lengths)}
    found["format"] = entry.format.name
    found["verifier"] = entry.verifier.name
    return found
