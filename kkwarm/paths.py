"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path

from kkwarm.errors import KkwarmError


def expand_path(path: str | os.PathLike[str]) -> Path:
    """The path with a leading ``~`` or ``~NAME`` replaced by the home directory.

    :raises KkwarmError: there is no user NAME.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise KkwarmError(f"{path}: no such user on this machine", hint="write the full path") from None


def cache_folder() -> Path:
    """kkwarm's folder for what can be made again: ``$XDG_CACHE_HOME/kkwarm``, by default ``~/.cache/kkwarm``."""
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(base) if base else Path.home() / ".cache") / "kkwarm"
