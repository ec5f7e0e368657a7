"""Stopping early: the score's confidence sequence, the decision's boundaries, and what both promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from kkwarm.analysis.stats.sequential import ConfidenceSequence, GroupSequentialTest, boundaries, interim_counts


def test_boundaries_are_the_published_ones() -> None:
    """gsDesign's sfLDOF, two-sided 5%, five equal looks."""
    assert boundaries((0.2, 0.4, 0.6, 0.8, 1.0), 0.05) == pytest.approx((4.877, 3.357, 2.680, 2.290, 2.031), abs=2e-3)
    assert boundaries((1.0,), 0.05) == pytest.approx((norm.ppf(0.975),), abs=1e-6)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=8, unique=True), st.sampled_from([0.05, 0.01, 0.1]))
def test_boundaries_spend_the_error_and_never_ask_less_than_one_look(at: list[int], alpha: float) -> None:
    fractions = np.array(sorted(at)) / max(at)
    found = boundaries(tuple(fractions), alpha)
    assert found[-1] >= norm.ppf(1 - alpha / 2) - 1e-6
    steps = np.random.default_rng(0).normal(0, np.sqrt(np.diff(fractions, prepend=0)), (40_000, len(at)))
    crossed = (np.abs(steps.cumsum(axis=1)) / np.sqrt(fractions) >= found).any(axis=1)
    assert crossed.mean() == pytest.approx(alpha, abs=0.006)


def test_fractions_must_rise() -> None:
    with pytest.raises(ValueError, match="rise"):
        boundaries((0.5, 0.5), 0.05)


@given(st.integers(1, 5000))
def test_looks_end_with_the_last_question(total: int) -> None:
    at = interim_counts(total)
    assert at[-1] == total
    assert list(at) == sorted(set(at))
    assert at[0] >= min(30, total)


@settings(max_examples=30)
@given(st.integers(20, 80), st.floats(0.02, 0.3), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_interval_narrows_around_what_was_seen_and_ends_at_the_truth(
    total: int, target: float, samples: int, seed: int
) -> None:
    scores = np.random.default_rng(seed).binomial(samples, 0.6, total) / samples
    sequence = ConfidenceSequence(total, target)
    before = (0.0, 1.0)
    for score in scores:
        sequence.add([score])
        low, high = sequence.interval
        seen = scores[: sequence.count].sum() / total
        if before[0] <= scores.mean() <= before[1]:  # in 5% of cases it may miss, and must turn back
            assert low >= before[0] - 1e-3 and high <= before[1] + 1e-3  # up to the grid
        assert seen - 1e-9 <= low <= high <= seen + (total - sequence.count) / total + 1e-9
        before = (low, high)
    assert sequence.interval == pytest.approx((scores.mean(), scores.mean()))
    assert sequence.reached


@pytest.mark.slow
def test_the_whole_score_is_held_at_all_times_and_questions_are_saved() -> None:
    rng = np.random.default_rng(0)
    missed, asked = 0, []
    for _ in range(60):
        scores = rng.binomial(2, rng.beta(1, 1, 400)) / 2
        sequence, out = ConfidenceSequence(400, 0.06), False
        while not sequence.reached:
            sequence.add(scores[sequence.count : sequence.count + 20])
            low, high = sequence.interval
            out |= not low - 1e-9 <= scores.mean() <= high + 1e-9
        missed += out
        asked.append(sequence.count)
    assert missed <= 6  # 5% of 60 is 3
    assert np.mean(asked) < 280


def test_scores_outside_are_refused() -> None:
    sequence = ConfidenceSequence(2, 0.1)
    for wrong in ([1.5], [0.0, 0.0, 0.0]):
        with pytest.raises(ValueError, match="score"):
            sequence.add(wrong)
    with pytest.raises(ValueError, match="target"):
        ConfidenceSequence(10, 0.0)


def decided(rng: np.random.Generator, shift: float, total: int = 300) -> tuple[str, int]:
    hard = rng.normal(0, 1.5, total)
    first, second = (rng.binomial(4, 1 / (1 + np.exp(-hard - s))) / 4 for s in (0.0, shift))
    rule = GroupSequentialTest(total, 0.05)
    for n in rule.counts:
        look = rule.test(first[:n], second[:n])
        if look.verdict is not None:
            return look.verdict, n
    raise AssertionError("the last look decides")


@pytest.mark.slow
def test_equal_checkpoints_seldom_differ_and_large_differences_stop_early() -> None:
    rng = np.random.default_rng(1)
    null = [decided(rng, 0.0)[0] for _ in range(100)]
    assert sum(w in ("gain", "loss") for w in null) <= 9
    far = [decided(rng, 1.0) for _ in range(20)]
    assert all(w == "gain" for w, _ in far)
    assert np.mean([n for _, n in far]) < 150


def test_a_decision_is_antisymmetric_and_looked_at_only_when_due() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 2, (2, 40)).astype(float)
    rule = GroupSequentialTest(40, 0.05)
    forth, back = rule.test(a, b), rule.test(b, a)
    assert forth.value == -back.value
    assert forth.p == pytest.approx(back.p)
    assert {"gain": "loss", "loss": "gain"}.get(str(forth.verdict), forth.verdict) == back.verdict
    with pytest.raises(ValueError, match="not after 7"):
        rule.test(a[:7], b[:7])


@pytest.mark.slow
def test_a_family_shares_the_error() -> None:
    alone, many = GroupSequentialTest(200, 0.05), GroupSequentialTest(200, 0.05, family=4)
    a = np.zeros(200)
    b = (np.arange(200) % 25 == 0).astype(float)  # 8 of 200, all one way: p = 0.008
    assert alone.test(a, b).verdict == "gain"
    assert many.test(a, b).level < alone.test(a, b).level
