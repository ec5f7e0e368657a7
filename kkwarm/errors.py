"""Errors that the user can fix. The CLI prints each as one line, without a traceback."""

from __future__ import annotations

import difflib
import os
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

__all__ = ["ContaminationError", "KkwarmError", "describe_error", "shorten", "unknown_name", "warn"]

_KKWARM = str(Path(__file__).parent) + os.sep
_STDLIB = (str(Path(os.__file__).parent) + os.sep, "<frozen ")
_LIBRARIES = ("site-packages", "dist-packages")


class KkwarmError(Exception):
    """A mistake in the input or the environment. The CLI exits with 2.

    :param message: what is wrong and where.
    :param hint: how to fix it.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ContaminationError(KkwarmError):
    """Training and evaluation share items. The CLI exits with 1: a check failed, but the input was valid."""

    exit_code = 1


def unknown_name(kind: str, name: str, known: Iterable[str], *, hint: str = "") -> KkwarmError:
    """The error for a name that does not exist; it suggests similar names."""
    names = sorted(known)
    similar = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if similar:
        advice = "did you mean " + " or ".join(similar) + "?"
    elif names:
        advice = f"choose from: {', '.join(names)}"
    else:
        advice = f"no {kind} is registered: see `kkwarm plugins`"
    separator = "" if not hint else " " if advice.endswith("?") else "; "
    return KkwarmError(f"unknown {kind} {shorten(name)}", hint=advice + separator + hint)


def warn(message: str, colour: str = "yellow") -> None:
    """Prints one line on stderr: yellow for a warning, red for the error that ended the command. A terminal gets it
    wrapped between words.
    """
    import click

    from kkwarm.redaction import redact

    text = f"kkwarm: {redact(message)}"
    if sys.stderr.isatty():
        width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    click.secho(text, err=True, fg=None if os.environ.get("NO_COLOR") else colour)


def shorten(value: object, limit: int = 80) -> str:
    """The `repr` of a value for a message. Beyond `limit` characters only its beginning and its length are shown."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit // 2]}... ({len(text)} characters)"


def describe_error(err: BaseException) -> str:
    """An exception raised by a plugin as one line, with the line of the plugin's own file that led to it."""
    import traceback

    message = " ".join(f"{type(err).__name__}: {err}".split()).removesuffix(":")
    if isinstance(err, SyntaxError):
        return message  # it already names file and line
    frames = traceback.extract_tb(err.__traceback__)
    in_plugin = [f for f in frames if not f.filename.startswith(_KKWARM) and not _in_stdlib(f.filename)]
    if not in_plugin:
        return message
    last = [f for f in in_plugin if f.filename == in_plugin[0].filename][-1]
    return f"{message} ({Path(last.filename).name}, line {last.lineno})"


def _in_stdlib(filename: str) -> bool:
    """Whether a file belongs to the standard library. Plugins may be installed in a folder below it."""
    return filename.startswith(_STDLIB) and not any(name in filename for name in _LIBRARIES)
