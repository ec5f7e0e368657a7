"""The figures of one benchmark, as the manifest and `--json` give them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from kkwarm.harness.plan import Entry
from kkwarm.transfer.aggregate import summarise
from kkwarm.types import Format, Sample

__all__ = ["figures"]


def figures(entry: Entry, samples: Sequence[Sample]) -> dict[str, Any]:
    """`summarise` of the samples, with ``worked`` (share with reasoning) and ``tokens`` (mean, median, max)."""
    found = summarise(samples, entry.facet_of)
    worked = sum(_worked(entry.format, sample) for sample in samples)
    found["worked"] = worked / len(samples)
    lengths = [s.completion.n_tokens for s in samples if s.completion.n_tokens is not None]
    found["tokens"] = None
    if lengths:
        found["tokens"] = {"mean": statistics.fmean(lengths), "median": statistics.median(lengths), "max": max(lengths)}
    found["format"] = entry.format.name
    found["verifier"] = entry.verifier.name
    return found


def _worked(fmt: Format, sample: Sample) -> bool:
    try:
        return bool(fmt.split(sample.completion).reasoning.strip())
    except Exception:  # such a sample has the verdict `error`, which names the format and the cause
        return False
