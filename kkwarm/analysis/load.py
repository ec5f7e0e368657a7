"""From run folders to material: a study with its plan, or plain bench runs side by side. Reads the store only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kkwarm.analysis.cells import FORCED, Cell, FormatOf, cell, of_run
from kkwarm.analysis.contamination import evaluated_overlaps
from kkwarm.analysis.curves import Curve, read_curve
from kkwarm.analysis.study_data import MARGIN, Condition, Roles, StudyData
from kkwarm.analysis.training import Training, trained
from kkwarm.errors import KkwarmError
from kkwarm.schema.manifest import StudyPlan
from kkwarm.store import Run, find_training_run, runs_home
from kkwarm.types import Format

__all__ = ["format_of", "formats_of", "load", "newest_study", "steps_of"]

WITH_SAMPLES = ("bench", "score", "import")


def newest_study() -> Path:
    """The study under `KKWARM_HOME` that was written last.

    :raises KkwarmError: there is none.
    """
    home = runs_home()
    found = [p.parent for p in home.glob("*/manifest.json") if _kind(p.parent) == "study"]
    if not found:
        raise KkwarmError(f"no study in {home}", hint="`kkwarm study mini` makes one; or name run folders")
    return max(found, key=lambda p: (p / "manifest.json").stat().st_mtime)


def load(paths: Sequence[Path], *, margin: float | None = None) -> StudyData:
    """The material of one study folder, or of bench runs (the first is what the others are compared with).

    :param margin: what still is a tie; None: what the study says, or 0.05.
    :raises KkwarmError: a folder is no run, is a run without samples, or a study stands beside other runs.
    """
    kinds = {path: Run.read(path).manifest.kind for path in paths}
    studies = [path for path, kind in kinds.items() if kind == "study"]
    if studies and len(paths) > 1:
        raise KkwarmError(f"{studies[0]} is a study and reported alone", hint="name one study, or bench runs only")
    if studies:
        return _study(studies[0], margin)
    for path, kind in kinds.items():
        if kind not in WITH_SAMPLES:
            raise KkwarmError(f"{path} is a {kind} run: it has no samples", hint="bench its checkpoint first")
    return _runs([Run.read(p) for p in paths], MARGIN if margin is None else margin)


def format_of(benchmark: str) -> Format | None:
    """The format that splits a benchmark's completions; None where no installed plugin knows the benchmark."""
    from kkwarm.plugins import registry

    reg = registry()
    try:
        return reg.format(reg.benchmark(benchmark).format)
    except KkwarmError:
        return None


def formats_of(run: Run) -> FormatOf:
    """What names the format of a run's benchmarks: the one that the run used, else the benchmark's own."""
    from kkwarm.plugins import registry

    used: dict[str, str] = run.manifest.config.get("formats", {})

    def named(benchmark: str) -> Format | None:
        return registry().formats.get(used[benchmark]) if benchmark in used else format_of(benchmark)

    return named


def steps_of(study: Run) -> StudyPlan:
    """The plan in a study's manifest.

    :raises KkwarmError: it has none.
    """
    if study.manifest.plan is None:
        raise KkwarmError(f"{study.path} holds no plan", hint="start the study again: it resumes")
    return study.manifest.plan


# -- inside ------------------------------------------------------------------------------------------------------------


def _kind(path: Path) -> str | None:
    try:
        return Run.read(path).manifest.kind
    except KkwarmError:
        return None


def _step_run(study: Run, step: str | None) -> Run | None:
    if step is None:
        return None
    folder = study.path / "steps" / step
    return Run.read(folder) if (folder / "manifest.json").exists() else None


def _study(path: Path, margin: float | None) -> StudyData:
    study = Run.read(path)
    plan = steps_of(study)
    rows = plan.rows
    conditions = tuple(Condition(c.name, c.baseline, tuple(c.chain)) for c in plan.conditions)
    cells: dict[tuple[str, str], Cell] = {}
    forced: dict[tuple[str, str], Cell] = {}
    curves: list[Curve] = []
    for condition in conditions:
        seeds = rows[condition.name]
        cells |= _cells(study, condition.name, seeds, "bench")
        forced |= _cells(study, condition.name, seeds, "forced")
        for seed, parts in seeds.items():
            last = next((parts[s] for s in reversed(condition.chain[1:]) if s in parts), None)
            if last is not None and plan.kinds.get(last) == "rlvr":
                curve = read_curve(study.path / "steps" / last / "log.jsonl", condition.name, int(seed))
                curves += [curve] if curve is not None else []
    done = sum(1 for s in plan.steps if (r := _step_run(study, s)) is not None and r.done)
    return StudyData(
        title=plan.title,
        conditions=conditions,
        domains=tuple(plan.domains),
        cells=cells,
        forced=forced,
        curves=tuple(curves),
        roles=tuple(Roles(**r) for r in plan.claims),
        training=_training(study, conditions, rows),
        grids={name: {int(n): c for n, c in grid.items()} for name, grid in plan.grids.items()},
        margin=plan.margin / 100 if margin is None else margin,
        note=plan.note,
        state="done" if done == len(plan.steps) else "in progress",
        progress={"done": done, "steps": len(plan.steps)},
        provenance=_provenance(study),
        paths=(str(path),),
        overlaps=evaluated_overlaps({c.name: _contamination(study, rows[c.name]) for c in conditions}, cells),
    )


