"""Expected outputs are computed only as far as candidates get, and pending results are verified like all others."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kkwarm_humaneval_plus import reference
from kkwarm_humaneval_plus.candidate import CandidateRun
from kkwarm_humaneval_plus.reference import Reference, compact, extend_references, load_references, longest_first
from kkwarm_humaneval_plus.tasks import CodeTask, make_task

from kkwarm.types import Status, Verdict
from kkwarm.verify.sandbox import End, Outcome, Sandbox, encode, strongest_level

N = 30


def task(solution: str, base: list[Any], plus: list[Any], name: str = "T/0") -> CodeTask:
    return make_task(
        {
            "task_id": name,
            "prompt": "",
            "canonical_solution": solution,
            "entry_point": "f",
            "base_input": base,
            "plus_input": plus,
            "atol": 0,
        }
    )


SQUARE = task("def f(x): return x * x", [[1], [2]], [[n] for n in range(3, N)])
LARGE = task("def f(n): return list(range(n))", [[1]], [[1000], [2000], [3000]], "T/1")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[tuple[Sandbox, Sandbox]]:
    with Sandbox(1, level=strongest_level(), trusted=True) as candidates, Sandbox(1, trusted=True) as canonical:
        yield candidates, canonical


@pytest.fixture(autouse=True)
def _unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(reference, "_loaded", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def run_candidate(of: CodeTask, code: str, sandboxes: tuple[Sandbox, Sandbox]) -> tuple[Verdict, Reference, int]:
    """The verdict, the reference, and how often the candidate ran."""
    candidates, canonical = sandboxes
    reference_by_id = load_references([of], canonical)
    trial = CandidateRun(reference_by_id[of.id], code, 1.0, canonical)
    for runs in (1, 2):
        (trial.outcome,) = candidates.run_many([trial.job()])
        extend_references({of.id: trial.n_required if runs == 1 else of.n_inputs}, reference_by_id, canonical)
        if trial.resolve():
            return trial.verdict(), reference_by_id[of.id], runs
        extend_references({of.id: of.n_inputs}, reference_by_id, canonical)
    raise AssertionError("not settled")


def test_no_plus_output_is_computed_when_the_base_tests_fail(sandboxes: tuple[Sandbox, Sandbox]) -> None:
    verdict, reference_by_id, runs = run_candidate(SQUARE, "def f(x): return x + x", sandboxes)
    assert verdict.reason == "base input 0, f(1): returned 2" and verdict.metrics == {"base": 0.0, "plus": 0.0}
    assert (len(reference_by_id), runs) == (2, 1)


def test_pending_results_are_verified_later(sandboxes: tuple[Sandbox, Sandbox]) -> None:
    verdict, reference_by_id, runs = run_candidate(SQUARE, "def f(x): return x * x if x != 20 else -1", sandboxes)
    assert verdict.reason == f"plus input {20 - 3}, f(20): returned -1" and verdict.metrics == {
        "base": 1.0,
        "plus": 0.0,
    }
    assert (len(reference_by_id), runs) == (N - 1, 1)
    verdict, _, runs = run_candidate(SQUARE, "def f(x): return float(x * x)", sandboxes)
    assert (verdict.status, runs) == (Status.CORRECT, 1)


def test_outputs_are_computed_only_as_far_as_the_candidate_got(sandboxes: tuple[Sandbox, Sandbox]) -> None:
    verdict, reference_by_id, _ = run_candidate(SQUARE, "def f(x): return x * x if x < 10 else 1 / 0", sandboxes)
    assert verdict.reason.startswith("plus input 7, f(10): raised ZeroDivisionError")
    assert len(reference_by_id) == 9
    # An earlier wrong result decides, not the later exception.
    verdict, _, _ = run_candidate(SQUARE, "def f(x): return (x * x if x != 7 else 0) if x < 10 else 1 / 0", sandboxes)
    assert verdict.reason == "plus input 4, f(7): returned 0"


def test_large_results_with_other_bytes_are_compared_as_values(sandboxes: tuple[Sandbox, Sandbox]) -> None:
    verdict, _, runs = run_candidate(LARGE, "def f(n): return [float(i) for i in range(n)]", sandboxes)
    assert (verdict.status, runs) == (Status.CORRECT, 2)
    verdict, _, runs = run_candidate(
        LARGE, "def f(n): return [float(i) for i in range(n)] if n < 3000 else [0] * n", sandboxes
    )
    assert verdict.status is Status.WRONG and verdict.reason.startswith("plus input 2, f(3000): returned [0, 0")
    verdict, reference_by_id, runs = run_candidate(LARGE, "def f(n): return list(range(n))", sandboxes)
    assert (verdict.status, runs, len(reference_by_id)) == (Status.CORRECT, 1, 4)


@pytest.mark.parametrize(("time_s", "believed"), [(0.0, True), (0.1, True), (0.3, False)])
def test_a_timeout_is_final_unless_the_canonical_solution_is_slow_too(time_s: float, believed: bool) -> None:
    reference_by_id = Reference(SQUARE, [encode(1), encode(4)], [0.0, 0.0])
    trial = CandidateRun(reference_by_id, "", 1.0, None)  # type: ignore[arg-type]
    trial.job()
    assert trial.on_result(2, encode(9), True, 0.0)
    trial.outcome = Outcome(End.TIMEOUT, 3)
    assert trial.n_required == 4
    reference_by_id.outputs += [encode(9), encode(16)]
    reference_by_id.times += [0.0, time_s]
    assert trial.resolve() is believed
    assert trial.verdict().status is Status.TIMEOUT and trial.verdict().metrics == {"base": 1.0, "plus": 0.0}
    assert max(trial.job().limits_s) == max(0.5, 4 * time_s)


def test_slow_tasks_come_first() -> None:
    few = task("def f(x): return x", [[1]], [[2]], "T/few")
    usual = [task("def f(x): return x", [[1]], [[n] for n in range(9)], f"T/{i}") for i in range(4)]
    long = task("def f(x): return x", [[1]], [["x" * 999] for n in range(9)], "T/long")
    ordered = longest_first([*usual, long, usual[0], few])
    assert {t.id for t in ordered[:2]} == {"T/few", "T/long"} and len(ordered) == 6
    assert [t.id for t in longest_first(ordered, {"T/2": 1.0, "T/3": 2.0})[:2]] == ["T/3", "T/2"]


def test_references_are_cached_on_disk(sandboxes: tuple[Sandbox, Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    run_candidate(SQUARE, "def f(x): return x * x", sandboxes)
    monkeypatch.setattr(reference, "_loaded", {})
    with Sandbox(1, trusted=True) as unused:
        assert len(load_references([SQUARE], unused)["T/0"]) == N - 1
        assert unused._workers == []


def test_damaged_caches_are_computed_again(sandboxes: tuple[Sandbox, Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    run_candidate(SQUARE, "def f(x): return x * x", sandboxes)
    (file,) = reference._folder().glob("*.bin")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(reference, "_loaded", {})
    assert run_candidate(SQUARE, "def f(x): return x * x", sandboxes)[0].correct


def test_a_restarted_job_has_the_same_result() -> None:
    reference_by_id = Reference(SQUARE, [encode(1), encode(4)], [0.0, 0.0])
    trial = CandidateRun(reference_by_id, "", 1.0, None)  # type: ignore[arg-type]
    trial.job()
    for upto in (10, 5, N - 1):  # twice its worker is lost
        for i in range(upto):
            assert trial.on_result(i, encode((i + 1) ** 2), True, 0.0)
    trial.outcome = Outcome(End.PASSED)
    reference_by_id.outputs[:] = [encode((i + 1) ** 2) for i in range(N - 1)]
    reference_by_id.times[:] = [0.0] * (N - 1)
    assert trial.resolve() and trial.verdict().correct


@settings(max_examples=200)
@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_compact_values_are_equal_only_for_equal_bytes(a: bytes, b: bytes) -> None:
    assert (compact(a) == compact(b)) is (a == b)


@given(st.integers(0, 2**128))
def test_no_bytes_equal_a_digest(number: int) -> None:
    """A candidate sends bytes; the digest of a large output is a number, and never equal to any."""
    large = compact(b"x" * 5000)
    assert isinstance(large, int)
    assert compact(number.to_bytes(17, "little")) != large
    assert compact(large.to_bytes(16, "little")) != large


@settings(max_examples=25, deadline=None)
@given(wrong=st.sets(st.integers(1, N - 1), max_size=3), fails=st.integers(1, 2 * N))
def test_the_first_wrong_result_decides_wherever_it_is(
    wrong: set[int], fails: int, sandboxes: tuple[Sandbox, Sandbox]
) -> None:
    reference._loaded.clear()
    code = f"def f(x):\n    if x == {fails}: raise KeyError\n    return x * x + (x in {wrong or 'set()'})"
    verdict, _, _ = run_candidate(SQUARE, code, sandboxes)
    first = min([n for n in (*wrong, fails) if n < N], default=None)
    if first is None:
        assert verdict.correct
    else:
        assert verdict.status is Status.WRONG and f"f({first})" in verdict.reason
        assert verdict.metrics == {"base": float(first > 2), "plus": 0.0}
