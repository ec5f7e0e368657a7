"""The timer of calls, with a clock of the test's own."""

import os
import time

import pytest

from kkwarm.verify.sandbox import timing
from kkwarm.verify.sandbox.timing import CallTimer


class Machine:
    """Figures of a process, as the kernel would give them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, waits_known: bool = True) -> None:
        self.listened = self.cpu = self.waited = 0.0
        monkeypatch.setattr(CallTimer, "_cpu", lambda timer: self.cpu)
        self.runnable = False
        figures = lambda timer: (self.runnable, self.waited if waits_known else None)  # noqa: E731
        monkeypatch.setattr(CallTimer, "_threads", figures)
        self.timer = CallTimer(1, 1.0, lambda: self.listened)
        self.timer.start(0.5)

    def advance(self, *, cpu: float = 0.0, asleep: float = 0.0, waiting: float = 0.0, threads: int = 1) -> None:
        self.listened += cpu + asleep + waiting
        self.cpu += cpu
        self.waited += waiting * threads


def test_cpu_time_counts_from_the_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    for _ in range(20):
        machine.advance(cpu=0.5)
        assert machine.timer.exceeded() == machine.timer.checkpoint(0) == ""
        machine.timer.start(0.5)
    machine.advance(cpu=0.56)
    assert machine.timer.exceeded() == machine.timer.checkpoint(0) == "cpu"


def test_large_results_have_time_to_be_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.advance(cpu=1.0)
    assert machine.timer.checkpoint(4 << 20) == ""
    machine.advance(cpu=1.0)
    assert machine.timer.checkpoint(1 << 20) == "cpu"


def test_sleep_counts_and_waiting_for_a_core_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.advance(waiting=500.0)
    assert machine.timer.exceeded() == ""
    machine.advance(asleep=0.9)
    assert machine.timer.exceeded() == ""
    machine.advance(asleep=0.2)
    assert machine.timer.exceeded() == "sleep"


def test_a_wait_that_has_not_ended_is_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel adds a wait to its figure only when it ends."""
    machine = Machine(monkeypatch)
    machine.runnable = True
    machine.advance(asleep=30.0)
    assert machine.timer.exceeded() == ""
    machine.waited += 29.5
    machine.runnable = False
    assert machine.timer.exceeded() == ""
    machine.advance(asleep=0.6)
    assert machine.timer.exceeded() == "sleep"


def test_sleep_adds_up_over_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    for _ in range(4):
        machine.advance(asleep=0.95)
        assert machine.timer.checkpoint(0) == ""
        machine.timer.start(0.5)
    machine.advance(asleep=0.3)
    assert machine.timer.exceeded() == machine.timer.checkpoint(0) == "sleep"


def test_threads_that_wait_together_give_no_credit_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.advance(waiting=0.1, threads=1000)
    machine.timer.exceeded()
    machine.advance(asleep=1.1)
    assert machine.timer.exceeded() == "sleep"


def test_frequent_checks_do_not_hide_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.advance(cpu=0.54)
    results = []
    for _ in range(150):
        machine.advance(asleep=0.01)
        results.append(machine.timer.exceeded())
    assert results[90] == "" and results[-1] == "sleep"


@pytest.mark.parametrize("overloaded", [True, False])
def test_without_figures_the_machine_s_load_decides(overloaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "is_overloaded", lambda: overloaded)
    machine = Machine(monkeypatch, waits_known=False)
    machine.advance(asleep=2.0)
    assert machine.timer.exceeded() == ("" if overloaded else "sleep")
    machine.advance(asleep=30.0)
    assert machine.timer.exceeded() == "sleep", "the doubt has a limit"


def test_without_a_clock_reported_times_count() -> None:
    timer = CallTimer(None, 5.0, time.monotonic)
    timer.start(0.5)
    timer.reported += 0.6
    assert timer.checkpoint(0) == "cpu"


def test_this_process_is_measured() -> None:
    if timing.sys.platform != "linux":
        pytest.skip("the kernel does not give CPU times of other processes")
    timer = CallTimer(os.getpid(), 5.0, lambda: 0.0)
    timer.start(time.process_time() + 0.1)
    assert timer.exceeded() == ""
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert timer.exceeded() == "cpu"
