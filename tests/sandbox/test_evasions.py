"""Right results that take longer than a call may take are not accepted, whatever the code does to hide it."""

from __future__ import annotations

import textwrap

import pytest

from kkwarm.verify.sandbox import End, Limits, Sandbox, seccomp_unavailable

from .conftest import Run, job
from .evasions import BURN, SLOW

CALLS = 5
LIMITS = Limits(cpu_s=30.0, idle_s=1.0)


def source(text: str) -> str:
    return BURN + textwrap.dedent(text)


@pytest.mark.parametrize("how", SLOW, ids=str)
def test_slow_calls_are_not_accepted(sandbox: Sandbox, how: str) -> None:
    inputs, expected = [[i] for i in range(1, CALLS + 1)], [i + 1 for i in range(1, CALLS + 1)]
    (outcome,) = sandbox.run_many([job(source(SLOW[how]), inputs, expected, limits=LIMITS)])
    assert outcome.end not in (End.PASSED, End.LOST), outcome
    assert outcome.wall_s < 20, outcome
