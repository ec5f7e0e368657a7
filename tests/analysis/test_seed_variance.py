"""What a study tells of how much its training seeds differ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kkwarm.analysis.stats.seed_variance import SeedEffect, SeedVariance, estimate_seed_variances


def condition(
    rng: np.random.Generator, sd: float, *, seeds: int = 3, domains: int = 4, alike: bool = False
) -> list[SeedEffect]:
    """Of (seeds, 1,000 questions) whose seeds shift by `sd`."""
    shifts = rng.normal(0, sd, (domains, seeds, 1))
    if alike:
        shifts[:] = shifts[0]
    return [SeedEffect.single((rng.random((seeds, 1000)) < 0.5 + m).astype(float)) for m in shifts]


def typical(variances: SeedVariance | None, domains: int = 1) -> float:
    assert variances is not None
    sizes, weights = variances.variances_of_mean([1.0] * domains)
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    return float(np.sqrt((weights * sizes).sum()))


def test_one_seed_tells_nothing() -> None:
    one = [SeedEffect.single(np.array([[0.0, 1.0, 0.0]]))]
    variances = estimate_seed_variances({"a": one, "b": condition(np.random.default_rng(0), 0.1)})
    assert variances["a"] is None
    assert variances["b"] is not None
    assert estimate_seed_variances({}) == {}


@pytest.mark.parametrize("sd", [0.0, 0.03, 0.1])
def test_a_study_finds_the_spread(sd: float) -> None:
    rng = np.random.default_rng(0)
    variances = estimate_seed_variances({n: condition(rng, sd) for n in range(6)})
    results = [typical(s) for s in variances.values()]
    assert np.mean(results) == pytest.approx(sd, rel=0.3, abs=0.006)


def test_a_condition_that_varies_more_keeps_its_own_spread() -> None:
    rng = np.random.default_rng(0)
    variances = estimate_seed_variances({n: condition(rng, 0.15 if n == 5 else 0.01) for n in range(6)})
    assert typical(variances[5]) > 0.1
    assert max(typical(variances[n]) for n in range(5)) < 0.03


def test_two_seeds_that_happen_to_agree_are_not_believed_where_the_others_differ() -> None:
    rng = np.random.default_rng(1)
    rows = {n: condition(rng, 0.1, seeds=2, domains=1) for n in range(8)}
    flat = (rng.random((1, 1000)) < 0.5).astype(float)
    agreeing = [SeedEffect.single(np.vstack([flat, rng.permuted(flat, axis=1)]))]
    alone, among = estimate_seed_variances({"a": agreeing})["a"], estimate_seed_variances({**rows, "a": agreeing})["a"]
    assert typical(among) > 1.5 * typical(alone)


def test_seeds_that_move_all_domains_alike_move_their_mean() -> None:
    rng = np.random.default_rng(0)
    apart = estimate_seed_variances({n: condition(rng, 0.08) for n in range(6)})
    alike = estimate_seed_variances({n: condition(rng, 0.08, alike=True) for n in range(6)})
    share = [np.mean([typical(s, 4) / typical(s) for s in variances.values()]) for variances in (apart, alike)]
    assert share[0] < 0.62  # 0.5 where they are independent
    assert share[1] > 0.95


def test_a_study_of_many_domains_whose_seeds_trade_one_for_another() -> None:
    """Correlations between many domains cannot all be far below 0; the grid's lowest ends where they could not."""
    rng = np.random.default_rng(0)
    many = [
        typical(s, 12)
        for s in estimate_seed_variances({n: condition(rng, 0.08, domains=12) for n in range(3)}).values()
    ]
    assert all(0.25 < m / (0.08 / np.sqrt(12)) < 2 for m in many)

    def trading() -> list[SeedEffect]:
        row = condition(rng, 0.08)
        mean = np.mean([c.scores.mean(axis=1, keepdims=True) for c in row], axis=0)
        return [SeedEffect(c.scores - mean + 0.5, 1.0, True) for c in row]

    traded = {n: trading() for n in range(8)}
    share = np.mean([typical(s, 4) / typical(s) for s in estimate_seed_variances(traded).values()])
    assert share < 0.45  # 0.5 where they are independent


