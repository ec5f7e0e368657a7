"""Study recipes: models, traces and stages, and the chains of them that make each condition. Read from TOML or YAML.

A list of numbers as a stage's `examples` becomes one stage, and one condition, for each number::

    [stages.rlvr]
    examples = [10, 25, 50, 100]

The condition ``base + RLVR`` becomes ``base + RLVR 10`` to ``base + RLVR 100``. Where it is named elsewhere (as a
baseline or in claims), the name stands for the condition with as many examples, or else with the most. The examples of
a smaller number are among those of a larger one. With `steps`, every number gets the same training; with `epochs`, it
grows with the number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic import model_validator as validator

from kkwarm.errors import KkwarmError, unknown_name, warn
from kkwarm.files import expand_path
from kkwarm.schema.by_benchmark import value_for
from kkwarm.schema.document import Document, Problems, read, validate
from kkwarm.schema.settings import (
    BenchConfig,
    Count,
    DistillConfig,
    Number,
    Points,
    RlvrConfig,
    Seed,
    Switch,
    WarmupConfig,
    fraction_hint,
    identity,
)

KINDS = ("distill", "warmup", "rlvr", "bench")
Rate = Annotated[Number, Field(ge=1e-6)]
Share = Annotated[Number, Field(ge=1e-6, le=1)]
Grid = Mapping[int, str]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Condition(_Table):
    """A row of the report: a chain of a model and stages, such as ``["base", "warm", "rlvr"]``.

    `baseline` is the condition that its change is measured against. `forced` also evaluates it with prompts that make
    the model reason step by step.
    """

    name: str
    chain: tuple[str, ...]
    baseline: str | None = None
    forced: Switch = False


class Claim(_Table):
    """The conditions that the paper's claims compare, for RLVR on the domain `on`."""

    base: str
    warmed: str
    base_rlvr: str
    warmed_rlvr: str
    on: str
    warmup: str


CLAIM_CONDITIONS = ("base", "warmed", "base_rlvr", "warmed_rlvr")


class Resources(_Table):
    """What a step occupies while it runs, for executors that place steps on machines.

    :param gpus: None is one where there are any; a fraction where several steps may share one.
    """

    cpus: Annotated[Number, Field(ge=0)] = 1.0
    gpus: Annotated[Number, Field(ge=0)] | None = None


def assumption(default: Any, description: str, unset: str = "") -> Any:
    """A key of ``[assume]``; `unset` says what None means."""
    return Field(default, description=description, json_schema_extra={"unset": unset})


class Assume(_Table):
    """Assumptions of the cost estimate. Every key may be left out. Rates are tokens per second of one worker. They
    follow from parameters and FLOP/s: 2 FLOPs for each parameter and generated token, 6 for a trained one.
    """

    device: str = assumption("", "Name of what a worker runs on, to show.", "this machine's GPU or cores")
    unit: str = assumption("worker-hours", "Unit of the total time, to show.")
    parameters: Annotated[Number, Field(ge=1)] | None = assumption(
        None, "Number of parameters of the models.", "read from each model, or from its name"
    )
    teacher_parameters: Annotated[Number, Field(ge=1)] | None = assumption(
        None, "Number of parameters of a teacher that is a model.", "read from the teacher, or from its name"
    )
    flops: Annotated[Number, Field(ge=1)] | None = assumption(
        None, "FLOP/s of one worker, at most.", "1e11 for each core of a worker, or those of the GPU"
    )
    train_use: Share | None = assumption(None, "Share of the FLOP/s that training uses.", "0.5 on cores, 0.3 on a GPU")
    generate_use: Share | None = assumption(
        None, "Share of the FLOP/s that generation uses.", "0.13 on cores, 0.05 on a GPU"
    )
    generate_rate: Rate | None = assumption(
        None, "Tokens per second that a model generates; replaces parameters and FLOP/s.", "by parameters"
    )
    train_rate: Rate | None = assumption(None, "Tokens per second that a model trains on.", "by parameters")
    teacher_rate: Rate | None = assumption(None, "Tokens per second that the teacher generates.", "by parameters")
    answer: Count = assumption(
        500, "Tokens of a completion in evaluation and RLVR; never more than `max_tokens` of the step."
    )
    trace: Count = assumption(500, "Tokens of a trace; never more than `max_tokens` of a teacher that is a model.")
    prompt: Count = assumption(200, "Tokens of a prompt.")
    start_s: Annotated[Number, Field(ge=0)] = assumption(5.0, "Seconds to start a step.")
    questions: Mapping[str, Count] = assumption(
        {},
        "Number of questions of each benchmark, a table; `limit` of the evaluation applies.",
        "those of a TOML table are counted; 500 for others",
    )