def _training(
    study: Run, conditions: Sequence[Condition], rows: Mapping[str, Mapping[str, Mapping[str, str]]]
) -> tuple[Training, ...]:
    """What the study's training runs told, each once, though several conditions may rest on it."""
    made: dict[str, tuple[str, int, list[str]]] = {}
    for condition in conditions:
        for seed, parts in rows[condition.name].items():
            for stage in condition.chain[1:]:
                if stage in parts:
                    made.setdefault(parts[stage], (stage, int(seed), []))[2].append(condition.name)
    told = [
        trained(run, stage, seed, tuple(names))
        for step, (stage, seed, names) in made.items()
        if (run := _step_run(study, step)) is not None
    ]
    return tuple(t for t in told if t is not None)


def _makers(runs: Sequence[Run], names: Sequence[str]) -> tuple[Training, ...]:
    """What the runs that made the benched checkpoints told, as far as they are still there."""
    made: dict[Path, tuple[Run, list[str]]] = {}
    for run, name in zip(runs, names, strict=True):
        model = run.manifest.model
        maker = find_training_run(model.checkpoint) if model is not None else None
        if maker is not None:
            made.setdefault(maker.path.resolve(), (maker, []))[1].append(name)
    told = [trained(run, run.name, int(run.manifest.config.get("seed", 0)), tuple(n)) for run, n in made.values()]
    return tuple(t for t in told if t is not None)


def _contamination(study: Run, seeds: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Evaluated questions that a condition's stages were trained on, in any seed."""
    found: list[dict[str, Any]] = []
    for parts in seeds.values():
        for step in parts.values():
            run = _step_run(study, step)
            found += run.manifest.contamination if run is not None else []
    return found


def _cells(
    study: Run, condition: str, seeds: Mapping[str, Mapping[str, str]], part: str
) -> dict[tuple[str, str], Cell]:
    """The condition's cells, from the seeds that have been evaluated (so far)."""
    tallies: dict[str, list[Any]] = defaultdict(list)
    for seed, parts in seeds.items():
        run = _step_run(study, parts.get(part))
        if run is not None and run.done:
            for benchmark, tally in of_run(run, formats_of(run)).items():
                tallies[benchmark].append((int(seed), run, tally))
    return {(condition, b.removesuffix(FORCED)): cell(condition, b, found) for b, found in tallies.items()}


def _runs(runs: Sequence[Run], margin: float) -> StudyData:
    names = _distinct([run.name for run in runs])
    cells: dict[tuple[str, str], Cell] = {}
    forced: dict[tuple[str, str], Cell] = {}
    for name, run in zip(names, runs, strict=True):
        for benchmark, tally in of_run(run, formats_of(run)).items():
            target = forced if benchmark.endswith(FORCED) else cells
            target[name, benchmark.removesuffix(FORCED)] = cell(name, benchmark, [(0, run, tally)])
    if not cells and not forced:
        raise KkwarmError(
            "no samples in " + ", ".join(str(run.path) for run in runs), hint="the run may just have begun"
        )
    domains = tuple(dict.fromkeys(domain for _, domain in cells))
    return StudyData(
        title=" / ".join(names),
        conditions=tuple(Condition(n, names[0] if i else None) for i, n in enumerate(names)),
        domains=domains,
        cells=cells,
        forced=forced,
        training=_makers(runs, names),
        margin=margin,
        state="done" if all(run.done for run in runs) else "in progress",
        provenance=_provenance(runs[0]),
        paths=tuple(str(run.path) for run in runs),
        overlaps=evaluated_overlaps({n: r.manifest.contamination for n, r in zip(names, runs, strict=True)}, cells),
    )


def _distinct(names: Sequence[str]) -> list[str]:
    return [n if names.count(n) == 1 else f"{n} ({i + 1})" for i, n in enumerate(names)]


def _provenance(run: Run) -> dict[str, Any]:
    keys = {"created", "finished", "environment", "wall_s", "worker_s", "jobs", "config_hash", "protocol"}
    return run.manifest.model_dump(include=keys, exclude_unset=True)
