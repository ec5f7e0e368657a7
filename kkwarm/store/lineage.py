"""What a checkpoint comes from, as far as the runs that made it are still there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.store.run import Run

__all__ = ["leaks_of"]


def leaks_of(model: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Evaluation items that a checkpoint was trained on (``domain``, ``id``, ``trained``, ``how``).

    The manifest of the run that made it tells, and holds those of the runs before it too. Empty where no run made it.

    :param model: a run folder, its ``checkpoint/``, or anything else that names a model.
    """
    path = Path(model).expanduser()
    for folder in (path, path.parent) if path.name == "checkpoint" else (path,):
        try:
            return list(Run.read(folder).manifest.get("leaks", ()))
        except KkwarmError:
            continue
    return []
