"""`kkwarm bench`: benchmarks a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kkwarm.cli import power
from kkwarm.cli.console import (
    complete_domains,
    complete_models,
    echo_json,
    err_console,
    json_option,
    out_console,
    unsandboxed_option,
)
from kkwarm.cli.options import configure, settings_command
from kkwarm.cli.power import detect_option, prior_option
from kkwarm.errors import KkwarmError
from kkwarm.schema.settings import HARDWARE, OUTPUT, SAMPLING, STOPPING, BenchConfig

PANELS = {
    "Model and data": ("--on", "--label"),
    SAMPLING: ("--allow-unsandboxed-code",),
    HARDWARE: (),
    STOPPING: (),
    "Power analysis": ("--power", "--prior", "--detect"),
    OUTPUT: ("--out", "--dry-run", "--json", "--help"),
}


@settings_command(BenchConfig, panels=PANELS)
@click.argument("model", shell_complete=complete_models)
@click.option(
    "--on",
    "names",
    shell_complete=complete_domains,
    multiple=True,
    required=True,
    metavar="NAME,...",
    help="Benchmarks, as `kkwarm domains` lists them; lm_eval:NAME for tasks of lm-eval.",
)
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label that is stored with the run, for reports."
)
@unsandboxed_option
@click.option("--power", "power_only", is_flag=True, help="Print what difference this run could detect, and stop.")
@prior_option
@detect_option
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder.  [default: under runs/bench, by model and settings]",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done, with its size, and load no model.")
@json_option
def command(
    model: str,
    names: tuple[str, ...],
    given: dict[str, Any],
    out: Path | None,
    labels: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    power_only: bool,
    priors: tuple[Path, ...],
    detect: float | None,
) -> None:
    """Evaluate MODEL on benchmarks.

    MODEL is a checkpoint folder, a run that contains one, a hub id, a checkpoint that a package ships
    (kkwarm_mini:BASE), or the name of a served model. After an interruption, repeat the command to resume.
    """
    from kkwarm.evaluation import bench

    config = configure(BenchConfig, given)
    if power_only:
        planned = power.plan(names, config.samples, config.limit, priors, detect)
        echo_json(planned) if as_json else power.show(planned)
        return
    if priors or detect is not None:
        raise KkwarmError("--prior and --detect belong to --power", hint="add --power, or leave them out")
    named = _labels(labels)
    if dry_run:
        plan = _plan(model, names, out, config)
        echo_json(plan) if as_json else _show_plan(plan)
        return
    run = bench(model, names, out, config, labels=named, progress=not as_json or err_console().is_terminal)
    results = run.manifest.results
    if as_json:
        echo_json(results)
    else:
        show(results)


def _labels(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for label in given:
        key, equals, value = label.partition("=")
        if not equals or not key:
            raise KkwarmError(f"label {label!r} is not of the form KEY=VALUE")
        found[key] = value
    return found


def _plan(model: str, names: tuple[str, ...], out: Path | None, config: Any) -> dict[str, Any]:
    from kkwarm.evaluation.engine import prepare
    from kkwarm.store import Run

    prepared = prepare(model, names, out, config)
    try:
        stored: dict[str, int] = {}
        if (prepared.out / "manifest.json").exists():
            for sample in Run.read(prepared.out).samples():
                stored[sample.benchmark] = stored.get(sample.benchmark, 0) + 1
        rows = [
            {
                "benchmark": e.name,
                "questions": len(e.items),
                "samples": len(e.items) * config.samples,
                "stored": stored.get(e.name, 0),
                "max_new_tokens": (len(e.items) * config.samples - stored.get(e.name, 0)) * e.sampling.max_tokens,
                "format": e.format.name,
                "temperature": e.sampling.temperature,
                "top_p": e.sampling.top_p,
            }
            for e in prepared.tasks
        ]
        return {"model": model, "run": str(prepared.out), "benchmarks": rows, "lm_eval": prepared.lm_eval_names}
    finally:
        prepared.close()


def _show_plan(plan: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"{plan['model']} -> {plan['run']}", title_justify="left")
    for column in ("benchmark", "questions", "samples", "stored", "at most new tokens", "format", "T", "top_p"):
        table.add_column(column, justify="left" if column in ("benchmark", "format") else "right")
    for row in plan["benchmarks"]:
        counts = [f"{row[k]:,}" for k in ("questions", "samples", "stored", "max_new_tokens")]
        table.add_row(row["benchmark"], *counts, row["format"], f"{row['temperature']:g}", f"{row['top_p']:g}")
    for name in plan["lm_eval"]:
        table.add_row(name, *[""] * 7)
    out_console().print(table)


def show(results: dict[str, Any]) -> None:
    """Prints the figures of a run as a table."""
    from rich.table import Table

    from kkwarm.reporting.terminal import LEAKED

    console = out_console()
    table = Table(title=f"{results['model']}", title_justify="left")
    for column in ("benchmark", "n", "K", "accuracy ± se", "pass@K", "worked", "tokens"):
        table.add_column(column, justify="left" if column == "benchmark" else "right", no_wrap=True)
    for name, f in results["benchmarks"].items():
        k = f["samples"] // f["n"]
        leaked = LEAKED if f.get("contaminated") else ""
        accuracy = f"{100 * f['accuracy']:.1f}{leaked}" + ("" if f["stderr"] is None else f" ± {100 * f['stderr']:.1f}")
        best = f"{100 * f[f'pass@{k}']:.1f}" if f.get(f"pass@{k}") is not None else ""
        tokens = "" if f["mean_tokens"] is None else f"{f['mean_tokens']:.0f}"
        worked = f"{100 * f['reasoning_rate']:.0f}%" if f.get("reasoning_rate") is not None else ""
        table.add_row(name, f"{f['n']:,}", str(k), accuracy, best, worked, tokens)
        for metric, value in f["metrics"].items():
            table.add_row(f"  {metric}", "", "", f"{100 * value:.1f}", *[""] * 3)
    console.print(table)
    for name, f in results["benchmarks"].items():
        counts = ", ".join(f"{count:,} {status}" for status, count in f["status"].items())
        console.print(f"{name}: {counts}", soft_wrap=True)
        if f.get("contaminated"):
            said = f"{LEAKED} LEAK: the checkpoint was trained on {f['contaminated']:,} questions of {name}"
            console.print(said, style="bold red", soft_wrap=True)
    for name, f in results["benchmarks"].items():
        if "stopped" in f:
            console.print(f"{name}: {_stopped(f['stopped'])}", soft_wrap=True)
    speed = results["throughput"]
    if speed["tokens_per_s"]:
        console.print(f"{speed['tokens']:,} tokens in {speed['seconds']:.1f} s: {speed['tokens_per_s']:,.0f} tokens/s")
    console.print(f"kept in {results['run']}")


def _stopped(why: dict[str, Any]) -> str:
    """Why a benchmark ended before its last question, or did not."""
    asked = f"{why['questions']:,} of {why['of']:,} questions"
    saved = f"{why['generations_saved']:,} generations saved" if why["generations_saved"] else "none saved"
    if why["rule"] == "half-width":
        low, high = (100 * v for v in why["interval"])
        return f"after {asked} all of them would give {low:.1f} to {high:.1f} (95%, however early one stops); {saved}"
    interval = f"{100 * why['low']:+.1f} to {100 * why['high']:+.1f}"
    return f"{why['verdict']} against {why['against']} after {asked}: {100 * why['value']:+.1f} ({interval}); {saved}"
