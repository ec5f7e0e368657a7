# ruff: noqa: E501  (a program a line reads better than a page of them)
"""The filter of system calls, on every level."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap

import pytest

from kkwarm.verify.sandbox import End, seccomp_unavailable, syscalls

from .conftest import Run

needed = pytest.mark.skipif(bool(seccomp_unavailable()), reason=f"no filter: {seccomp_unavailable()}")


def syscall(number: int, *args: object) -> str:
    """A program that gives the error number of a system call."""
    values = ", ".join(map(str, args))
    return (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"def f(x): return ctypes.get_errno() if libc.syscall({number}, {values}) == -1 else 0"
    )


@needed
@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("socket", "import socket\ndef f(x):\n    try: socket.socket()\n    except OSError as e: return e.errno"),
        ("ptrace", syscall(101, 0, 0, 0, 0)),
        ("mount", syscall(165, 0, 0, 0, 0, 0)),
        ("unshare", syscall(272, 0x10000000)),
        ("setns", syscall(308, 3, 0)),
        ("bpf", syscall(321, 0, 0, 0)),
        ("io_uring_setup", syscall(425, 1, 0)),
        ("shmget", syscall(29, 0, 4096, 0o1600)),
        ("semget", syscall(64, 0, 1, 0o1600)),
        ("msgget", syscall(68, 0, 0o1600)),
        ("add_key", syscall(248, "b'user'", "b'a'", "b'b'", 1, -4)),
        ("clone of a user namespace", syscall(56, 0x10000000, 0, 0, 0, 0)),
    ],
)
def test_unneeded_system_calls_are_refused(run: Run, what: str, code: str) -> None:
    import platform

    if platform.machine() != "x86_64" and "syscall" in code:
        pytest.skip("system calls have other numbers here")
    outcome = run(code, inputs=[[1]], expected=[errno.EPERM])
    assert outcome.end is End.PASSED, (what, outcome)


@needed
@pytest.mark.parametrize(
    "code",
    [
        "import threading\ndef f(x):\n    t = threading.Thread(target=int)\n    t.start()\n    t.join()\n    return x + 1",
        "import asyncio\nasync def g(x): return x + 1\ndef f(x): return asyncio.run(g(x))",
        "import os\ndef f(x):\n    pid = os.fork()\n    if pid == 0: os._exit(0)\n    os.waitpid(pid, 0)\n    return x + 1",
        "import tempfile\ndef f(x):\n    with tempfile.TemporaryFile() as t: t.write(b'x')\n    return x + 1",
        "import subprocess\ndef f(x):\n    try: subprocess.run(['true'])\n    except OSError: pass\n    return x + 1",
    ],
)
def test_ordinary_code_still_works(run: Run, code: str) -> None:
    from kkwarm.verify.sandbox import Limits

    outcome = run(code, limits=Limits(cpu_s=3.0, idle_s=2.0, processes=100_000))
    assert outcome.end is End.PASSED, outcome


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


def test_without_a_binding_the_cause_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(syscalls.importlib, "import_module", none)
    assert syscalls._compiled.__wrapped__() == (b"", "no binding of libseccomp")


def test_another_module_of_that_name_is_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls.importlib, "import_module", lambda name: object())
    program, cause = syscalls._compiled.__wrapped__()
    assert program == b"" and cause
