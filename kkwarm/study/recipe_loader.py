"""Finds recipes and reads them, from TOML or YAML; everything that is wrong with one is said at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kkwarm import paths
from kkwarm.config import Document, Problems, build, read
from kkwarm.errors import KkwarmError, unknown_name
from kkwarm.study.grid import expanded
from kkwarm.study.recipe import KINDS, Assume, Claim, Condition, Evaluate, Recipe, Resources, Stage

__all__ = ["built_in", "find", "load"]


@dataclass(frozen=True, slots=True)
class _Raw:
    title: str
    models: dict[str, str]
    conditions: tuple[Condition, ...]
    evaluate: dict[str, Any]
    traces: dict[str, dict[str, Any]] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    seeds: tuple[int, ...] = (0,)
    note: str = ""
    margin: float = field(default=0.05, metadata={"min": 0.0, "max": 1.0})
    assume: Assume = field(default_factory=Assume)
    resources: dict[str, Resources] = field(default_factory=dict)


def folders() -> list[Path]:
    """Where built-in recipes lie: in the installed package, or in the source tree."""
    packaged = Path(__file__).parent / "recipes"
    source = Path(__file__).parents[2] / "benchmarks" / "studies"
    return [p for p in (packaged, source) if p.is_dir()]


def built_in() -> dict[str, Path]:
    """Name -> file of the built-in recipes."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def find(recipe: str) -> Path:
    """The file of a recipe given by name or path.

    :raises KkwarmError: there is none; near names are offered.
    """
    names = built_in()
    if recipe in names:
        return names[recipe]
    path = paths.expand_path(recipe)
    if path.is_file():
        return path
    if path.is_dir():
        raise KkwarmError(f"{recipe} is a folder, not a recipe", hint="give a TOML or YAML file")
    if path.suffix or "/" in recipe:
        raise KkwarmError(f"recipe {recipe} does not exist", hint=f"built in: {', '.join(names)}")
    raise unknown_name("recipe", recipe, names, hint="or give a TOML file")


def load(recipe: str, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe, checked as a whole.

    :raises ConfigError: everything that is wrong with it, each with its place.
    """
    path = find(recipe)
    return parse(path.stem, read(path, overrides))


def parse(name: str, document: Document) -> Recipe:
    """The recipe of a document; see `load`."""
    problems = Problems(document.where, document.lines)
    raw = build(_Raw, document.data, document.where, problems=problems)
    if raw is None:
        problems.end()
    traces = {key: _traces(key, table, problems) for key, table in raw.traces.items()}
    stages = {key: _stage(key, table, raw, problems) for key, table in raw.stages.items()}
    evaluate = _evaluate(raw.evaluate, problems)
    _check_names(raw, problems)
    problems.end()
    data = {key: value for key, value in document.data.items() if key != "resources"}
    written = Recipe(
        name, raw.title, raw.note, raw.models, traces, stages, raw.conditions, evaluate, raw.claims, raw.seeds,
        raw.margin, raw.assume, data, raw.resources,
    )  # fmt: skip
    return expanded(written)


def _traces(key: str, table: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    from kkwarm.train.config import DistillConfig

    build(DistillConfig, table, problems.where, place=("traces", key), problems=problems)
    return dict(table)


def _stage(key: str, table: Mapping[str, Any], raw: _Raw, problems: Problems) -> Stage:
    from kkwarm.train.config import RlvrConfig, WarmupConfig

    place = ("stages", key)
    settings = dict(table)
    kind, traces = settings.pop("kind", None), settings.pop("traces", None)
    if kind not in ("warmup", "rlvr"):
        problems.add((*place, "kind"), f"must be warmup or rlvr, not {kind!r}")
    elif kind == "warmup":
        build(WarmupConfig, settings, problems.where, place=place, problems=problems)
        if traces not in raw.traces:
            problems.add((*place, "traces"), str(unknown_name("traces", str(traces), raw.traces)))
    else:
        for n in _examples(settings, place, problems):
            found = build(RlvrConfig, settings | n, problems.where, place=place, problems=problems)
            if found is None:
                break  # the other numbers of examples would say it again
            if n and found.prompts_per_step > found.examples:
                told = f"{found.prompts_per_step} prompts in a step, but only {found.examples} examples"
                problems.add((*place, "examples"), told)
        if traces is not None:
            problems.add((*place, "traces"), "rlvr takes a domain, not traces")
    return Stage(kind or "rlvr", settings, traces)


def _examples(settings: Mapping[str, Any], place: tuple[str, ...], problems: Problems) -> list[dict[str, int]]:
    """What a stage's `examples` asks for, one entry for each training: nothing where it is no list."""
    asked = settings.get("examples")
    if not isinstance(asked, list):
        return [{}]
    if len(asked) < 2 or any(type(n) is not int for n in asked) or asked != sorted(set(asked)):
        problems.add((*place, "examples"), "must be a number, or different whole numbers in rising order")
        return []
    return [{"examples": n} for n in asked]


def _evaluate(table: Mapping[str, Any], problems: Problems) -> Evaluate:
    from kkwarm.evaluation import BenchConfig

    settings = dict(table)
    domains = settings.pop("domains", None)
    if not isinstance(domains, list) or not domains or not all(isinstance(d, str) for d in domains):
        problems.add(("evaluate", "domains"), "must be a list of benchmark names")
        domains = []
    build(BenchConfig, settings, problems.where, place=("evaluate",), problems=problems)
    return Evaluate(tuple(domains), settings)


def _check_names(raw: _Raw, problems: Problems) -> None:
    names = [c.name for c in raw.conditions]
    if not raw.seeds or len(set(raw.seeds)) < len(raw.seeds):
        problems.add(("seeds",), "must be different seeds, at least one")
    for i, condition in enumerate(raw.conditions):
        place = ("conditions", i)
        if names.index(condition.name) < i:
            problems.add((*place, "name"), f"{condition.name!r} is there twice")
        if condition.baseline is not None and condition.baseline not in names:
            problems.add((*place, "baseline"), str(unknown_name("condition", condition.baseline, names)))
        if not condition.chain:
            problems.add((*place, "chain"), "is empty; it starts with a model")
        for j, link in enumerate(condition.chain):
            known: Mapping[str, Any] = raw.stages if j else raw.models
            if link not in known:
                problems.add((*place, "chain"), str(unknown_name("stage" if j else "model", link, known)))
    steps = {*KINDS, *raw.traces, *raw.stages}
    for key in raw.resources:
        if key not in steps:
            problems.add(("resources", key), str(unknown_name("step", key, steps)))
    for i, claim in enumerate(raw.claims):
        for f in dataclasses.fields(claim):
            value = getattr(claim, f.name)
            if f.name not in ("on", "warmup") and value not in names:
                problems.add(("claims", i, f.name), str(unknown_name("condition", value, names)))
