"""What a study tells of how much its training seeds differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kkwarm.transfer.spread import Spread, room, spreads

Scores = np.ndarray


def condition(
    rng: np.random.Generator, sd: float, *, seeds: int = 3, domains: int = 4, alike: bool = False
) -> list[Scores]:
    """Scores of (seeds, 1,000 questions) whose seeds move by `sd`."""
    moved = rng.normal(0, sd, (domains, seeds, 1))
    if alike:
        moved[:] = moved[0]
    return [(rng.random((seeds, 1000)) < 0.5 + m).astype(float) for m in moved]


def typical(known: Spread | None, domains: int = 1) -> float:
    assert known is not None
    variances, weights = known.of_mean([1.0] * domains)
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    return float(np.sqrt((weights * variances).sum()))


def test_one_seed_tells_nothing() -> None:
    one = [np.array([[0.0, 1.0, 0.0]])]
    known = spreads({"a": one, "b": condition(np.random.default_rng(0), 0.1)})
    assert known["a"] is None
    assert known["b"] is not None
    assert spreads({}) == {}


@pytest.mark.parametrize("sd", [0.0, 0.03, 0.1])
def test_a_study_finds_the_spread(sd: float) -> None:
    rng = np.random.default_rng(0)
    known = spreads({n: condition(rng, sd) for n in range(6)})
    found = [typical(s) for s in known.values()]
    assert np.mean(found) == pytest.approx(sd, rel=0.3, abs=0.006)


def test_a_condition_that_varies_more_keeps_its_own_spread() -> None:
    rng = np.random.default_rng(0)
    known = spreads({n: condition(rng, 0.15 if n == 5 else 0.01) for n in range(6)})
    assert typical(known[5]) > 0.1
    assert max(typical(known[n]) for n in range(5)) < 0.03


def test_two_seeds_that_happen_to_agree_are_not_believed_where_the_others_differ() -> None:
    rng = np.random.default_rng(1)
    rows = {n: condition(rng, 0.1, seeds=2, domains=1) for n in range(8)}
    flat = (rng.random((1, 1000)) < 0.5).astype(float)
    agreeing = [np.vstack([flat, rng.permuted(flat, axis=1)])]
    alone, among = spreads({"a": agreeing})["a"], spreads({**rows, "a": agreeing})["a"]
    assert typical(among) > 1.5 * typical(alone)


def test_seeds_that_move_all_domains_alike_move_their_mean() -> None:
    rng = np.random.default_rng(0)
    apart = spreads({n: condition(rng, 0.08) for n in range(6)})
    alike = spreads({n: condition(rng, 0.08, alike=True) for n in range(6)})
    share = [np.mean([typical(s, 4) / typical(s) for s in known.values()]) for known in (apart, alike)]
    assert share[0] < 0.62  # 0.5 where they are independent
    assert share[1] > 0.95


def test_a_domain_that_is_nearly_solved_moves_less() -> None:
    """Seeds that move evenly on the logit scale: by 8 points at 50%, by 2 at 93%."""
    rng = np.random.default_rng(0)

    def cells() -> list[Scores]:
        logits = np.array([0.0, 0.0, 2.6, 2.6])[:, None, None] + rng.normal(0, 0.32, (4, 3, 1))
        return [(rng.random((3, 1000)) < 1 / (1 + np.exp(-x))).astype(float) for x in logits]

    rows = {n: cells() for n in range(6)}
    known = spreads(rows)
    for place, sd in ((0, 0.08), (3, 0.021)):
        found = []
        for n, row in rows.items():
            variances, weights = known[n].of_mean([room(row[place])])  # type: ignore[union-attr]
            found.append(float(np.sqrt((weights * variances).sum())))
        assert np.mean(found) == pytest.approx(sd, rel=0.3)
    assert room(np.ones((2, 5))) == room(np.zeros((2, 5))) == 0.1  # another seed may yet be wrong
    assert room((np.zeros((2, 4)), np.ones((2, 4)))) == 1.0


def test_runs_that_are_equal_say_nothing_about_the_others() -> None:
    rng = np.random.default_rng(0)
    rows = {n: condition(rng, 0.05, seeds=2) for n in range(2)}
    same = [np.repeat((rng.random((1, 1000)) < 0.5).astype(float), 2, axis=0) for _ in range(4)]
    known = spreads({**rows, "base": same})
    assert typical(known["base"]) < 0.001
    assert typical(spreads({**rows, "base": same[:1]})["base"]) < 0.02
    assert typical(known[0]) == pytest.approx(typical(spreads(rows)[0]))


def test_domains_may_have_other_numbers_of_seeds() -> None:
    rng = np.random.default_rng(0)
    mixed = condition(rng, 0.1, seeds=3, domains=2) + condition(rng, 0.1, seeds=1, domains=1)
    assert typical(spreads({"a": mixed})["a"]) > 0.03


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(1, 4), st.integers(1, 30))
def test_order_does_not_matter_and_weights_sum_to_one(seed: int, seeds: int, domains: int, questions: int) -> None:
    rng = np.random.default_rng(seed)
    rows = {n: [rng.integers(0, 5, (seeds, questions)) / 4 for _ in range(domains)] for n in "abc"}
    turned = {n: [s[::-1, ::-1] for s in reversed(rows[n])] for n in "cab"}
    one, other = spreads(rows), spreads(turned)
    for n in rows:
        assert one[n].weights.sum() == pytest.approx(1)  # type: ignore[union-attr]
        assert np.allclose(one[n].weights, other[n].weights, atol=1e-9)  # type: ignore[union-attr]
