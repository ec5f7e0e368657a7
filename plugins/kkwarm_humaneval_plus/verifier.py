"""Judges code: every base and plus input, in the sandbox, compared here with expected outputs that never enter it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Response, Status, Verdict
from kkwarm.verify.sandbox import CallJob, End, Limits, Outcome, Undecodable, calibrate, decode, load, shared

from .compare import equal
from .extract import MAX_CHARS, extract
from .reference import Reference, references
from .tasks import CodeTask, tasks

__all__ = ["check", "check_batch"]

_FACTOR, _FLOOR_S = 4.0, 1.0  # evalplus's: four times the canonical solution's time, at least a second
_OVERLOAD = 1.5
_log = logging.getLogger("kkwarm.humaneval_plus")


def check(example: Example, response: Response) -> Verdict:
    """`check_batch` of one pair."""
    return check_batch([(example, response)])[0]


def check_batch(pairs: Sequence[tuple[Example, Response]]) -> list[Verdict]:
    """A verdict for each pair; equal code for one task runs once. Correct: it passes the base and the plus tests.

    :raises KkwarmError: an example of another benchmark; no data; no sandbox.
    """
    known = tasks()
    verdicts: list[Verdict | None] = [None] * len(pairs)
    places: dict[tuple[str, str], list[int]] = {}
    for i, (example, response) in enumerate(pairs):
        task = known.get(example.id)
        if task is None:
            raise KkwarmError(f"HumanEval+ has no task {example.id!r}", hint="ids are HumanEval/0 to HumanEval/163")
        text = response.text if response.answer is None else response.answer
        code = extract(text, task.prompt, task.entry, amid_prose=not response.tagged)
        if code is None:
            reason = f"no code that defines {task.entry}"
            if len(text) > MAX_CHARS:
                reason = f"longer than {MAX_CHARS:,} characters"
            verdicts[i] = Verdict(Status.UNPARSED, None, reason, _metrics(False, False))
        else:
            places.setdefault((task.id, code), []).append(i)
    if places:
        judged = _run([(known[name], code) for name, code in places])
        for spots, verdict in zip(places.values(), judged, strict=True):
            for i in spots:
                verdicts[i] = verdict
    return [v for v in verdicts if v is not None]


def _run(pairs: Sequence[tuple[CodeTask, str]]) -> list[Verdict]:
    sandbox = shared()  # asked first: where code may not be run, nothing is computed either
    expected = references(list({task.id: task for task, _ in pairs}.values()))
    slowness = calibrate()
    trials = [_Trial(task, code, expected[task.id], slowness) for task, code in pairs]
    outcomes = sandbox.run_many([t.job() for t in trials])
    verdicts = [t.verdict(o) for t, o in zip(trials, outcomes, strict=True)]
    if load() > _OVERLOAD and any(v.status is Status.TIMEOUT for v in verdicts):
        _log.warning("the machine is overloaded (%.1f processes a core): code that waits may time out for that", load())
    return verdicts


class _Trial:
    """One solution of one task."""

    def __init__(self, task: CodeTask, code: str, expected: Reference, slowness: float) -> None:
        self.task, self.code, self.expected = task, code, expected
        self.floor = _FLOOR_S * slowness
        scale = _FACTOR * max(1.0, slowness / expected.slowness)
        self.limits = [max(self.floor, scale * t) for t in expected.times]
        self.inputs = task.inputs()
        self.given = ""

    def job(self) -> CallJob:
        total = min(60.0 * max(1.0, self.floor), sum(self.limits)) + self.floor
        limits = Limits(cpu_s=total, output=512 << 20)
        return CallJob(
            self.code,
            self.task.entry,
            self.inputs,
            self.limits,
            self.judge,
            load_s=5 * self.floor,
            limits=limits,
            milestones=[self.task.n_base],
        )

    def judge(self, index: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        special = self.task.entry == "find_zero"
        if not special and self.expected.same_bytes(index, data):
            return True
        wanted = self.expected.output(index)
        try:
            # An equal value has no more parts than the expected one, so no other needs to be decoded.
            result = decode(data, max_nodes=len(wanted) + 1)
        except Undecodable:
            self.given = _shown(data)
            return False
        args = decode(self.inputs[index])
        if equal(self.task.entry, args, result, decode(wanted, len(wanted) + 1), self.task.atol, exact=exact):
            return True
        self.given = short(result)
        return False

    def verdict(self, outcome: Outcome) -> Verdict:
        if outcome.end is End.PASSED:
            return Verdict(Status.CORRECT, self.code, "", _metrics(True, True))
        if outcome.end is End.LOST:
            return Verdict(Status.ERROR, self.code, f"the sandbox failed: {outcome.detail}", _metrics(False, False))
        at = outcome.index
        base = at is not None and at >= self.task.n_base
        if outcome.end is End.TIMEOUT:
            limit = self.limits[at] if at is not None and at < len(self.limits) else self.floor
            what = f"no end within {limit:.1f} s of CPU time" if not outcome.detail else f"no end: {outcome.detail}"
            return Verdict(Status.TIMEOUT, self.code, self._where(at, what), _metrics(base, False))
        what = {
            End.REFUSED: f"gave {self.given}",
            End.RAISED: f"raised {outcome.detail}",
            End.OPAQUE: f"gave no plain data ({outcome.detail})",
            End.LOAD: f"does not run: {outcome.detail}",
        }.get(outcome.end, outcome.detail)
        return Verdict(Status.WRONG, self.code, self._where(at, what), _metrics(base, False))

    def _where(self, at: int | None, what: str) -> str:
        if at is None or at >= len(self.inputs):
            return what
        kind, n = ("base", at) if at < self.task.n_base else ("plus", at - self.task.n_base)
        args = ", ".join(short(a, 40) for a in decode(self.inputs[at]))
        return f"{kind} input {n}, {self.task.entry}({args if len(args) <= 80 else args[:77] + '...'}): {what}"


def _shown(data: bytes) -> str:
    try:
        return short(decode(data[:4096], max_nodes=500))
    except Undecodable:
        return "a value of another shape"


def short(value: object, limit: int = 60) -> str:
    """A value as text of bounded length."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # integers of thousands of digits
        return f"a large {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _metrics(base: bool, plus: bool) -> dict[str, float]:
    return {"base": float(base), "plus": float(plus)}
