"""Loads run folders for analysis: a study with its plan, or bench runs side by side. Reads the store only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kkwarm.analysis.cells import FORCED, Cell, ProtocolOf, make_cell, tally_samples
from kkwarm.analysis.study_data import MARGIN, Condition, Cost, Roles, StudyData
from kkwarm.analysis.training import Curve, Training, read_curve, read_training
from kkwarm.errors import KkwarmError
from kkwarm.redaction import redact_data
from kkwarm.schema.manifest import PlanCondition, StudyPlan
from kkwarm.store import Run, find_training_run, runs_home
from kkwarm.types import Protocol

WITH_SAMPLES = ("bench", "score", "import")
SeedSteps = Mapping[str, Mapping[str, str]]  # step ids by seed and part (a stage, "bench", "forced")


def newest_study() -> Path:
    """The study under `KKWARM_HOME` that was written last."""
    home = runs_home()
    studies = [p.parent for p in home.glob("*/manifest.json") if _is_study(p.parent)]
    if not studies:
        raise KkwarmError(f"no study in {home}", hint="run `kkwarm study mini`, or name run folders")
    return max(studies, key=lambda p: (p / "manifest.json").stat().st_mtime)


def load(paths: Sequence[Path], *, margin: float | None = None, across_protocols: bool = False) -> StudyData:
    """The data of one study folder, or of bench runs (the first is the baseline of the others).

    :param margin: equivalence margin in percentage points; None: the study's, or 5.
    :param across_protocols: conditions with different protocols are compared too.
    :raises KkwarmError: a folder is no run, a run has no samples, or a study is named beside other runs.
    """
    runs = [Run.read(path) for path in paths]
    studies = [run.path for run in runs if run.manifest.kind == "study"]
    if studies and len(paths) > 1:
        raise KkwarmError(
            f"{studies[0]} is a study, which is reported on its own", hint="name one study, or bench runs only"
        )
    if studies:
        return replace(_load_study(studies[0], margin), across_protocols=across_protocols)
    for run in runs:
        kind = run.manifest.kind
        if kind not in WITH_SAMPLES:
            raise KkwarmError(f"{run.path} is a {kind} run: it has no samples", hint="bench its checkpoint first")
    study = _load_runs(runs, MARGIN if margin is None else margin)
    if margin is not None:
        _check_margin(study.cells, margin)
    return replace(study, across_protocols=across_protocols)


def _check_margin(cells: Mapping[tuple[str, str], Cell], margin: float) -> None:
    """:raises KkwarmError: a run was stopped early by a test with another equivalence margin."""
    for (name, domain), cell in cells.items():
        record = cell.stopped
        if record is not None and record["rule"] == "decided" and record["margin"] != margin:
            raise KkwarmError(
                f"{name} was stopped on {domain} by a test with an equivalence margin of {record['margin']:g} points, "
                f"not {margin:g}",
                hint="leave out --margin, or run the same bench without --until-decided",
            )


def benchmark_protocol(benchmark: str, name: str | None = None) -> Protocol | None:
    """The protocol of that name (None: the default) of a benchmark; None where it is unknown. Those that every
    benchmark has are known without the benchmark.
    """
    from kkwarm.plugins import registry
    from kkwarm.protocols import BUILT_IN

    reg = registry()
    try:
        return reg.protocol(reg.benchmark(benchmark, from_run=True), name)
    except KkwarmError:
        return BUILT_IN.get(name or "")


def run_protocols(run: Run) -> ProtocolOf:
    """A function from benchmark to protocol: the one that the run used, or the benchmark's own."""

    config = run.manifest.config
    used: dict[str, str] = {**config.get("protocols", {}), **config.get("read_by", {})}

    def protocol_of(benchmark: str) -> Protocol | None:
        return benchmark_protocol(benchmark, used.get(benchmark))

    return protocol_of


def run_seed(run: Run) -> int | None:
    """The seed of a bench run; None where another tool generated the samples."""
    seed = run.manifest.config.get("seed")
    return seed if isinstance(seed, int) else None


