"""Recipes and plans: shared prefixes, stable ids, what runs first, and everything wrong with a recipe at once."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from kkwarm.errors import KkwarmError
from kkwarm.schema.document import ConfigError
from kkwarm.schema.recipe import Recipe, RlvrStage, built_in_recipes, load_recipe
from kkwarm.study.plan import make_plan
from kkwarm.study.plan_view import describe, show_plan


def kinds(recipe: Recipe) -> dict[str, int]:
    counts: dict[str, int] = {}
    for step in make_plan(recipe).steps.values():
        counts[step.kind] = counts.get(step.kind, 0) + 1
    return counts


def test_shared_prefixes_are_one_step(recipe: Recipe) -> None:
    # Two seeds: traces, warm-up (shared by two conditions), RLVR from both starts, four evaluations and a forced one.
    assert kinds(recipe) == {"distill": 2, "warmup": 2, "rlvr": 4, "bench": 10}


def test_a_step_stands_after_what_it_needs(recipe: Recipe) -> None:
    seen: set[str] = set()
    for step in make_plan(recipe).steps.values():
        assert set(step.needs) <= seen
        assert {v[1:] for v in step.inputs.values() if v.startswith("@")} == set(step.needs)
        seen.add(step.id)


def test_ids_are_stable_and_follow_settings(recipe_file: Path) -> None:
    def ids(*settings: str) -> set[str]:
        return set(make_plan(load_recipe(str(recipe_file), settings)).steps)

    assert ids() == ids()
    changed = ids("stages.rlvr.steps=11")
    assert ids() - changed == {i for i in ids() if "rlvr" in i}  # traces, warm-up and their evaluation are found again
    assert ids("evaluate.limit=5") & ids() == {i for i in ids() if not i.startswith("bench")}
    assert ids("note='other words'") == ids()


def test_other_weights_are_another_step(recipe_file: Path, recipe: Recipe) -> None:
    before = set(make_plan(recipe).steps)
    (Path(recipe.models["base"]) / "config.json").write_text('{"changed": 1}')
    after = set(make_plan(load_recipe(str(recipe_file))).steps)
    assert before & after == {i for i in before if i.startswith("traces")}


def test_a_fixed_seed_makes_one_set_of_traces(recipe_file: Path) -> None:
    assert kinds(load_recipe(str(recipe_file), ["traces.long.seed=7"]))["distill"] == 1


def test_the_longest_chain_comes_first(recipe: Recipe) -> None:
    plan = make_plan(recipe)
    order = sorted(plan.steps, key=lambda k: -plan.priority()[k])
    assert order[0].startswith("traces")
    assert order[-1].startswith("bench")


def test_a_dry_run_shows_the_graph(recipe: Recipe, tmp_path: Path) -> None:
    document = describe(recipe, make_plan(recipe), tmp_path, 2)
    console = Console(file=io.StringIO(), width=160)
    show_plan(document, console)
    lines = [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    rows = [row for row in lines if len(row) > 2 and row[0].isdecimal() and row[1] != "steps:"]
    number, after = {row[1]: row[0] for row in rows}, {row[1]: row[2] for row in rows}
    assert set(number) == {s["id"].rpartition("-")[0] for s in document["steps"]}
    assert after["base-warm-s1"] == number["traces-long-s1"]
    assert after["bench-warmed-rlvr-s0"] == number["base-warm-rlvr-s0"]
    edges = {(need, s["id"]) for s in document["steps"] for need in s["needs"]}
    assert len(edges) == 2 * 5  # traces, warm-up, RLVR, its evaluation; warm-up, its evaluation; RLVR, its evaluation
    assert all((s["cpus"], s["gpus"]) == (1, 0 if s["kind"] == "distill" else None) for s in document["steps"])


def test_everything_wrong_at_once(recipe_file: Path) -> None:
    text = recipe_file.read_text()
    text = text.replace('baseline = "base + RLVR"', 'baseline = "bse + RLVR"').replace(
        '["base", "warm"]', '["base", "worm"]'
    )
    text = text.replace("steps = 10", "stepps = 10").replace('traces = "long"', 'traces = "lng"')
    text = text.replace('on = "mini_code"', "").replace("[evaluate]", "[evaluate]\nlimits = 3")
    recipe_file.write_text(text)
    with pytest.raises(ConfigError) as wrong:
        load_recipe(str(recipe_file))
    message = "\n".join(wrong.value.problems)
    for part in ("claims[0].on: is missing", "stepps: unknown key; did you mean steps?"):
        assert part in message or "claims[0].on" in message
    recipe_file.write_text(text.replace("warmup = ", 'on = "mini_code"\nwarmup = '))
    with pytest.raises(ConfigError) as wrong:
        load_recipe(str(recipe_file))
    message = "\n".join(wrong.value.problems)
    for part in (
        "stages.rlvr.stepps: unknown key; did you mean steps?",
        "unknown traces 'lng' (did you mean long?)",
        "unknown stage 'worm' (did you mean warm?)",
        "unknown condition 'bse + RLVR' (did you mean base + RLVR",
        "evaluate.limits: unknown key; did you mean limit?",
    ):
        assert part in message
    assert len(wrong.value.problems) == 5


@pytest.mark.parametrize(
    ("stage", "evaluate", "warned"),
    [
        ("plain", "mini_kk=plain", False),  # the domain of the stage is evaluated by its protocol
        ("mini_kk=plain", "plain", False),
        ("plain", "mini_math=plain", True),
        ("plain", "auto", True),
    ],
)
def test_other_prompts_in_training_than_in_evaluation_are_reported(
    recipe_file: Path, stage: str, evaluate: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    load_recipe(str(recipe_file), [f"stages.warm.protocol='{stage}'", f"evaluate.protocol='{evaluate}'"])
    assert ("stage warm trains with protocol" in capsys.readouterr().err) == warned


def test_unknown_recipes_offer_near_names() -> None:
    with pytest.raises(KkwarmError) as wrong:
        load_recipe("minni")
    assert "did you mean mini" in str(wrong.value)


@pytest.mark.parametrize("name", sorted(built_in_recipes()))
def test_built_in_recipes_are_whole(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    recipe = load_recipe(name, [f"models.base={tmp_path}"])
    plan = make_plan(recipe)
    assert recipe.claims
    assert all(step.cost.seconds > 0 for step in plan.steps.values())


def test_the_paper_recipe_has_the_paper_settings() -> None:
    from kkwarm.train import PAPER_DISTILL, PAPER_RLVR, PAPER_WARMUP

    recipe = load_recipe("paper-qwen2.5-3b")
    assert recipe.models == {"base": "Qwen/Qwen2.5-3B"}
    traces = recipe.traces["long"]
    assert (traces.teacher, traces.domain) == ("Qwen/QwQ-32B", "kk")
    assert {k: getattr(traces, k) for k in PAPER_DISTILL} == PAPER_DISTILL
    warm = recipe.stages["warm"].given()
    assert all(getattr(PAPER_WARMUP, k) == (tuple(v) if isinstance(v, list) else v) for k, v in warm.items())
    sizes = {}
    for name, stage in recipe.stages.items():
        if isinstance(stage, RlvrStage):
            sizes[stage.domain] = stage.examples
            own = ("domain", "examples", "max_tokens")
            assert all(getattr(PAPER_RLVR, k) == v for k, v in stage.given().items() if k not in own), name
    assert sizes == {"math": 100, "humaneval_plus": 50, "mmlu_pro:physics": 100, "mmlu_pro:history": 100}
    evaluate = recipe.evaluate
    assert (evaluate.samples, evaluate.temperature, evaluate.top_p) == (4, 0.7, 0.95)
