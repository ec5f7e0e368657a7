"""The paired permutation test, exact: under no difference, each question's difference may as well have the other sign.

With one sample a question this is McNemar's exact test. Scores are shares of few samples, so their differences lie on a
lattice, and the distribution of their sum over all sign flips is a convolution of binomials: no random numbers needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["flip_test"]

Values = npt.NDArray[np.float64]
STEPS = 64  # finest lattice looked for: samples x seeds of both arms
DRAWS = 99_999  # where strata of different sizes, or scores on no lattice, make the sum too fine to be listed


def flip_test(strata: Sequence[Values]) -> tuple[float, str]:
    """Two-sided p of the mean over strata of the mean difference, and the test's name.

    :param strata: differences of the questions of each, every one of shape (questions,).
    """
    steps = _lattice(np.concatenate(strata))
    if steps is not None and len({len(d) for d in strata}) == 1:
        sums, chances = _sums(np.concatenate(strata), steps)
        observed = abs(round(float(np.concatenate(strata).sum()) * steps))
        name = "exact McNemar" if steps == 1 and len(strata) == 1 else "exact sign flips"
        return min(1.0, float(chances[np.abs(sums) >= observed].sum())), name
    return _sampled(strata, steps), "sign-flip permutation"


def _lattice(values: Values) -> int | None:
    """The smallest number of steps to 1 by which all values are whole numbers of steps."""
    magnitudes = np.unique(np.abs(values))
    for steps in range(1, STEPS + 1):
        if np.abs(magnitudes * steps - np.round(magnitudes * steps)).max() < 1e-9:
            return steps
    return None


def _sums(values: Values, steps: int) -> tuple[npt.NDArray[np.int64], Values]:
    """Every sum of the sign-flipped values, in steps, with its chance."""
    from scipy.signal import fftconvolve
    from scipy.stats import binom

    sizes, counts = np.unique(np.round(np.abs(values) * steps).astype(int), return_counts=True)
    chances, reach = np.ones(1), 0
    for size, count in zip(sizes, counts, strict=True):
        if size == 0:
            continue
        spread = np.zeros(2 * size * count + 1)
        spread[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        large = len(chances) * count > 1e7
        chances = np.asarray(fftconvolve(chances, spread).clip(0) if large else np.convolve(chances, spread), float)
        reach += size * count
    return np.arange(-reach, reach + 1), chances


def _sampled(strata: Sequence[Values], steps: int | None) -> float:
    """By drawing, always the same for the same differences; at least 1 / (DRAWS + 1)."""
    rng = np.random.default_rng(20250513)
    total, observed = np.zeros(DRAWS), 0.0
    for d in strata:
        weight = 1 / (len(d) * len(strata))
        observed += weight * float(d.sum())
        if steps is not None:
            sums, chances = _sums(d, steps)
            total += weight / steps * rng.choice(sums, DRAWS, p=chances / chances.sum())
            continue
        kept = d[np.abs(d) > 1e-12]
        for start in range(0, DRAWS, 1000):
            part = total[start : start + 1000]
            part += weight * ((rng.integers(0, 2, (len(part), len(kept)), dtype=np.int8) * 2 - 1) @ kept)
    return float((1 + (np.abs(total) >= abs(observed) - 1e-12).sum()) / (DRAWS + 1))