def study_plan(study: Run) -> StudyPlan:
    """The plan in a study's manifest."""
    plan = study.manifest.plan
    if plan is None:
        raise KkwarmError(
            f"{study.path} holds no plan", hint="start the study again: it resumes and keeps what is done"
        )
    return plan


def _is_study(path: Path) -> bool:
    try:
        return Run.read(path).manifest.kind == "study"
    except KkwarmError:
        return False


def _step_run(study: Run, step: str | None) -> Run | None:
    if step is None:
        return None
    folder = study.path / "steps" / step
    return Run.read(folder) if (folder / "manifest.json").exists() else None


def _load_study(path: Path, margin: float | None) -> StudyData:
    study = Run.read(path)
    plan = study_plan(study)
    rows: Mapping[str, SeedSteps] = plan.rows
    conditions = tuple(
        Condition(c.name, c.baseline, tuple(c.chain), model=_untrained_model(study, c, rows[c.name]))
        for c in plan.conditions
    )
    cells: dict[tuple[str, str], Cell] = {}
    forced: dict[tuple[str, str], Cell] = {}
    curves: list[Curve] = []
    for condition in conditions:
        seeds = rows[condition.name]
        cells |= _read_cells(study, condition.name, seeds, "bench")
        forced |= _read_cells(study, condition.name, seeds, "forced")
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
        training=_study_training(study, conditions, rows),
        grids={name: {int(n): c for n, c in grid.items()} for name, grid in plan.grids.items()},
        margin=plan.margin if margin is None else margin,
        note=plan.note,
        state="done" if done == len(plan.steps) else "in progress",
        progress={"done": done, "steps": len(plan.steps)},
        provenance=_provenance(study),
        paths=(str(path),),
        contaminated=count_contaminated({c.name: _contamination(study, rows[c.name]) for c in conditions}, cells),
        prompts=_study_prompts(study, rows),
        cost=tuple(_study_cost(study, c, rows[c.name]) for c in conditions),
        stages=_study_stages(study, conditions, rows),
    )


def _model_name(run: Run) -> str:
    """The checkpoint of a run: a hub id or path as it was given, and of an absolute path the last two names."""
    model = run.manifest.model
    if model is None:
        return ""
    path = Path(model.checkpoint)
    return "/".join(path.parts[-2:]) if path.is_absolute() else model.checkpoint


def _untrained_model(study: Run, condition: PlanCondition, seeds: SeedSteps) -> str:
    """The checkpoint of a condition without stages; empty for others, and before it is evaluated."""
    if len(condition.chain) > 1:
        return ""
    runs = (_step_run(study, parts.get("bench")) for parts in seeds.values())
    return next((_model_name(run) for run in runs if run is not None), "")


def _study_stages(study: Run, conditions: Sequence[Condition], rows: Mapping[str, SeedSteps]) -> dict[str, str]:
    """What each stage trained, from its first run that has been started."""
    stages: dict[str, str] = {}
    for condition in conditions:
        for parts in rows[condition.name].values():
            for stage in condition.chain[1:]:
                run = None if stage in stages else _step_run(study, parts.get(stage))
                if run is not None:
                    stages[stage] = _describe_training(study, run)
    return stages


def _describe_training(study: Run, run: Run) -> str:
    """What a training run of a study trained on."""
    m = run.manifest
    if m.kind == "rlvr":
        steps = f", {steps} steps" if (steps := m.config.get("steps")) else ""
        return f"RLVR on {len(m.example_ids):,} examples of {m.config.get('domain')}{steps}"
    traces = _step_run(study, Path(m.traces).parent.name)
    source = "" if traces is None else " of {domain} by the teacher {teacher}".format(**traces.manifest.config)
    count = m.results.get("traces")
    return f"SFT on {count:,} traces{source}" if isinstance(count, int) else f"SFT on traces{source}"


