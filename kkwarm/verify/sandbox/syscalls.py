"""A seccomp filter for candidates: an additional layer at every level, where libseccomp is installed to compile it.

It is compiled on the trusted side by libseccomp's own Python binding (``seccomp``, a system package) or by
``pyseccomp`` (the extra ``sandbox``). Each candidate's process loads it before it runs the candidate.
"""

from __future__ import annotations

import errno
import functools
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["program", "unavailable"]

_NEWUSER = 0x10000000  # Linux sched.h: CLONE_NEWUSER
# System calls that no solution needs and that have been used to escape sandboxes, or that create objects which outlive
# the process (System V shared memory, which no resource limit counts, and keys).
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
        except (AttributeError, OSError, RuntimeError, ValueError) as err:  # another module of that name, or no library
            cause = f"{name}: {' '.join(str(err).split())[:100]}"
    return b"", cause


def _compile(library: Any) -> bytes:
    rules = library.SyscallFilter(library.ALLOW)
    for name in _DENIED.split():
        try:
            rules.add_rule(library.ERRNO(errno.EPERM), name)
        except (OSError, RuntimeError, ValueError):  # unknown to this processor or this libseccomp
            continue
    rules.add_rule(library.ERRNO(errno.EPERM), "clone", library.Arg(0, library.MASKED_EQ, _NEWUSER, _NEWUSER))
    rules.add_rule(library.ERRNO(errno.ENOSYS), "clone3")  # a filter cannot read its flags; callers fall back to clone
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def program() -> bytes:
    """The compiled filter; empty where it is not available."""
    return _compiled()[0]


def unavailable() -> str:
    """Why the filter is not available; empty where it is."""
    return _compiled()[1]
