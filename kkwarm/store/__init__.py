"""Runs on disk: append-only samples, a manifest, resume."""

from kkwarm.store.lineage import contamination_of, maker_of
from kkwarm.store.run import Kind, Line, Run, config_hash, environment, file_hash, find_run, runs_home
from kkwarm.store.verifiers import record_verifiers

__all__ = [
    "Kind",
    "Line",
    "Run",
    "config_hash",
    "contamination_of",
    "environment",
    "file_hash",
    "find_run",
    "maker_of",
    "record_verifiers",
    "runs_home",
]
