"""Removes folders that a candidate filled. Standard library only."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["remove"]


def remove(folder: Path) -> None:
    """Removes a folder that may be unreadable, replaced by a link, or deeper than paths and recursion can be."""
    with contextlib.suppress(OSError):
        if folder.is_symlink():
            folder.unlink()
            return
        folder.chmod(0o700)
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        names: list[str] = []  # the way from `folder` to `place`
        try:
            while True:
                inner = _remove_files(place)
                if inner is not None:
                    os.chmod(inner, 0o700, dir_fd=place)
                    place = _leave(place, inner)
                    names.append(inner)
                elif names:
                    place = _leave(place, "..")
                    os.rmdir(names.pop(), dir_fd=place)
                else:
                    break
        finally:
            os.close(place)
        folder.rmdir()


def _remove_files(place: int) -> str | None:
    """Removes files until a folder is found. Returns its name, or None where there is none."""
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                return entry.name
            os.unlink(entry.name, dir_fd=place)
    return None


def _leave(place: int, name: str) -> int:
    """Opens a folder inside another, which is closed."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
    finally:
        os.close(place)
