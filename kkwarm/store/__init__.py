"""Runs on disk: append-only samples, a manifest, resume."""

from kkwarm.schema.manifest import Kind, Manifest
from kkwarm.store.lineage import contamination_of, maker_of
from kkwarm.store.run import Line, Run, config_hash, environment, file_hash, find_run, runs_home

__all__ = [
    "Kind",
    "Line",
    "Manifest",
    "Run",
    "config_hash",
    "contamination_of",
    "environment",
    "file_hash",
    "find_run",
    "maker_of",
    "runs_home",
]
