"""Runs a candidate for one task, and compares its results with the expected outputs as soon as these are known."""

from __future__ import annotations

from kkwarm.types import Status, Verdict
from kkwarm.verify.sandbox import CallJob, DecodeError, End, Limits, Outcome, Sandbox, decode, short_repr

from .compare import outputs_equal
from .reference import CompactValue, Reference, compact

__all__ = ["CandidateRun", "metrics"]

# As in evalplus: four times the canonical solution's time for a call, 60 s for all calls. At least half a second of CPU
# time; evalplus 0.3.1 allows one second of wall time (0.2 s for its published scores), which depends on the load.
_FACTOR, _FLOOR_S, _TOTAL_S = 4.0, 0.5, 60.0
_MAX_SET_NODES = 100_000


class CandidateRun:
    """A run of one candidate, which ends at the first wrong result.

    Results whose expected output is not known yet are pending, large ones as digests. `resolve` verifies them later.

    :param slowness: the machine's slowness (`measure_slowness`).
    :param canonical: the sandbox in which large expected outputs are computed again.
    """

    def __init__(self, expected: Reference, code: str, slowness: float, canonical: Sandbox) -> None:
        self.task, self.code, self.expected, self.canonical = expected.task, code, expected, canonical
        self.floor_s, self.scale = _FLOOR_S * slowness, _FACTOR * slowness
        self.inputs = self.task.inputs()
        self.n_known = 0
        self.pending: list[tuple[CompactValue, bool]] = []
        self.outcome = Outcome(End.LOST)
        self.result_text = ""

    def job(self) -> CallJob:
        """The sandbox job of this run, against the expected outputs known now."""
        self.n_known = len(self.expected)
        self.pending.clear()
        self.limits, self.total_s = self._time_limits()
        return CallJob(
            self.task.full_code(self.code),
            self.task.called,
            self.inputs,
            self.limits,
            self.on_result,
            load_s=5 * self.floor_s,
            limits=Limits(cpu_s=self.total_s, output=512 << 20),
            milestones=[self.task.n_base],
        )

    def _time_limits(self) -> tuple[list[float], float]:
        """CPU seconds for each call and for all. An unknown time of the canonical solution counts as zero."""
        known = [max(self.floor_s, self.scale * t) for t in self.expected.times]
        limits = known + [self.floor_s] * (len(self.inputs) - len(known))
        return limits, min(_TOTAL_S * max(1.0, self.floor_s), sum(limits)) + self.floor_s

    def on_result(self, index: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        """Accepts or rejects one result; the job's `judge`."""
        if index < self.n_known:
            return self._is_correct(index, data, exact)
        del self.pending[index - self.n_known :]  # a restarted job sends its results again
        self.pending.append((compact(data), exact))
        return True

    @property
    def n_required(self) -> int:
        """The number of expected outputs that must be known to verify this run.

        It includes a call that timed out, because its time limit depends on the canonical solution's time.
        """
        n_timed_out = self.outcome.end is End.TIMEOUT and self.outcome.index is not None
        return min(len(self.inputs), self.n_known + len(self.pending) + n_timed_out)

    def resolve(self) -> bool:
        """Verifies pending results. False if the candidate must run again, now that more is known."""
        for index, (result, exact) in enumerate(self.pending, self.n_known):
            if isinstance(result, bytes):
                if not self._is_correct(index, result, exact):
                    self.outcome = Outcome(End.REJECTED, index)
                    return True
            elif result != self.expected.outputs[index]:
                return False
        return self.outcome.end is not End.TIMEOUT or self._time_limits() == (self.limits, self.total_s)

    def _is_correct(self, index: int, data: bytes, exact: bool) -> bool:
        if compact(data) == self.expected.outputs[index] and self.task.oracle != "root":
            return True
        expected = self.expected.output(index, self.canonical)
        # An equal value has no more parts than the expected one, so larger results need not be decoded. With the rule
        # "set", lists of any length may be equal.
        nodes = len(expected) + 1 if self.task.oracle != "set" else max(_MAX_SET_NODES, len(expected))
        try:
            result = decode(data, max_nodes=nodes)
        except DecodeError:
            self.result_text = _render_value(data)
            return False
        args, answer = decode(self.inputs[index]), decode(expected, len(expected) + 1)
        if outputs_equal(self.task.oracle, args, result, answer, self.task.atol, exact=exact):
            return True
        self.result_text = short_repr(result)
        return False

    def verdict(self) -> Verdict:
        """The verdict that follows from the outcome."""
        outcome, index = self.outcome, self.outcome.index
        if outcome.end is End.PASSED:
            return Verdict(Status.CORRECT, self.code, "", metrics(True, True))
        if outcome.end is End.LOST:
            return Verdict(Status.ERROR, self.code, f"the sandbox failed: {outcome.detail}", metrics(False, False))
        base = index is not None and index >= self.task.n_base
        if outcome.end is End.TIMEOUT:
            limit = self.limits[index] if index is not None and index < len(self.limits) else self.floor_s
            message = (
                f"did not finish: {outcome.detail}"
                if outcome.detail
                else f"did not finish in {limit:.1f} s of CPU time"
            )
            if outcome.rerun:
                message += " (twice, because the machine was overloaded)"
            return Verdict(Status.TIMEOUT, self.code, self._describe_input(index, message), metrics(base, False))
        message = {
            End.REJECTED: f"returned {self.result_text}",
            End.RAISED: f"raised {outcome.detail}",
            End.OPAQUE: f"did not return plain data ({outcome.detail})",
            End.LOAD: f"does not run: {outcome.detail}",
        }.get(outcome.end, outcome.detail)
        return Verdict(Status.WRONG, self.code, self._describe_input(index, message), metrics(base, False))

    def _describe_input(self, index: int | None, message: str) -> str:
        if index is None or index >= len(self.inputs):
            return message
        kind, n = ("base", index) if index < self.task.n_base else ("plus", index - self.task.n_base)
        args = ", ".join(short_repr(a, 40) for a in decode(self.inputs[index]))
        return f"{kind} input {n}, {self.task.entry}({args if len(args) <= 80 else args[:77] + '...'}): {message}"


def metrics(base: bool, plus: bool) -> dict[str, float]:
    """Whether the original benchmark's tests passed, and whether all tests passed."""
    return {"base": float(base), "plus": float(plus)}


def _render_value(data: bytes) -> str:
    try:
        return short_repr(decode(data[:4096], max_nodes=500))
    except DecodeError:
        return "a value of another shape"
