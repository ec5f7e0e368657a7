"""What training seeds move in a study: which rows were trained tells."""

import numpy as np
import pytest

from kkwarm.analysis.changes import seed_effects, variances_of_changes
from kkwarm.analysis.stats.seed_variance import SeedEffect, estimate_seed_variances
from kkwarm.analysis.study_data import Condition, StudyData

CONDITIONS = (
    Condition("base", None, ("m",)),
    Condition("other", "base", ("n",)),
    Condition("warmed", "base", ("m", "warmup")),
    Condition("warmed + RLVR", "warmed", ("m", "warmup", "rlvr")),
    Condition("theirs", "base"),  # imported, or a bench run alone: nothing tells how it was made
)
STUDY = StudyData("a study", CONDITIONS, ("d",), {})


def strata(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [((rng.random((2, 40)) < 0.4).astype(float), (rng.random((2, 40)) < 0.6).astype(float))]


@pytest.mark.parametrize("first", ["base", "other", "warmed", "theirs", "unknown"])
def test_only_a_model_without_stages_is_one_for_all_seeds(first: str) -> None:
    (found,) = seed_effects(STUDY, first, strata(0))
    expected = (SeedEffect.vs_fixed_baseline if first in {"base", "other"} else SeedEffect.difference)(*strata(0)[0])
    assert np.array_equal(found.scores, expected.scores)
    assert found.variance_scale == expected.variance_scale


def test_what_was_never_trained_says_nothing_about_what_was() -> None:
    rows = {("base", "warmed"): strata(1), ("warmed", "warmed + RLVR"): strata(2), ("base", "other"): strata(3)}
    found = variances_of_changes(STUDY, rows)
    for keys in (list(rows)[:2], list(rows)[2:]):
        alone = estimate_seed_variances({k: seed_effects(STUDY, k[0], rows[k]) for k in keys})
        for k in keys:
            assert np.array_equal(found[k].weights, alone[k].weights)  # type: ignore[union-attr]
