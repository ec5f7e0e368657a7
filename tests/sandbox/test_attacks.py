# ruff: noqa: E501  (a program a line reads better than a page of them)
"""Code that tries to forge a verdict, to do harm, or to stay running. None may succeed at any level."""

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from kkwarm.verify.sandbox import CallJob, End, Level, Limits, Sandbox, decode, encode, probe_levels

from .conftest import Run, job
from .forgeries import FORGERIES


def code(text: str) -> str:
    return textwrap.dedent(text)


@pytest.mark.parametrize("attack", FORGERIES, ids=str)
def test_no_forgery_is_accepted(run: Run, attack: str) -> None:
    outcome = run(code(FORGERIES[attack]))
    assert outcome.end not in (End.PASSED, End.LOST), outcome


def test_a_correct_solution_passes_afterwards(run: Run) -> None:
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
    "interfaces": ("import socket\ndef f(x):\n    try: return [n for _, n in socket.if_nameindex() if n != 'lo']\n    except PermissionError: return []", []),
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


def test_no_installed_package_is_visible(run_contained: Run) -> None:
    """A plugin's own package may hold right answers; kkwarm may be installed beside Python's own library."""
    library = Path(os.__file__).parent
    folders = [*(library / f"{name}-packages" for name in ("site", "dist")), Path("/usr/lib/python3/dist-packages")]
    places = [str(p) for p in folders if p.is_dir() and any(p.iterdir())]
    source = f"import os\ndef f(x): return [p for p in {places!r} if os.path.isdir(p) and os.listdir(p)]"
    assert places, "Python has no packages of its own here"
    outcome = run_contained(source, inputs=[[1]], expected=[[]])
    assert outcome.end is End.PASSED, outcome
    written = run_contained(f"def f(x): open({places[0]!r} + '/numpy.py', 'w'); return x + 1")
    assert written.end is End.RAISED and "Read-only file system" in written.detail, written
    honest = "import numpy\ndef f(x): return int(numpy.arange(x + 2).max())"
    assert run_contained(honest).end is End.PASSED


