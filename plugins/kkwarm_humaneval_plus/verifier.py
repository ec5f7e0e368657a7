"""Verifies code on all base and plus inputs in the sandbox. Expected outputs are compared here and never enter it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Response, Status, Verdict
from kkwarm.verify import MAX_CODE_CHARS, extract_code
from kkwarm.verify.sandbox import Sandbox, measure_slowness, shared_sandbox

from .candidate import CandidateRun, metrics
from .mbpp import MBPP
from .reference import extend_references, load_references, longest_first
from .tasks import HUMANEVAL, CodeTask, Suite, load_tasks

__all__ = ["check", "check_batch", "check_mbpp", "check_mbpp_batch"]

Pairs = Sequence[tuple[Example, Response]]
_log = logging.getLogger("kkwarm.humaneval_plus")


def check(example: Example, response: Response) -> Verdict:
    """`check_batch` of one pair."""
    return check_batch([(example, response)])[0]


def check_batch(pairs: Pairs) -> list[Verdict]:
    """A verdict for each pair: correct if the code passes base and plus tests. Equal code for one task runs once.

    :raises KkwarmError: an example is of another benchmark, or the data or a sandbox is missing.
    """
    return _verify_pairs(HUMANEVAL, pairs)


def check_mbpp(example: Example, response: Response) -> Verdict:
    """`check_mbpp_batch` of one pair."""
    return check_mbpp_batch([(example, response)])[0]


def check_mbpp_batch(pairs: Pairs) -> list[Verdict]:
    """`check_batch` for MBPP+."""
    return _verify_pairs(MBPP, pairs)


def _verify_pairs(suite: Suite, pairs: Pairs) -> list[Verdict]:
    tasks = load_tasks(suite)
    verdicts: list[Verdict | None] = [None] * len(pairs)
    indices_by_code: dict[tuple[str, str], list[int]] = {}
    for i, (example, response) in enumerate(pairs):
        task = tasks.get(example.id)
        if task is None:
            raise KkwarmError(f"{suite.title} has no task {example.id!r}", hint=f"ids are {suite.ids}")
        text = response.text if response.answer is None else response.answer
        code = extract_code(text, task.entry, prompt=task.prompt, allow_prose=not response.tagged)
        if code is None:
            reason = f"the answer has no code that defines {task.entry}"
            if len(text) > MAX_CODE_CHARS:
                reason = f"the answer is longer than {MAX_CODE_CHARS:,} characters"
            verdicts[i] = Verdict(Status.UNPARSED, None, reason, metrics(False, False))
        else:
            indices_by_code.setdefault((task.id, code), []).append(i)
    if indices_by_code:
        code_verdicts = _run_candidates([(tasks[name], code) for name, code in indices_by_code])
        for indices, verdict in zip(indices_by_code.values(), code_verdicts, strict=True):
            for i in indices:
                verdicts[i] = verdict
    return [v for v in verdicts if v is not None]


def _run_candidates(pairs: Sequence[tuple[CodeTask, str]]) -> list[Verdict]:
    sandbox = shared_sandbox()  # fails first where code may not be run
    sandbox.start(len(pairs))
    with Sandbox(trusted=True) as canonical:  # it starts workers only if expected outputs are missing
        expected = load_references(list({task.id: task for task, _ in pairs}.values()), canonical)
        slowness = measure_slowness()
        runs = [CandidateRun(expected[task.id], code, slowness, canonical) for task, code in pairs]
        _run_all(sandbox, runs)
        extend_references(_required_outputs(runs), expected, canonical)
        unresolved = [t for t in runs if not t.resolve()]
        if unresolved:  # a large result with another encoding, or a slow call whose limit is known only now
            extend_references({t.task.id: len(t.inputs) for t in unresolved}, expected, canonical)
            _run_all(sandbox, unresolved)  # all expected outputs are known now, so nothing stays pending
    n_repeated = sum(t.outcome.rerun for t in runs)
    if n_repeated:
        _log.warning("the machine is overloaded: %d checks were repeated", n_repeated)
    return [t.verdict() for t in runs]


def _run_all(sandbox: Sandbox, runs: Sequence[CandidateRun]) -> None:
    """Runs all candidates, those that may take long first, so that no core is idle at the end."""
    expected = {t.task.id: sum(t.expected.times) for t in runs}
    tasks = longest_first([t.task for t in runs], expected)
    order = {task.id: i for i, task in enumerate(tasks)}
    ordered = sorted(runs, key=lambda t: order[t.task.id])
    for run, outcome in zip(ordered, sandbox.run_many([t.job() for t in ordered]), strict=True):
        run.outcome = outcome


def _required_outputs(runs: Sequence[CandidateRun]) -> dict[str, int]:
    """The number of expected outputs that each task needs."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.task.id] = max(counts.get(run.task.id, 0), run.n_required)
    return counts
