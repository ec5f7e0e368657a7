"""Runs on disk: append-only samples with checksums, a typed manifest, resume."""

from kkwarm.schema.manifest import Kind, Manifest
from kkwarm.store.environment import environment
from kkwarm.store.run import (
    Run,
    StoredLine,
    config_hash,
    file_hash,
    find_run,
    find_training_run,
    read_contamination,
    read_training_examples,
    run_hash,
    runs_home,
)

__all__ = [
    "Kind",
    "Manifest",
    "Run",
    "StoredLine",
    "config_hash",
    "environment",
    "file_hash",
    "find_run",
    "find_training_run",
    "read_contamination",
    "read_training_examples",
    "run_hash",
    "runs_home",
]
