"""A job that reaches its wall-clock limit on an overloaded machine is run again, alone."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from kkwarm.verify.sandbox import CallJob, End, Limits, Outcome, Sandbox, levels, pool

from .conftest import job

SLEEP = "import time\ndef f(x): time.sleep(30)"
SPIN = "def f(x):\n    while True: pass"
SPIN_IN_C = "def f(x): return sum(range(10 ** 12))"
RIGHT = "def f(x): return x + 1"
LIMITS = Limits(cpu_s=3.0, idle_s=0.5)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(jobs, workers) of every batch that is run."""
    batches: list[tuple[int, int]] = []
    original = Sandbox._run

    def counted(self: Sandbox, jobs: Sequence[CallJob], at_once: int) -> list[Outcome]:
        batches.append((len(jobs), at_once))
        return original(self, jobs, at_once)

    monkeypatch.setattr(Sandbox, "_run", counted)
    return batches


@pytest.fixture
def sandbox_of_two() -> Iterator[Sandbox]:
    with Sandbox(2, trusted=True) as sandbox:
        yield sandbox


def run(sandbox: Sandbox, *codes: str) -> list[Outcome]:
    return sandbox.run_many([job(code, [[1]], [2], limits=LIMITS) for code in codes])


@pytest.mark.parametrize("overloaded", [True, False])
def test_a_job_that_slept_is_not_run_again(
    overloaded: bool, sandbox_of_two: Sandbox, calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells how long a process waited for a core, so sleep is known as such on any machine."""
    monkeypatch.setattr(pool, "is_overloaded", lambda: overloaded)
    slept, spun, in_c, right = run(sandbox_of_two, SLEEP, SPIN, SPIN_IN_C, RIGHT)
    assert (slept.end, slept.detail, slept.conclusive) == (End.TIMEOUT, "it slept", True)
    assert (spun.end, spun.detail, spun.conclusive) == (End.TIMEOUT, "", True)
    assert (in_c.end, in_c.detail, in_c.conclusive) == (End.TIMEOUT, "", True)
    assert slept.wall_s < 15 and right.end is End.PASSED
    assert calls == [(4, 2)]


def test_a_job_that_got_no_core_is_run_again_and_the_second_attempt_decides(
    sandbox_of_two: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt reaches its wall-clock limit, as if it did not get a core."""
    original = Sandbox._run
    tries = []

    def starved(self: Sandbox, jobs: Sequence[CallJob], at_once: int) -> list[Outcome]:
        tries.append(len(jobs))
        outcomes = original(self, jobs, at_once)
        return [Outcome(End.TIMEOUT, 0, conclusive=False)] * len(jobs) if len(tries) == 1 else outcomes

    monkeypatch.setattr(Sandbox, "_run", starved)
    monkeypatch.setattr(pool, "is_overloaded", lambda: True)
    right, wrong = run(sandbox_of_two, RIGHT, "def f(x): return x")
    assert (right.end, right.rerun) == (End.PASSED, True)
    assert (wrong.end, wrong.rerun) == (End.REJECTED, True)
    assert tries == [2, 1, 1]


def test_waiting_for_a_core_is_not_sleep(sandbox_of_two: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight processes want the candidate's core. It waits for longer than it may sleep."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("processes cannot be bound to a core here")
    cores = os.sched_getaffinity(0)
    work = "def f(x):\n    for _ in range({n}): pass\n    return x + 1"
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    try:
        for process in busy:
            os.sched_setaffinity(process.pid, {min(cores)})
        os.sched_setaffinity(0, {min(cores)})  # the workers inherit it
        limits = Limits(cpu_s=9.0, idle_s=0.2)
        code = work.format(n=4_000_000)
        (outcome,) = sandbox_of_two.run_many([job(code, [[1], [2]], [2, 3], limits=limits, call_s=3.0)])
    finally:
        os.sched_setaffinity(0, cores)
        for process in busy:
            process.kill()
            process.wait()
    assert outcome.end is End.PASSED, outcome


@pytest.mark.parametrize(
    ("text", "crowded"),
    [("some avg10=91.20 avg60=1.00 avg300=0.10 total=1\n", True), ("some avg10=8.00 avg60=99.00 total=1\n", False)],
)
def test_pressure_is_read(text: str, crowded: bool, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "_PRESSURE_FILE", f"{tmp_path}/cpu")
    with open(f"{tmp_path}/cpu", "w") as out:
        out.write(text)
    assert levels.is_overloaded() is crowded


@pytest.mark.parametrize(("load", "crowded"), [(0.1, False), (100.0, True)])
def test_without_pressure_figures_the_load_average_counts(
    load: float, crowded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "_PRESSURE_FILE", "/nowhere")
    monkeypatch.setattr(levels.os, "getloadavg", lambda: (load * 64, 0.0, 0.0))
    monkeypatch.setattr(levels.os, "cpu_count", lambda: 64)
    assert levels.is_overloaded() is crowded
