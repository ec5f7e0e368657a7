"""One candidate for one task: its results are judged as far as expected outputs are known, the others once they are."""

from __future__ import annotations

from kkwarm.types import Status, Verdict
from kkwarm.verify.sandbox import CallJob, DecodeError, End, Limits, Outcome, Sandbox, decode, short_repr

from .compare import equal
from .reference import Condensed, Reference, condensed

__all__ = ["Trial", "metrics"]

# evalplus's: four times the canonical solution's time for a call, 60 s for all of them. At least half a second: the
# second of evalplus 0.3.1 (0.2 s before, when its published scores were made) is by the clock, where load counts too.
_FACTOR, _FLOOR_S, _TOTAL_S = 4.0, 0.5, 60.0
_FREE_NODES = 100_000


class Trial:
    """Runs until a result is known to be wrong.

    Results beyond what the reference covers are held, large ones as digests; `settle` judges them when it covers them.
    `slowness` is the machine's (`measure_slowness`); in `canonical` large expected outputs are computed again.
    """

    def __init__(self, expected: Reference, code: str, slowness: float, canonical: Sandbox) -> None:
        self.task, self.code, self.expected, self.canonical = expected.task, code, expected, canonical
        self.floor, self.scale = _FLOOR_S * slowness, _FACTOR * slowness
        self.inputs = self.task.inputs()
        self.covered = 0
        self.held: list[tuple[Condensed, bool]] = []
        self.outcome = Outcome(End.LOST)
        self.given = ""

    def job(self) -> CallJob:
        """The candidate's run, judged against what is known now."""
        self.covered = len(self.expected)
        self.held.clear()
        self.limits, self.total = self._allowed()
        return CallJob(
            self.task.runnable(self.code),
            self.task.called,
            self.inputs,
            self.limits,
            self.take,
            load_s=5 * self.floor,
            limits=Limits(cpu_s=self.total, output=512 << 20),
            milestones=[self.task.n_base],
        )

    def _allowed(self) -> tuple[list[float], float]:
        """CPU seconds of each call and of all. Where the canonical solution's time is not known, it counts as short."""
        known = [max(self.floor, self.scale * t) for t in self.expected.times]
        each = known + [self.floor] * (len(self.inputs) - len(known))
        return each, min(_TOTAL_S * max(1.0, self.floor), sum(each)) + self.floor

    def take(self, index: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        """The job's judge."""
        if index < self.covered:
            return self._right(index, data, exact)
        del self.held[index - self.covered :]  # a job that is begun anew gives its results once more
        self.held.append((condensed(data), exact))
        return True

    @property
    def reached(self) -> int:
        """How many expected outputs must be known to judge this run.

        Where a call took too long, its own too: the time that it may take follows from the canonical solution's.
        """
        late = self.outcome.end is End.TIMEOUT and self.outcome.index is not None
        return min(len(self.inputs), self.covered + len(self.held) + late)

    def settle(self) -> bool:
        """Judges what was held. False where the candidate has to run again, now that more is known."""
        for index, (found, exact) in enumerate(self.held, self.covered):
            if isinstance(found, bytes):
                if not self._right(index, found, exact):
                    self.outcome = Outcome(End.REJECTED, index)
                    return True
            elif found != self.expected.outputs[index]:
                return False
        return self.outcome.end is not End.TIMEOUT or self._allowed() == (self.limits, self.total)

    def _right(self, index: int, data: bytes, exact: bool) -> bool:
        if condensed(data) == self.expected.outputs[index] and self.task.oracle != "root":
            return True
        wanted = self.expected.output(index, self.canonical)
        # An equal value has no more parts than the expected one, so no other needs to be decoded; equal sets may come
        # from lists of any length.
        nodes = len(wanted) + 1 if self.task.oracle != "set" else max(_FREE_NODES, len(wanted))
        try:
            result = decode(data, max_nodes=nodes)
        except DecodeError:
            self.given = _shown(data)
            return False
        args, answer = decode(self.inputs[index]), decode(wanted, len(wanted) + 1)
        if equal(self.task.oracle, args, result, answer, self.task.atol, exact=exact):
            return True
        self.given = short_repr(result)
        return False

    def verdict(self) -> Verdict:
        """What the outcome says of the candidate."""
        outcome, at = self.outcome, self.outcome.index
        if outcome.end is End.PASSED:
            return Verdict(Status.CORRECT, self.code, "", metrics(True, True))
        if outcome.end is End.LOST:
            return Verdict(Status.ERROR, self.code, f"the sandbox failed: {outcome.detail}", metrics(False, False))
        base = at is not None and at >= self.task.n_base
        if outcome.end is End.TIMEOUT:
            limit = self.limits[at] if at is not None and at < len(self.limits) else self.floor
            what = f"no end within {limit:.1f} s of CPU time" if not outcome.detail else f"no end: {outcome.detail}"
            if outcome.rerun:
                what += " (tried twice, for the machine was overloaded)"
            return Verdict(Status.TIMEOUT, self.code, self._where(at, what), metrics(base, False))
        what = {
            End.REJECTED: f"gave {self.given}",
            End.RAISED: f"raised {outcome.detail}",
            End.OPAQUE: f"gave no plain data ({outcome.detail})",
            End.LOAD: f"does not run: {outcome.detail}",
        }.get(outcome.end, outcome.detail)
        return Verdict(Status.WRONG, self.code, self._where(at, what), metrics(base, False))

    def _where(self, at: int | None, what: str) -> str:
        if at is None or at >= len(self.inputs):
            return what
        kind, n = ("base", at) if at < self.task.n_base else ("plus", at - self.task.n_base)
        args = ", ".join(short_repr(a, 40) for a in decode(self.inputs[at]))
        return f"{kind} input {n}, {self.task.entry}({args if len(args) <= 80 else args[:77] + '...'}): {what}"


def metrics(base: bool, plus: bool) -> dict[str, float]:
    """Whether the original benchmark's tests passed, and whether all did."""
    return {"base": float(base), "plus": float(plus)}


def _shown(data: bytes) -> str:
    try:
        return short_repr(decode(data[:4096], max_nodes=500))
    except DecodeError:
        return "a value of another shape"
