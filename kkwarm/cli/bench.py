"""`kkwarm bench`: benchmarks a checkpoint."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli import power
from kkwarm.cli.console import (
    complete_models,
    echo_json,
    err_console,
    json_option,
    on_option,
    out_console,
    parse_labels,
    print_verifiers,
    unpinned_option,
    unsandboxed_option,
)
from kkwarm.cli.options import configure, settings_command
from kkwarm.cli.power import detect_option, prior_option
from kkwarm.cli.training import measure_speed, probe_option
from kkwarm.errors import KkwarmError, warn
from kkwarm.schema.settings import HARDWARE, OUTPUT, SAMPLING, STOPPING, TRACKING, BenchConfig

if TYPE_CHECKING:
    from kkwarm.evaluation.engine import PreparedBench

PANELS = {
    "Model and data": ("--on", "--label", "--unpinned"),
    SAMPLING: ("--allow-unsandboxed-code",),
    HARDWARE: (),
    STOPPING: (),
    TRACKING: (),
    "Power analysis": ("--power", "--prior", "--detect"),
    OUTPUT: ("--out", "--dry-run", "--probe", "--json", "--help"),
}


@settings_command(BenchConfig, panels=PANELS)
@click.argument("model", shell_complete=complete_models)
@on_option("Benchmarks, as `kkwarm domains` lists them; lm_eval:NAME for tasks of lm-eval.", required=True)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="Label that is stored with the run, for reports. The label `condition` is the run's name in their tables.",
)
@unsandboxed_option
@unpinned_option
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
@probe_option
@json_option
def command(
    model: str,
    names: tuple[str, ...],
    given: dict[str, Any],
    out: Path | None,
    labels: tuple[str, ...],
    dry_run: bool,
    probe: bool,
    as_json: bool,
    power_only: bool,
    priors: tuple[Path, ...],
    detect: float | None,
) -> None:
    """Evaluate MODEL on benchmarks.

    MODEL is a checkpoint folder, a run that contains one, a hub id, a checkpoint that a package ships
    (kkwarm_mini:BASE), or the name of a served model. After an interruption, repeat the command to resume.
    """
    from kkwarm.api import bench_config
    from kkwarm.evaluation import bench

    config, note = bench_config(model, names, given, configure)
    if note and not power_only:
        warn(note)
    if power_only:
        estimate = power.power_analysis(names, config.samples, config.limit, priors, detect)
        echo_json(estimate) if as_json else power.print_power(estimate)
        return
    if priors or detect is not None:
        raise KkwarmError("--prior and --detect belong to --power", hint="add --power, or leave them out")
    parsed_labels = parse_labels(labels)
    if probe:
        if config.backend != "hf":
            raise KkwarmError(f"--probe measures --backend hf, not {config.backend}", hint="use --dry-run")
        measure_speed(model, config)
    if dry_run or probe:
        plan = _plan(model, names, out, config)
        echo_json(plan) if as_json else _show_plan(plan)
        return
    run = bench(model, names, out, config, labels=parsed_labels, progress=not as_json or err_console().is_terminal)
    results = run.manifest.results
    if as_json:
        echo_json(results)
    else:
        show(results)


def _plan(model: str, names: tuple[str, ...], out: Path | None, config: BenchConfig) -> dict[str, Any]:
    from kkwarm.evaluation.engine import prepare
    from kkwarm.store import Run

    prepared = prepare(model, names, out, config, dry_run=True)
    try:
        stored: Counter[str] = Counter()
        if (prepared.out / "manifest.json").exists():
            stored.update(sample.benchmark for sample in Run.read(prepared.out).samples())
        rows = []
        for task in prepared.tasks:
            samples = task.count_samples(config.samples)
            rows.append(
                {
                    "benchmark": task.name,
                    "questions": len(task.items),
                    "samples": samples,
                    "stored": stored[task.name],
                    "max_new_tokens": (samples - stored[task.name]) * task.max_tokens,
                    "protocol": task.protocol.name,
                    "temperature": task.sampling.temperature,
                    "top_p": task.sampling.top_p,
                }
            )
        document: dict[str, Any] = {"model": model, "run": str(prepared.out), "benchmarks": rows}
        if config.backend != "openai":
            document["estimate"] = _estimate(model, prepared, stored)
        return document
    finally:
        prepared.close()


def _estimate(model: str, prepared: PreparedBench, stored: Counter[str]) -> dict[str, Any]:
    """Time, memory and disk space that the missing samples take at most."""
    from kkwarm import cost
    from kkwarm.backends.sizes import read_size

    missing = [(t.count_samples(prepared.config.samples) - stored[t.name], t.max_tokens) for t in prepared.tasks]
    samples, tokens = sum(n for n, _ in missing), sum(n * limit for n, limit in missing)
    size, longest = read_size(model), max((limit for _, limit in missing), default=0)
    longest = min(longest, size.context or longest)
    return cost.estimate(
        model,
        prepared.out,
        generated=tokens,
        memory=cost.generation_memory(size, cost.this_machine(), samples=samples, tokens=longest),
        disk=cost.sample_bytes(tokens, samples),
        threads=prepared.config.threads,
    )


def _show_plan(plan: dict[str, Any]) -> None:
    from rich.table import Table

    console = out_console()
    console.print(f"{plan['model']} -> {plan['run']}", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for column in ("benchmark", "questions", "samples", "stored", "max tokens", "protocol", "T", "top_p"):
        left = column in ("benchmark", "protocol")
        table.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for row in plan["benchmarks"]:
        counts = [f"{row[k]:,}" for k in ("questions", "samples", "stored", "max_new_tokens")]
        table.add_row(row["benchmark"], *counts, row["protocol"], f"{row['temperature']:g}", f"{row['top_p']:g}")
    console.print(table)
    if "estimate" in plan:
        from kkwarm.cost import estimate_lines

        for name, text in estimate_lines(plan["estimate"]).items():
            console.print(f"{name}: {text}", markup=False, soft_wrap=True)


def show(results: dict[str, Any]) -> None:
    """Prints the results of a run as a table, with notes below it."""
    from kkwarm.data.pins import unpinned_text
    from kkwarm.reporting.labels import CONTAMINATED, SCORING
    from kkwarm.reporting.results import print_figures

    console = out_console()
    name = (results.get("labels") or {}).get("condition")
    console.print(f"{name} ({results['model']})" if name else results["model"], style="bold", markup=False)
    print_figures(results, console)
    for line in _protocol_lines(results["benchmarks"]):
        console.print(line, markup=False, soft_wrap=True)
    for name, figures in results["benchmarks"].items():
        if count := figures.get("contaminated"):
            text = f"{CONTAMINATED} CONTAMINATED: the checkpoint was trained on {count:,} questions of {name}"
            console.print(text, style="bold red", soft_wrap=True)
        if entry := figures.get("unpinned"):
            console.print(f"{SCORING} {name}: {unpinned_text(entry)}", style="yellow", markup=False, soft_wrap=True)
    for name, figures in results["benchmarks"].items():
        if count := figures.get("training_split"):
            text = f"{name}: {count:,} of its {figures['n']:,} questions belong to kkwarm's training split"
            console.print(text, style="yellow", markup=False, soft_wrap=True)
    print_verifiers(results["benchmarks"], console)
    for name, figures in results["benchmarks"].items():
        if "stopped" in figures:
            console.print(f"{name}: {_describe_stop(figures['stopped'])}", soft_wrap=True)
    for name, figures in results["benchmarks"].items():
        if "advice" in figures:
            console.print(f"{name}: {figures['advice']}", style="yellow", markup=False, soft_wrap=True)
    console.print(f"stored in {results['run']}", markup=False, soft_wrap=True)


def _protocol_lines(benchmarks: dict[str, Any]) -> list[str]:
    """One line for each protocol, with its benchmarks; empty where no figures name one."""
    used: dict[str, list[str]] = {}
    for name, figures in benchmarks.items():
        if "protocol" in figures:
            used.setdefault(figures["protocol"], []).append(name)
    return [f"protocol {protocol}: {', '.join(names)}" for protocol, names in used.items()]


def _describe_stop(stop: dict[str, Any]) -> str:
    """Where and why a benchmark stopped before its last question, or that it did not."""
    questions = f"{stop['questions']:,} of {stop['of']:,} questions"
    saved = f"{stop['generations_saved']:,} generations saved" if stop["generations_saved"] else "none saved"
    if stop["rule"] == "half-width":
        low, high = (100 * v for v in stop["interval"])
        interval = f"{low:.1f} to {high:.1f}"
        return (
            f"stopped after {questions}; the accuracy on all of them is {interval} (95% confidence sequence); {saved}"
        )
    tie = stop["verdict"] == "tie"
    low, high = (stop[f"tie_{end}" if tie else end] for end in ("low", "high"))
    margin = f" within a margin of {stop['margin']:g} points" if tie else ""
    estimate = f"{stop['value']:+.1f} points ({90 if tie else 95}% interval {low:+.1f} to {high:+.1f})"
    return f"{stop['verdict']}{margin} against {stop['baseline']} after {questions}: {estimate}; {saved}"