class WarmupStage(WarmupConfig):
    """A warm-up stage: the settings of `warmup`, and the name of a set of traces."""

    kind: Literal["warmup"]
    traces: str

    def given(self) -> dict[str, Any]:
        """The settings that the recipe gives, as JSON data."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"kind", "traces"})


class RlvrStage(RlvrConfig):
    """An RLVR stage: the settings of `rlvr`. `examples` may be a list; reading the recipe expands it."""

    kind: Literal["rlvr"]
    examples: Count | tuple[Count, ...] = 100  # type: ignore[assignment]

    def given(self) -> dict[str, Any]:
        """The settings that the recipe gives, as JSON data."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"kind"})

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of examples of a stage that lists several; empty otherwise."""
        return self.examples if isinstance(self.examples, tuple) else ()

    @validator(mode="after")
    def _check_counts(self) -> RlvrStage:
        listed = self.counts
        if isinstance(self.examples, tuple) and (len(listed) < 2 or list(listed) != sorted(set(listed))):
            raise ValueError("examples must be a number, or different whole numbers in rising order")
        if listed and self.prompts_per_step > listed[0]:
            raise ValueError(f"{self.prompts_per_step} prompts in a step, but only {listed[0]} examples")
        return self


class Evaluate(BenchConfig):
    """Benchmarks to evaluate every condition on, and the settings of `bench`."""

    domains: Annotated[tuple[str, ...], Field(min_length=1)]

    def given(self) -> dict[str, Any]:
        """The settings that the recipe gives, as JSON data."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"domains"})


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError("must be different seeds, at least one")
    return seeds


class _RecipeFile(_Table):
    """A recipe as it is written."""

    title: str
    models: dict[str, str]
    conditions: tuple[Condition, ...]
    evaluate: Evaluate
    note: str = ""
    traces: dict[str, DistillConfig] = {}
    stages: dict[str, Annotated[WarmupStage | RlvrStage, Field(discriminator="kind")]] = {}
    claims: tuple[Claim, ...] = ()
    seeds: Annotated[tuple[Seed, ...], AfterValidator(_different)] = (0,)
    margin: Points = 5.0
    assume: Assume = Assume()
    resources: dict[str, Resources] = {}


class Recipe(_RecipeFile):
    """A whole study.

    :param margin: equivalence margin of the report, in percentage points.
    :param resources: of a stage or set of traces by its name, or of all steps of a kind.
    :param grids: for each condition that was written for several numbers of examples, the condition of each number.
    :param data: the settings that decide the study's results, as JSON data without defaults: its identity.
    """

    name: str
    grids: Mapping[str, Grid] = {}
    data: Mapping[str, Any] = {}


# -- reading -----------------------------------------------------------------------------------------------------------


def built_in_recipes() -> dict[str, Path]:
    """Name and file of each built-in recipe, in the installed package or in the source tree."""
    root = Path(__file__).parents[1]
    recipes: dict[str, Path] = {}
    for folder in (root / "study" / "recipes", root.parent / "benchmarks" / "studies"):
        for path in sorted(folder.glob("*.toml")):
            recipes.setdefault(path.stem, path)
    return recipes


def find_recipe(recipe: str) -> Path:
    """The file of a recipe given by name or path."""
    names = built_in_recipes()
    if recipe in names:
        return names[recipe]
    path = expand_path(recipe)
    if path.is_file():
        return path
    if path.is_dir():
        raise KkwarmError(f"{recipe} is a folder, not a recipe", hint="give a TOML or YAML file")
    if path.suffix or "/" in recipe:
        raise KkwarmError(f"recipe {recipe} does not exist", hint=f"built in: {', '.join(names)}")
    raise unknown_name("recipe", recipe, names, hint="or give a TOML file")


def load_recipe(recipe: str, overrides: Iterable[str] = ()) -> Recipe:
    """Finds, reads and checks a recipe.

    :raises ConfigError: all problems of the recipe, each with its location.
    """
    path = find_recipe(recipe)
    return parse_recipe(path.stem, read(path, overrides))


def parse_recipe(name: str, document: Document) -> Recipe:
    """The recipe of a document; see `load_recipe`."""
    problems = document.problems()
    written = validate(_RecipeFile, document.data, problems)
    _check_names(document.data, problems)
    problems.raise_any()
    assert written is not None
    for place, points in (("margin", written.margin), ("evaluate.until", written.evaluate.until or 0.0)):
        if hint := fraction_hint(f"{document.where}: {place}", points):
            warn(hint)
    _warn_about_protocols(document.where, written)
    return expand_grids(Recipe.model_construct(**dict(written), name=name, grids={}, data=_identity(written)))


def _warn_about_protocols(where: str, recipe: _RecipeFile) -> None:
    """Warns where a stage trains with other prompts than the conditions are evaluated with."""
    evaluated = recipe.evaluate.given()
    for name, stage in recipe.stages.items():
        given = stage.given()
        domain = stage.domain if isinstance(stage, RlvrStage) else recipe.traces[stage.traces].domain
        protocols = (value_for(settings.protocols, domain) for settings in (stage, recipe.evaluate))
        if len(set(protocols)) == 1:
            given.pop("protocol", None)
        for key in ("protocol", "chat", "system", "chat_template_args", "think_tags"):
            if key in given and given[key] != evaluated.get(key):
                used = f"{key} = {evaluated[key]!r}" if key in evaluated else f"the default {key}"
                warn(f"{where}: stage {name} trains with {key} = {given[key]!r}, but [evaluate] uses {used}")


