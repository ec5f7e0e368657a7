"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path

from kkwarm.errors import KkwarmError

__all__ = ["expanded"]


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path, with ``~`` replaced.

    :raises KkwarmError: ``~NAME`` of nobody here.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise KkwarmError(f"{path}: nobody of that name has a home here", hint="write the path out") from None