def test_a_domain_that_is_nearly_solved_moves_less() -> None:
    """Seeds that move evenly on the logit scale: by 8 points at 50%, by 2 at 93%."""
    rng = np.random.default_rng(0)

    def cells() -> list[SeedEffect]:
        logits = np.array([0.0, 0.0, 2.6, 2.6])[:, None, None] + rng.normal(0, 0.32, (4, 3, 1))
        return [SeedEffect.single((rng.random((3, 1000)) < 1 / (1 + np.exp(-x))).astype(float)) for x in logits]

    rows = {n: cells() for n in range(6)}
    variances = estimate_seed_variances(rows)
    for place, sd in ((0, 0.08), (3, 0.021)):
        results = []
        for n, row in rows.items():
            sizes, weights = variances[n].variances_of_mean([row[place].variance_scale])  # type: ignore[union-attr]
            results.append(float(np.sqrt((weights * sizes).sum())))
        assert np.mean(results) == pytest.approx(sd, rel=0.3)
    none, all_ = np.zeros((2, 5)), np.ones((2, 5))
    assert (
        SeedEffect.single(all_).variance_scale
        == SeedEffect.single(none).variance_scale
        == SeedEffect.vs_fixed_baseline(all_, none).variance_scale
        == 0.1
    )  # another may be wrong
    assert SeedEffect.difference(none, all_).variance_scale == 1.0


def test_runs_that_are_equal_say_nothing_about_the_others() -> None:
    rng = np.random.default_rng(0)
    rows = {n: condition(rng, 0.05, seeds=2) for n in range(2)}
    same = [SeedEffect.single(np.repeat((rng.random((1, 1000)) < 0.5).astype(float), 2, axis=0)) for _ in range(4)]
    variances = estimate_seed_variances({**rows, "base": same})
    assert typical(variances["base"]) < 0.001
    assert typical(estimate_seed_variances({**rows, "base": same[:1]})["base"]) < 0.02
    noisy = (rng.random((2, 1000)) < 0.5).astype(float)
    assert not SeedEffect.vs_fixed_baseline(noisy, same[0].scores).seeds_differ
    assert SeedEffect.difference(noisy, same[0].scores).seeds_differ
    assert typical(variances[0]) == pytest.approx(typical(estimate_seed_variances(rows)[0]))


def test_domains_may_have_other_numbers_of_seeds() -> None:
    rng = np.random.default_rng(0)
    mixed = condition(rng, 0.1, seeds=3, domains=2) + condition(rng, 0.1, seeds=1, domains=1)
    assert typical(estimate_seed_variances({"a": mixed})["a"]) > 0.03


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(1, 4), st.integers(1, 30))
def test_order_does_not_matter_and_weights_sum_to_one(seed: int, seeds: int, domains: int, questions: int) -> None:
    rng = np.random.default_rng(seed)
    rows = {n: [rng.integers(0, 5, (2, seeds, questions)) / 4 for _ in range(domains)] for n in "abc"}
    for kind in (SeedEffect.difference, SeedEffect.vs_fixed_baseline):
        one, other = (
            estimate_seed_variances({n: [kind(*s) for s in each] for n, each in both.items()})
            for both in (rows, {n: [s[:, ::-1, ::-1] for s in reversed(rows[n])] for n in "cab"})
        )
        for n in rows:
            assert one[n].weights.sum() == pytest.approx(1)  # type: ignore[union-attr]
            assert np.allclose(one[n].weights, other[n].weights, atol=1e-9)  # type: ignore[union-attr]


def test_a_checkpoint_that_all_are_compared_with_does_not_look_like_their_seeds() -> None:
    """Its draws are the same in every difference: where they happen to agree, all seeds seem to, and the reverse."""
    results: dict[str, list[float]] = {"difference": [], "fixed": []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        fixed = [(rng.random((2, 100)) < 0.5).astype(float) for _ in range(2)]
        seconds = [[(rng.random((2, 100)) < 0.5).astype(float) for _ in fixed] for _ in range(12)]
        for way, kind in (("difference", SeedEffect.difference), ("fixed", SeedEffect.vs_fixed_baseline)):
            rows = {n: [kind(f, s) for f, s in zip(fixed, row, strict=True)] for n, row in enumerate(seconds)}
            results[way].append(np.mean([typical(s) for s in estimate_seed_variances(rows).values()]))
    assert np.std(results["fixed"]) < 0.6 * np.std(results["difference"])
    assert max(results["fixed"]) < 0.7 * max(results["difference"])


def test_luck_that_draws_share_is_taken_off() -> None:
    """Equal seeds draw equal random numbers: the checkpoint says how lucky they were."""
    rng = np.random.default_rng(0)
    drawn = rng.random((3, 500))
    fixed, second = (drawn < 0.5).astype(float), (drawn < 0.55).astype(float)
    lucky, apart = (
        SeedEffect.vs_fixed_baseline(fixed, second).scores,
        SeedEffect.vs_fixed_baseline((rng.random((3, 500)) < 0.5).astype(float), second).scores,
    )
    assert np.std(lucky.mean(axis=1)) < 0.5 * np.std(second.mean(axis=1))
    assert apart.mean(axis=1) - apart.mean() == pytest.approx(second.mean(axis=1) - second.mean(), abs=0.004)
    assert SeedEffect.vs_fixed_baseline(fixed[:1], second[:1]).scores.shape == (1, 500)
