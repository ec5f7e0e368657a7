"""Judging: isolation, limits, and verifiers that misbehave."""

from __future__ import annotations

import os
import time

import pytest

from kkwarm.errors import KkwarmError
from kkwarm.formats import BUILT_IN
from kkwarm.types import Completion, Example, Response, Status, Verdict, Verifier
from kkwarm.verify import Judge, judge

FORMAT = BUILT_IN["think-answer"]
EXAMPLE = Example("1", "2+2?", "4", meta={"level": 1})


def said(answer: str) -> Completion:
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
    return response.answer == example.answer


def statuses(verifier: Verifier, *answers: str) -> list[str]:
    return [v.status.value for v in judge(verifier, FORMAT, [(EXAMPLE, said(a)) for a in answers])]


def test_order_is_kept() -> None:
    assert statuses(Verifier("v", equal), "4", "5", "4", "6") == ["correct", "wrong", "correct", "wrong"]


def test_equal_completions_are_judged_once() -> None:
    calls = []

    def check(example: Example, response: Response) -> bool:
        calls.append(response.answer)
        return True

    statuses(Verifier("v", check), "4", "4", "4")
    assert calls == ["4"]


def test_a_worker_that_hangs_dies_or_prints_harms_no_other_verdict() -> None:
    verifier = Verifier("v", slow_or_equal, isolation="process", timeout_s=1.5)
    assert statuses(verifier, "hang", "4", "exit", "5", "print", "raise", "4") == [
        "timeout",
        "correct",
        "error",
        "wrong",
        "wrong",
        "error",
        "correct",
    ]


def test_workers_end_with_the_judge() -> None:
    with Judge(workers=1) as court:
        court.judge(Verifier("v", slow_or_equal, isolation="process"), FORMAT, [(EXAMPLE, said("4"))])
        (worker,) = court._pool._workers
        assert worker.process.poll() is None
    assert worker.process.poll() is not None


def test_quick_decides_first() -> None:
    def quick(example: Example, response: Response) -> Verdict | None:
        return Verdict(Status.CORRECT, reason="quick") if response.answer == "4" else None

    verifier = Verifier("v", lambda e, r: False, quick=quick)
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
    ],
)
def test_a_verifier_that_misbehaves_is_an_error_with_its_name(check: object) -> None:
    example = Example("1", "2+2?", "4", meta={"level": 1})
    (verdict,) = judge(Verifier("odd", check), FORMAT, [(example, said("4"))])  # type: ignore[arg-type]
    assert verdict.status is Status.ERROR
    assert "odd" in verdict.reason


def test_broken_format_and_truncation_are_told_apart() -> None:
    verifier = Verifier("v", equal)
    cut = Completion("so </think> <answer> 4", finish_reason="length")
    ended = Completion("so </think> <answer> 4", finish_reason="stop")
    whole = Completion("so </think> <answer> 4 </answer>", finish_reason="length")
    got = [v.status for v in judge(verifier, FORMAT, [(EXAMPLE, c) for c in (cut, ended, whole)])]
    assert got == [Status.TRUNCATED, Status.MALFORMED, Status.CORRECT]


def test_an_unparsed_answer_at_the_limit_is_truncated() -> None:
    verifier = Verifier("v", lambda e, r: Verdict(Status.UNPARSED))
    plain = BUILT_IN["plain"]
    pairs = [(EXAMPLE, Completion("hm", finish_reason="length")), (EXAMPLE, Completion("hm", finish_reason="stop"))]
    assert [v.status for v in judge(verifier, plain, pairs)] == [Status.TRUNCATED, Status.UNPARSED]


@pytest.mark.parametrize("text", [None, 4, ["4"], b"4"])
def test_completions_that_are_no_text(text: object) -> None:
    (verdict,) = judge(Verifier("v", equal), FORMAT, [(EXAMPLE, Completion(text))])  # type: ignore[arg-type]
    assert verdict.status is Status.UNPARSED


@pytest.mark.parametrize("text", ["\0", "\ud800 </think> <answer> \udfff </answer>", "x" * 50_000_000])
def test_odd_text_gets_a_verdict_in_bounded_time(text: str) -> None:
    started = time.perf_counter()
    (verdict,) = judge(Verifier("v", equal), FORMAT, [(EXAMPLE, Completion(text))])
    assert not verdict.correct
    assert time.perf_counter() - started < 5


def test_a_batch_of_another_length_is_an_error() -> None:
    verifier = Verifier("v", equal, check_batch=lambda pairs: [])
    assert statuses(verifier, "4", "5") == ["error", "error"]
