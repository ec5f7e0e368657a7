"""Power: the variance components, the plan before a run, and that what it promises comes true."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kkwarm.analysis.stats.estimates import paired_difference
from kkwarm.analysis.stats.power import (
    DEFAULT_COMPONENTS,
    VarianceComponents,
    assume_components,
    detectable_difference,
    estimate_components,
    questions_needed,
    samples_needed,
)
from kkwarm.cli import main
from kkwarm.store import Run
from kkwarm.types import Completion, Sample, Status, Verdict

shares = st.floats(0.05, 0.95)


@given(shares, shares, shares, st.integers(30, 5000), st.integers(1, 64))
def test_more_of_anything_detects_less_and_pairing_never_hurts(
    accuracy: float, share: float, shared: float, n: int, k: int
) -> None:
    found = assume_components(accuracy, share, shared)
    here = detectable_difference(found, n, k)
    assert detectable_difference(found, 2 * n, k) <= here
    assert detectable_difference(found, n, 2 * k) <= here
    assert here <= detectable_difference(found, n, k, paired=False)
    assert detectable_difference(found, n, k, alpha=0.01) >= here


@given(shares, shares, st.integers(30, 3000), st.floats(0.01, 0.3))
def test_what_is_needed_is_enough_and_not_too_much(accuracy: float, share: float, n: int, difference: float) -> None:
    found = assume_components(accuracy, share)
    k = samples_needed(found, n, difference)
    if k is None:
        assert detectable_difference(found, n, math.inf) >= difference - 1e-9
    else:
        assert detectable_difference(found, n, k) <= difference + 1e-9
        assert k == 1 or detectable_difference(found, n, k - 1) > difference - 1e-9
    wanted = questions_needed(found, 4, difference)
    assert detectable_difference(found, wanted, 4) <= difference
    assert wanted == 2 or detectable_difference(found, wanted - 1, 4) > difference


def drawn(rng: np.random.Generator, n: int, k: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    hard = rng.normal(0, 1.5, n)
    return tuple(  # type: ignore[return-value]
        rng.binomial(k, 1 / (1 + np.exp(-(hard + rng.normal(0, 0.5, n) + s)))) / k for s in (0.0, shift)
    )


def test_components_are_found_again() -> None:
    rng = np.random.default_rng(0)
    p = 1 / (1 + np.exp(-rng.normal(0, 1.5, 20_000)))
    a, b = (rng.binomial(4, p) / 4 for _ in range(2))
    found, assumptions = estimate_components(a, 4, b)
    assert found.between == pytest.approx(p.var(), rel=0.03)
    assert found.within == pytest.approx((p * (1 - p)).mean(), rel=0.03)
    assert found.correlation == pytest.approx(1.0, abs=0.03)
    assert assumptions == []


def test_what_cannot_be_known_is_assumed_and_said() -> None:
    scores = np.array([0.0, 1.0] * 50)
    found, assumptions = estimate_components(scores, 1)
    assert found.between + found.within == pytest.approx(0.25)
    assert found.correlation == DEFAULT_COMPONENTS.correlation
    assert len(assumptions) == 2
    alike, assumptions = estimate_components(np.ones(50), 4)
    assert alike.within > 0  # all right is no proof that nothing varies
    assert any("cannot be estimated" in t for t in assumptions)
    with pytest.raises(ValueError, match="two questions"):
        estimate_components(np.ones(1), 4)


@pytest.mark.parametrize("samples", [1, 4])
def test_the_promised_power_comes_true(samples: int) -> None:
    rng = np.random.default_rng(samples)
    n = 250
    earlier = drawn(rng, 20_000, 8, 0.0)
    found, _ = estimate_components(earlier[0], 8, earlier[1])
    difference = detectable_difference(found, n, samples)
    shift = _shift_of(difference)
    hits = [paired_difference([tuple(x[None] for x in drawn(rng, n, samples, shift))]).p <= 0.05 for _ in range(300)]  # type: ignore[misc]
    assert 0.72 <= np.mean(hits) <= 0.88


def _shift_of(difference: float) -> float:
    grid = np.random.default_rng(9).normal(0, math.hypot(1.5, 0.5), 100_000)

    def gain(shift: float) -> float:
        return float((1 / (1 + np.exp(-grid - shift)) - 1 / (1 + np.exp(-grid))).mean())

    low, high = 0.0, 5.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if gain(middle) < difference else (low, middle)
    return low


def test_variance_is_that_of_the_formula() -> None:
    found = VarianceComponents(0.5, 0.15, 0.1, 0.8)
    assert found.variance(4) == pytest.approx(2 * 0.15 * 0.2 + 2 * 0.1 / 4)
    assert found.variance(4, paired=False) == pytest.approx(2 * 0.15 + 2 * 0.1 / 4)


# -- the command -------------------------------------------------------------------------------------------------------


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_plan_before_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "power", "--on", "mini_math,mini_kk", "--samples", 4, "--detect", 3, "--json")
    document = json.loads(out)
    assert code == 0 and document["family"] == 2
    row = document["benchmarks"]["mini_math"]
    assert row["n"] == 400
    assert row["paired"] == pytest.approx(100 * detectable_difference(DEFAULT_COMPONENTS, 400, 4, alpha=0.025))
    assert row["paired"] < row["unpaired"]
    assert row["needed"]["questions"] > 400
    asked = ["--on", "mini_math,mini_kk", "--samples", 4, "--detect", 3, "--json"]
    code, same, _ = called(capsys, "bench", "no-such-model", *asked, "--power")
    assert code == 0 and json.loads(same) == document  # no model is looked for
    code, out, _ = called(capsys, "power", "--on", "mini_math", "--limit", 50)
    assert code == 0 and "assumed" in out and "training seeds" in out


@pytest.mark.slow
def test_variances_are_learnt_from_earlier_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 0.5, 200)
    for name in ("a", "b"):
        with Run.open(tmp_path / name, kind="bench", config={"samples": 4}) as run:
            run.append(
                Sample("mini_math", f"q{i}", k, Completion("x"), Verdict(Status.CORRECT if r else Status.WRONG), f"{i}")
                for i, chance in enumerate(p)
                for k, r in enumerate(rng.random(4) < chance)
            )
            run.finish()
    code, out, _ = called(
        capsys, "power", "--on", "mini_math", "--prior", tmp_path / "a", "--prior", tmp_path / "b", "--json"
    )
    row = json.loads(out)["benchmarks"]["mini_math"]
    assert code == 0 and row["assumptions"] == []
    assert row["components"]["between"] == pytest.approx(p.var(), rel=0.2)
    assert row["components"]["correlation"] > 0.9
    code, _, err = called(capsys, "power", "--on", "mini_kk", "--prior", tmp_path / "a")
    assert code == 2 and "no samples of mini_kk" in err
    code, _, err = called(capsys, "power", "--on", "lm_eval:x")
    assert code == 2 and len(err.strip().splitlines()) == 1
    code, _, err = called(capsys, "bench", "m", "--on", "mini_math", "--detect", 10)
    assert code == 2 and "--power" in err
