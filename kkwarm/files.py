"""Paths as users write them, files that are written completely or not at all, and files that must be regular ones.

A run folder may come from someone else: it can hold links, named pipes and devices where files are expected. Opening
these could block, or write into another file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO

from kkwarm.errors import KkwarmError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a symbolic link"),
)
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK  # an open of a pipe must not wait for the other side


def write_file(path: Path | str, content: str | bytes | Iterable[str], *, follow: bool = False, hint: str = "") -> None:
    """Writes a file by a temporary one in the same folder, which then replaces it. Missing folders are made.

    Where anything fails, such as a full disk, the old file stays as it is. A pipe or device, such as ``/dev/stdout``,
    is written to directly.

    :param content: text (UTF-8), bytes, or pieces of text.
    :param follow: replace the file that a symbolic link at `path` leads to, not the link.
    :param hint: how to fix it, for the error.
    :raises KkwarmError: the file cannot be written.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        target = path.resolve() if follow else path
        if _is_stream(target):
            with open(target, "wb") as out:
                _write(out, content)
            return
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".kkwarm-{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with open(descriptor, "wb") as out:
            _write(out, content)
            out.flush()
            os.fsync(descriptor)
            with contextlib.suppress(OSError):  # the permissions of the file that is replaced
                if not target.is_symlink():
                    os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
        temporary = None
    except OSError as err:
        raise KkwarmError(f"{path} cannot be written: {err.strerror or err}", hint=hint) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _write(out: BinaryIO, content: str | bytes | Iterable[str]) -> None:
    for piece in (content,) if isinstance(content, str | bytes) else content:
        out.write(piece if isinstance(piece, bytes) else piece.encode("utf-8", "backslashreplace"))


def _is_stream(path: Path) -> bool:
    """Whether the path exists and is neither a file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


def is_regular(path: Path) -> bool:
    """Whether the path is a file, or a link to one; False where there is nothing."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def open_regular(path: Path | str) -> BufferedReader:
    """Opens a file for reading, without waiting for anything. Links are followed.

    :raises FileNotFoundError: it does not exist.
    :raises KkwarmError: it is no regular file, or cannot be read.
    """
    try:
        _check_kind(path, Path(path).stat())
        return open(_opened(path, os.O_RDONLY), "rb")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as err:
        raise _error(path, "read", err) from None


def read_regular(path: Path | str) -> bytes:
    """The content of a file; otherwise as `open_regular`."""
    try:
        with open_regular(path) as file:
            return file.read() or b""  # None: a special file of the kernel, such as /proc/kmsg, has nothing now
    except FileNotFoundError:
        raise
    except OSError as err:
        raise _error(path, "read", err) from None


def append_regular(path: Path | str) -> FileIO:
    """Opens a file for appending, unbuffered; creates it where it does not exist. Links are not followed.

    :raises OSError: it cannot be opened.
    :raises KkwarmError: it is a symbolic link, or no regular file.
    """
    with contextlib.suppress(FileNotFoundError):
        _check_kind(path, Path(path).lstat())
    return open(_opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW), "ab", buffering=0)


def _opened(path: Path | str, flags: int) -> int:
    descriptor = os.open(path, flags | _FLAGS, 0o666)
    try:
        _check_kind(path, os.fstat(descriptor))  # it may have been replaced since the first look
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_kind(path: Path | str, info: os.stat_result) -> None:
    for test, name in _KINDS:
        if test(info.st_mode):
            raise KkwarmError(f"{path} is {name}, not a file", hint="remove it, or restore the file")


def _error(path: Path | str, action: str, err: OSError | ValueError) -> KkwarmError:
    cause = getattr(err, "strerror", None) or str(err)
    return KkwarmError(f"{path} cannot be {action}: {cause}")


def expand_path(path: str | os.PathLike[str]) -> Path:
    """The path with a leading ``~`` or ``~NAME`` replaced by the home directory."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise KkwarmError(f"{path}: no such user on this machine", hint="write the full path") from None


def cache_folder() -> Path:
    """kkwarm's folder for what can be made again: ``$XDG_CACHE_HOME/kkwarm``, by default ``~/.cache/kkwarm``."""
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(base) if base else Path.home() / ".cache") / "kkwarm"
