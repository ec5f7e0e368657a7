"""`kkwarm compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import (
    PercentagePoints,
    Whole,
    across_protocols_option,
    complete_runs,
    echo_json,
    json_option,
    out_console,
    table_options,
    write_tables,
)

if TYPE_CHECKING:
    from kkwarm.schema.report import BenchmarkComparison, Comparison


@click.command()
@click.argument("runs", nargs=-1, required=True, shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.option("--common", is_flag=True, help="Where the questions differ, compare those that both runs have.")
@across_protocols_option
@click.option(
    "--margin",
    type=PercentagePoints(),
    metavar="POINTS",
    help="Equivalence margin in percentage points: smaller differences are ties.  [default: that of early stopping, or "
    "5]",
)
@click.option("--flips", type=Whole(0), default=0, metavar="N", help="List up to N questions that flipped, each way.")
@table_options
@json_option
def command(
    runs: tuple[Path, ...],
    common: bool,
    across_protocols: bool,
    margin: float | None,
    flips: int,
    csv: Path | None,
    parquet: Path | None,
    as_json: bool,
) -> None:
    """Compare runs on the same questions: B minus A, with interval, test and verdict.

    The first run is A, and each other one is compared with it; p-values are corrected over all comparisons. Runs with
    different questions, prompts or protocols are refused; --common and --across-protocols allow them. A run that was
    stopped early is compared on the questions that it answered. A run of another tool (`kkwarm import`) is compared
    with a warning that lists how its measurement differs.
    """
    from kkwarm.analysis.compare import compare_all
    from kkwarm.store import find_run

    if len(runs) < 2:
        raise click.UsageError("name at least two runs")
    paths = [find_run(run) for run in runs]
    result = compare_all(paths, margin=margin, common=common, across_protocols=across_protocols)
    one = result.comparisons[0] if len(result.comparisons) == 1 else None
    write_tables([row for c in result.comparisons for row in _table_rows(c)], csv, parquet)
    if as_json:
        echo_json((one or result).model_dump(mode="json"))
    elif csv is None and parquet is None:
        console = out_console()
        for comparison in result.comparisons:
            _print_comparison(comparison, flips, console)
        console.print(result.method, style="dim", markup=False)


def _table_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each benchmark, for --csv and --parquet; accuracies are fractions, differences percentage points."""
    return [
        {"run_a": comparison.a, "run_b": comparison.b, "benchmark": name, "questions": row.change.questions}
        | {f"{side}_accuracy": accuracy.accuracy for side, accuracy in (("a", row.a), ("b", row.b))}
        | {"difference": row.change.estimate, "low": row.change.ci[0], "high": row.change.ci[1]}
        | {"p": row.change.p, "p_holm": row.change.p_holm, "verdict": row.change.verdict, "margin": row.change.margin}
        for name, row in comparison.benchmarks.items()
    ]


def _print_comparison(comparison: Comparison, flips: int, console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from kkwarm.reporting.labels import CONTAMINATED, SCORING, STYLE, break_name, change_text, labels_text, percent

    for side, path in (("a", comparison.a), ("b", comparison.b)):
        labels = labels_text(comparison.labels[side])
        head = Text(f"{side.upper()}  {path}").append(f"  ({labels})" if labels else "", "dim")
        state = "" if comparison.states[side] == "done" else "   IN PROGRESS: figures will change"
        console.print(head.append(state, "bold yellow"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("benchmark", overflow="fold")
    for name in ("n", "A", "B", "B - A", "95% interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in comparison.benchmarks.items():
        change = row.change
        marks = [
            (CONTAMINATED if row.contaminated[side] else "") + (SCORING if row.scoring[side] else "") for side in "ab"
        ]
        table.add_row(
            Text(break_name(name, max(10, console.width - 62))),
            f"{change.questions:,}",
            *(percent(accuracy) + mark for accuracy, mark in zip((row.a, row.b), marks, strict=True)),
            change_text(change),
            f"{change.ci[0]:+.1f} to {change.ci[1]:+.1f}",
            style=STYLE[change.verdict],
        )
    console.print(table)
    for name, row in comparison.benchmarks.items():
        for line, style in _details(name, row, flips):
            console.print(Text(line, style=style), soft_wrap=True)


def _details(name: str, row: BenchmarkComparison, flips: int) -> list[tuple[str, str]]:
    """Lines with their styles: the verdict, flipped questions, early stopping, and warnings."""
    from kkwarm.reporting.labels import (
        CONTAMINATED,
        SCORING,
        STYLE,
        metric_change_text,
        metric_text,
        protocol_pair,
    )

    change = row.change
    p = f"p = {change.p:.2g}" if change.p_holm is None else f"p = {change.p_holm:.2g} after Holm"
    lines = [(f"{name}: {row.statement}; {p} ({change.test})", STYLE[change.verdict])]
    for metric, difference in change.metrics.items():
        both = f"A {metric_text(row.a.metrics[metric])}, B {metric_text(row.b.metrics[metric])}"
        lines.append((f"  {metric}: {both}; B - A {metric_change_text(difference)}", ""))
    if protocols := protocol_pair(row.a, row.b):
        lines.append((f"  protocol: {protocols}", ""))
    for side, ids in row.flipped.items():
        if flips and ids:
            more = f", and {len(ids) - flips} more" if len(ids) > flips else ""
            lines.append((f"  only {side.upper()}: {', '.join(ids[:flips])}{more}", ""))
    for side, record in row.stopped.items():
        if record is not None:
            count = f"after {record['questions']:,} of {record['of']:,} questions"
            lines.append((f"  {side.upper()} was stopped early ({record['rule']}) {count}", "dim"))
    if row.settings_differences:
        lines.append((f"  warning: measured differently: {'; '.join(row.settings_differences)}", "yellow"))
    for side, phrases in row.scoring.items():
        lines += [(f"{SCORING} {side.upper()} on {name}: {phrase}", "yellow") for phrase in phrases]
    for side, questions in row.contaminated.items():
        if questions:
            text = f"{CONTAMINATED} CONTAMINATED: {side.upper()} was trained on {questions} questions of {name}"
            lines.append((text, "bold red"))
    return lines
