"""Aggregation against brute force and known values."""

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kkwarm.analysis.metrics import clustered_mean, pass_at_k, summarize
from kkwarm.types import Completion, Sample, Status, Verdict


def sample(id_: str, index: int, status: Status, **metrics: float) -> Sample:
    return Sample("b", id_, index, Completion("x" * 10, n_tokens=4), Verdict(status, metrics=metrics))


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_hit(hits: list[bool], k: int) -> None:
    if k > len(hits):
        with pytest.raises(ValueError, match="pass@k"):
            pass_at_k(len(hits), sum(hits), k)
        return
    subsets = list(itertools.combinations(hits, k))
    expected = sum(any(s) for s in subsets) / len(subsets)
    assert math.isclose(pass_at_k(len(hits), sum(hits), k), expected, abs_tol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_clustered_is_mean_and_standard_error(means: list[float]) -> None:
    mean, error = clustered_mean(means)
    assert error is not None
    assert math.isclose(mean, statistics.fmean(means), abs_tol=1e-12)
    assert math.isclose(error, statistics.stdev(means) / math.sqrt(len(means)), abs_tol=1e-9)


def test_summary_weighs_questions_not_samples() -> None:
    right, wrong = Status.CORRECT, Status.WRONG
    rows = [sample("a", i, right, base=1.0) for i in range(4)]
    rows += [sample("b", 0, wrong, base=1.0), sample("b", 1, Status.UNPARSED)]
    got = summarize(rows, {"level": {"a": "easy", "b": "hard"}})
    assert (got["n"], got["samples"], got["accuracy"], got["pass@1"]) == (2, 6, 0.5, 0.5)
    assert got["stderr"] == pytest.approx(0.5)
    assert got["pass@2"] == 0.5 and "pass@3" not in got  # b has two samples only
    assert not [k for k in got if k.startswith("avg@")]
    assert got["status"] == {"correct": 4, "wrong": 1, "unparsed": 1}
    assert got["metrics"] == {"base": 0.75}  # the unparsed sample counts 0
    assert got["by"]["level"]["easy"]["accuracy"] == 1.0 and got["by"]["level"]["hard"]["samples"] == 2
    assert got["by"]["level"]["easy"]["stderr"] is None and got["by"]["level"]["easy"]["avg@4"] == 1.0
    assert (got["mean_chars"], got["mean_tokens"]) == (10, 4)


def test_samples_of_one_question_are_not_independent() -> None:
    """Copying every sample changes neither the mean nor the standard error."""
    rows = [sample(str(i), 0, Status.CORRECT if i % 3 else Status.WRONG) for i in range(30)]
    copied = [sample(r.id, j, r.verdict.status) for r in rows for j in range(5)]
    assert summarize(rows)["stderr"] == pytest.approx(summarize(copied)["stderr"])


def test_empty_and_mixed() -> None:
    got = summarize([])
    assert (got["n"], got["samples"], got["accuracy"], got["status"]) == (0, 0, None, {})
    with pytest.raises(ValueError, match="several benchmarks"):
        summarize([sample("a", 0, Status.WRONG), Sample("c", "a", 0, Completion(""), Verdict(Status.WRONG))])
