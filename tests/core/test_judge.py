"""`Judge`: isolation, time limits, and verifiers that misbehave."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

import psutil
import pytest

from kkwarm.errors import KkwarmError
from kkwarm.protocols import BUILT_IN
from kkwarm.types import Completion, Example, Response, Status, Verdict, Verifier
from kkwarm.verify import Judge, verify

FORMAT = BUILT_IN["paper"]
EXAMPLE = Example("1", "2+2?", "4", meta={"level": 1})


def completion(answer: str) -> Completion:
    return Completion(FORMAT.compose("so", answer), finish_reason="stop")


def equal(example: Example, response: Response) -> bool:
    return response.answer == example.answer


def slow_or_equal(example: Example, response: Response) -> bool:
    if response.answer == "hang":
        time.sleep(60)
    if response.answer == "exit":
        os._exit(3)
    if response.answer == "print":
        print("forged" * 100, flush=True)  # noqa: T201
        os.write(1, b"\0" * 100)
    if response.answer == "raise":
        raise ValueError("no")
    if response.answer == "quit":
        raise SystemExit(0)
    if response.answer == "fork" and os.fork() == 0:
        return True
    if response.answer == "daemon" and os.fork() == 0:
        time.sleep(1000)
    return response.answer == example.answer


def importing_tests() -> dict[str, str]:
    """The environment of a process that can import this module."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *[p for p in sys.path if p]])}


def statuses(verifier: Verifier, *answers: str) -> list[str]:
    return [v.status.value for v in verify(verifier, FORMAT, [(EXAMPLE, completion(a)) for a in answers])]


def test_order_is_preserved() -> None:
    assert statuses(Verifier("v", equal), "4", "5", "4", "6") == ["correct", "wrong", "correct", "wrong"]


def test_equal_completions_are_verified_once() -> None:
    calls = []

    def check(example: Example, response: Response) -> bool:
        calls.append(response.answer)
        return True

    statuses(Verifier("v", check), "4", "4", "4")
    assert calls == ["4"]


def test_a_worker_that_hangs_exits_or_prints_affects_no_other_verdict() -> None:
    verifier = Verifier("v", slow_or_equal, isolation="process", timeout_s=1.5)
    assert statuses(verifier, "hang", "4", "exit", "5", "print", "raise", "4") == [
        "error",
        "correct",
        "error",
        "wrong",
        "wrong",
        "error",
        "correct",
    ]


def test_a_verifier_that_forks_gives_one_verdict_and_leaves_nothing() -> None:
    verifier = Verifier("v", slow_or_equal, isolation="process", timeout_s=20)
    with Judge(workers=1) as judge:
        completions = [completion(a) for a in ("fork", "4", "daemon", "5", "quit", "4")]
        verdicts = judge.verify(verifier, FORMAT, [(EXAMPLE, c) for c in completions])
        (worker,) = judge._pool._workers
        family = psutil.Process(worker.process.pid).children(recursive=True)
        assert family, "the daemon is there as long as its worker"
    assert [v.status.value for v in verdicts] == ["error", "correct", "error", "wrong", "error", "correct"]
    assert verdicts[0].reason == "verifier v failed: ForkError: start programs by subprocess instead"
    assert not psutil.wait_procs(family, timeout=10)[1]


def test_an_inline_verifier_that_hangs_is_ended_and_named() -> None:
    """Asleep, in a loop that swallows every exception, in a regular expression."""

    def check(example: Example, response: Response) -> bool:
        if response.answer == "sleep":
            time.sleep(600)
        if response.answer == "loop":
            while True:
                with contextlib.suppress(Exception):
                    time.sleep(0.01)
        if response.answer == "regex":
            re.fullmatch(r"(a+)+b", "a" * 60)
        return response.answer == "4"

    before = signal.getsignal(signal.SIGVTALRM)
    results = statuses(Verifier("v", check, timeout_s=0.4), "sleep", "4", "loop", "5", "regex", "4")
    assert results == ["error", "correct", "error", "wrong", "error", "correct"]
    (verdict,) = verify(Verifier("v", check, timeout_s=0.4), FORMAT, [(EXAMPLE, completion("sleep"))])
    assert verdict.reason == "verifier v gave no verdict within 0.4 s"
    assert (signal.getsignal(signal.SIGVTALRM), signal.getitimer(signal.ITIMER_VIRTUAL)) == (before, (0.0, 0.0))


