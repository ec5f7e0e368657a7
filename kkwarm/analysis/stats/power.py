"""Power analysis: the smallest difference that n questions with k samples each can detect, and what more of each buys.

Question q is answered correctly with probability p_q. The mean over n questions with k samples each has the variance
(between + within / k) / n, with between = Var(p_q) and within = E(p_q (1 - p_q)); they add up to m (1 - m), where m is
the accuracy (E. Miller, arXiv 2411.00640). Two checkpoints find mostly the same questions hard: on the same questions
the share `correlation` of `between` cancels, and

    Var(difference) = (2 between (1 - correlation) + 2 within / k) / n.

More samples reduce the second term only; the first needs more questions. Training seeds are not part of this model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from kkwarm.analysis.stats.estimates import PairedDifference

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VarianceComponents:
    """`accuracy`; variances `between` questions and `within` a question; `correlation` of two checkpoints' p_q."""

    accuracy: float
    between: float
    within: float
    correlation: float

    def variance(self, samples: float, *, paired: bool = True) -> float:
        """Of the difference on one question with `samples` samples each; infinity gives the variance of p_q itself."""
        return 2 * self.between * (1 - self.correlation * paired) + 2 * self.within / samples


def assume_components(accuracy: float = 0.5, share: float = 0.6, correlation: float = 0.8) -> VarianceComponents:
    """Components without data: `share` of the variance m (1 - m) lies between questions."""
    if not all(0 <= v <= 1 for v in (accuracy, share, correlation)):
        raise ValueError(f"accuracy, share and correlation must be in 0..1, not {accuracy}, {share}, {correlation}")
    total = accuracy * (1 - accuracy)
    return VarianceComponents(accuracy, share * total, (1 - share) * total, correlation)


DEFAULT_COMPONENTS = assume_components()


def estimate_components(
    first: Scores, samples: int, second: Scores | None = None
) -> tuple[VarianceComponents, list[str]]:
    """Components estimated from earlier scores, and descriptions of what had to be assumed.

    :param first: shares of correct samples, of shape (questions,), each of `samples` samples.
    :param second: another checkpoint on the same questions, from which the correlation is estimated.
    :raises ValueError: fewer than two questions, or shapes differ.
    """
    if first.ndim != 1 or len(first) < 2 or (second is not None and second.shape != first.shape):
        raise ValueError("scores of at least two questions are needed, of the same ones for both")
    checkpoints = [first] if second is None else [first, second]
    accuracy = float(np.mean(checkpoints))
    assumptions = []
    between = within = 0.0
    if samples > 1:
        within = float(np.mean([(c * (1 - c)).mean() for c in checkpoints])) * samples / (samples - 1)
        between = max(0.0, float(np.mean([c.var(ddof=1) for c in checkpoints])) - within / samples)
    if samples == 1 or between + within == 0:  # one sample, or equal answers, cannot separate the two
        smoothed = (accuracy * len(first) + 1) / (len(first) + 2)
        total = smoothed * (1 - smoothed)
        share = DEFAULT_COMPONENTS.between / (DEFAULT_COMPONENTS.between + DEFAULT_COMPONENTS.within)
        between, within = share * total, (1 - share) * total
        assumptions.append(f"{share:.0%} of the variance between questions (it cannot be estimated from these answers)")
    correlation = DEFAULT_COMPONENTS.correlation
    if second is not None and between > 0:
        correlation = min(1.0, max(0.0, float(np.cov(first, second)[0, 1]) / between))
    else:
        assumptions.append(f"a correlation of {correlation:g} between two checkpoints over questions")
    return VarianceComponents(accuracy, between, within, correlation), assumptions


def detectable_difference(
    components: VarianceComponents,
    questions: int,
    samples: float,
    *,
    paired: bool = True,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """The difference in accuracy that is detected with this power at the two-sided level `alpha`; at most 1."""
    variance = components.variance(samples, paired=paired)
    return min(1.0, _standard_errors(questions, alpha, power) * math.sqrt(variance / questions))


def detectable_by_samples(
    components: VarianceComponents, questions: int, alpha: float, counts: Sequence[float]
) -> dict[str, float]:
    """`detectable_difference` for several numbers of samples, by their text; infinity is ``inf``."""
    return {f"{k:g}": detectable_difference(components, questions, k, alpha=alpha) for k in counts}


def samples_needed(
    components: VarianceComponents, questions: int, difference: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Samples per question that detect `difference`, paired; None where no number of samples does."""
    limit = questions * (difference / _standard_errors(questions, alpha, power)) ** 2
    remaining = limit - components.variance(math.inf)
    if remaining <= 0:
        return None
    return max(1, math.ceil(2 * components.within / remaining - 1e-9))


def questions_needed(
    components: VarianceComponents, samples: float, difference: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Questions that detect `difference` with `samples` samples each, paired.

    :raises ValueError: the difference is not above 0.
    """
    if difference <= 0:
        raise ValueError(f"the difference must be above 0, not {difference}")

    def suffices(questions: int) -> bool:
        return detectable_difference(components, questions, samples, alpha=alpha, power=power) <= difference

    low, high = 1, 2
    while not suffices(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def required_count(
    difference: PairedDifference, margin: float, comparisons: int, by: Literal["seeds", "questions"]
) -> float:
    """The number of seeds or questions with which a difference would be a gain, loss or tie, if its true value is the
    estimate; infinity where no number suffices. More samples per question are not considered.

    :param margin: equivalence margin, as a fraction.
    :param comparisons: the size of the family for which Holm's method corrects the p-values.
    """
    from scipy.special import ndtri

    size, squared = abs(difference.value), difference.stderr**2
    # From the p-value, not the standard error: with few seeds the test is more conservative than the standard error.
    for_test = float(ndtri(1 - difference.p / 2) / ndtri(1 - 0.025 / comparisons)) * difference.stderr
    target = max(for_test, (margin - size) / float(ndtri(0.95))) ** 2
    seed_part = squared * difference.seed_share
    reduced, fixed = (seed_part, squared - seed_part) if by == "seeds" else (squared - seed_part, seed_part)
    if target <= fixed:
        return math.inf
    count = difference.seeds if by == "seeds" else difference.questions
    return float(count) * max(1.0, reduced / (target - fixed))


def _standard_errors(questions: int, alpha: float, power: float) -> float:
    """The size of a detectable difference, in standard errors."""
    from scipy.special import stdtrit

    if questions < 2:
        raise ValueError("at least two questions are needed")
    return float(stdtrit(questions - 1, 1 - alpha / 2) + stdtrit(questions - 1, power))
