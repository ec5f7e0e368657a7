"""Landlock: without namespaces, it limits a candidate to reading Python's files and writing to its own folder.

As far as the kernel's version allows, it also blocks TCP, and signals to and tracing of other processes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import kernel

__all__ = ["restrict", "ruleset", "unavailable"]

# Linux landlock.h; the numbers of the calls are the same on every processor.
SYS_CREATE_RULESET, SYS_ADD_RULE, SYS_RESTRICT_SELF = 444, 445, 446
VERSION, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
READ = EXECUTE | READ_FILE | READ_DIR
FILE_SYSTEM = {
    1: (1 << 13) - 1,
    2: (1 << 14) - 1,
    3: (1 << 15) - 1,
    5: (1 << 16) - 1,
}  # by the version that added rights
TCP = {4: 3}  # bind, connect
SCOPES = {6: 3}  # abstract sockets, signals
# What Python reads besides its own files.
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/dev/zero", "/dev/random", "/dev/urandom")


def unavailable() -> str:
    """Why Landlock is not available; empty where it is."""
    if sys.platform != "linux":
        return "only on Linux"
    try:
        return "" if _version() >= 1 else "the kernel does not support it"
    except OSError as err:
        return "the kernel does not support it" if err.errno == errno.ENOSYS else "it is disabled or forbidden"


def ruleset(readable: Iterable[str], hidden: Iterable[str], listed: Iterable[str], folder: str) -> int | None:
    """A file descriptor for `restrict`; None where Landlock is not available.

    :param hidden: folders inside the readable ones that cannot be read.
    :param listed: folders of which only the file names can be read; so can those of folders around hidden ones.
    :param folder: where everything is allowed.
    """
    if unavailable():
        return None
    version = _version()
    handled = [_rights(version, FILE_SYSTEM), _rights(version, TCP), _rights(version, SCOPES)]
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("<QQQ", *handled)
    rules = kernel.call("syscall", kernel.number(SYS_CREATE_RULESET), attributes, kernel.number(size), 0)
    closed = {Path(h) for h in hidden}
    for tree in readable:
        for path, access in _readable_paths(Path(tree), closed):
            _allow(rules, path, access & handled[0])
    for path in map(Path, listed):
        _allow(rules, path, READ_DIR)
    for path in map(Path, SYSTEM_FILES):
        _allow(rules, path, READ & handled[0])
    _allow(rules, Path(os.devnull), (READ_FILE | WRITE_FILE) & handled[0])
    _allow(rules, Path(folder), handled[0])
    return rules


def restrict(rules: int) -> None:
    """Restricts this process and its children permanently. It must have set no_new_privs before."""
    kernel.call("syscall", kernel.number(SYS_RESTRICT_SELF), rules, 0)


def _version() -> int:
    return kernel.call("syscall", kernel.number(SYS_CREATE_RULESET), None, kernel.number(0), VERSION)


def _rights(version: int, rights: dict[int, int]) -> int:
    return max((mask for since, mask in rights.items() if version >= since), default=0)


def _readable_paths(tree: Path, closed: set[Path]) -> Iterator[tuple[Path, int]]:
    """The paths to allow. A right covers a whole folder, so a tree with a closed folder in it is allowed in parts."""
    if tree in closed:
        return
    if not any(c.is_relative_to(tree) for c in closed):
        yield tree, READ
        return
    yield tree, READ_DIR
    for part in tree.iterdir():
        yield from _readable_paths(part, closed)


def _allow(rules: int, path: Path, access: int) -> None:
    try:
        fd = os.open(path, 0o10000000 | os.O_CLOEXEC)  # O_PATH
    except OSError:
        return  # it does not exist, or is not accessible
    try:
        attributes = struct.pack("<Qi", access if path.is_dir() else access & ON_FILES, fd)
        kernel.call("syscall", kernel.number(SYS_ADD_RULE), rules, PATH_BENEATH, ctypes.c_char_p(attributes), 0)
    finally:
        os.close(fd)
