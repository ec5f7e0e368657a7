"""The exact permutation test, against all sign flips and against the binomial."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from kkwarm.analysis.stats.permutation import sign_flip_test


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9), st.integers(1, 4))
def test_it_is_the_share_of_all_flips(steps: list[int], samples: int) -> None:
    d = np.array(steps) / samples
    flips = np.array(list(product([-1, 1], repeat=len(d))))
    exact = (np.abs(flips @ d) >= abs(d.sum()) - 1e-9).mean()
    assert sign_flip_test([d])[0] == pytest.approx(exact)


@given(st.integers(0, 400), st.integers(0, 400))
def test_single_samples_give_mcnemar(up: int, down: int) -> None:
    p, name = sign_flip_test([np.array([1.0] * up + [-1.0] * down + [0.0])])
    assert name == "exact McNemar"
    assert p == pytest.approx(binomtest(up, up + down).pvalue if up + down else 1.0, abs=1e-9)


def test_strata_of_other_sizes_are_drawn_and_agree() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.integers(-1, 3, 6) / 4, rng.integers(-1, 3, 5) / 4
    flips = np.array(list(product([-1, 1], repeat=11)))
    means = (flips[:, :6] @ small / 6 + flips[:, 6:] @ large / 5) / 2
    exact = (np.abs(means) >= abs((small.mean() + large.mean()) / 2) - 1e-9).mean()
    p, name = sign_flip_test([small, large])
    assert p == pytest.approx(exact, abs=0.006)
    assert name == "sign-flip permutation"
    assert sign_flip_test([small, large])[0] == p  # always the same
    off = small + np.pi / 1000  # on no lattice
    flips = np.array(list(product([-1, 1], repeat=6)))
    assert sign_flip_test([off])[0] == pytest.approx((np.abs(flips @ off) >= abs(off.sum()) - 1e-9).mean(), abs=0.006)
