"""A small recipe whose steps need no model, and its plan."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_steps import planned

from kkwarm.schema.recipe import Recipe, load_recipe
from kkwarm.study import run as runs
from kkwarm.study.plan import Plan

RECIPE = """
title = "A small study"
note = "It shows nothing."
seeds = [0, 1]

[models]
base = "{base}"

[traces.long]
domain = "mini_kk"
teacher = "symbolic"
n = 10

[stages.warm]
kind = "warmup"
traces = "long"

[stages.rlvr]
kind = "rlvr"
domain = "mini_code"
examples = 10
steps = 10

[[conditions]]
name = "base"
chain = ["base"]
forced = true

[[conditions]]
name = "warmed"
chain = ["base", "warm"]
baseline = "base"

[[conditions]]
name = "base + RLVR"
chain = ["base", "rlvr"]
baseline = "base"

[[conditions]]
name = "warmed + RLVR"
chain = ["base", "warm", "rlvr"]
baseline = "base + RLVR"

[evaluate]
domains = ["mini_kk", "mini_math", "mini_code"]

[[claims]]
base = "base"
warmed = "warmed"
base_rlvr = "base + RLVR"
warmed_rlvr = "warmed + RLVR"
on = "mini_code"
warmup = "mini_kk"
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    base = tmp_path / "base-model"
    base.mkdir()
    (base / "config.json").write_text("{}")
    path = tmp_path / "small.toml"
    path.write_text(RECIPE.format(base=base))
    return path


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(str(recipe_file))


@pytest.fixture
def without_models(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recipe], Plan]:
    """Plans whose steps are those of fake_steps.py."""

    monkeypatch.setattr(runs, "make_plan", planned)
    return planned


@pytest.fixture
def quiet() -> object:
    from rich.console import Console

    return Console(file=io.StringIO())
