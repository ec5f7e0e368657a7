"""Means, paired differences, corrections and verdicts."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from kkwarm.analysis.stats.estimates import PairedDifference, decide, estimate_mean, holm, paired_difference
from kkwarm.analysis.stats.seed_variance import SeedEffect, estimate_seed_variances


@st.composite
def two_arms(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    seeds, questions, samples = draw(st.integers(1, 3)), draw(st.integers(2, 25)), draw(st.integers(1, 4))
    counts = st.lists(st.integers(0, samples), min_size=seeds * questions, max_size=seeds * questions)
    shape = (seeds, questions)
    return (
        np.array(draw(counts), float).reshape(shape) / samples,
        np.array(draw(counts), float).reshape(shape) / samples,
    )


@settings(deadline=None, max_examples=80)
@given(two_arms())
def test_difference_is_antisymmetric_and_inside_its_interval(arms: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = arms
    forth, back = paired_difference([(a, b)]), paired_difference([(b, a)])
    assert forth.value == pytest.approx(-back.value)
    assert forth.p == pytest.approx(back.p)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.low <= forth.value <= forth.high
    assert 0 <= forth.p <= 1
    assert forth.value == pytest.approx(b.mean() - a.mean())


@settings(deadline=None, max_examples=80)
@given(two_arms(), st.randoms())
def test_order_of_questions_and_seeds_does_not_matter(arms: tuple[np.ndarray, np.ndarray], rng: object) -> None:
    a, b = arms
    order = np.random.default_rng(rng.randint(0, 2**32)).permutation(a.shape[1])  # type: ignore[attr-defined]
    one, other = paired_difference([(a, b)]), paired_difference([(a[::-1, order], b[::-1, order])])
    assert one.stderr == pytest.approx(other.stderr, abs=1e-12)
    assert one.value == pytest.approx(other.value, abs=1e-12)


@settings(deadline=None, max_examples=80)
@given(two_arms())
def test_mean_interval_holds_the_mean_and_stays_in_range(arms: tuple[np.ndarray, np.ndarray]) -> None:
    e = estimate_mean(arms[0])
    assert 0 <= e.low <= e.value <= e.high <= 1
    assert e.high > e.low  # never certainty


@pytest.mark.parametrize("shape", [(2, 1), (2, 5), (3, 2), (3, 300)])
@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_scores_that_are_all_equal_are_not_a_certainty(shape: tuple[int, int], score: float) -> None:
    scores = np.full(shape, score)
    e, d = estimate_mean(scores), paired_difference([(scores, scores)])
    assert 0 <= e.low <= score <= e.high <= 1
    assert e.high - e.low > 0.01
    assert (d.value, d.p) == (0.0, 1.0)
    assert d.low < 0 < d.high


def test_one_sample_one_seed_is_exact_mcnemar() -> None:
    a = np.array([[1, 1, 0, 0, 0, 0, 0, 0, 1, 0]], float)
    b = np.array([[1, 0, 1, 1, 1, 1, 1, 0, 1, 1]], float)
    d = paired_difference([(a, b)])
    assert d.test == "exact McNemar"
    assert d.p == pytest.approx(binomtest(6, 7).pvalue)


def test_equal_arms_differ_by_nothing_and_are_not_a_certainty() -> None:
    a = np.ones((1, 30))
    d = paired_difference([(a, a)])
    assert (d.value, d.p) == (0.0, 1.0)
    assert d.low < 0 < d.high


def test_sign_flips_agree_with_all_flips() -> None:
    a = np.array([[0.0, 0.25, 0.5, 0.25, 0.0, 0.5, 0.75, 0.0]])
    b = np.array([[0.5, 0.25, 1.0, 0.75, 0.25, 0.25, 1.0, 0.25]])
    d = (b - a)[0]
    flips = np.array(np.meshgrid(*[[-1, 1]] * len(d))).reshape(len(d), -1)
    exact = float((np.abs(flips.T @ d) >= abs(d.sum()) - 1e-12).mean())
    assert paired_difference([(a, b)]).p == pytest.approx(exact, abs=0.012)


def test_single_seed_error_is_that_of_the_questions() -> None:
    rng = np.random.default_rng(0)
    scores = rng.binomial(4, 0.5, (1, 400)) / 4
    assert estimate_mean(scores).stderr == pytest.approx(scores.std(ddof=1) / math.sqrt(400))


def test_seeds_that_disagree_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    base = (rng.random((2, 300)) < 0.5).astype(float)
    same = (rng.random((2, 300)) < 0.6).astype(float)
    apart = np.vstack([rng.random(300) < 0.4, rng.random(300) < 0.8]).astype(float)
    assert paired_difference([(base, apart)]).stderr > 3 * paired_difference([(base, same)]).stderr


def test_a_whole_study_makes_two_seeds_usable() -> None:
    rng = np.random.default_rng(1)
    pairs = [((rng.random((2, 300)) < 0.4) * 1.0, (rng.random((2, 300)) < 0.7) * 1.0) for _ in range(12)]
    known = estimate_seed_variances({n: [SeedEffect.difference(a, b)] for n, (a, b) in enumerate(pairs)})
    alone, widths = ([d.high - d.low for d in (paired_difference([p], s) for p, s in zip(pairs, by, strict=True))]
                     for by in ([None] * 12, list(known.values())))  # fmt: skip
    assert max(widths) < 0.8 * max(alone)
    assert max(widths) < 0.25


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_order_and_never_lowers(ps: list[float]) -> None:
    adjusted = holm(ps)
    assert all(p <= q <= 1 or p == q for p, q in zip(ps, adjusted, strict=True))
    ranked = sorted(range(len(ps)), key=lambda i: ps[i])
    assert all(adjusted[i] <= adjusted[j] + 1e-15 for i, j in pairwise(ranked))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize(
    ("value", "inner", "p", "expected"),
    [
        (0.1, (0.05, 0.15), 0.001, "gain"),
        (-0.1, (-0.15, -0.05), 0.001, "loss"),
        (0.01, (-0.02, 0.04), 0.6, "tie"),
        (0.01, (-0.02, 0.06), 0.6, "underpowered"),
        (0.1, (0.01, 0.2), 0.08, "underpowered"),
    ],
)
def test_verdicts(value: float, inner: tuple[float, float], p: float, expected: str) -> None:
    d = PairedDifference(value, 0.03, inner[0] - 0.01, inner[1] + 0.01, inner, p, "t", 100, 1)
    assert decide(d, 0.05) == expected


def test_correction_can_take_a_verdict_away() -> None:
    d = PairedDifference(0.1, 0.04, 0.02, 0.18, (0.03, 0.17), 0.02, "t", 100, 1)
    assert decide(d, 0.05) == "gain"
    assert decide(d, 0.05, p=0.3) == "underpowered"


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([(np.zeros((1, 3)), np.zeros((1, 4)))])
    with pytest.raises(ValueError, match="shape"):
        estimate_mean(np.zeros((1, 0)))


@pytest.mark.parametrize(("moves", "questions", "low", "high"), [(0.15, 800, 0.8, 1.0), (0.0, 60, 0.0, 0.5)])
def test_the_share_that_more_seeds_would_lower(moves: float, questions: int, low: float, high: float) -> None:
    rng = np.random.default_rng(4)
    first = (rng.random((3, questions)) < 0.5).astype(float)
    second = (rng.random((3, questions)) < 0.5 + moves * np.array([[-1.0], [0.0], [1.0]])).astype(float)
    found = paired_difference([(first, second)])
    assert low < found.seed_share < high
    assert paired_difference([(first[:1], second[:1])]).seed_share == 0
