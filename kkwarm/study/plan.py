"""A recipe as a plan: steps that need each other. Equal prefixes of chains are one step, computed once.

A step's id is a readable name and a hash of its kind, settings and inputs, so a changed recipe finds again what it
shares with an earlier one, and never takes a result of other settings for its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kkwarm.backends.checkpoint import resolve_package_path
from kkwarm.schema.recipe import Condition, Evaluate, Recipe, Resources, WarmupStage
from kkwarm.schema.settings import identity, stored_identity
from kkwarm.store import config_hash
from kkwarm.store.run import PROTOCOL
from kkwarm.study.cost import Cost, bench_cost, distill_cost, is_model_teacher, rlvr_cost, warmup_cost

__all__ = ["Plan", "Step", "make_plan"]

FUNCTION = "kkwarm.study.steps:run"


@dataclass(frozen=True, slots=True)
class Step:
    """One run of one command.

    `inputs`: what it reads, by name; a value ``@ID`` is the output of another step, listed in `needs`.
    `total`: units of progress (training steps, or samples), 0 where unknown. `function`: what a worker calls.
    """

    id: str
    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    needs: tuple[str, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost = Cost()  # noqa: RUF009 (frozen)
    function: str = FUNCTION
    resources: Resources = Resources()  # noqa: RUF009 (frozen); no part of the id

    @property
    def total(self) -> int:
        return self.cost.units


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps by id, each after those it needs; `rows`: for each condition and seed its evaluation and training steps."""

    steps: Mapping[str, Step]
    rows: Mapping[str, Mapping[int, Mapping[str, str]]]

    def priority(self) -> dict[str, float]:
        """Seconds from a step's start to the end of the longest chain behind it: what should run first."""
        after: dict[str, list[str]] = {key: [] for key in self.steps}
        for step in self.steps.values():
            for need in step.needs:
                after[need].append(step.id)
        longest: dict[str, float] = {}
        for key in reversed(list(self.steps)):
            behind = max((longest[a] for a in after[key]), default=0.0)
            longest[key] = self.steps[key].cost.seconds + behind
        return longest


def make_plan(recipe: Recipe) -> Plan:
    """The plan of a recipe.

    :raises KkwarmError: a model reference cannot be resolved.
    """
    builder = _Builder(recipe)
    rows: dict[str, dict[int, dict[str, str]]] = {}
    for condition in recipe.conditions:
        rows[condition.name] = {seed: builder.row(condition, seed) for seed in recipe.seeds}
    return Plan(builder.steps, rows)


class _Builder:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.steps: dict[str, Step] = {}
        self.models = {name: resolve_package_path(ref) for name, ref in recipe.models.items()}
        self.marks = {name: _fingerprint(path) for name, path in self.models.items()}

    def row(self, condition: Condition, seed: int) -> dict[str, str]:
        """Adds a condition's steps for one seed; returns its steps by part: bench, forced, and each stage's name."""
        model, *stages = condition.chain
        made: dict[str, str] = {}
        last: str | None = None
        slug = _slug(condition.name)
        for name in stages:
            last = made[name] = self._stage(name, seed, model, last)
        made["bench"] = self._bench(slug, condition, seed, model, last, forced=False)
        if condition.forced:
            made["forced"] = self._bench(slug, condition, seed, model, last, forced=True)
        return made

    def _stage(self, name: str, seed: int, model: str, last: str | None) -> str:
        stage = self.recipe.stages[name]
        config = {"seed": seed, "decontaminate_against": list(self.recipe.evaluate.domains), **stage.given()}
        inputs = {"model": f"@{last}" if last else self.models[model]}
        needs = [last] if last else []
        if isinstance(stage, WarmupStage):
            traces = self._traces(stage.traces, seed)
            inputs["traces"] = f"@{traces}"
            needs.append(traces)
            cost = warmup_cost(config, self._distill_config(stage.traces, seed), self.recipe.assume)
        else:
            cost = rlvr_cost(config, self.recipe.assume)
        start = self.steps[last].id.rpartition("-")[0].removesuffix(f"-s{seed}") if last else _slug(model)
        step = Step("", stage.kind, config, inputs, tuple(needs), {"stage": name, "seed": seed}, cost)
        return self._add(f"{start}-{_slug(name)}-s{seed}", step, model)

    def _traces(self, name: str, seed: int) -> str:
        config = self._distill_config(name, seed)
        labels = {"traces": name, "seed": config["seed"]}
        step = Step("", "distill", config, {}, (), labels, distill_cost(config, self.recipe.assume))
        return self._add(f"traces-{_slug(name)}-s{config['seed']}", step, None)

    def _distill_config(self, name: str, seed: int) -> dict[str, Any]:
        """A seed in the recipe fixes the traces: one set for all seeds."""
        return {"seed": seed, **self.recipe.traces[name].model_dump(mode="json", exclude_unset=True)}

    def _bench(self, slug: str, condition: Condition, seed: int, model: str, last: str | None, *, forced: bool) -> str:
        evaluate = self.recipe.evaluate
        config: dict[str, Any] = {"seed": seed, **evaluate.given(), "domains": list(evaluate.domains)}
        if forced:
            config["force"] = True
        step = Step(
            id="",
            kind="bench",
            config=config,
            inputs={"model": f"@{last}" if last else self.models[model]},
            needs=(last,) if last else (),
            labels={"condition": condition.name, "seed": seed},
            cost=bench_cost(evaluate, evaluate.domains, self.recipe.assume),
        )
        return self._add(f"bench-{slug}{'-forced' if forced else ''}-s{seed}", step, model)

    def _add(self, name: str, step: Step, model: str | None) -> str:
        marks = {k: v if v.startswith("@") else self.marks.get(model or "", v) for k, v in step.inputs.items()}
        identity = {"protocol": PROTOCOL, "kind": step.kind, "config": _identity(step), "inputs": marks}
        mark = config_hash(identity)[:8]
        for known in self.steps.values():
            if known.id.rpartition("-")[2] == mark:
                return known.id  # the same step under another condition's name
        key = f"{name}-{mark}"
        self.steps[key] = replace(step, id=key, resources=self._resources(step))
        return key

    def _resources(self, step: Step) -> Resources:
        """As the recipe says of its stage or traces, or else of its kind; traces made without a model need no GPU."""
        given = self.recipe.resources
        for key in (str(step.labels.get("stage")), str(step.labels.get("traces")), step.kind):
            if key in given:
                return given[key]
        alone = step.kind == "distill" and not is_model_teacher(str(step.config["teacher"]))
        return Resources(gpus=0.0) if alone else Resources()


def _identity(step: Step) -> dict[str, Any]:
    """The settings of a step that decide its result."""
    if step.kind == "bench":
        return identity(Evaluate(**step.config))
    return dict(stored_identity(step.kind, step.config))


def _fingerprint(model: str) -> str:
    """The weights' fingerprint for a folder; a hub id stands for itself, so that a plan can be made offline."""
    from kkwarm.backends.checkpoint import fingerprint

    return fingerprint(model) if Path(model).is_dir() else model


def _slug(name: str) -> str:
    import re

    return re.sub(r"-+", "-", re.sub(r"[^a-z0-9._]+", "-", name.lower())).strip("-") or "x"
