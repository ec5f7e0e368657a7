"""A study from recipe to report: opens its folder, does the plan, keeps the report beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.store import Run, config_hash, runs_home
from kkwarm.study.execute import Outcome, execute, is_done
from kkwarm.study.plan import Plan, Step, make_plan
from kkwarm.study.progress import Display
from kkwarm.study.recipe import Recipe

__all__ = ["default_folder", "do_study"]


def default_folder(recipe: Recipe) -> Path:
    """Under `KKWARM_HOME`, named by recipe and settings: the same command finds its study again."""
    return runs_home() / f"{recipe.name}-{config_hash(recipe.data)[:8]}"


def do_study(
    recipe: Recipe,
    out: Path,
    jobs: int,
    console: Any,
    render: Callable[[dict[str, Any]], str],
) -> dict[str, Any]:
    """Does what is left of the study in `out`, and returns its report's document; it is also kept there, with what
    `render` makes of it, as report.json and report.txt.

    :raises KkwarmError: steps failed (everything that does not need them is done), or `out` holds something else.
    """
    plan = make_plan(recipe)
    with Run.open(out, kind="study", config=dict(recipe.data)) as run:
        before = float(run.manifest.get("wall_s", 0.0))
        seconds: dict[str, float] = dict(run.manifest.get("seconds", {}))
        run.record(plan=_recorded(recipe, plan), jobs=jobs)
        began = time.monotonic()

        def kept(step: Step, took: float) -> None:
            seconds[step.id] = round(took, 2)
            wall = round(before + time.monotonic() - began, 1)
            run.record(seconds=seconds, wall_s=wall, worker_s=round(sum(seconds.values()), 1))

        done = {key for key, step in plan.steps.items() if is_done(out, step)}
        with Display(plan, done, jobs, console) as display:
            outcome = execute(plan, out, jobs, display, kept)
        if outcome.failed:
            raise _failure(plan, outcome, out)
        run.record(wall_s=round(before + time.monotonic() - began, 1))
        run.finish()
    return _report(out, render)


def _report(out: Path, render: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    from kkwarm.report.load import load
    from kkwarm.transfer.analyse import analyse

    document = analyse(load([out]))
    for name, text in (("report.json", json.dumps(document, indent=1)), ("report.txt", render(document))):
        (out / name).write_text(text + "\n", "utf-8")
    return document


def _recorded(recipe: Recipe, plan: Plan) -> dict[str, Any]:
    """What a report needs to know of the plan, as JSON data."""
    return {
        "name": recipe.name,
        "title": recipe.title,
        "note": recipe.note,
        "margin": recipe.margin,
        "domains": list(recipe.evaluate.domains),
        "conditions": [{"name": c.name, "against": c.against, "chain": list(c.chain)} for c in recipe.conditions],
        "claims": [{f: getattr(c, f) for f in c.__dataclass_fields__} for c in recipe.claims],
        "grids": {name: {str(n): c for n, c in grid.items()} for name, grid in recipe.grids.items()},
        "rows": {name: {str(seed): dict(parts) for seed, parts in seeds.items()} for name, seeds in plan.rows.items()},
        "steps": list(plan.steps),
        "kinds": {key: step.kind for key, step in plan.steps.items()},
    }


def _failure(plan: Plan, outcome: Outcome, out: Path) -> KkwarmError:
    first, why = next(iter(outcome.failed.items()))
    others = f", and {len(outcome.failed) - 1} more" if len(outcome.failed) > 1 else ""
    waiting = f"; {len(outcome.blocked)} steps wait for them" if outcome.blocked else ""
    return KkwarmError(
        f"step {first} failed{others}: {why}{waiting}",
        hint=f"logs are in {out / 'logs'}; the same command goes on from what is done",
    )
