"""The seed variances of a study: of its conditions' accuracies, and of the differences between conditions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from kkwarm.analysis.stats.seed_variance import Scores, SeedEffect, SeedVariance, estimate_seed_variances
from kkwarm.analysis.study_data import StudyData

Key = TypeVar("Key", bound=Hashable)
Strata = Sequence[tuple[Scores, Scores]]


def seed_effects(study: StudyData, first: str, strata: Strata) -> list[SeedEffect]:
    """The seed effect of each stratum: of the second condition only, where the first is an untrained checkpoint."""
    fixed = any(c.name == first and len(c.chain) == 1 for c in study.conditions)
    effect = SeedEffect.vs_fixed_baseline if fixed else SeedEffect.difference
    return [effect(*s) for s in strata]


def variances_of_changes(
    study: StudyData, changes: Mapping[tuple[str, str], Strata]
) -> dict[tuple[str, str], SeedVariance | None]:
    """The seed variance of each change (first, second condition), given the data of all changes."""
    return _estimate(study, {key: (key, seed_effects(study, key[0], strata)) for key, strata in changes.items()})


def variances_of_conditions(study: StudyData) -> dict[str, SeedVariance | None]:
    """The seed variance of each condition's accuracy, given the data of all conditions."""
    effects: dict[str, list[SeedEffect]] = {}
    for (name, _), cell in study.cells.items():
        if cell.ids:
            effects.setdefault(name, []).append(SeedEffect.single(cell.scores))
    return _estimate(study, {name: ((name,), each) for name, each in effects.items()})


def _estimate(
    study: StudyData, effects: Mapping[Key, tuple[Sequence[str], Sequence[SeedEffect]]]
) -> dict[Key, SeedVariance | None]:
    """Estimates trained and untrained conditions apart: untrained ones carry no information about the others."""
    trained_names = {c.name for c in study.conditions if c.chain[1:]}
    trained = {key: each for key, (names, each) in effects.items() if trained_names & {*names}}
    untrained = {key: each for key, (_, each) in effects.items() if key not in trained}
    return {**estimate_seed_variances(trained), **estimate_seed_variances(untrained)}
