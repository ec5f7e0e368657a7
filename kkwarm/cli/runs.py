"""`kkwarm runs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import (
    Whole,
    echo_json,
    err_console,
    json_option,
    out_console,
    parse_labels,
    table_options,
    write_tables,
)
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    from kkwarm.schema.report import RunSummary

KINDS = ("bench", "score", "import", "distill", "warmup", "rlvr", "study")
SORTS = ("created", "name", "model", "accuracy")


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="Only runs of this kind. Can be given several times.",
)
@click.option("--on", "benchmark", metavar="NAME", help="Only runs with results on this benchmark.")
@click.option("--model", metavar="TEXT", help="Only runs whose model's name contains this text.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only runs with this label. Can be given several times.",
)
@click.option("--state", type=click.Choice(("done", "running", "interrupted")), help="Only runs in this state.")
@click.option(
    "--sort", type=click.Choice(SORTS), default="created", show_default=True, help="Order; newest or best first."
)
@click.option("--steps", is_flag=True, help="Also list the steps of studies.")
@click.option("--limit", type=Whole(1), metavar="N", help="List at most N runs.  [default: all]")
@table_options
@json_option
def command(
    folders: tuple[Path, ...],
    kinds: tuple[str, ...],
    benchmark: str | None,
    model: str | None,
    labels: tuple[str, ...],
    state: str | None,
    sort: str,
    steps: bool,
    limit: int | None,
    csv: Path | None,
    parquet: Path | None,
    as_json: bool,
) -> None:
    """List the runs in FOLDERS, by default those under KKWARM_HOME."""
    from kkwarm.analysis.runs import find_runs
    from kkwarm.store import find_run, runs_home

    wanted = parse_labels(labels)
    paths = [find_run(f) for f in folders] or [runs_home()]
    if missing := [p for p in paths if not p.is_dir()]:
        raise KkwarmError(f"there is no folder {missing[0]}", hint="name a folder of runs, or set KKWARM_HOME")
    runs, problems = find_runs(paths, steps=steps)
    chosen = [
        r
        for r in runs
        if (not kinds or r.kind in kinds)
        and (benchmark is None or benchmark in r.accuracy)
        and (model is None or model.lower() in r.model.lower())
        and (state is None or r.state == state)
        and wanted.items() <= r.labels.items()
    ]
    chosen = _sorted(chosen, sort, benchmark)[:limit]
    for problem in problems:
        err_console().print(f"not listed: {problem}", style="yellow", markup=False, soft_wrap=True)
    write_tables([row for r in chosen for row in _rows(r)], csv, parquet)
    if as_json:
        echo_json({"runs": [r.model_dump(mode="json") for r in chosen], "problems": problems})
    elif csv is None and parquet is None:
        _print(chosen, paths, out_console())


def _sorted(runs: list[RunSummary], sort: str, benchmark: str | None) -> list[RunSummary]:
    if sort == "accuracy":

        def accuracy(run: RunSummary) -> float:
            values = [run.accuracy[benchmark]] if benchmark is not None else list(run.accuracy.values())
            return -sum(values) / len(values) if values else 1.0

        return sorted(runs, key=accuracy)
    if sort == "created":
        return sorted(runs, key=lambda r: r.created, reverse=True)
    return sorted(runs, key=lambda r: r.path if sort == "name" else (r.model, r.path))  # type: ignore[arg-type,return-value]


def _rows(run: RunSummary) -> list[dict[str, Any]]:
    """A row for each benchmark of a run, or one for a run without benchmarks."""
    from kkwarm.reporting.labels import labels_text

    facts = {"run": run.path, "kind": run.kind, "state": run.state, "created": run.created, "model": run.model}
    facts |= {"labels": labels_text(run.labels)}
    empty = {"benchmark": None, "questions": None, "accuracy": None, "low": None, "high": None}
    rows = [
        facts
        | {"benchmark": name, "questions": run.questions[name], "accuracy": value}
        | dict(zip(("low", "high"), run.ci.get(name, (None, None)), strict=True))
        for name, value in run.accuracy.items()
    ]
    return rows or [facts | empty]


def _print(runs: list[RunSummary], folders: list[Path], console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from kkwarm.reporting.labels import break_name, labels_text, with_interval

    if not runs:
        console.print("no run fits")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("run", overflow="fold")
    table.add_column("kind", no_wrap=True)
    table.add_column("created", no_wrap=True)
    table.add_column("percent ± 95% interval", overflow="fold")
    results = ["\n".join(f"{b} {with_interval(a, run.ci.get(b))}" for b, a in run.accuracy.items()) for run in runs]
    others = max(22, *(len(line) for text in results for line in text.split("\n"))) + 16 + 11 + 3 * 2
    for run, figures in zip(runs, results, strict=True):
        path = Path(run.path)
        base = next((f for f in folders if path.is_relative_to(f) and path != f), None)
        shown = str(path.relative_to(base)) if base is not None else run.path
        name = Text(break_name(shown, max(16, console.width - others)))
        if labels := labels_text({k: v for k, v in run.labels.items() if v != path.name}):
            name.append(f"\n{labels}", "dim")
        state = "" if run.state == "done" else f"\n{run.state}"
        created = run.created[:16].replace("T", " ")
        table.add_row(name, Text(run.kind).append(state, "yellow"), created, Text(figures))
    console.print(table)
