"""Sets up Linux namespaces through libc: a new root, no network, no other processes, no privileges."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import select
import struct
import sys
from pathlib import Path
from typing import Any

from .wire import NOBODY

# Linux: sched.h, mount.h, prctl.h, capability.h
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 36, 38
PR_SET_SECCOMP = 22
SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}.get(os.uname().machine)
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER = 1, 8
NOTIF_RECV, NOTIF_SEND, NOTIF_CONTINUE = 0xC0502100, 0xC0182101, 1  # seccomp.h
NOTIF_BYTES = 80
SYS_MOUNT_SETATTR, AT_RECURSIVE = 442, 0x8000
SYS_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine), 1
LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *args: Any) -> int:
    """Calls a libc function that returns -1 on failure.

    :raises OSError: with the function's name.
    """
    result = int(getattr(LIBC, name)(*args))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def number(value: int) -> ctypes.c_ulong:
    return ctypes.c_ulong(value)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if s is None else s.encode() for s in (source, target, kind, data)]
    call("mount", *encoded[:3], number(flags), encoded[3])


def write_at(proc: int, path: str, text: str) -> None:
    with open(os.open(path, os.O_WRONLY, dir_fd=proc), "w") as file:
        file.write(text)


def enter_user_namespace(proc: int, flags: int) -> None:
    """Enters a new user namespace, in which this process keeps its user id and has every capability."""
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", flags | NEWUSER)
    write_at(proc, "self/setgroups", "deny")
    write_at(proc, "self/uid_map", f"{uid} {uid} 1")
    write_at(proc, "self/gid_map", f"{gid} {gid} 1")


def build_root(read_only: list[tuple[str, str]], hidden: list[str]) -> None:
    """Replaces the root by a read-only file system with the (source, target) trees and four harmless devices.

    :param hidden: folders inside these trees that are made empty.
    """
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for place in ("/tmp/new", "/tmp/old"):
        Path(place).mkdir()
    call("pivot_root", b"/tmp", b"/tmp/old")
    os.chdir("/")
    mount("tmpfs", "/new", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for source, target in read_only:
        outer, inner = Path(f"/old{source}"), Path(f"/new{target}")
        inner.parent.mkdir(parents=True, exist_ok=True)
        if outer.is_symlink():
            inner.symlink_to(outer.readlink())
        else:
            inner.mkdir(exist_ok=True)
            mount(str(outer), str(inner), None, MS_BIND | MS_REC)
            make_read_only(str(inner))
    for folder in hidden:
        mount("tmpfs", f"/new{folder}", "tmpfs", MS_NOSUID | MS_NODEV | MS_RDONLY, "size=4k,mode=555")
    for place in ("/new/tmp", "/new/dev", "/new/dev/shm"):
        Path(place).mkdir(mode=0o755)
    for name in ("null", "zero", "random", "urandom"):
        Path(f"/new/dev/{name}").touch()
        mount(f"/old/dev/{name}", f"/new/dev/{name}", None, MS_BIND)
        make_read_only(f"/new/dev/{name}", device=True)  # it can still be written to, but its times are fixed
    os.chdir("/new")
    call("pivot_root", b".", b".")
    call("umount2", b".", 2)  # MNT_DETACH: nothing of the old root remains reachable
    os.chdir("/")
    make_read_only("/", recursive=False, device=True)


def make_read_only(target: str, *, recursive: bool = True, device: bool = False) -> None:
    """:param device: devices in the mount remain usable."""
    attributes = struct.pack("<QQQQ", MS_RDONLY | MS_NOSUID | (0 if device else MS_NODEV), 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    if call_quietly("syscall", number(SYS_MOUNT_SETATTR), -100, target.encode(), flags, attributes, number(32)) == 0:
        return
    locked_flags = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | 8 | 1024 | 2048)  # a remount must keep these
    mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | locked_flags)


def call_quietly(name: str, *args: Any) -> int:
    return int(getattr(LIBC, name)(*args))


def leave_session_keyring() -> None:
    """Leaves the keyring of the user's session, which may hold keys. Failure means that there is none."""
    if SYS_KEYCTL is not None:
        call_quietly("syscall", number(SYS_KEYCTL), KEYCTL_JOIN_SESSION_KEYRING, None)


def load_filter(program: bytes) -> None:
    """Loads a compiled seccomp filter for this process and its children, permanently."""
    code = ctypes.create_string_buffer(program, len(program))
    call("prctl", PR_SET_SECCOMP, number(2), _filter(program, code), 0, 0)


def load_notifying_filter(program: bytes) -> int:
    """`load_filter`, for a filter that asks about some calls. Returns the descriptor from which they are answered.

    :raises OSError: this kernel or container does not support it.
    """
    if SYS_SECCOMP is None:
        raise OSError(errno.ENOSYS, "seccomp")
    code = ctypes.create_string_buffer(program, len(program))
    flags = number(SECCOMP_FILTER_FLAG_NEW_LISTENER)
    return call("syscall", number(SYS_SECCOMP), number(SECCOMP_SET_MODE_FILTER), flags, _filter(program, code))


def _filter(program: bytes, code: Any) -> bytes:
    return struct.pack("@HP", len(program) // 8, ctypes.addressof(code))


def answer_call(listener: int, allow: bool) -> None:
    """Allows the call that waits on a notifying filter, or refuses it with EAGAIN.

    :raises OSError: the caller has ended, or a signal interrupted its call.
    :raises EOFError: every process under the filter has ended.
    """
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    if not any(events & select.POLLIN for _, events in poll.poll(0)):  # reading would block
        raise EOFError
    request = bytearray(NOTIF_BYTES)
    fcntl.ioctl(listener, NOTIF_RECV, request)
    answer = struct.pack("<QqiI", int.from_bytes(request[:8], "little"), 0, 0 if allow else -errno.EAGAIN, int(allow))
    fcntl.ioctl(listener, NOTIF_SEND, bytearray(answer))


def notifies() -> bool:
    """Whether this kernel lets a supervisor decide about calls and then continue them (Linux 5.5)."""
    return _release() >= (5, 5) and SYS_SECCOMP is not None


def counts_tasks_by_namespace() -> bool:
    """Whether RLIMIT_NPROC counts a user's threads in each user namespace on its own (Linux 5.14)."""
    return _release() >= (5, 14)


def _release() -> tuple[int, ...]:
    numbers = re.findall(r"\d+", os.uname().release) if sys.platform == "linux" else []
    return tuple(int(number) for number in numbers[:2])


def confine(read_only: list[tuple[str, str]], hidden: list[str]) -> int:
    """Enters the namespaces. The next fork becomes process 1 of its own. Returns a descriptor of the host's /proc.

    As root, the file system is built first (Python may be readable by root only), and then the user changes to
    ``nobody``. An ordinary user builds it inside a new user namespace.
    """
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    rest = NEWPID | NEWNET | NEWIPC | NEWUTS
    if os.geteuid() == 0:
        call("unshare", NEWNS)
        build_root(read_only, hidden)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        call("prctl", PR_SET_DUMPABLE, number(1), 0, 0, 0)  # changing the user removed access to our own /proc files
        enter_user_namespace(proc, rest | NEWNS)
    else:
        enter_user_namespace(proc, rest | NEWNS)
        build_root(read_only, hidden)
    with contextlib.suppress(OSError):  # an additional lock; /proc/sys may be read-only
        write_at(proc, "sys/user/max_user_namespaces", "0")
    return proc
