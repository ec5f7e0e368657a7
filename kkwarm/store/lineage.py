"""What a checkpoint comes from, as far as the runs that made it are still there."""

from __future__ import annotations

import os
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.paths import expanded
from kkwarm.store.run import Run

__all__ = ["contamination_of", "maker_of"]


def maker_of(model: str | os.PathLike[str]) -> Run | None:
    """The run that made a checkpoint; None where no run did, or it is no longer there.

    :param model: a run folder, its ``checkpoint/`` or ``best/``, or anything else that names a model.
    """
    path = expanded(model)
    for folder in (path, path.parent) if path.name in ("checkpoint", "best") else (path,):
        try:
            return Run.read(folder)
        except KkwarmError:
            continue
    return None


def contamination_of(model: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Evaluation items that a checkpoint was trained on (``domain``, ``id``, ``trained``, ``how``).

    The manifest of the run that made it tells, and holds those of the runs before it too. Empty where no run made it.

    :param model: as of `maker_of`.
    """
    run = maker_of(model)
    return [] if run is None else list(run.manifest.contamination)
