"""Programs that hide the time they use, forge messages, exhaust something or reach for what is not theirs."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from kkwarm.verify.sandbox import End, Level, Limits, Sandbox
from kkwarm.verify.sandbox.inside.folders import remove

from .conftest import Run, job
from .escapes import EXHAUSTION, MESSAGES, REACHES, SIGNALS
from .evasions import BURN, SLOW

CALLS = 5


# One of each kind; the others are slow tests.
COMMON = (
    "openly",
    "patched marshal",
    "no checkpoints",
    "empty checkpoints",
    "in a thread that outlives the call",
    "in a process that takes over",
    "with all signals blocked",
    "asleep in the last call",
)


def test_common_evasions_are_not_accepted(contained: Sandbox) -> None:
    check_evasions(contained, COMMON)


@pytest.mark.slow
def test_evasions_are_not_accepted(contained: Sandbox) -> None:
    check_evasions(contained, [how for how in SLOW if how not in COMMON])


def check_evasions(sandbox: Sandbox, names: Sequence[str]) -> None:
    inputs, expected = [[i] for i in range(1, CALLS + 1)], [i + 1 for i in range(1, CALLS + 1)]
    limits = Limits(cpu_s=30.0, idle_s=0.5)
    jobs = [
        job(BURN + textwrap.dedent(code), inputs, expected, limits=limits) for code in (SLOW[name] for name in names)
    ]
    outcomes = dict(zip(names, sandbox.run_many(jobs), strict=True))
    accepted = {how: o for how, o in outcomes.items() if o.end in (End.PASSED, End.LOST)}
    assert not accepted
    long = {how: o for how, o in outcomes.items() if o.cpu_s > 3.0}  # by the clock it depends on the load
    assert not long
    assert sum(o.end is End.TIMEOUT for o in outcomes.values()) > len(names) - 5, outcomes


def test_calls_within_the_limit_are_accepted(contained: Sandbox) -> None:
    """Together they take many times the limit of one call, in batches, in threads, and with one that is asleep."""
    code = BURN + textwrap.dedent("""
        import threading, time
        def f(x):
            if x == 7: time.sleep(0.2)
            t = threading.Thread(target=burn, args=(0.002,)); t.start(); t.join()
            burn(0.12 if x % 80 == 50 else 0.001)
            return x + 1
    """)
    inputs, expected = [[i] for i in range(160)], [i + 1 for i in range(160)]
    outcomes = contained.run_many([job(code, inputs, expected, limits=Limits(cpu_s=30.0, idle_s=0.5))] * 2)
    assert [o.end for o in outcomes] == [End.PASSED] * 2, outcomes
    assert outcomes[0].cpu_s > 0.4


@pytest.mark.parametrize("what", [*MESSAGES, *REACHES], ids=str)
def test_nothing_is_forged_or_reached(run: Run, what: str) -> None:
    outcome = run(textwrap.dedent((MESSAGES | REACHES)[what]))
    assert outcome.end not in (End.PASSED, End.LOST), outcome


@pytest.mark.parametrize("what", EXHAUSTION, ids=str)
def test_nothing_is_exhausted(run: Run, what: str) -> None:
    limits = Limits(cpu_s=3.0, idle_s=1.0, memory=256 << 20)
    outcome = run(textwrap.dedent(EXHAUSTION[what]), limits=limits, call_s=0.1)
    assert outcome.end not in (End.PASSED, End.LOST), outcome
    assert outcome.peak_bytes < 300 << 20
    assert run("def f(x): return x + 1").end is End.PASSED


@pytest.mark.parametrize("what", SIGNALS, ids=str)
def test_no_other_process_is_signalled(run_contained: Run, what: str) -> None:
    outcome = run_contained(textwrap.dedent(SIGNALS[what]))
    assert outcome.end not in (End.PASSED, End.LOST), outcome


THREADS = {
    "a pool of the default size": """
        from concurrent.futures import ThreadPoolExecutor
        def f(x):
            with ThreadPoolExecutor() as pool: return sum(pool.map(int, [x] + [0] * 99)) + 1
    """,
    "a pool of 32 that is kept": """
        from concurrent.futures import ThreadPoolExecutor
        import threading
        pool, barrier = ThreadPoolExecutor(32), threading.Barrier(32)
        def f(x):
            list(pool.map(lambda i: barrier.wait(5), range(32)))
            return x + 1
    """,
    "eight threads": """
        import threading
        def f(x):
            r = []
            ts = [threading.Thread(target=r.append, args=(i,)) for i in range(8)]
            for t in ts: t.start()
            for t in ts: t.join()
            return x + len(r) - 7
    """,
    "100 threads at one time": """
        import threading
        def f(x):
            b = threading.Barrier(101)
            ts = [threading.Thread(target=b.wait, args=(5,)) for _ in range(100)]
            for t in ts: t.start()
            b.wait(5)
            for t in ts: t.join()
            return x + 1
    """,
    "numpy and 200 MB beside a pool": """
        from concurrent.futures import ThreadPoolExecutor
        import numpy
        table = [0] * 25_000_000
        def f(x):
            with ThreadPoolExecutor(32) as pool:
                parts = list(pool.map(lambda i: numpy.ones(10_000).sum(), range(64)))
            return x + int(sum(parts)) // 640_000
    """,
    "a pool in asyncio": """
        import asyncio
        async def g(x): return sum(await asyncio.gather(*(asyncio.to_thread(int, i) for i in [x, 1] + [0] * 60)))
        def f(x): return asyncio.run(g(x))
    """,
    "pools in pools": """
        from concurrent.futures import ThreadPoolExecutor
        def g(i):
            with ThreadPoolExecutor(8) as inner: return sum(inner.map(int, [i] * 8))
        def f(x):
            with ThreadPoolExecutor(8) as outer: return sum(outer.map(g, [0] * 8)) + x + 1
    """,
    "a timer and a queue": """
        import queue, threading
        def f(x):
            q = queue.Queue()
            threading.Timer(0.01, q.put, (x + 1,)).start()
            return q.get(timeout=5)
    """,
    "daemons that never end": """
        import threading, time
        for _ in range(20): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        def f(x): return x + 1
    """,
    "deep recursion in a thread": """
        import sys, threading
        sys.setrecursionlimit(10 ** 6)
        threading.stack_size(256 << 20)
        def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
        def f(x):
            r = []
            t = threading.Thread(target=lambda: r.append(depth(20_000))); t.start(); t.join()
            return x + r[0] - 19_999
    """,
}


@pytest.mark.parametrize("what", THREADS, ids=str)
def test_threads_work(run: Run, what: str) -> None:
    outcome = run(textwrap.dedent(THREADS[what]), limits=Limits(cpu_s=9.0), call_s=3.0)
    assert outcome.end is End.PASSED, outcome


def test_processes_are_counted(contained: Sandbox) -> None:
    """As many as allowed, in total; then none. A signal at the wrong moment makes the kernel ask again for one."""
    code = """
        import os
        started = 0
        def f(x):
            global started
            for _ in range(20):
                try: pid = os.fork()
                except BlockingIOError: continue
                if pid == 0: os._exit(0)
                os.waitpid(pid, 0)
                started += 1
            return 5 <= started <= 7
    """
    limits = Limits(cpu_s=3.0, processes=7)
    (outcome,) = contained.run_many([job(textwrap.dedent(code), [[1], [2]], [True, True], limits=limits)])
    assert outcome.end is End.PASSED, outcome


def test_deep_folders_are_removed(tmp_path: Path) -> None:
    import os

    deep = tmp_path / "deep"
    deep.mkdir()
    here = Path.cwd()
    os.chdir(deep)
    for _ in range(1200):
        Path("file").touch()
        Path("d").mkdir()
        os.chdir("d")
    os.chdir(here)
    (deep / "link").symlink_to(here)
    (deep / "d").chmod(0)
    remove(deep)
    assert not deep.exists() and here.exists()


def test_the_next_candidate_runs_after_deep_folders() -> None:
    code = "import os\nfor _ in range(1200): os.mkdir('d'); os.chdir('d')\ndef f(x): return x + 1"
    with Sandbox(1, level=Level.PROCESS, trusted=True) as sandbox:
        limits = Limits(cpu_s=9.0, idle_s=20.0)
        jobs = [job(c, [[1]], [2], limits=limits) for c in (code, "def f(x): return x + 1")]
        assert [o.end for o in sandbox.run_many(jobs)] == [End.PASSED] * 2
        folder = sandbox._workers[0].folder
    assert folder is not None and not folder.exists()
