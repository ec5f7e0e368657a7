"""A seccomp filter for candidates: a further layer on every level, where libseccomp can be had to compile it.

It is compiled on the trusted side, by libseccomp's own binding (``seccomp``, of the system's packages) or by
``pyseccomp`` (the extra ``sandbox``), and loaded by each candidate's process before the candidate.
"""

from __future__ import annotations

import errno
import functools
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["missing", "program"]

_NEWUSER = 0x10000000  # Linux sched.h: CLONE_NEWUSER
# What no solution needs, and ways out of a sandbox have been made of; or what would outlive the process (System V's
# memory, which no resource limit counts, and keys).
_DENIED = """
    socket io_uring_setup io_uring_enter io_uring_register ptrace process_vm_readv process_vm_writev pidfd_getfd
    mount umount2 move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr pivot_root chroot unshare setns
    bpf perf_event_open userfaultfd keyctl add_key request_key name_to_handle_at open_by_handle_at kexec_load
    kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct quotactl settimeofday
    clock_settime clock_adjtime adjtimex personality syslog iopl ioperm memfd_secret
    shmget semget msgget mq_open
"""


@functools.cache
def _compiled() -> tuple[bytes, str]:
    if sys.platform != "linux":
        return b"", "only on Linux"
    if not Path("/proc/sys/kernel/seccomp/actions_avail").exists():
        return b"", "the kernel has no seccomp filters"
    cause = ""
    for name in ("seccomp", "pyseccomp"):
        try:
            return _compile(importlib.import_module(name)), ""
        except ImportError as err:
            cause = "no binding of libseccomp" if isinstance(err, ModuleNotFoundError) else str(err)
        except (AttributeError, OSError, RuntimeError, ValueError) as err:  # another module of that name; no library
            cause = f"{name}: {' '.join(str(err).split())[:100]}"
    return b"", cause


def _compile(library: Any) -> bytes:
    rules = library.SyscallFilter(library.ALLOW)
    for name in _DENIED.split():
        try:
            rules.add_rule(library.ERRNO(errno.EPERM), name)
        except (OSError, RuntimeError, ValueError):  # this processor, or this libseccomp, does not know it
            continue
    rules.add_rule(library.ERRNO(errno.EPERM), "clone", library.Arg(0, library.MASKED_EQ, _NEWUSER, _NEWUSER))
    rules.add_rule(library.ERRNO(errno.ENOSYS), "clone3")  # its flags are in memory; callers fall back to clone
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def program() -> bytes:
    """The compiled filter; empty where there is none."""
    return _compiled()[0]


def missing() -> str:
    """Why there is no filter; "" where there is one."""
    return _compiled()[1]
