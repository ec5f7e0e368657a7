# ruff: noqa: E501  (a program a line reads better than a page of them)
"""The filter of system calls, on every level."""

import errno
import platform
import struct
import subprocess
import sys
import textwrap
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kkwarm.verify.sandbox import End, Limits, Sandbox, seccomp_unavailable, syscalls, worker

from .conftest import Run, job

needed = pytest.mark.skipif(bool(seccomp_unavailable()), reason=f"no filter: {seccomp_unavailable()}")


def syscall(number: int, *args: object) -> str:
    """A program that gives the error number of a system call."""
    values = ", ".join(map(str, args))
    return (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"def f(x): return ctypes.get_errno() if libc.syscall({number}, {values}) == -1 else 0"
    )


REFUSED = {
    "socket": "import socket\ndef f(x):\n    try: socket.socket()\n    except OSError as e: return e.errno",
    "socket pair of datagrams": "import socket\ndef f(x):\n    try: socket.socketpair(type=socket.SOCK_DGRAM)\n    except OSError as e: return e.errno",
    "a program": "import os\ndef f(x):\n    try: os.execv('/bin/sh', ['sh'])\n    except OSError as e: return e.errno",
    "ptrace": syscall(101, 0, 0, 0, 0),
    "mount": syscall(165, 0, 0, 0, 0, 0),
    "unshare": syscall(272, 0x10000000),
    "setns": syscall(308, 3, 0),
    "bpf": syscall(321, 0, 0, 0),
    "io_uring_setup": syscall(425, 1, 0),
    "io_setup": syscall(206, 1, 0),
    "shmget": syscall(29, 0, 4096, 0o1600),
    "semget": syscall(64, 0, 1, 0o1600),
    "msgget": syscall(68, 0, 0o1600),
    "mq_open": syscall(240, "b'/a'", 0o102, 0o600, 0),
    "add_key": syscall(248, "b'user'", "b'a'", "b'b'", 1, -4),
    "request_key": syscall(249, "b'user'", "b'a'", 0, -4),
    "keyctl": syscall(250, 0, -3, 0),
    "memfd_create": "import os\ndef f(x):\n    try: os.memfd_create('a')\n    except OSError as e: return e.errno",
    "memfd_secret": syscall(447, 0),
    "clone of a user namespace": syscall(56, 0x10000000, 0, 0, 0, 0),
    "clone beside its parent": syscall(56, 0x8000, 0, 0, 0, 0),
    "clone3": syscall(435, 0, 0),
    "seccomp": syscall(317, 0, 0, 0),
    "personality": syscall(135, 0xFFFFFFFF),
    "setpriority": "import os\ndef f(x):\n    try: os.setpriority(os.PRIO_PROCESS, 0, 19)\n    except OSError as e: return e.errno",
    "sched_setscheduler": "import os\ndef f(x):\n    try: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n    except OSError as e: return e.errno",
    "sched_setaffinity": "import os\ndef f(x):\n    try: os.sched_setaffinity(0, {0})\n    except OSError as e: return e.errno",
    "limits of another process": syscall(302, 1, 0, 0, 0),
    "inotify_init": syscall(253),
    "fanotify_init": syscall(300, 0, 0),
    "userfaultfd": syscall(323, 0),
    "perf_event_open": syscall(298, 0, 0, -1, -1, 0),
    "process_vm_readv": syscall(310, 1, 0, 0, 0, 0, 0),
    "pidfd_open": syscall(434, 1, 0),
    "name_to_handle_at": syscall(303, -100, "b'/'", 0, 0, 0),
    "vmsplice": syscall(278, 1, 0, 0, 0),
    "sync": syscall(162),
    "a call of the future": syscall(999, 0),
}  # fmt: skip


@needed
@pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls have other numbers here")
@pytest.mark.parametrize("what", REFUSED, ids=str)
def test_unneeded_system_calls_are_refused(sandbox: Sandbox, what: str) -> None:
    ends = []
    for code in (errno.EPERM, errno.ENOSYS):
        ends += [o.end for o in sandbox.run_many([job(REFUSED[what], [[1]], [code])])]
    assert End.PASSED in ends, what


@needed
@pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code of this processor")
def test_calls_of_another_architecture_end_the_process(run: Run) -> None:
    source = """
import ctypes, mmap
def f(x):
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes.fromhex("53b814000000cd805bc3"))  # getpid of 32 bits
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    return x + 1
"""
    assert run(source).end is End.CRASHED