def test_forks_of_other_threads_are_not_errors_of_the_verifier() -> None:
    def fork() -> None:
        if os.fork() == 0:
            os._exit(0)
        os.wait()

    def check(example: Example, response: Response) -> bool:
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        return True

    assert statuses(Verifier("v", check), "4") == ["correct"]


def test_a_verifier_may_run_a_program() -> None:
    def check(example: Example, response: Response) -> bool:
        return subprocess.run(["true"]).returncode == 0

    assert statuses(Verifier("v", check), "4") == ["correct"]


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_timeout_status_is_the_status_of_a_check_that_takes_too_long(isolation: Literal["inline", "process"]) -> None:
    verifier = Verifier("v", slow_or_equal, isolation=isolation, timeout_s=0.5, timeout_status=Status.TIMEOUT)
    assert statuses(verifier, "hang", "4") == ["timeout", "correct"]


FORKING = """
import os
import sys
from kkwarm.types import Verifier
from test_judge import statuses
assert statuses(Verifier("v", lambda example, response: os.fork() == 0), "4") == ["error"]
with open(sys.argv[1], "a") as log:
    log.write("once\\n")
while True:  # a child that continued would write too
    try:
        os.wait()
    except ChildProcessError:
        break
"""


def test_the_child_of_a_verifier_that_forks_inline_does_not_continue_the_run(tmp_path: Path) -> None:
    """In its own process, since it waits for every child."""
    log = tmp_path / "log"
    subprocess.run([sys.executable, "-c", FORKING, str(log)], env=importing_tests(), check=True, timeout=60)
    assert log.read_text() == "once\n"


def test_workers_end_with_the_judge() -> None:
    with Judge(workers=1) as judge:
        judge.verify(Verifier("v", slow_or_equal, isolation="process"), FORMAT, [(EXAMPLE, completion("4"))])
        (worker,) = judge._pool._workers
        assert worker.process.poll() is None
    assert worker.process.poll() is not None


def test_precheck_decides_first() -> None:
    def precheck(example: Example, response: Response) -> Verdict | None:
        return Verdict(Status.CORRECT, reason="quick") if response.answer == "4" else None

    verifier = Verifier("v", lambda e, r: False, precheck=precheck)
    assert statuses(verifier, "4", "5") == ["correct", "wrong"]


def test_a_closure_cannot_be_sent_to_a_worker() -> None:
    with pytest.raises(KkwarmError, match="module-level function"):
        statuses(Verifier("v", lambda e, r: True, isolation="process"), "4")


@pytest.mark.parametrize(
    "check",
    [
        lambda e, r: 1,
        lambda e, r: None,
        lambda e, r: "correct",
        lambda e, r: 1 / 0,
        lambda e, r: e.meta.update(level=2) or True,
        lambda e, r: sys.exit(0),
        lambda e, r: Verdict("correct"),
    ],
)
def test_a_verifier_that_misbehaves_is_an_error_with_its_name(check: object) -> None:
    example = Example("1", "2+2?", "4", meta={"level": 1})
    (verdict,) = verify(Verifier("odd", check), FORMAT, [(example, completion("4"))])  # type: ignore[arg-type]
    assert verdict.status is Status.ERROR
    assert "odd" in verdict.reason


def test_broken_format_and_truncation_have_different_statuses() -> None:
    verifier = Verifier("v", equal)
    cut = Completion("so </think> <answer> 4", finish_reason="length")
    ended = Completion("so </think> <answer> 4", finish_reason="stop")
    whole = Completion("so </think> <answer> 4 </answer>", finish_reason="length")
    got = [v.status for v in verify(verifier, FORMAT, [(EXAMPLE, c) for c in (cut, ended, whole)])]
    assert got == [Status.TRUNCATED, Status.MALFORMED, Status.CORRECT]


def test_an_unparsed_answer_at_the_limit_is_truncated() -> None:
    verifier = Verifier("v", lambda e, r: Verdict(Status.UNPARSED))
    plain = BUILT_IN["plain"]
    pairs = [(EXAMPLE, Completion("hm", finish_reason="length")), (EXAMPLE, Completion("hm", finish_reason="stop"))]
    assert [v.status for v in verify(verifier, plain, pairs)] == [Status.TRUNCATED, Status.UNPARSED]


