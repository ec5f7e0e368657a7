"""Copies of a backend in processes draw what one would, and fail aloud."""

import os
import signal
from pathlib import Path

import pytest

from kkwarm.backends import open_backend
from kkwarm.backends.base import Request
from kkwarm.errors import KkwarmError
from kkwarm.types import Sampling


@pytest.mark.slow
def test_copies_generate_the_same_samples_and_a_dead_copy_is_an_error(tiny: Path) -> None:
    requests = [Request(f"k{i}", f"what is {i}?", (0, 1)) for i in range(12)]
    sampling = Sampling(1.0, 1.0, 8, seed=2)
    one = open_backend("hf", str(tiny), device="cpu")
    many = open_backend("hf", str(tiny), device="cpu", replicas=2)
    try:
        for _ in range(2):
            assert {(r.key, i): c for r, i, c in many.generate(requests, sampling)} == {
                (r.key, i): c for r, i, c in one.generate(requests, sampling)
            }
        texts = [([1 + i, 7, 9] * (1 + i % 3), [11, 20][: 1 + i % 2]) for i in range(7)]
        for (value, greedy), (want, want_greedy) in zip(many.likelihoods(texts), one.likelihoods(texts), strict=True):  # type: ignore[attr-defined]
            assert value == pytest.approx(want, abs=1e-4) and greedy == want_greedy
        assert many.likelihoods([]) == [] and many.context == one.context  # type: ignore[attr-defined]
        with pytest.raises(KkwarmError, match="a text to score has no context"):
            many.likelihoods([([], [1])])  # type: ignore[attr-defined]
        many.close()
        many = open_backend("hf", str(tiny), device="cpu", replicas=2)
        os.kill(next(iter(many._copies.values())).pid, signal.SIGKILL)  # type: ignore[attr-defined]
        with pytest.raises(KkwarmError, match="hf-0 ended with code -9"):
            list(many.generate(requests * 200, sampling))
    finally:
        many.close()


@pytest.mark.slow
def test_a_failing_copy_reports_its_error(tiny: Path) -> None:
    many = open_backend("hf", str(tiny), device="abacus", replicas=2)
    try:
        with pytest.raises(KkwarmError, match="unknown device 'abacus'"):
            list(many.generate([Request("a", "b", (0,))], Sampling(max_tokens=2)))
    finally:
        many.close()


def test_invalid_numbers_of_replicas(tiny: Path) -> None:
    for wrong in (0, "two"):
        with pytest.raises(KkwarmError, match="replicas must be a whole number"):
            open_backend("hf", str(tiny), replicas=wrong)
    with pytest.raises(KkwarmError, match="unknown dtype 'int8'"):
        open_backend("hf", str(tiny), device="cpu", dtype="int8")
