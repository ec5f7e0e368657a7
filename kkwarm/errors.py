"""Errors that are the user's to mend: one line each, no traceback."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["ContaminationError", "KkwarmError", "describe_error", "shorten", "unknown_name", "warn"]

_OURS = str(Path(__file__).parent) + os.sep
_PYTHONS = (str(Path(os.__file__).parent) + os.sep, "<frozen ")
_LIBRARIES = ("site-packages", "dist-packages")


class KkwarmError(Exception):
    """A mistake in input or environment. `message` says what and where, `hint` how to mend it. The CLI exits with 2."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ContaminationError(KkwarmError):
    """Training and evaluation share items. The CLI exits with 1: the check failed, the input was readable."""

    exit_code = 1


def unknown_name(kind: str, name: str, known: Iterable[str], *, hint: str = "") -> KkwarmError:
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
    return KkwarmError(f"unknown {kind} {shorten(name)}", hint=mend + between + hint)


def warn(message: str, colour: str = "yellow") -> None:
    """One line on stderr: what a user should know, or (red) what ended the command."""
    import click

    click.secho(f"kkwarm: {message}", err=True, fg=None if os.environ.get("NO_COLOR") else colour)


def shorten(value: float | str) -> str:
    """The value as Python writes it, for a message: a number or text that would fill the line, by its beginning."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:40]}... ({len(text)} characters)"


def describe_error(err: BaseException) -> str:
    """What an exception of a plugin says, in one line, and the line of the plugin's own file that led to it."""
    import traceback

    said = " ".join(f"{type(err).__name__}: {err}".split()).removesuffix(":")
    if isinstance(err, SyntaxError):
        return said  # it names file and line itself
    frames = traceback.extract_tb(err.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith(_OURS) and not _of_python(f.filename)]
    if not theirs:
        return said
    last = [f for f in theirs if f.filename == theirs[0].filename][-1]
    return f"{said} ({Path(last.filename).name}, line {last.lineno})"


def _of_python(filename: str) -> bool:
    """Whether a file is the standard library's; a plugin may be installed in a folder below it."""
    return filename.startswith(_PYTHONS) and not any(name in filename for name in _LIBRARIES)
