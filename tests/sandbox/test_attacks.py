# ruff: noqa: E501  (a program a line reads better than a page of them)
"""Code that tries to be judged right without being right, to harm, or to stay. None may succeed, at any level."""

from __future__ import annotations

import os
import socket
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from kkwarm.verify.sandbox import End, Level, Limits, Sandbox

from .conftest import Run, job

# Each defines `f`, of which 2 is expected for 1, and 3 for 2; none computes that.
FORGERIES = {
    "an object that equals everything": """
        class Same:
            def __eq__(self, other): return True
            __hash__ = object.__hash__
        def f(x): return Same()
    """,
    "an int that equals everything": """
        class Same(int):
            def __eq__(self, other): return True
            __hash__ = int.__hash__
        def f(x): return Same(0)
    """,
    "a str that equals everything, in a list": """
        class Same(str):
            def __eq__(self, other): return True
            __hash__ = str.__hash__
        def f(x): return [Same()]
    """,
    "a lying class": """
        class Same:
            __class__ = int
            def __eq__(self, other): return True
            def __index__(self): return 2
            __int__ = __index__
        def f(x): return Same()
    """,
    "expected outputs on the stack": """
        import sys
        def f(x):
            frame = sys._getframe()
            while frame is not None:
                for name, value in list(frame.f_locals.items()):
                    if name in ("expected", "exp", "wanted", "outputs", "references"):
                        return value[x - 1]
                frame = frame.f_back
    """,
    "patched built-ins": """
        import builtins, os, sys, operator
        builtins.type = lambda *a: int
        builtins.isinstance = lambda *a: True
        builtins.len = lambda a: 0
        builtins.zip = lambda *a, **k: iter(())
        builtins.enumerate = lambda *a: iter(())
        operator.eq = lambda *a: True
        os.write = lambda fd, data: len(data)
        def f(x): return 0
    """,
    "patched encoder": """
        import sys, marshal
        main = next(m for n, m in sys.modules.items() if n.endswith("candidate") and hasattr(m, "encode"))
        main.encode = lambda *a: (b"V", marshal.dumps(True, 2))
        main.record = lambda *a: b""
        main.Candidate.send = lambda *a: None
        main.Candidate.stop = lambda self: -1e9
        def f(x): return 0
    """,
    "every module replaced": """
        import sys
        for name in list(sys.modules):
            sys.modules[name] = None
        def f(x): return 0
    """,
    "an early, clean exit": """
        import os
        def f(x): os._exit(0)
    """,
    "an exit while it is loaded": """
        import sys
        def f(x): return 0
        sys.exit(0)
    """,
    "an exit at the end": """
        import atexit, os
        atexit.register(lambda: os._exit(0))
        def f(x): return None
    """,
    "forged messages on every descriptor": """
        import os, struct
        def f(x):
            good = b"".join(struct.pack("<cdI", k, 0.0, len(d)) + d for k, d in [(b"V", b"T"), (b"V", b"T"), (b"D", b"")])
            report = struct.pack("<cidddB2x", b"E", 0, 0.0, 0.0, 0.0, 0)
            for fd in range(256):
                for message in (good, report, b"passed", b"\\0" * 64):
                    try:
                        os.write(fd, message)
                    except OSError:
                        pass
            return 0
    """,
    "a forged end": """
        import os, struct
        def f(x):
            os.write(3, struct.pack("<cdI", b"D", 0.0, 0))
            os._exit(0)
    """,
    "random bytes on every descriptor": """
        import os
        def f(x):
            for fd in range(64):
                try:
                    os.write(fd, os.urandom(4096))
                except OSError:
                    pass
            return 0
    """,
    "closed descriptors": """
        import os
        def f(x):
            os.closerange(0, 64)
            return 0
    """,
    "replaced streams": """
        import sys
        class Loud:
            def write(self, text): raise SystemExit(0)
            flush = write
        sys.stdout = sys.stderr = sys.stdin = Loud()
        def f(x): return 0
    """,
    "two processes that answer": """
        import os
        def f(x):
            os.fork()
            return x + 1 if os.getpid() == 0 else 0
    """,
    "a thread that answers later": """
        import threading, time, os, struct
        def later():
            time.sleep(0.05)
            for _ in range(2):
                os.write(3, struct.pack("<cdI", b"V", 0.0, 1) + b"T")
        threading.Thread(target=later).start()
        def f(x):
            time.sleep(0.1)
            return 0
    """,
    "an exception with a hostile text": """
        class Error(Exception):
            def __str__(self): raise SystemExit(0)
        def f(x): raise Error
    """,
    "no end": """
        def f(x):
            while True:
                try:
                    while True: pass
                except BaseException: pass
    """,
    "no end, and no alarm": """
        import signal
        def f(x):
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0)
            while True: pass
    """,
    "no end in C code": """
        def f(x): return sum(range(10 ** 15))
    """,
    "a lying clock": """
        import time
        time.process_time = time.monotonic = lambda: 0.0
        def f(x):
            while True: pass
    """,
    "sleep": """
        import time
        def f(x): time.sleep(1000)
    """,
    "deep recursion": """
        import sys
        sys.setrecursionlimit(10 ** 9)
        def f(x): return f(x)
    """,
    "a deep value": """
        def f(x):
            value = []
            for _ in range(10 ** 5): value = [value]
            return value
    """,
    "a value that contains itself": """
        def f(x):
            value = []
            value.append(value)
            return value
    """,
    "a huge value": """
        def f(x): return "x" * (1 << 27)
    """,
    "a huge value of small parts": """
        def f(x):
            value = [0]
            for _ in range(40): value = [value, value]
            return value
    """,
    "a gigabyte printed": """
        import os
        def f(x):
            for _ in range(1024):
                print("x" * (1 << 20))
                os.write(2, b"x" * (1 << 20))
            return 0
    """,
    "a memory bomb": """
        def f(x):
            kept = []
            while True: kept.append(bytearray(1 << 24))
    """,
    "a crash": """
        import ctypes
        def f(x): ctypes.string_at(0)
    """,
    "a file that never ends": """
        import tempfile
        def f(x):
            with tempfile.TemporaryFile() as file:
                while True: file.write(b"x" * (1 << 20))
    """,
}


