"""What a run can show, before it is made: the smallest difference that n questions x k samples tell from chance.

Question q is answered right with probability p_q. The mean over n questions of k samples each has the variance
(between + within / k) / n, with between = Var(p_q) and within = E(p_q (1 - p_q)); they add up to m (1 - m), m the
accuracy (E. Miller, arXiv 2411.00640). Two checkpoints find mostly the same questions hard: on the same questions the
part `shared` of `between` cancels, and

    Var(difference) = (2 between (1 - shared) + 2 within / k) / n.

More samples shrink the second term only; below what is left only more questions help. Training seeds are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["ASSUMED", "Components", "assumed", "components", "detectable", "questions_needed", "samples_needed"]

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Components:
    """`accuracy`; variances `between` questions and `within` a question; `shared`: the correlation of two checkpoints'
    p_q over questions.
    """

    accuracy: float
    between: float
    within: float
    shared: float

    def variance(self, samples: float, *, paired: bool = True) -> float:
        """Of the difference on one question, with `samples` each (infinity: p_q itself)."""
        return 2 * self.between * (1 - self.shared * paired) + 2 * self.within / samples


def assumed(accuracy: float = 0.5, share: float = 0.6, shared: float = 0.8) -> Components:
    """Where nothing is known: `share` of the variance m (1 - m) lies between questions.

    :raises ValueError: a value is not in 0..1.
    """
    if not all(0 <= v <= 1 for v in (accuracy, share, shared)):
        raise ValueError(f"accuracy, share and shared must be in 0..1, not {accuracy}, {share}, {shared}")
    total = accuracy * (1 - accuracy)
    return Components(accuracy, share * total, (1 - share) * total, shared)


ASSUMED = assumed()


def components(first: Scores, samples: int, second: Scores | None = None) -> tuple[Components, list[str]]:
    """Estimated from earlier scores, and what had to be assumed in words.

    :param first: shares of correct samples, of shape (questions,), each of `samples` samples.
    :param second: another checkpoint on the same questions: it tells how much is shared.
    :raises ValueError: fewer than two questions, or shapes differ.
    """
    if first.ndim != 1 or len(first) < 2 or (second is not None and second.shape != first.shape):
        raise ValueError("scores of at least two questions are needed, of the same ones for both")
    arms = [first] if second is None else [first, second]
    accuracy = float(np.mean(arms))
    told = []
    between = within = 0.0
    if samples > 1:
        within = float(np.mean([(a * (1 - a)).mean() for a in arms])) * samples / (samples - 1)
        between = max(0.0, float(np.mean([a.var(ddof=1) for a in arms])) - within / samples)
    if samples == 1 or between + within == 0:  # one sample, or answers all alike, cannot tell the two apart
        smoothed = (accuracy * len(first) + 1) / (len(first) + 2)
        total = smoothed * (1 - smoothed)
        share = ASSUMED.between / (ASSUMED.between + ASSUMED.within)
        between, within = share * total, (1 - share) * total
        told.append(f"{share:.0%} of the variance between questions (these answers cannot tell)")
    shared = ASSUMED.shared
    if second is not None and between > 0:
        shared = min(1.0, max(0.0, float(np.cov(first, second)[0, 1]) / between))
    else:
        told.append(f"a correlation of {shared:g} between two checkpoints over questions")
    return Components(accuracy, between, within, shared), told


def detectable(
    found: Components, questions: int, samples: float, *, paired: bool = True, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The difference in accuracy that is found with this power at the two-sided level `alpha`; at most 1.

    :raises ValueError: fewer than two questions.
    """
    variance = found.variance(samples, paired=paired)
    return min(1.0, _reach(questions, alpha, power) * math.sqrt(variance / questions))


def samples_needed(
    found: Components, questions: int, difference: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Samples a question that show `difference`, paired; None where no number of samples does."""
    left = questions * (difference / _reach(questions, alpha, power)) ** 2 - found.variance(math.inf)
    if left <= 0:
        return None
    return max(1, math.ceil(2 * found.within / left - 1e-9))


def questions_needed(
    found: Components, samples: float, difference: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Questions that show `difference` with `samples` each, paired.

    :raises ValueError: the difference is not above 0.
    """
    if difference <= 0:
        raise ValueError(f"the difference must be above 0, not {difference}")
    short, enough = 1, 2
    while detectable(found, enough, samples, alpha=alpha, power=power) > difference:
        short, enough = enough, 2 * enough
    while enough - short > 1:
        middle = (short + enough) // 2
        fits = detectable(found, middle, samples, alpha=alpha, power=power) <= difference
        short, enough = (short, middle) if fits else (middle, enough)
    return enough


def _reach(questions: int, alpha: float, power: float) -> float:
    """How many standard errors a difference must have."""
    from scipy.special import stdtrit

    if questions < 2:
        raise ValueError("at least two questions are needed")
    return float(stdtrit(questions - 1, 1 - alpha / 2) + stdtrit(questions - 1, power))


def by_samples(found: Components, questions: int, alpha: float, counts: Sequence[float]) -> dict[str, float]:
    """`detectable` for several numbers of samples, by name; infinity is ``inf``."""
    return {f"{k:g}": detectable(found, questions, k, alpha=alpha) for k in counts}
