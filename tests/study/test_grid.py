"""RLVR on several numbers of examples: stages, conditions, claims, and the plan that shares what it can."""

from pathlib import Path

import pytest

from kkwarm.errors import KkwarmError
from kkwarm.schema.document import ConfigError
from kkwarm.schema.recipe import load_recipe
from kkwarm.study.plan import make_plan

GRID = "stages.rlvr.examples=[10, 25, 50]"
SMALL = "stages.rlvr.prompts_per_step=5"


def test_a_condition_for_each_number(recipe_file: Path) -> None:
    recipe = load_recipe(str(recipe_file), [GRID, SMALL])
    by_name = {c.name: c for c in recipe.conditions}
    assert list(by_name) == [
        "base", "warmed", "base + RLVR 10", "base + RLVR 25", "base + RLVR 50",
        "warmed + RLVR 10", "warmed + RLVR 25", "warmed + RLVR 50",
    ]  # fmt: skip
    assert by_name["warmed + RLVR 25"].chain == ("base", "warm", "rlvr-25")
    assert by_name["warmed + RLVR 25"].baseline == "base + RLVR 25"  # with as many examples
    assert by_name["base + RLVR 25"].baseline == "base"
    assert recipe.stages["rlvr-25"].examples == 25
    assert "rlvr" not in recipe.stages
    assert (recipe.claims[0].base_rlvr, recipe.claims[0].warmed_rlvr) == ("base + RLVR 50", "warmed + RLVR 50")
    assert recipe.grids["base + RLVR"] == {10: "base + RLVR 10", 25: "base + RLVR 25", 50: "base + RLVR 50"}


def test_the_plan_shares_warm_ups_and_has_one_training_for_each_number(recipe_file: Path) -> None:
    plan = make_plan(load_recipe(str(recipe_file), [GRID, SMALL]))
    kinds = [step.kind for step in plan.steps.values()]
    assert (kinds.count("warmup"), kinds.count("rlvr")) == (2, 2 * 2 * 3)
    assert {s.config["examples"] for s in plan.steps.values() if s.kind == "rlvr"} == {10, 25, 50}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[50, 10]", "rising order"),
        ("[10, 10]", "rising order"),
        ("[10]", "rising order"),
        ("[10, 2.5]", "whole number"),
        ("[true, 10]", "whole number"),
        ("[2, 10]", "5 prompts in a step, but only 2 examples"),
        ("[0, 10]", "too small"),
    ],
)
def test_wrong_numbers(recipe_file: Path, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(str(recipe_file), [f"stages.rlvr.examples={value}", SMALL])


def test_a_name_that_is_taken(recipe_file: Path) -> None:
    recipe_file.write_text(recipe_file.read_text() + '\n[[conditions]]\nname = "base + RLVR 25"\nchain = ["base"]\n')
    with pytest.raises(KkwarmError, match=r"base \+ RLVR 25.*twice"):
        load_recipe(str(recipe_file), [GRID, SMALL])
