"""`kkwarm rescore`: judges a stored run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import unsandboxed_option

if TYPE_CHECKING:
    from kkwarm.store import Run
    from kkwarm.verify.rescore import Flip, Rescored

SHOWN = 3  # flipped samples shown for each kind


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--write", is_flag=True, help="Keep the new verdicts as a run beside RUN (RUN is never changed).")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Keep them in this folder instead.")
@click.option("--workers", type=click.IntRange(1), help="Processes for slow verdicts [default: one for each core].")
@unsandboxed_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def command(run: Path, write: bool, out: Path | None, workers: int | None, as_json: bool) -> None:
    """Judge the stored completions of RUN by today's verifiers, and show what flipped. No model is needed."""
    from kkwarm.store import Run, runs_home
    from kkwarm.verify.rescore import write_rescored

    path = run if run.exists() or not (runs_home() / run).exists() else runs_home() / run
    stored = Run.read(path)
    results = _rescored(stored, workers)
    document: dict[str, Any] = {
        "run": str(path),
        "flipped": sum(len(r.flips) for r in results),
        "benchmarks": {r.benchmark: _figures(r) for r in results if not r.skipped},
        "skipped": {r.benchmark: r.skipped for r in results if r.skipped},
    }
    if write or out is not None:
        document["written"] = str(write_rescored(stored, results, out or _beside(path)).path)
    if as_json:
        click.echo(json.dumps(document))
    else:
        show(document)


def _rescored(run: Run, workers: int | None) -> list[Rescored]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from kkwarm.plugins import registry
    from kkwarm.verify.rescore import rescore

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(run.name, total=sum(1 for _ in run.samples()))
        return rescore(run, registry(), workers=workers, progress=lambda n: bar.advance(task, n))


def _beside(path: Path) -> Path:
    """``RUN-rescored``, or the first of ``RUN-rescored-2`` ... that is not there."""
    base = path.resolve()
    named = base.with_name(f"{base.name}-rescored")
    number = 1
    while named.exists():
        number += 1
        named = base.with_name(f"{base.name}-rescored-{number}")
    return named


def _figures(result: Rescored) -> dict[str, Any]:
    before, after = result.figures_before, result.figures_after
    return {
        "n": after["n"],
        "samples": after["samples"],
        "accuracy": {"before": before["accuracy"], "after": after["accuracy"]},
        "stderr": {"before": before["stderr"], "after": after["stderr"]},
        "status": {"before": before["status"], "after": after["status"]},
        "flips": result.counts,
        "gone": result.gone,
        "examples": _examples(result.flips),
    }


def _examples(flips: list[Flip]) -> list[dict[str, Any]]:
    """The shortest completions of each kind of flip."""
    shown: list[dict[str, Any]] = []
    taken: dict[tuple[str, str], int] = {}
    for flip in sorted(flips, key=lambda f: len(f.after.completion.text or "")):
        before, after = flip.before.verdict, flip.after.verdict
        kind = before.status.value, after.status.value
        taken[kind] = taken.get(kind, 0) + 1
        if taken[kind] > SHOWN:
            continue
        text = flip.after.completion.text
        shown.append(
            {
                "id": flip.after.id,
                "index": flip.after.index,
                "before": {"status": kind[0], "answer": before.answer, "reason": before.reason},
                "after": {"status": kind[1], "answer": after.answer, "reason": after.reason},
                "end": text[-200:] if isinstance(text, str) else text,
            }
        )
    return shown


def show(document: dict[str, Any]) -> None:
    """Prints before, after and flips for each benchmark."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{document['run']}: {document['flipped']:,} verdicts flipped", title_justify="left")
    for column in ("", "samples", "accuracy then", "today", "flipped"):
        table.add_column(column, justify="left" if column in ("", "flipped") else "right")
    for name, figures in document["benchmarks"].items():
        accuracy = figures["accuracy"]
        flips = "\n".join(f"{count:,} {kind}" for kind, count in figures["flips"].items()) or "none"
        then, today = (f"{100 * accuracy[when]:.2f}" for when in ("before", "after"))
        table.add_row(name, f"{figures['samples']:,}", then, today, flips)
    console.print(table)
    for name, figures in document["benchmarks"].items():
        for flip in figures["examples"]:
            was, now = flip["before"], flip["after"]
            which = f"{name} {flip['id']}[{flip['index']}]"
            line = f"{which}: {was['status']} -> {now['status']} ({now['reason'] or 'no reason'})"
            console.print(line, markup=False, highlight=False)
            console.print(f"    read {was['answer']!r} then, {now['answer']!r} today", markup=False, highlight=False)
        if figures["gone"]:
            console.print(f"{name}: {figures['gone']:,} samples of questions that it no longer has keep their verdict")
    for name, why in document["skipped"].items():
        console.print(f"{name}: not judged again: {why}", markup=False, highlight=False)
    if "written" in document:
        console.print(f"kept in {document['written']}", markup=False, highlight=False)
