"""Shows the plan of a study: its steps with tokens, completions and estimated time, and the assumptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kkwarm.cost import GIB, rate_text
from kkwarm.progress import duration
from kkwarm.schema.recipe import Recipe
from kkwarm.study.cost import Costs, is_model_teacher
from kkwarm.study.execute import is_done
from kkwarm.study.plan import Plan, worker_hardware
from kkwarm.study.progress import Estimate, workers


def describe(recipe: Recipe, plan: Plan, folder: Path, jobs: int) -> dict[str, Any]:
    """The plan as one JSON document: ``steps`` (id, kind, needs, cpus, gpus, tokens, completions, seconds, done),
    ``total`` and ``assumptions``. `needs` are the edges of the graph; a `gpus` of null means "one if there is any".
    """
    steps = [
        {
            "id": s.id,
            "kind": s.kind,
            "needs": list(s.needs),
            "cpus": s.resources.cpus,
            "gpus": s.resources.gpus,
            "generated_tokens": s.cost.generated,
            "trained_tokens": s.cost.trained,
            "completions": s.cost.completions,
            "updates": s.cost.units if s.kind in ("warmup", "rlvr") else 0,
            "seconds": round(s.cost.seconds, 1),
            "done": is_done(folder, s),
            "settings": dict(s.config),
        }
        for s in plan.steps.values()
    ]
    done = {str(s["id"]) for s in steps if s["done"]}
    total: dict[str, Any] = {
        key: sum(s[key] for s in steps) for key in ("generated_tokens", "trained_tokens", "completions", "seconds")
    }
    total["disk_gib"] = round(sum(s.cost.disk for s in plan.steps.values()) / GIB, 3)
    total["hours"] = round(total["seconds"] / 3600, 2)
    total["wall_seconds_left"] = round(Estimate(plan, done, jobs).left({}), 1)
    return {
        "recipe": recipe.name,
        "title": recipe.title,
        "folder": str(folder),
        "jobs": jobs,
        "seeds": list(recipe.seeds),
        "conditions": [{"name": c.name, "chain": list(c.chain), "baseline": c.baseline} for c in recipe.conditions],
        "domains": list(recipe.evaluate.domains),
        "steps": steps,
        "total": total,
        "assumptions": _assumptions(recipe, Costs(recipe.assume, worker_hardware(jobs))),
    }


def show_plan(document: Mapping[str, Any], console: Any) -> None:
    """Prints conditions, steps, totals and assumptions of a plan."""
    from rich.markup import escape
    from rich.table import Table

    console.print(f"[bold]{escape(document['title'])}[/]")
    conditions = Table(box=None, pad_edge=False)
    for column in ("condition", "stages", "baseline"):
        conditions.add_column(column)
    for c in document["conditions"]:
        conditions.add_row(escape(c["name"]), escape(" > ".join(c["chain"])), escape(c["baseline"] or ""))
    console.print(conditions)
    console.print(f"seeds {', '.join(map(str, document['seeds']))}; evaluated on {', '.join(document['domains'])}\n")
    console.print(_steps(document["steps"]))
    t = document["total"]
    unit = document["assumptions"]["unit"]
    console.print(
        f"\n[bold]{len(document['steps'])} steps[/]: {t['completions']:,} completions, "
        f"{_tokens(t['generated_tokens'])} tokens generated, {_tokens(t['trained_tokens'])} trained on; "
        f"about [bold]{t['hours']:g} {escape(unit)}[/]; {t['disk_gib']:.3g} GiB on disk at the end; "
        f"{duration(t['wall_seconds_left'])} left with {workers(document['jobs'])}."
    )
    console.print("Assumed: " + escape("; ".join(document["assumptions"]["text"])), style="dim")


def _steps(steps: Sequence[Mapping[str, Any]]) -> Any:
    """A table of the steps: each with its number, and the numbers of the steps that it needs."""
    from rich.markup import escape
    from rich.table import Table

    plain = all(s["cpus"] == 1 and not s["gpus"] for s in steps)  # all steps need the default resources
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("#", justify="right", style="dim")
    table.add_column("step", overflow="fold")
    table.add_column("after", style="dim")
    for column in () if plain else ("cores", "GPUs"):
        table.add_column(column, justify="right")
    for column in ("updates", "samples", "generated", "trained", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    number = {s["id"]: i for i, s in enumerate(steps, 1)}
    for s in steps:
        gpus = "if any" if s["gpus"] is None else f"{s['gpus']:g}" if s["gpus"] else ""
        table.add_row(
            str(number[s["id"]]),
            escape(s["id"].rpartition("-")[0]) + (" [dim](done)[/]" if s["done"] else ""),
            " ".join(str(number[need]) for need in s["needs"]),
            *(() if plain else (f"{s['cpus']:g}", gpus)),
            f"{s['updates']:,}" if s["updates"] else "",
            f"{s['completions']:,}" if s["completions"] else "",
            _tokens(s["generated_tokens"]),
            _tokens(s["trained_tokens"]),
            duration(s["seconds"]),
        )
    return table


def _tokens(count: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count) if count else ""


def _assumptions(recipe: Recipe, costs: Costs) -> dict[str, Any]:
    """Rates of each model and of the teachers, and the other assumptions, also as texts."""
    a = recipe.assume
    text, models = [costs.hardware.name], {}
    for name, reference in recipe.models.items():
        size, rates = costs.size(reference), costs.rates(reference)
        models[name] = {
            "parameters": size.parameters,
            "generate_rate": round(rates.generate, 2),
            "train_rate": round(rates.train, 2),
            "basis": rates.basis,
        }
        speed = f"{rate_text(rates.generate)} generated, {rate_text(rates.train)} trained on"
        text.append(f"{name}: {speed} ({rates.basis})")
    teachers = sorted({t.teacher for t in recipe.traces.values() if is_model_teacher(t.teacher)})
    teacher_rates = {teacher: costs.teacher_rate(teacher) for teacher in teachers}
    text += [f"teacher {teacher}: {rate_text(rate)} generated" for teacher, rate in teacher_rates.items()]
    text.append(f"tokens: prompt {a.prompt}, answer {a.answer}, trace {a.trace}, or the limit where it is lower")
    text.append(f"{a.start_s:g} s to start a step")
    if a.questions:
        text.append("questions: " + ", ".join(f"{k} {v:,}" for k, v in a.questions.items()))
    return {
        "device": costs.hardware.name,
        "unit": a.unit,
        "models": models,
        "teachers": {teacher: round(rate, 2) for teacher, rate in teacher_rates.items()},
        "text": text,
    }
