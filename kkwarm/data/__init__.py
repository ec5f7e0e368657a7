"""Data for domains: reading it, splitting it, and checking it for contamination."""

from kkwarm.data.pins import examples_digest, file_digest
from kkwarm.data.sources import data_folder, hub_rows, local_file, read_jsonl, read_numbered_jsonl
from kkwarm.data.splits import content_hash, fingerprint, holdout, normalise

__all__ = [
    "content_hash",
    "data_folder",
    "examples_digest",
    "file_digest",
    "fingerprint",
    "holdout",
    "hub_rows",
    "local_file",
    "normalise",
    "read_jsonl",
    "read_numbered_jsonl",
]
