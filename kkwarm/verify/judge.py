"""Turns completions into verdicts: the protocol splits them, and the verifier checks them under its isolation.

RLVR, evaluation, rescoring and the rejection filter of distillation all use this code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from kkwarm.errors import describe_error
from kkwarm.types import Completion, Example, Protocol, Response, Status, Verdict, Verifier
from kkwarm.verify.calls import (
    TimeLimitExceeded,
    call_check,
    call_check_batch,
    call_precheck,
    time_limit,
    timeout_verdict,
)
from kkwarm.verify.workers import WorkerPool

__all__ = ["Judge", "verify"]

MAX_CHARS = 2_000_000  # no domain has longer answers, and splitting longer completions would only cost memory


class Judge:
    """Verifies completions and keeps its worker processes between calls. Use it as a context manager, or `close` it.

    :param workers: processes for verifiers with ``isolation="process"``; None: one per core, at most 8.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._pool = WorkerPool(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()

    def verify(
        self, verifier: Verifier, protocol: Protocol, pairs: Sequence[tuple[Example, Completion]]
    ) -> list[Verdict]:
        """A verdict for each pair, in order. Equal completions of one example are verified once.

        A verifier that raises, or returns something other than a verdict, results in status ``error`` with its name and
        the cause. Other verdicts are not affected.
        """
        verdicts: list[Verdict | None] = [None] * len(pairs)
        positions: dict[tuple[str, str, str, bool], list[int]] = {}
        pending: list[tuple[Example, Response]] = []
        for i, (example, completion) in enumerate(pairs):
            response = _split(protocol, completion)
            if isinstance(response, Verdict):
                verdicts[i] = response
                continue
            key = (example.id, response.answer or "", response.text, response.truncated)
            if key not in positions:
                positions[key] = []
                pending.append((example, response))
            positions[key].append(i)
        results = self._run_verifier(verifier, pending)
        for indices, verdict, (_, response) in zip(positions.values(), results, pending, strict=True):
            if verdict.status is Status.UNPARSED and response.truncated:
                verdict = Verdict(Status.TRUNCATED, verdict.answer, "stopped at the token limit", verdict.metrics)
            for i in indices:
                verdicts[i] = verdict
        return [v for v in verdicts if v is not None]

    def _run_verifier(self, verifier: Verifier, pairs: Sequence[tuple[Example, Response]]) -> list[Verdict]:
        if verifier.check_batch is not None:
            return call_check_batch(verifier, pairs)
        verdicts: list[Verdict | None] = [None] * len(pairs)
        with time_limit(verifier.timeout_s) as call:

            def run(check: Callable[..., Verdict | None], example: Example, response: Response) -> Verdict | None:
                try:
                    return call(check, verifier, example, response)  # type: ignore[no-any-return]
                except TimeLimitExceeded:
                    return timeout_verdict(verifier)

            if verifier.precheck is not None:
                verdicts = [run(call_precheck, *pair) for pair in pairs]
            undecided = [i for i, v in enumerate(verdicts) if v is None]
            if verifier.isolation == "inline":
                for i in undecided:
                    verdicts[i] = run(call_check, *pairs[i])
                undecided = []
        results = self._pool.check(verifier, [pairs[i] for i in undecided])
        for i, verdict in zip(undecided, results, strict=True):
            verdicts[i] = verdict
        return [v for v in verdicts if v is not None]


def verify(verifier: Verifier, protocol: Protocol, pairs: Sequence[tuple[Example, Completion]]) -> list[Verdict]:
    """Calls `Judge.verify` once, with worker processes that end afterwards."""
    with Judge() as judge:
        return judge.verify(verifier, protocol, pairs)


def _split(protocol: Protocol, completion: Completion) -> Response | Verdict:
    """The response, or the verdict where the protocol alone decides."""
    if not isinstance(completion.text, str):
        return Verdict(Status.UNPARSED, reason=f"the completion is {type(completion.text).__name__}, not text")
    if len(completion.text) > MAX_CHARS:
        return Verdict(Status.MALFORMED, reason=f"the completion has {len(completion.text):,} characters")
    try:
        response = protocol.split(completion)
    except Exception as err:
        return Verdict(Status.ERROR, reason=f"protocol {protocol.name} failed: {describe_error(err)}")
    if response.problem or response.answer is None:
        problem = response.problem or "no answer"
        if response.truncated:
            return Verdict(Status.TRUNCATED, reason=f"stopped at the token limit: {problem}")
        return Verdict(Status.MALFORMED, reason=problem)
    return response
