"""RLVR with several numbers of examples: a list in a stage becomes one stage, and one condition, for each number.

    [stages.rlvr]
    examples = [10, 25, 50, 100]

The condition ``base + RLVR`` becomes ``base + RLVR 10`` to ``base + RLVR 100``; what names it elsewhere (`baseline`,
claims) means the one with as many examples, or else with the most. The examples of a smaller number are among those of
a larger one. With `steps` in the stage every number gets the same training; with `epochs` it grows with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.study.recipe import Claim, Condition, Recipe, Stage

__all__ = ["expanded"]

Grid = Mapping[int, str]


def expanded(recipe: Recipe) -> Recipe:
    """The recipe with a stage and a condition for each number of examples, and `grids` filled in.

    :raises KkwarmError: the name of such a condition is there already.
    """
    counts = {name: tuple(s.config["examples"]) for name, s in recipe.stages.items() if is_grid(s.config)}
    if not counts:
        return recipe
    stages = {key: stage for name, stage in recipe.stages.items() for key, stage in _stages(name, stage)}
    grids: dict[str, Grid] = {}
    for condition in recipe.conditions:
        numbers = next((counts[link] for link in condition.chain if link in counts), None)
        if numbers is not None:
            grids[condition.name] = {n: f"{condition.name} {n}" for n in numbers}
    conditions = [made for c in recipe.conditions for made in _conditions(c, counts, grids)]
    names = [c.name for c in conditions]
    if (twice := next((n for n in names if names.count(n) > 1), None)) is not None:
        raise KkwarmError(f"recipe {recipe.name}: condition {twice!r} is there twice", hint="rename it")
    claims = tuple(_claim(claim, grids) for claim in recipe.claims)
    resources = {
        key: given
        for name, given in recipe.resources.items()
        for key in (_keys(name, counts[name]) if name in counts else [name])
    }
    return replace(recipe, stages=stages, conditions=tuple(conditions), claims=claims, grids=grids, resources=resources)


def is_grid(config: Mapping[str, Any]) -> bool:
    """Whether a stage's settings ask for several numbers of examples."""
    return isinstance(config.get("examples"), list)


def _stages(name: str, stage: Stage) -> list[tuple[str, Stage]]:
    if not is_grid(stage.config):
        return [(name, stage)]
    numbers = stage.config["examples"]
    parts = (replace(stage, config={**stage.config, "examples": n}) for n in numbers)
    return list(zip(_keys(name, numbers), parts, strict=True))


def _keys(name: str, numbers: Sequence[int]) -> list[str]:
    return [f"{name}-{n}" for n in numbers]


def _conditions(
    condition: Condition, counts: Mapping[str, tuple[int, ...]], grids: Mapping[str, Grid]
) -> list[Condition]:
    grid: Grid = grids.get(condition.name, {0: condition.name})
    made = []
    for n, name in grid.items():
        chain = tuple(f"{link}-{n if n in counts[link] else max(counts[link])}" if link in counts else link
                      for link in condition.chain)  # fmt: skip
        baseline = None if condition.baseline is None else _named(condition.baseline, grids, n)
        made.append(replace(condition, name=name, chain=chain, baseline=baseline))
    return made


def _claim(claim: Claim, grids: Mapping[str, Grid]) -> Claim:
    played = ("base", "warmed", "base_rlvr", "warmed_rlvr")
    return replace(claim, **{part: _named(getattr(claim, part), grids, None) for part in played})


def _named(name: str, grids: Mapping[str, Grid], n: int | None) -> str:
    grid = grids.get(name)
    return name if grid is None else grid.get(n or 0, grid[max(grid)])