def code(text: str) -> str:
    return textwrap.dedent(text)


@pytest.mark.parametrize("attack", FORGERIES, ids=str)
def test_no_forgery_is_accepted(run: Run, attack: str) -> None:
    outcome = run(code(FORGERIES[attack]))
    assert outcome.end not in (End.PASSED, End.LOST), outcome


def test_an_honest_solution_passes_afterwards(run: Run) -> None:
    assert run("def f(x): return x + 1").end is End.PASSED


# What only namespaces keep out.
CONTAINED = {
    "kill everything": "import os\ndef f(x): os.kill(-1, 9); return 0",
    "kill the parent": "import os\ndef f(x): os.kill(os.getppid() or 1, 9); os.kill(2, 9); return 0",
    "stop everything": "import os, signal\ndef f(x): os.kill(-1, signal.SIGSTOP); return 0",
    "a fork bomb": "import os\ndef f(x):\n    while True:\n        try: os.fork()\n        except OSError: pass",
    "a thread bomb": "import threading, time\ndef f(x):\n    while True: threading.Thread(target=time.sleep, args=(9,)).start()",
    "mount": "import ctypes\ndef f(x): return ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "trace": "import ctypes\ndef f(x): return ctypes.CDLL(None).ptrace(16, 1, 0, 0)",
}


@pytest.mark.parametrize("attack", CONTAINED, ids=str)
def test_no_harm_is_done(run_contained: Run, contained: Sandbox, attack: str) -> None:
    outcome = run_contained(CONTAINED[attack])
    assert outcome.end not in (End.PASSED, End.LOST), outcome
    assert run_contained("def f(x): return x + 1").end is End.PASSED


def test_nothing_is_left_running(contained: Sandbox) -> None:
    daemon = """
        import os, time
        def f(x):
            for _ in range(2):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        time.sleep(1000)
                    os._exit(0)
            return x + 1
    """
    limits = Limits(cpu_s=3.0, idle_s=1.0, processes=32)
    assert contained.run_many([job(code(daemon), [[1]], [2], limits=limits)] * 3)[0].end is End.PASSED
    assert _below(contained) == _warm(contained)


def _below(sandbox: Sandbox) -> int:
    return sum(len(psutil.Process(w.process.pid).children(recursive=True)) for w in sandbox._workers)


def _warm(sandbox: Sandbox) -> int:
    """Supervisors of workers that wait for a job, and bubblewrap's own processes."""
    return len(sandbox._workers) * (1 if sandbox.level is Level.NAMESPACES else 3)


def test_nothing_is_left_running_at_the_weakest_level() -> None:
    daemon = "import os, time\ndef f(x):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(1000)\n    return x + 1"
    with Sandbox(1, level=Level.PROCESS, trusted=True) as sandbox:
        limits = Limits(cpu_s=3.0, idle_s=1.0, processes=100_000)
        assert sandbox.run_many([job(daemon, [[1]], [2], limits=limits)])[0].end is End.PASSED
        if psutil.LINUX:
            assert _below(sandbox) == 0


def test_closing_ends_every_process(contained: Sandbox) -> None:
    with Sandbox(1, level=contained.level) as sandbox:
        sandbox.run_many([job("def f(x): return x + 1", [[1]], [2])])
        started = psutil.Process(sandbox._workers[0].process.pid)
        family = [started, *started.children(recursive=True)]
        assert len(family) >= 2
    assert not psutil.wait_procs(family, timeout=10)[1]