def _identity(recipe: _RecipeFile) -> dict[str, Any]:
    """What decides the study's results: not how it is placed on machines, nor its cost estimate."""
    rest = recipe.model_dump(
        mode="json", exclude_defaults=True, exclude={"traces", "stages", "evaluate", "resources", "assume"}
    )
    stages = {key: identity(s) for key, s in recipe.stages.items()}
    traces = {key: identity(t) for key, t in recipe.traces.items()}
    return {**rest, "traces": traces, "stages": stages, "evaluate": identity(recipe.evaluate)}


def _check_names(data: Mapping[str, Any], problems: Problems) -> None:
    """Reports names that nothing has. It reads the raw data, so that these problems come with those of the values."""
    models, stages, traces, resources = (_table(data.get(key)) for key in ("models", "stages", "traces", "resources"))
    conditions, claims = (_tables(data.get(key)) for key in ("conditions", "claims"))
    names = [str(c.get("name")) for c in conditions]
    for key, stage in stages.items():
        name = _table(stage).get("traces")
        if stage.get("kind") == "warmup" and isinstance(name, str) and name not in traces:
            problems.add(("stages", key, "traces"), str(unknown_name("traces", name, traces)))
    for i, condition in enumerate(conditions):
        location, baseline = ("conditions", i), condition.get("baseline")
        if names.index(names[i]) < i:
            problems.add((*location, "name"), f"{names[i]!r} is there twice")
        if isinstance(baseline, str) and baseline not in names:
            problems.add((*location, "baseline"), str(unknown_name("condition", baseline, names)))
        chain = condition.get("chain")
        if chain == []:
            problems.add((*location, "chain"), "is empty; it starts with a model")
        for j, link in enumerate(chain if isinstance(chain, list) else []):
            if isinstance(link, str) and link not in (stages if j else models):
                problems.add(
                    (*location, "chain"), str(unknown_name("stage" if j else "model", link, stages if j else models))
                )
    steps = {*KINDS, *traces, *stages}
    for key in resources:
        if key not in steps:
            problems.add(("resources", key), str(unknown_name("step", key, steps)))
    for i, claim in enumerate(claims):
        for part in CLAIM_CONDITIONS:
            if isinstance(claim.get(part), str) and claim[part] not in names:
                problems.add(("claims", i, part), str(unknown_name("condition", claim[part], names)))


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tables(value: Any) -> list[Mapping[str, Any]]:
    return [_table(v) for v in value] if isinstance(value, list) else []


# -- several numbers of examples ---------------------------------------------------------------------------------------


def expand_grids(recipe: Recipe) -> Recipe:
    """The recipe with a stage and a condition for each number of examples, and `grids` filled in."""
    counts = {name: s.counts for name, s in recipe.stages.items() if isinstance(s, RlvrStage) and s.counts}
    if not counts:
        return recipe
    stages: dict[str, Any] = {}
    for name, stage in recipe.stages.items():
        if name in counts:
            stages |= {f"{name}-{n}": stage.model_copy(update={"examples": n}) for n in counts[name]}
        else:
            stages[name] = stage
    grids: dict[str, Grid] = {}
    for condition in recipe.conditions:
        numbers = next((counts[link] for link in condition.chain if link in counts), None)
        if numbers is not None:
            grids[condition.name] = {n: f"{condition.name} {n}" for n in numbers}
    conditions = [new for c in recipe.conditions for new in _expand_condition(c, counts, grids)]
    names = [c.name for c in conditions]
    if (twice := next((n for n in names if names.count(n) > 1), None)) is not None:
        raise KkwarmError(f"recipe {recipe.name}: condition {twice!r} is there twice", hint="rename it")
    claims = tuple(
        claim.model_copy(update={part: _at(getattr(claim, part), grids, None) for part in CLAIM_CONDITIONS})
        for claim in recipe.claims
    )
    resources = {
        key: given
        for name, given in recipe.resources.items()
        for key in ([f"{name}-{n}" for n in counts[name]] if name in counts else [name])
    }
    update = {"stages": stages, "conditions": tuple(conditions), "claims": claims, "resources": resources}
    return recipe.model_copy(update={**update, "grids": grids})


def _expand_condition(
    condition: Condition, counts: Mapping[str, Sequence[int]], grids: Mapping[str, Grid]
) -> list[Condition]:
    grid: Grid = grids.get(condition.name, {0: condition.name})
    results = []
    for n, name in grid.items():
        chain = tuple(
            f"{link}-{n if n in counts[link] else max(counts[link])}" if link in counts else link
            for link in condition.chain
        )
        baseline = None if condition.baseline is None else _at(condition.baseline, grids, n)
        results.append(condition.model_copy(update={"name": name, "chain": chain, "baseline": baseline}))
    return results


def _at(name: str, grids: Mapping[str, Grid], n: int | None) -> str:
    """The condition that `name` stands for: with `n` examples, or else with the most."""
    grid = grids.get(name)
    return name if grid is None else grid.get(n or 0, grid[max(grid)])