def test_no_socket_reaches_the_machine(run_contained: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = f"import socket\ndef f(x):\n    socket.create_connection(('127.0.0.1', {port}), 1)\n    return x + 1"
        outcome = run_contained(source)
    assert outcome.end is End.RAISED and any(e in outcome.detail for e in ("OSError", "PermissionError", "refused"))


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
    assert outcome.end is End.REJECTED, outcome
    assert run(HUNT, inputs=[[1]], expected=[""]).end is End.PASSED, "it found something"


def test_candidates_leave_nothing_behind_for_others(contained: Sandbox) -> None:
    leave = "import os\ndef f(x):\n    open('/tmp/numpy.py', 'w').write('x')\n    return os.listdir('/tmp')"
    look = "import os\ndef f(x): return os.listdir('/tmp')"
    for _ in range(2):
        assert contained.run_many([job(leave, [[1]], [["numpy.py"]])])[0].end is End.PASSED
        assert contained.run_many([job(look, [[1]], [[]])])[0].end is End.PASSED


# Ways to tell the next candidate something. Each writes, and gives what was there before: nothing, both times.
CHANNELS = {
    "flags of /dev/null": ("""
        import fcntl, os
        def f(x):
            before = fcntl.fcntl(1, fcntl.F_GETFL) & os.O_APPEND
            fcntl.fcntl(1, fcntl.F_SETFL, os.O_APPEND)
            return before
    """, 0),
    "owner of /dev/null": ("""
        import fcntl, os
        def f(x):
            before = fcntl.fcntl(1, fcntl.F_GETOWN)
            fcntl.fcntl(1, fcntl.F_SETOWN, os.getpid())
            return before
    """, 0),
    "files": ("""
        import os
        def f(x):
            before = os.listdir()
            os.makedirs("a/b")
            os.symlink("/usr", "a/link")
            return before
    """, []),
}  # fmt: skip


@pytest.mark.parametrize("channel", CHANNELS, ids=str)
def test_no_channel_to_the_next_candidate(sandbox: Sandbox, channel: str) -> None:
    source, expected = CHANNELS[channel]
    with Sandbox(1, level=sandbox.level, trusted=True) as alone:
        jobs = [job(code(source), [[1]], [expected])] * 2
        assert [o.end for o in alone.run_many(jobs)] == [End.PASSED] * 2


def test_its_folder_is_removed_at_the_weakest_level() -> None:
    if problem := probe_levels()[Level.PROCESS]:
        pytest.skip(problem)
    source = "import os, tempfile\ndef f(x): return [os.getcwd(), os.environ['HOME'], tempfile.gettempdir()]"
    seen: list[list[str]] = []

    def judge(index: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        seen.append(decode(data))
        return all(Path(folder).is_dir() for folder in seen[0])

    with Sandbox(1, level=Level.PROCESS, trusted=True) as sandbox:
        (outcome,) = sandbox.run_many([CallJob(source, "f", [encode([1])], [1.0], judge)])
    assert outcome.end is End.PASSED
    assert len({Path(folder).resolve() for folder in seen[0]}) == 1 and not Path(seen[0][0]).parent.exists()


def test_an_unreadable_or_replaced_folder_is_removed(tmp_path: Path) -> None:
    if problem := probe_levels()[Level.PROCESS]:
        pytest.skip(problem)
    tmp_path.chmod(0o755)
    closed = "import os\ndef f(x):\n    os.mkdir('a', 0)\n    os.umask(0o777)\n    os.mkdir('b')\n    return x + 1"
    linked = f"import os\ndef f(x):\n    own = os.getcwd()\n    os.rmdir(own)\n    os.symlink({str(tmp_path)!r}, own)\n    os.chmod('..', 0)"
    with Sandbox(1, level=Level.PROCESS, trusted=True) as sandbox:
        outcomes = sandbox.run_many([job(source, [[1]], [2]) for source in (closed, linked, "def f(x): return x + 1")])
        folder = sandbox._workers[0].folder
    assert outcomes[0].end is outcomes[2].end is End.PASSED and outcomes[1].end is not End.LOST
    assert folder is not None and not folder.exists()
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_its_folder_is_removed_where_the_run_was_killed() -> None:
    if problem := probe_levels()[Level.PROCESS]:
        pytest.skip(problem)
    source = """
        import os, sys
        from kkwarm.verify.sandbox import CallJob, Level, Sandbox, decode, encode
        def judge(index, data, exact, cpu_s):
            print(decode(data), flush=True)
            os.kill(os.getpid(), 9)
        sandbox = Sandbox(1, level=Level.PROCESS, trusted=True)
        sandbox.run_many([CallJob("import os\\ndef f(x): return os.getcwd()", "f", [encode([1])], [1.0], judge)])
    """
    done = subprocess.run([sys.executable, "-c", code(source)], capture_output=True, text=True)
    folder = Path(done.stdout.strip())
    assert done.returncode == -9 and "kkwarm-code-" in str(folder), done
    for _ in range(100):
        if not folder.parent.exists():
            break
        time.sleep(0.1)
    assert not folder.parent.exists()


def test_all_calls_together_may_sleep_four_times_as_long_as_one(run: Run) -> None:
    source = "import time\ndef f(x):\n    time.sleep(0.06 if x < {upto} else 0)\n    return x + 1"
    inputs, expected = [[i] for i in range(50)], list(range(1, 51))
    limits = Limits(cpu_s=3.0, idle_s=0.3)
    outcome = run(source.format(upto=50), inputs=inputs, expected=expected, limits=limits)
    assert (outcome.end, outcome.detail) == (End.TIMEOUT, "it slept"), outcome
    assert run(source.format(upto=5), inputs=inputs, expected=expected, limits=limits).end is End.PASSED


def test_the_run_continues_when_a_supervisor_is_killed(contained: Sandbox) -> None:
    contained.run_many([job("def f(x): return x + 1", [[1]], [2])])
    for worker in contained._workers:
        psutil.Process(worker.process.pid).children()[0].kill()
    time.sleep(0.05)
    outcomes = contained.run_many([job("def f(x): return x + 1", [[1]], [2])] * 4)
    assert [o.end for o in outcomes] == [End.PASSED] * 4


@pytest.mark.skipif(os.name != "posix", reason="needs fork")
def test_a_forked_process_starts_its_own_workers(contained: Sandbox) -> None:
    contained.run_many([job("def f(x): return x + 1", [[1]], [2])])
    pid = os.fork()
    if pid == 0:
        end = contained.run_many([job("def f(x): return x + 1", [[1]], [2])])[0].end
        contained.close()
        os._exit(0 if end is End.PASSED else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert contained.run_many([job("def f(x): return x + 1", [[1]], [2])])[0].end is End.PASSED