# What is to be seen inside. Each returns a list, which must be the expected one.
SIGHTS = {
    "/etc": ("import os\ndef f(x): return [os.path.exists(p) for p in ('/etc/passwd', '/etc', '/home', '/var', '/sys')]", [False] * 5),
    "processes": ("import os\ndef f(x): return [os.getpid(), [p for p in range(2, 3000) if alive(p)]]\ndef alive(p):\n    try: os.kill(p, 0)\n    except ProcessLookupError: return False\n    return True", [1, []]),
    "/proc": ("import os\ndef f(x): return os.listdir('/proc') if os.path.exists('/proc') else []", []),
    "interfaces": ("import socket\ndef f(x): return [n for _, n in socket.if_nameindex() if n != 'lo']", []),
    "environment": ("import os\ndef f(x): return [k for k in os.environ if 'KEY' in k or 'TOKEN' in k or 'KKWARM' in k or 'USER' in k]", []),
    "descriptors": ("import os\ndef f(x): return [fd for fd in range(64) if is_open(fd)]\ndef is_open(fd):\n    try: os.fstat(fd)\n    except OSError: return False\n    return True", [0, 1, 2, 3]),
    "capabilities": ("import ctypes\ndef f(x):\n    data = (ctypes.c_uint32 * 6)()\n    ctypes.CDLL(None).capget((ctypes.c_uint32 * 2)(0x20080522, 0), data)\n    return list(data)", [0] * 6),
    "writable folders": ("import os\ndef f(x): return sorted(p for p in ('/', '/usr', '/usr/lib', '/dev', '/tmp') if os.access(p, os.W_OK))", ["/tmp"]),
}  # fmt: skip


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_nothing_of_the_machine_is_visible(run_contained: Run, sight: str) -> None:
    source, expected = SIGHTS[sight]
    outcome = run_contained(source, inputs=[[1]], expected=[expected])
    assert outcome.end is End.PASSED, outcome


def test_files_of_the_user_are_not_visible(run_contained: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("2")
    source = f"def f(x): return int(open({str(secret)!r}).read())"
    outcome = run_contained(source)
    assert outcome.end is End.RAISED and "FileNotFoundError" in outcome.detail, outcome


def test_no_socket_reaches_the_machine(run_contained: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = f"import socket\ndef f(x):\n    socket.create_connection(('127.0.0.1', {port}), 1)\n    return x + 1"
        outcome = run_contained(source)
    assert (outcome.end is End.RAISED and "OSError" in outcome.detail) or "refused" in outcome.detail.lower(), outcome


HUNT = """
import gc, sys
MARK = "".join(["MA", "RK", "ER"])
def f(x):
    found = [o for o in gc.get_objects() if isinstance(o, (dict, list, tuple))]
    for held in found:
        for o in list(held.values()) if isinstance(held, dict) else list(held):
            if isinstance(o, (str, bytes, bytearray)):
                text = o if isinstance(o, str) else bytes(o).decode("latin-1")
                if MARK + "-" in text:
                    return text[text.index(MARK): ][:12]
    return ""
"""


def test_neither_expected_outputs_nor_others_code_are_in_memory(run: Run) -> None:
    other = "KEPT = 'MARKER-other-' * 1000\ndef f(x): return 'MARKER-other-result'"
    assert run(other, inputs=[[1]], expected=["MARKER-other-result"]).end is End.PASSED
    outcome = run(HUNT, inputs=[[1]], expected=["MARKER-gold!"])
    assert outcome.end is End.REFUSED, outcome
    assert run(HUNT, inputs=[[1]], expected=[""]).end is End.PASSED, "it found something"


def test_candidates_leave_nothing_to_each_other(contained: Sandbox) -> None:
    leave = "import os\ndef f(x):\n    open('/tmp/numpy.py', 'w').write('x')\n    return os.listdir('/tmp')"
    look = "import os\ndef f(x): return os.listdir('/tmp')"
    for _ in range(2):
        assert contained.run_many([job(leave, [[1]], [["numpy.py"]])])[0].end is End.PASSED
        assert contained.run_many([job(look, [[1]], [[]])])[0].end is End.PASSED


def test_the_run_goes_on_when_a_supervisor_is_killed(contained: Sandbox) -> None:
    contained.run_many([job("def f(x): return x + 1", [[1]], [2])])
    for worker in contained._workers:
        psutil.Process(worker.process.pid).children()[0].kill()
    time.sleep(0.05)
    outcomes = contained.run_many([job("def f(x): return x + 1", [[1]], [2])] * 4)
    assert [o.end for o in outcomes] == [End.PASSED] * 4


@pytest.mark.skipif(os.name != "posix", reason="needs fork")
def test_a_forked_process_has_workers_of_its_own(contained: Sandbox) -> None:
    contained.run_many([job("def f(x): return x + 1", [[1]], [2])])
    pid = os.fork()
    if pid == 0:
        end = contained.run_many([job("def f(x): return x + 1", [[1]], [2])])[0].end
        contained.close()
        os._exit(0 if end is End.PASSED else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert contained.run_many([job("def f(x): return x + 1", [[1]], [2])])[0].end is End.PASSED
