"""A job that reaches its wall-clock limit on an overloaded machine is run again, alone."""

from __future__ import annotations

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


def test_a_job_that_slept_is_run_again_alone_on_an_overloaded_machine(
    sandbox_of_two: Sandbox, calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "is_overloaded", lambda: True)
    slept, spun, right = run(sandbox_of_two, SLEEP, SPIN, RIGHT)
    assert (slept.end, slept.conclusive, slept.rerun) == (End.TIMEOUT, False, True)
    assert (spun.end, spun.conclusive, spun.rerun) == (End.TIMEOUT, True, False)
    assert (right.end, right.rerun) == (End.PASSED, False)
    assert calls == [(3, 2), (1, 1)]


def test_on_an_idle_machine_it_is_not_run_again(
    sandbox_of_two: Sandbox, calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "is_overloaded", lambda: False)
    (slept,) = run(sandbox_of_two, SLEEP)
    assert (slept.end, slept.conclusive, slept.rerun) == (End.TIMEOUT, False, False)
    assert calls == [(1, 2)]


def test_a_loop_in_c_is_conclusive(sandbox_of_two: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "is_overloaded", lambda: True)
    (spun,) = run(sandbox_of_two, SPIN_IN_C)
    assert (spun.end, spun.conclusive, spun.rerun) == (End.TIMEOUT, True, False)


def test_the_second_attempt_decides(sandbox_of_two: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
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