ORDINARY = {
    "thread": "import threading\ndef f(x):\n    t = threading.Thread(target=int)\n    t.start()\n    t.join()\n    return x + 1",
    "asyncio": "import asyncio\nasync def g(x): return x + 1\ndef f(x): return asyncio.run(g(x))",
    "asyncio in threads": "import asyncio\ndef f(x): return asyncio.run(asyncio.to_thread(int, x)) + 1",
    "fork": "import os\ndef f(x):\n    pid = os.fork()\n    if pid == 0: os._exit(0)\n    os.waitpid(pid, 0)\n    return x + 1",
    "temporary file": "import tempfile\ndef f(x):\n    with tempfile.TemporaryFile() as t: t.write(b'x')\n    return x + 1",
    "files": "import os, pathlib, shutil\ndef f(x):\n    a = pathlib.Path('a'); a.write_text('1'); a.touch(); shutil.copyfile('a', 'b'); os.symlink('b', f'c{x}'); os.rename('b', 'd')\n    return len(os.listdir()) * 0 + x + 1",
    "subprocess": "import subprocess\ndef f(x):\n    try: subprocess.run(['true'])\n    except OSError: pass\n    return x + 1",
    "pipe and select": "import os, select\ndef f(x):\n    a, b = os.pipe(); os.write(b, b'x'); select.select([a], [], [], 1); os.close(a); os.close(b)\n    return x + 1",
    "mmap": "import mmap\ndef f(x):\n    with mmap.mmap(-1, 4096) as m: m.write(b'x')\n    return x + 1",
    "sqlite": "import sqlite3\ndef f(x): return sqlite3.connect(':memory:').execute('select ? + 1', [x]).fetchone()[0]",
    "alarm": "import signal\ndef f(x):\n    old = signal.signal(signal.SIGUSR1, lambda *a: None); signal.raise_signal(signal.SIGUSR1); signal.signal(signal.SIGUSR1, old)\n    return x + 1",
    "larger stack": "import resource, sys\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 24, resource.getrlimit(resource.RLIMIT_STACK)[1]))\nsys.setrecursionlimit(10 ** 5)\ndef f(x): return x + 1",
    "clocks": "import time\ndef f(x):\n    time.sleep(0.001); time.time(); time.perf_counter(); time.process_time(); time.thread_time()\n    return x + 1",
    "terminal size": "import shutil, sys\ndef f(x):\n    shutil.get_terminal_size(); sys.stdout.isatty()\n    return x + 1",
    "numpy": "import numpy\ndef f(x): return int(numpy.linalg.det(numpy.eye(40)) + x)",
}  # fmt: skip


@needed
@pytest.mark.parametrize("what", ORDINARY, ids=str)
def test_ordinary_code_still_works(run: Run, what: str) -> None:
    outcome = run(ORDINARY[what], limits=Limits(cpu_s=6.0, idle_s=2.0), call_s=2.0)
    assert outcome.end is End.PASSED, outcome


def test_without_notification_processes_are_refused_and_threads_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Linux before 5.5, or in a container whose own filter notifies."""
    compiled = syscalls.program
    monkeypatch.setattr(worker, "program", lambda **options: compiled(**options | {"notify_forks": False}))
    with Sandbox(1, trusted=True) as sandbox:
        fork, thread = sandbox.run_many([job(ORDINARY[name], [[1]], [2]) for name in ("fork", "thread")])
    assert fork.end is End.RAISED and "PermissionError" in fork.detail
    assert thread.end is End.PASSED


def test_the_session_keyring_is_left() -> None:
    source = """
        import ctypes, os, sys
        from kkwarm.verify.sandbox.inside import kernel
        session = lambda: kernel.LIBC.syscall(kernel.number(kernel.SYS_KEYCTL), 0, -3, 0)  # KEYCTL_GET_KEYRING_ID
        if kernel.SYS_KEYCTL is None or session() == -1:
            sys.exit(3)
        before = session()
        kernel.leave_session_keyring()
        sys.exit(before == session())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(source)])
    if done.returncode == 3:
        pytest.skip("no keys in this kernel, or container")
    assert done.returncode == 0


def test_on_an_unknown_processor_the_cause_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls.platform, "machine", lambda: "mips")
    assert syscalls.unavailable() and syscalls.program(notify_forks=True, file_attributes=True) == b""


@given(st.integers(0, 700))
def test_the_search_tree_allows_exactly_the_list(number: int) -> None:
    """The compiled filter, run by an interpreter of its few instructions, gives the list's answer for each number."""
    for machine, architecture in syscalls._ARCHITECTURES.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(syscalls, "unavailable", lambda: "")
            patch.setattr(syscalls.platform, "machine", lambda machine=machine: machine)
            program = syscalls.program(notify_forks=False, file_attributes=False)
        allowed = set(syscalls._numbers(syscalls._ALLOWED, machine).values())
        special = syscalls._numbers(syscalls._CONDITIONAL, machine)
        result = interpret(program, {0: number, 4: architecture})
        if number not in special.values():
            assert (result == syscalls._ALLOW) is (number in allowed), (machine, number)
        assert interpret(program, {0: number, 4: 0x40000003}) == syscalls._KILL


def interpret(program: bytes, data: Mapping[int, int]) -> int:
    """The value that a filter returns for a call. `data` maps offsets in ``struct seccomp_data`` to words."""
    code = list(struct.iter_unpack("<HBBI", program))
    at = accumulator = 0
    while True:
        kind, if_true, if_false, operand = code[at]
        at += 1
        if kind == syscalls._RETURN:
            return int(operand)
        if kind == syscalls._LOAD:
            accumulator = data.get(operand, 0)
        elif kind == syscalls._AND:
            accumulator &= operand
        elif kind == syscalls._JUMP:
            at += operand
        else:
            tests = {
                syscalls._EQUAL: accumulator == operand,
                syscalls._GREATER: accumulator > operand,
                syscalls._AT_LEAST: accumulator >= operand,
                syscalls._ANY_BIT: bool(accumulator & operand),
            }
            at += if_true if tests[kind] else if_false
