"""The exact paired permutation test: without a difference, each question's difference may as well have the other sign.

With one sample per question this is McNemar's exact test. Scores are shares of few samples, so their differences are
multiples of a step, and the distribution of their sum over all sign flips is a convolution of binomial distributions:
no random numbers are needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
MAX_STEPS = 64  # the finest step tried is 1 / MAX_STEPS: samples x seeds of both conditions
PERMUTATIONS = 99_999  # random sign flips, where the sum has too many values to enumerate


def sign_flip_test(strata: Sequence[Values]) -> tuple[float, str]:
    """The two-sided p-value of the mean over strata of the mean difference, and the name of the test.

    :param strata: differences, each of shape (questions,).
    """
    steps = _steps(np.concatenate(strata))
    if steps is not None and len({len(d) for d in strata}) == 1:
        sums, probabilities = _sum_distribution(np.concatenate(strata), steps)
        observed = abs(round(float(np.concatenate(strata).sum()) * steps))
        name = "exact McNemar" if steps == 1 and len(strata) == 1 else "exact sign flips"
        return min(1.0, float(probabilities[np.abs(sums) >= observed].sum())), name
    return _sampled_p_value(strata, steps), "sign-flip permutation"


def _steps(values: Values) -> int | None:
    """The smallest n for which all values are multiples of 1/n; None where there is none up to `MAX_STEPS`."""
    magnitudes = np.unique(np.abs(values))
    for steps in range(1, MAX_STEPS + 1):
        if np.abs(magnitudes * steps - np.round(magnitudes * steps)).max() < 1e-9:
            return steps
    return None


def _sum_distribution(values: Values, steps: int) -> tuple[npt.NDArray[np.int64], Values]:
    """Every sum of the sign-flipped values, in steps, with its probability."""
    from scipy.signal import fftconvolve
    from scipy.stats import binom

    sizes, counts = np.unique(np.round(np.abs(values) * steps).astype(int), return_counts=True)
    probabilities, largest = np.ones(1), 0
    for size, count in zip(sizes, counts, strict=True):
        if size == 0:
            continue
        kernel = np.zeros(2 * size * count + 1)
        kernel[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        large = len(probabilities) * count > 1e7
        product = fftconvolve(probabilities, kernel).clip(0) if large else np.convolve(probabilities, kernel)
        probabilities = np.asarray(product, float)
        largest += size * count
    return np.arange(-largest, largest + 1), probabilities


def _sampled_p_value(strata: Sequence[Values], steps: int | None) -> float:
    """By random sign flips with a fixed seed; at least 1 / (PERMUTATIONS + 1)."""
    rng = np.random.default_rng(20250513)
    total, observed = np.zeros(PERMUTATIONS), 0.0
    for d in strata:
        weight = 1 / (len(d) * len(strata))
        observed += weight * float(d.sum())
        if steps is not None:
            sums, probabilities = _sum_distribution(d, steps)
            total += weight / steps * rng.choice(sums, PERMUTATIONS, p=probabilities / probabilities.sum())
            continue
        nonzero = d[np.abs(d) > 1e-12]
        for start in range(0, PERMUTATIONS, 1000):
            part = total[start : start + 1000]
            part += weight * ((rng.integers(0, 2, (len(part), len(nonzero)), dtype=np.int8) * 2 - 1) @ nonzero)
    return float((1 + (np.abs(total) >= abs(observed) - 1e-12).sum()) / (PERMUTATIONS + 1))
