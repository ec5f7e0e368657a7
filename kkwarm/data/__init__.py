"""Data for domains: sources, splits, the contamination check."""

from kkwarm.data.sources import bundle, hub, local, numbered_jsonl, read_jsonl
from kkwarm.data.splits import content_hash, fingerprint, holdout, normalise

__all__ = [
    "bundle",
    "content_hash",
    "fingerprint",
    "holdout",
    "hub",
    "local",
    "normalise",
    "numbered_jsonl",
    "read_jsonl",
]
