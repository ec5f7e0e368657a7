"""Runs a study: opens its folder, executes its plan, and writes its report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.files import write_file
from kkwarm.redaction import redact_data
from kkwarm.schema.manifest import Manifest, PlanCondition, StepAttempt, StudyPlan, StudySession
from kkwarm.schema.recipe import Recipe
from kkwarm.schema.report import Report
from kkwarm.store import Run, config_hash, runs_home
from kkwarm.store.manifest import read_manifest
from kkwarm.study.execute import ExecutorName, Outcome, execute, is_done, open_executor
from kkwarm.study.plan import Plan, make_plan
from kkwarm.study.progress import Display
from kkwarm.tracking import track


def default_folder(recipe: Recipe) -> Path:
    """A folder under ``KKWARM_HOME``, named by recipe and settings, so that the same command finds its study again."""
    return runs_home() / f"{recipe.name}-{config_hash(recipe.data)[:8]}"


def find_extendable(recipe: Recipe) -> dict[Path, list[int]]:
    """Studies under ``KKWARM_HOME`` that lack only some seeds of the recipe, with the seeds that they have."""
    studies = {}
    for folder in sorted(runs_home().glob(f"{recipe.name}-*")):
        try:
            manifest = read_manifest(folder)
        except KkwarmError:
            continue  # not a run, or damaged
        if _adds_only_seeds(recipe, manifest):
            studies[folder] = list(manifest.config.get("seeds", [0]))
    return studies


def run_study(
    recipe: Recipe,
    out: Path,
    jobs: int | None,
    console: Any,
    render: Callable[[Report], str],
    *,
    executor: ExecutorName = "local",
    address: str | None = None,
) -> Report:
    """Runs the remaining steps of the study in `out` and returns its report, which is also written there as report.json
    and, by `render`, as report.txt.

    :param jobs, executor, address: as in `open_executor`.
    :raises KkwarmError: steps failed (all steps that do not need them are done), or `out` holds another run. It may
        hold this study with fewer seeds.
    """
    plan = make_plan(recipe)
    with Run.open(out, kind="study", config=dict(recipe.data), extends=partial(_adds_only_seeds, recipe)) as run:
        run.record(plan=_describe_plan(recipe, plan))
        done = {key for key, step in plan.steps.items() if is_done(out, step)}
        if len(done) < len(plan.steps):
            opened = open_executor(
                executor, out, jobs, address=address, log=lambda text: console.print(text, markup=False)
            )
            timer = _Timer(run, executor, opened.slots)
            with Display(plan, done, opened.slots, console) as display:
                outcome = execute(plan, out, opened, display, timer.add)
            if outcome.failed:
                raise _failure(outcome, out)
            timer.record()
        run.finish()
    report = _write_report(out, render)
    with track(run, ()) as tracking:
        accuracy = {c: {d: cell.accuracy for d, cell in row.items()} for c, row in report.matrix.items()}
        tracking.log({"accuracy": accuracy})
    return report


def _adds_only_seeds(recipe: Recipe, manifest: Manifest) -> bool:
    """Whether a study has the recipe's settings and no seed that the recipe lacks."""

    def without_seeds(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in settings.items() if k != "seeds"}

    new: dict[str, Any] = redact_data(json.loads(json.dumps(dict(recipe.data), default=str)))
    old = manifest.config if manifest.kind == "study" else {}
    return without_seeds(new) == without_seeds(old) and set(old.get("seeds", [0])) <= set(recipe.seeds)


class _Timer:
    """Records durations in the manifest: ``seconds`` of each step, ``worker_s`` of all steps, ``wall_s`` of all calls,
    and a session with every attempt for each call.
    """

    def __init__(self, run: Run, executor: str, slots: int) -> None:
        self.run, self.start = run, time.monotonic()
        self.wall_s = run.manifest.wall_s
        self.seconds = dict(run.manifest.seconds)
        self.session = StudySession(executor=executor, slots=slots, wall_s=0.0, attempts=[])
        self.sessions = [*run.manifest.sessions, self.session]
        run.record(jobs=slots)

    def add(self, attempt: StepAttempt) -> None:
        self.session.attempts.append(attempt)
        if attempt.outcome == "done":
            self.seconds[attempt.step] = attempt.seconds
        self.record()

    def record(self) -> None:
        elapsed = time.monotonic() - self.start
        self.session.wall_s = round(elapsed, 3)
        self.run.record(
            seconds=self.seconds,
            wall_s=round(self.wall_s + elapsed, 1),
            worker_s=round(sum(self.seconds.values()), 1),
            sessions=self.sessions,
        )


def _write_report(out: Path, render: Callable[[Report], str]) -> Report:
    from kkwarm.analysis.build import build_report
    from kkwarm.analysis.load import load

    report = build_report(load([out]))
    for name, text in (("report.json", report.model_dump_json(indent=1)), ("report.txt", render(report))):
        write_file(out / name, text + "\n", hint="free space; the same command resumes the study")
    return report


def _describe_plan(recipe: Recipe, plan: Plan) -> StudyPlan:
    return StudyPlan(
        name=recipe.name,
        title=recipe.title,
        note=recipe.note,
        margin=recipe.margin,
        domains=list(recipe.evaluate.domains),
        conditions=[PlanCondition(name=c.name, baseline=c.baseline, chain=list(c.chain)) for c in recipe.conditions],
        claims=[c.model_dump() for c in recipe.claims],
        grids={name: {str(n): c for n, c in grid.items()} for name, grid in recipe.grids.items()},
        rows={name: {str(seed): dict(parts) for seed, parts in seeds.items()} for name, seeds in plan.rows.items()},
        steps=list(plan.steps),
        kinds={key: step.kind for key, step in plan.steps.items()},
    )


def _failure(outcome: Outcome, out: Path) -> KkwarmError:
    first, reason = next(iter(outcome.failed.items()))
    others = f", and {len(outcome.failed) - 1} more" if len(outcome.failed) > 1 else ""
    blocked = f"; {len(outcome.blocked)} steps wait for them" if outcome.blocked else ""
    return KkwarmError(
        f"step {first} failed{others}: {reason}{blocked}",
        hint=f"see the logs in {out / 'logs'}; the same command resumes the study",
    )
