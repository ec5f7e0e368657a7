"""Records with a run which verifier code scored its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kkwarm.store.run import Run

__all__ = ["record_verifiers"]


def record_verifiers(run: Run, provenance: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes each benchmark's verifier provenance to the manifest.

    Where an earlier session of the run used other code, the hashes of that code stay listed under ``before``.
    """
    recorded = dict(run.manifest.get("verifiers", {}))
    for name, new in provenance.items():
        old = recorded.get(name)
        before = [*old.get("before", []), old["code"]] if old and old.get("code") != new.get("code") else []
        recorded[name] = {**new, "before": before} if before else {**(old or {}), **new}
    if recorded != run.manifest.get("verifiers"):
        run.record(verifiers=recorded)