@pytest.mark.parametrize("text", [None, 4, ["4"], b"4"])
def test_completions_that_are_not_text(text: object) -> None:
    (verdict,) = verify(Verifier("v", equal), FORMAT, [(EXAMPLE, Completion(text))])  # type: ignore[arg-type]
    assert verdict.status is Status.UNPARSED


@pytest.mark.parametrize("text", ["\0", "\ud800 </think> <answer> \udfff </answer>", "x" * 50_000_000])
def test_odd_text_gets_a_verdict_in_bounded_time(text: str) -> None:
    started = time.perf_counter()
    (verdict,) = verify(Verifier("v", equal), FORMAT, [(EXAMPLE, Completion(text))])
    assert not verdict.correct
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "check_batch",
    [
        lambda pairs: 1 / 0,
        lambda pairs: sys.exit(0),
        lambda pairs: None,
        lambda pairs: [None] * len(pairs),
        lambda pairs: ["correct"] * len(pairs),
        lambda pairs: [[] for p in pairs],
    ],
)
def test_a_batch_that_misbehaves_is_an_error_with_its_name(check_batch: object) -> None:
    verifier = Verifier("odd", equal, check_batch=check_batch)  # type: ignore[arg-type]
    verdicts = verify(verifier, FORMAT, [(EXAMPLE, completion("4")), (EXAMPLE, completion("5"))])
    assert [v.status for v in verdicts] == [Status.ERROR] * 2
    assert all("odd" in v.reason for v in verdicts)


def test_a_precheck_that_misbehaves_is_an_error_with_its_name() -> None:
    for precheck in (lambda e, r: 1 / 0, lambda e, r: "correct", lambda e, r: sys.exit(0)):
        (verdict,) = verify(Verifier("odd", equal, precheck=precheck), FORMAT, [(EXAMPLE, completion("4"))])  # type: ignore[arg-type]
        assert verdict.status is Status.ERROR and "odd" in verdict.reason


def test_errors_are_counted_and_the_run_continues() -> None:
    from kkwarm.analysis.metrics import summarize
    from kkwarm.types import Sample

    def check(example: Example, response: Response) -> bool:
        if response.answer == "5":
            raise ValueError("no")
        return response.answer == "4"

    completions = [completion(a) for a in ("4", "5", "6")]
    verdicts = verify(Verifier("odd", check), FORMAT, [(EXAMPLE, c) for c in completions])
    samples = [Sample("b", "1", i, c, v) for i, (c, v) in enumerate(zip(completions, verdicts, strict=True))]
    counts = summarize(samples)["status"]
    assert {name: count for name, count in counts.items() if count} == {"correct": 1, "wrong": 1, "error": 1}


def test_a_batch_of_another_length_is_an_error() -> None:
    verifier = Verifier("v", equal, check_batch=lambda pairs: [])
    assert statuses(verifier, "4", "5") == ["error", "error"]


class Endless:
    """A check that no other thread of its process can end: one call in C."""

    def __call__(self, example: Example, response: Response) -> bool:
        Path(response.answer or "").touch()
        return 9 ** (9**9) == 0


class Talkative:
    """A check that prints."""

    def __call__(self, example: Example, response: Response) -> bool:
        print("checking", response.answer)  # noqa: T201
        return response.answer == example.answer


CLOSED = """
import os, sys
from kkwarm.verify import verify
from kkwarm.types import Verifier
from test_judge import EXAMPLE, FORMAT, Talkative, completion
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.dup2(out, 9)
os.closerange(0, 3)
verifier = Verifier("v", Talkative(), isolation="process")
os.write(9, verify(verifier, FORMAT, [(EXAMPLE, completion("4"))])[0].status.encode())
"""


def test_workers_of_a_process_without_streams(tmp_path: Path) -> None:
    out = tmp_path / "out"
    subprocess.run([sys.executable, "-c", CLOSED, str(out)], env=importing_tests(), check=True, timeout=100)
    assert out.read_text() == "correct"


PARENT = """
import subprocess
import sys
from kkwarm.verify import verify
from kkwarm.types import Verifier
from test_judge import EXAMPLE, FORMAT, Endless, completion
verify(Verifier("v", Endless(), isolation="process", timeout_s=1.0), FORMAT, [(EXAMPLE, completion(sys.argv[1]))])
"""


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    began = tmp_path / "began"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(began)], env=importing_tests())
    while not began.exists():
        assert parent.poll() is None
        time.sleep(0.01)
    workers = psutil.Process(parent.pid).children(recursive=True)
    assert workers
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=200)
    assert not alive
