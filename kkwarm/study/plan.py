"""Turns a recipe into a plan: a graph of steps. Conditions whose chains begin equally share those steps.

A step's id is a readable name and a hash of its kind, settings and inputs. A changed recipe therefore reuses the steps
that it shares with an earlier one, and never a result of other settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kkwarm.backends.checkpoint import resolve_package_path
from kkwarm.cost import Hardware, cores, this_machine
from kkwarm.schema.recipe import Condition, Evaluate, Recipe, Resources, WarmupStage
from kkwarm.schema.settings import identity, stored_identity
from kkwarm.store import config_hash
from kkwarm.store.run import EVALUATION_VERSION
from kkwarm.study.cost import Cost, Costs, is_model_teacher

FUNCTION = "kkwarm.study.worker:run_step"


@dataclass(frozen=True, slots=True)
class Step:
    """One run of one command.

    `inputs` are paths or model references by name; a value ``@ID`` is the output of another step, listed in `needs`.
    `function` is what a worker calls.
    """

    id: str
    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    needs: tuple[str, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost = Cost()  # noqa: RUF009 (frozen)
    function: str = FUNCTION
    resources: Resources = Resources()  # noqa: RUF009 (frozen); not part of the id
    domains: tuple[str, ...] = ()  # names that the recipe gives, for data that names them, too; not part of the id

    @property
    def total(self) -> int:
        """Training steps or samples of the step; 0 where unknown."""
        return self.cost.units


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps by id, each after those that it needs. ``rows[condition][seed]`` has the id of each of its parts."""

    steps: Mapping[str, Step]
    rows: Mapping[str, Mapping[int, Mapping[str, str]]]

    def priority(self) -> dict[str, float]:
        """Estimated seconds from the start of each step to the end of the longest chain that depends on it."""
        dependents: dict[str, list[str]] = {key: [] for key in self.steps}
        for step in self.steps.values():
            for need in step.needs:
                dependents[need].append(step.id)
        longest: dict[str, float] = {}
        for key in reversed(list(self.steps)):
            rest = max((longest[d] for d in dependents[key]), default=0.0)
            longest[key] = self.steps[key].cost.seconds + rest
        return longest


def make_plan(recipe: Recipe, jobs: int | None = None) -> Plan:
    """The plan of a recipe.

    :param jobs: steps that share this machine at a time; the estimates of their time depend on it. None: the default.
    """
    builder = _Builder(recipe, jobs)
    rows: dict[str, dict[int, dict[str, str]]] = {}
    for condition in recipe.conditions:
        rows[condition.name] = {seed: builder.row(condition, seed) for seed in recipe.seeds}
    return Plan(builder.steps, rows)


class _Builder:
    def __init__(self, recipe: Recipe, jobs: int | None) -> None:
        self.recipe = recipe
        self.costs = Costs(recipe.assume, worker_hardware(jobs))
        self.steps: dict[str, Step] = {}
        self.models = {name: resolve_package_path(ref) for name, ref in recipe.models.items()}
        self.fingerprints = {name: _fingerprint(path) for name, path in self.models.items()}

    def row(self, condition: Condition, seed: int) -> dict[str, str]:
        """Adds a condition's steps for one seed; returns its steps by part: bench, forced, and each stage's name."""
        model, *stages = condition.chain
        parts: dict[str, str] = {}
        last: str | None = None
        slug = _slug(condition.name)
        for name in stages:
            last = parts[name] = self._stage(name, seed, model, last)
        parts["bench"] = self._bench(slug, condition, seed, model, last, forced=False)
        if condition.forced:
            parts["forced"] = self._bench(slug, condition, seed, model, last, forced=True)
        return parts

    def _stage(self, name: str, seed: int, model: str, last: str | None) -> str:
        stage = self.recipe.stages[name]
        config = {"seed": seed, "decontaminate_against": list(self.recipe.evaluate.domains), **stage.given()}
        inputs = {"model": f"@{last}" if last else self.models[model]}
        needs = [last] if last else []
        domains: tuple[str, ...] = ()
        if isinstance(stage, WarmupStage):
            traces = self._traces(stage.traces, seed)
            inputs["traces"] = f"@{traces}"
            needs.append(traces)
            distill_config = self._distill_config(stage.traces, seed)
            domains = (str(distill_config["domain"]),)
            cost = self.costs.warmup(self.models[model], config, distill_config)
        else:
            cost = self.costs.rlvr(self.models[model], config)
        start = self.steps[last].id.rpartition("-")[0].removesuffix(f"-s{seed}") if last else _slug(model)
        labels = {"stage": name, "seed": seed}
        step = Step("", stage.kind, config, inputs, tuple(needs), labels, cost, domains=domains)
        return self._add(f"{start}-{_slug(name)}-s{seed}", step, model)

    def _traces(self, name: str, seed: int) -> str:
        config = self._distill_config(name, seed)
        labels = {"traces": name, "seed": config["seed"]}
        step = Step("", "distill", config, {}, (), labels, self.costs.distill(config))
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
            cost=self.costs.bench(self.models[model], evaluate, evaluate.domains),
        )
        return self._add(f"bench-{slug}{'-forced' if forced else ''}-s{seed}", step, model)

    def _add(self, name: str, step: Step, model: str | None) -> str:
        """Adds a step, unless another condition already has the same step; returns its id."""
        inputs = {k: v if v.startswith("@") else self.fingerprints.get(model or "", v) for k, v in step.inputs.items()}
        identity = {"protocol": EVALUATION_VERSION, "kind": step.kind, "config": _identity(step), "inputs": inputs}
        digest = config_hash(identity)[:8]
        for existing in self.steps.values():
            if existing.id.rpartition("-")[2] == digest:
                return existing.id
        key = f"{name}-{digest}"
        self.steps[key] = replace(step, id=key, resources=self._resources(step))
        return key

    def _resources(self, step: Step) -> Resources:
        """The recipe's resources for the step's stage or traces, else for its kind. Symbolic teachers need no GPU."""
        resources = self.recipe.resources
        for key in (str(step.labels.get("stage")), str(step.labels.get("traces")), step.kind):
            if key in resources:
                return resources[key]
        is_symbolic = step.kind == "distill" and not is_model_teacher(str(step.config["teacher"]))
        return Resources(gpus=0.0) if is_symbolic else Resources()


def worker_hardware(jobs: int | None) -> Hardware:
    """What one of `jobs` workers of this machine has: its share of the cores, or a GPU."""
    return this_machine(max(1, cores() // (jobs or cores())))


def _identity(step: Step) -> dict[str, Any]:
    """The settings of a step that decide its result."""
    if step.kind == "bench":
        return identity(Evaluate(**step.config))
    return dict(stored_identity(step.kind, step.config))


def _fingerprint(model: str) -> str:
    """The fingerprint of the weights in a folder. A hub id is returned as it is, so that planning works offline."""
    from kkwarm.backends.checkpoint import fingerprint

    return fingerprint(model) if Path(model).is_dir() else model


def _slug(name: str) -> str:
    return re.sub(r"-+", "-", re.sub(r"[^a-z0-9._]+", "-", name.lower())).strip("-") or "x"
