"""The exact permutation test, against all sign flips and against the binomial."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from kkwarm.transfer.flips import flip_test
from kkwarm.transfer.moderation import by_condition, prior, seed_variance


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9), st.integers(1, 4))
def test_it_is_the_share_of_all_flips(steps: list[int], samples: int) -> None:
    d = np.array(steps) / samples
    flips = np.array(list(product([-1, 1], repeat=len(d))))
    exact = (np.abs(flips @ d) >= abs(d.sum()) - 1e-9).mean()
    assert flip_test([d])[0] == pytest.approx(exact)


@given(st.integers(0, 400), st.integers(0, 400))
def test_single_samples_give_mcnemar(up: int, down: int) -> None:
    p, name = flip_test([np.array([1.0] * up + [-1.0] * down + [0.0])])
    assert name == "exact McNemar"
    assert p == pytest.approx(binomtest(up, up + down).pvalue if up + down else 1.0, abs=1e-9)


def test_strata_of_other_sizes_are_drawn_and_agree() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.integers(-1, 3, 6) / 4, rng.integers(-1, 3, 5) / 4
    flips = np.array(list(product([-1, 1], repeat=11)))
    means = (flips[:, :6] @ small / 6 + flips[:, 6:] @ large / 5) / 2
    exact = (np.abs(means) >= abs((small.mean() + large.mean()) / 2) - 1e-9).mean()
    p, name = flip_test([small, large])
    assert p == pytest.approx(exact, abs=0.006)
    assert name == "sign-flip permutation"
    assert flip_test([small, large])[0] == p  # always the same
    off = flip_test([small + 0.001 * np.pi])[0]  # on no lattice
    assert off == pytest.approx(flip_test([small])[0], abs=0.1)


def test_a_condition_that_varies_more_keeps_its_own_spread() -> None:
    rng = np.random.default_rng(0)
    questions = 400

    def arm(spread: float) -> tuple[np.ndarray, np.ndarray]:
        base = (rng.random((2, questions)) < 0.5).astype(float)
        return base, (rng.random((2, questions)) < 0.5 + spread * np.array([[-1.0], [1.0]])).astype(float)

    pairs = {(c, d): arm(0.3 if c == "wild" else 0.0) for c in ("a", "b", "c", "wild") for d in ("x", "y", "z")}
    found = by_condition(pairs)
    wild, calm = found["wild", "x"], found["a", "x"]
    of_all = prior([seed_variance([p]) for p in pairs.values()])
    assert wild is not None and calm is not None and of_all is not None
    assert wild.variance > 5 * calm.variance
    assert wild.variance > of_all.variance


def test_one_seed_has_no_prior_and_few_conditions_lend_nothing() -> None:
    one = np.zeros((1, 5))
    assert by_condition({("a", "x"): (one, one)}) == {("a", "x"): None}
    two = np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    alone = by_condition({("a", "x"): (np.zeros((2, 3)), two)})["a", "x"]
    assert alone is not None
    assert alone.variance == pytest.approx(seed_variance([(0.0, two)])[0])