def _study_cost(study: Run, condition: Condition, seeds: SeedSteps) -> Cost:
    """The cost of a condition's evaluation and of all stages that trained it, in all seeds."""
    steps = {step for parts in seeds.values() for stage, step in parts.items() if stage in condition.chain[1:]}
    runs = [r for parts in seeds.values() for p in ("bench", "forced") if (r := _step_run(study, parts.get(p)))]
    evaluation = _cost(condition.name, runs)
    training = sum(study.manifest.seconds.get(step, 0.0) for step in steps)
    gpus = max((len(run.manifest.environment.get("gpu", ())) for run in runs), default=0)
    gpu_hours = None if not gpus else (evaluation.gpu_hours or 0.0) + training * gpus / 3600
    return replace(evaluation, training_s=training if steps else None, gpu_hours=gpu_hours)


def _cost(condition: str, runs: Sequence[Run]) -> Cost:
    """The cost of bench runs."""
    spent = [run.manifest.generation for run in runs if run.manifest.generation]
    seconds = sum(g["seconds"] for g in spent)
    tokens = sum(g["tokens"] for g in spent) if all(g.get("tokens_known", True) for g in spent) else None
    hours = [run.manifest.results.get("throughput", {}).get("gpu_hours") for run in runs]
    known = [h for h in hours if h is not None]
    return Cost(condition, tokens if spent else None, seconds if spent else None, None, sum(known) if known else None)


def _study_prompts(study: Run, rows: Mapping[str, SeedSteps]) -> dict[tuple[str, str], tuple[str, str]]:
    """The stored prompt of each condition and benchmark, from the first seed that has one."""
    prompts: dict[tuple[str, str], tuple[str, str]] = {}
    for condition, seeds in rows.items():
        for parts in seeds.values():
            run = _step_run(study, parts.get("bench"))
            for benchmark, prompt in (run.manifest.prompts if run is not None else {}).items():
                prompts.setdefault((condition, benchmark), (prompt["id"], prompt["text"]))
    return prompts


def _study_training(study: Run, conditions: Sequence[Condition], rows: Mapping[str, SeedSteps]) -> tuple[Training, ...]:
    """The training runs of a study, each once, though several conditions may share it."""
    names: dict[str, tuple[str, int, list[str]]] = {}
    for condition in conditions:
        for seed, parts in rows[condition.name].items():
            for stage in condition.chain[1:]:
                if stage in parts:
                    names.setdefault(parts[stage], (stage, int(seed), []))[2].append(condition.name)
    runs = {step: _step_run(study, step) for step in names}
    read = [
        read_training(run, stage, seed, tuple(conditions_))
        for step, (stage, seed, conditions_) in names.items()
        if (run := runs[step]) is not None
    ]
    return tuple(t for t in read if t is not None)


def _checkpoint_training(runs: Sequence[Run], names: Sequence[str]) -> tuple[Training, ...]:
    """The training runs that made the benched checkpoints, where they still exist."""
    makers: dict[Path, tuple[Run, list[str]]] = {}
    for run, name in zip(runs, names, strict=True):
        model = run.manifest.model
        maker = None if model is None else find_training_run(model.checkpoint)
        # The path is the manifest's. Whoever wrote it has to know the weights in it, too.
        if maker is not None and run.manifest.inputs.get("checkpoint") in maker.manifest.products.values():
            makers.setdefault(maker.path.resolve(), (maker, []))[1].append(name)
    read = [
        read_training(run, run.name, int(run.manifest.config.get("seed", 0)), tuple(conditions))
        for run, conditions in makers.values()
    ]
    return tuple(t for t in read if t is not None)


def _contamination(study: Run, seeds: SeedSteps) -> list[dict[str, Any]]:
    """Evaluated questions that a condition's stages were trained on, in any seed."""
    entries: list[dict[str, Any]] = []
    for parts in seeds.values():
        for step in parts.values():
            run = _step_run(study, step)
            entries += run.manifest.contamination if run is not None else ()
    return entries


