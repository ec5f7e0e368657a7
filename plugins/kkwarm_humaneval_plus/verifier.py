"""Judges code: every base and plus input, in the sandbox, compared here with expected outputs that never enter it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kkwarm.errors import KkwarmError
from kkwarm.types import Example, Response, Status, Verdict
from kkwarm.verify.sandbox import Sandbox, measure_slowness, shared_sandbox

from .extract import MAX_CHARS, extract
from .mbpp import MBPP
from .reference import extend, longest_first, references
from .tasks import HUMANEVAL, CodeTask, Suite, tasks
from .trial import Trial, metrics

__all__ = ["check", "check_batch", "check_mbpp", "check_mbpp_batch"]

Pairs = Sequence[tuple[Example, Response]]
_log = logging.getLogger("kkwarm.humaneval_plus")


def check(example: Example, response: Response) -> Verdict:
    """`check_batch` of one pair."""
    return check_batch([(example, response)])[0]


def check_batch(pairs: Pairs) -> list[Verdict]:
    """A verdict for each pair; equal code for one task runs once. Correct: it passes the base and the plus tests.

    :raises KkwarmError: an example of another benchmark; no data; no sandbox.
    """
    return _judged(HUMANEVAL, pairs)


def check_mbpp(example: Example, response: Response) -> Verdict:
    """`check_mbpp_batch` of one pair."""
    return check_mbpp_batch([(example, response)])[0]


def check_mbpp_batch(pairs: Pairs) -> list[Verdict]:
    """`check_batch` for MBPP+."""
    return _judged(MBPP, pairs)


def _judged(suite: Suite, pairs: Pairs) -> list[Verdict]:
    known = tasks(suite)
    verdicts: list[Verdict | None] = [None] * len(pairs)
    places: dict[tuple[str, str], list[int]] = {}
    for i, (example, response) in enumerate(pairs):
        task = known.get(example.id)
        if task is None:
            raise KkwarmError(f"{suite.title} has no task {example.id!r}", hint=f"ids are {suite.ids}")
        text = response.text if response.answer is None else response.answer
        code = extract(text, task.prompt, task.entry, amid_prose=not response.tagged)
        if code is None:
            reason = f"no code that defines {task.entry}"
            if len(text) > MAX_CHARS:
                reason = f"longer than {MAX_CHARS:,} characters"
            verdicts[i] = Verdict(Status.UNPARSED, None, reason, metrics(False, False))
        else:
            places.setdefault((task.id, code), []).append(i)
    if places:
        judged = _run([(known[name], code) for name, code in places])
        for spots, verdict in zip(places.values(), judged, strict=True):
            for i in spots:
                verdicts[i] = verdict
    return [v for v in verdicts if v is not None]


def _run(pairs: Sequence[tuple[CodeTask, str]]) -> list[Verdict]:
    sandbox = shared_sandbox()  # asked first: where code may not be run, nothing is computed either
    sandbox.start(len(pairs))
    with Sandbox(trusted=True) as canonical:  # it starts workers only where expected outputs are lacking
        expected = references(list({task.id: task for task, _ in pairs}.values()), canonical)
        slowness = measure_slowness()
        trials = [Trial(expected[task.id], code, slowness, canonical) for task, code in pairs]
        _try(sandbox, trials)
        extend(_most(trials), expected, canonical)
        again = [t for t in trials if not t.settle()]
        if again:  # a large result of other bytes, or a slow call whose limit is known only now
            extend({t.task.id: len(t.inputs) for t in again}, expected, canonical)
            _try(sandbox, again)  # with every expected output known, nothing is held any more
    repeated = sum(t.outcome.rerun for t in trials)
    if repeated:
        _log.warning("machine overloaded: %d checks were repeated", repeated)
    return [t.verdict() for t in trials]


def _try(sandbox: Sandbox, trials: Sequence[Trial]) -> None:
    """Runs each; what may take long comes first, so that no core is idle at the end."""
    expected = {t.task.id: sum(t.expected.times) for t in trials}
    tasks = longest_first([t.task for t in trials], expected)
    at = {task.id: i for i, task in enumerate(tasks)}
    ordered = sorted(trials, key=lambda t: at[t.task.id])
    for trial, outcome in zip(ordered, sandbox.run_many([t.job() for t in ordered]), strict=True):
        trial.outcome = outcome


def _most(trials: Sequence[Trial]) -> dict[str, int]:
    """How many expected outputs of each task are needed."""
    wanted: dict[str, int] = {}
    for trial in trials:
        wanted[trial.task.id] = max(wanted.get(trial.task.id, 0), trial.reached)
    return wanted
