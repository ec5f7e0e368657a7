"""One sandbox for each level that this machine gives, shared by the tests: workers are warm, and each test is short."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kkwarm.verify.sandbox import CallJob, DecodeError, Level, Limits, Outcome, Sandbox, decode, encode, probe_levels

Run = Callable[..., Outcome]
CALL_S = 0.3


def _contained() -> list[Level]:
    return [at for at, problem in probe_levels().items() if not problem and at is not Level.PROCESS]


@pytest.fixture(scope="session", params=list(Level), ids=lambda at: at.value)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Every level that can be had; `trusted` because these tests' code is ours."""
    if problem := probe_levels()[request.param]:
        pytest.skip(f"level {request.param} is not to be had here: {problem}")
    with Sandbox(2, level=request.param, trusted=True) as sandbox:
        yield sandbox


@pytest.fixture(scope="session", params=[Level.BUBBLEWRAP, Level.NAMESPACES], ids=lambda at: at.value)
def contained(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """The levels with namespaces only: for attacks that would harm the user's own processes without."""
    if problem := probe_levels()[request.param]:
        pytest.skip(f"level {request.param} is not to be had here: {problem}")
    with Sandbox(2, level=request.param) as sandbox:
        yield sandbox


def job(code: str, inputs: list[list[Any]], expected: list[Any], **options: Any) -> CallJob:
    """Calls `f` of `code`; a result must equal what is expected, in value and type."""

    def judge(index: int, data: bytes, exact: bool, cpu_s: float) -> bool:
        try:
            value = decode(data)
        except DecodeError:
            return False
        return type(value) is type(expected[index]) and bool(value == expected[index])

    limits = options.pop("limits", Limits(cpu_s=3.0, idle_s=1.0))
    limits_s = [options.pop("call_s", CALL_S)] * len(inputs)
    return CallJob(code, "f", [encode(i) for i in inputs], limits_s, judge, load_s=1.0, limits=limits, **options)


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    return lambda code, inputs=([1], [2]), expected=(2, 3), **options: sandbox.run_many(
        [job(code, list(inputs), list(expected), **options)]
    )[0]


@pytest.fixture
def run_contained(contained: Sandbox) -> Run:
    return lambda code, inputs=([1], [2]), expected=(2, 3), **options: contained.run_many(
        [job(code, list(inputs), list(expected), **options)]
    )[0]