def _read_cells(study: Run, condition: str, seeds: SeedSteps, part: str) -> dict[tuple[str, str], Cell]:
    """The condition's cells, from the seeds that have been evaluated so far."""
    tallies: dict[str, list[Any]] = defaultdict(list)
    for seed, parts in seeds.items():
        run = _step_run(study, parts.get(part))
        if run is not None and run.done:
            for benchmark, tally in tally_samples(run, run_protocols(run)).items():
                tallies[benchmark].append((int(seed), run, tally))
    return {(condition, b.removesuffix(FORCED)): make_cell(condition, b, each) for b, each in tallies.items()}


def _load_runs(runs: Sequence[Run], margin: float) -> StudyData:
    names = _row_names(runs)
    cells: dict[tuple[str, str], Cell] = {}
    forced: dict[tuple[str, str], Cell] = {}
    for name, run in zip(names, runs, strict=True):
        for benchmark, tally in tally_samples(run, run_protocols(run)).items():
            target = forced if benchmark.endswith(FORCED) else cells
            target[name, benchmark.removesuffix(FORCED)] = make_cell(name, benchmark, [(run_seed(run), run, tally)])
    if not cells and not forced:
        paths = ", ".join(str(run.path) for run in runs)
        raise KkwarmError(f"no samples in {paths}", hint="the run may have just started")
    prompts = {
        (name, benchmark): (prompt["id"], prompt["text"])
        for name, run in zip(names, runs, strict=True)
        for benchmark, prompt in run.manifest.prompts.items()
    }
    overlaps = {n: r.manifest.contamination for n, r in zip(names, runs, strict=True)}
    return StudyData(
        title=" / ".join(names),
        conditions=tuple(
            Condition(
                name,
                names[0] if i else None,
                labels={k: str(v) for k, v in run.manifest.labels.items()},
                model=_model_name(run),
            )
            for i, (name, run) in enumerate(zip(names, runs, strict=True))
        ),
        domains=tuple(dict.fromkeys(domain for _, domain in cells)),
        cells=cells,
        forced=forced,
        training=_checkpoint_training(runs, names),
        margin=margin,
        state="done" if all(run.done for run in runs) else "in progress",
        provenance=_provenance(runs[0]),
        paths=tuple(str(run.path) for run in runs),
        contaminated=count_contaminated(overlaps, cells),
        prompts=prompts,
        cost=tuple(_cost(name, [run]) for name, run in zip(names, runs, strict=True)),
    )


def _row_names(runs: Sequence[Run]) -> list[str]:
    """The label `condition` of each run, else the name of its folder. Equal labels get the name of the folder too, and
    equal names a number.
    """
    labels = [str(run.manifest.labels.get("condition") or run.name) for run in runs]
    names = [
        label if labels.count(label) == 1 or label == run.name else f"{label} ({run.name})"
        for label, run in zip(labels, runs, strict=True)
    ]
    return [n if names.count(n) == 1 else f"{n} ({i + 1})" for i, n in enumerate(names)]


def _provenance(run: Run) -> dict[str, Any]:
    keys = {"created", "finished", "environment", "wall_s", "worker_s", "jobs", "config_hash", "evaluation_version"}
    provenance: dict[str, Any] = redact_data(run.manifest.model_dump(include=keys, exclude_unset=True))
    return provenance


def count_contaminated(
    overlaps: Mapping[str, Iterable[Mapping[str, Any]]], cells: Mapping[tuple[str, str], Cell]
) -> dict[tuple[str, str], int]:
    """The number of questions of each cell that its condition was trained on.

    :param overlaps: by condition, the ``contamination`` entries of its runs' manifests. All questions of a domain that
        has no cell yet are counted.
    """
    counts: dict[tuple[str, str], int] = {}
    for condition, entries in overlaps.items():
        ids: dict[str, set[str]] = defaultdict(set)
        for entry in entries:
            ids[entry["domain"]].add(entry["id"])
        for domain, trained in ids.items():
            own = [d for c, d in cells if c == condition and domain in (d, d.partition(":")[0])]
            for name in own:
                if shared := len(trained.intersection(cells[condition, name].ids)):
                    counts[condition, name] = shared
            if not own:
                counts[condition, domain] = len(trained)
    return counts
