"""Errors that are the user's to mend: one line each, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["KkwarmError", "LeakError", "unknown"]


class KkwarmError(Exception):
    """A mistake in input or environment. `message` says what and where, `hint` how to mend it. The CLI exits with 2."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class LeakError(KkwarmError):
    """Training and evaluation share items. The CLI exits with 1: the check failed, the input was readable."""

    exit_code = 1


def unknown(kind: str, name: str, known: Iterable[str], *, hint: str = "") -> KkwarmError:
    """The error for a name that does not exist, offering near names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        mend = "did you mean " + " or ".join(near) + "?"
    elif names:
        mend = f"there are: {', '.join(names)}"
    else:
        mend = f"no {kind} is registered: see `kkwarm plugins`"
    between = "" if not hint else " " if mend.endswith("?") else "; "
    return KkwarmError(f"unknown {kind} {name!r}", hint=mend + between + hint)
