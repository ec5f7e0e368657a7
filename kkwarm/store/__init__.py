"""Runs on disk: append-only samples, a manifest, resume."""

from kkwarm.store.run import Kind, Run, config_hash, environment, runs_home

__all__ = ["Kind", "Run", "config_hash", "environment", "runs_home"]
