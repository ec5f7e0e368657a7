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
)

if TYPE_CHECKING:
    from kkwarm.schema.report import BenchmarkComparison, Comparison


@click.command()
@click.argument("run_a", shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.argument("run_b", shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.option("--common", is_flag=True, help="Where the questions differ, compare those that both runs have.")
@across_protocols_option
@click.option(
    "--margin",
    type=PercentagePoints(),
    metavar="POINTS",
    default=5.0,
    show_default=True,
    help="Equivalence margin in percentage points: smaller differences are ties.",
)
@click.option("--flips", type=Whole(0), default=0, metavar="N", help="List up to N questions that flipped, each way.")
@json_option
def command(
    run_a: Path, run_b: Path, common: bool, across_protocols: bool, margin: float, flips: int, as_json: bool
) -> None:
    """Compare two runs on the same questions: B minus A, with interval, test and verdict.

    Runs with different questions, prompts or protocols are refused; --common and --across-protocols allow them. A run
    of another tool (`kkwarm import`) is compared with a warning that lists how its measurement differs.
    """
    from kkwarm.analysis.compare import compare
    from kkwarm.store import find_run

    comparison = compare(
        find_run(run_a), find_run(run_b), margin=margin, common=common, across_protocols=across_protocols
    )
    if as_json:
        echo_json(comparison.model_dump(mode="json"))
    else:
        _print_comparison(comparison, flips, out_console())


def _print_comparison(comparison: Comparison, flips: int, console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from kkwarm.reporting.labels import CONTAMINATED, SCORING, STYLE, change_text

    for side, path in (("a", comparison.a), ("b", comparison.b)):
        state = "" if comparison.states[side] == "done" else "   IN PROGRESS: figures will change"
        console.print(Text(f"{side.upper()}  {path}").append(state, "bold yellow"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("benchmark", overflow="fold")
    for name in ("n", "A", "B", "B - A", "95% interval", "p", "verdict"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in comparison.benchmarks.items():
        change = row.change
        accuracies = [
            f"{100 * accuracy.accuracy:.1f}{CONTAMINATED if row.contaminated[side] else ''}"
            f"{SCORING if row.scoring[side] else ''}"
            for side, accuracy in (("a", row.a), ("b", row.b))
        ]
        table.add_row(
            Text(name),
            f"{change.questions:,}",
            *accuracies,
            change_text(change),
            f"{change.ci[0]:+.1f} to {change.ci[1]:+.1f}",
            f"{change.p if change.p_holm is None else change.p_holm:.2g}",
            Text(change.verdict, style=STYLE[change.verdict]),
        )
    console.print(table)
    for name, row in comparison.benchmarks.items():
        for line, style in _details(name, row, flips):
            console.print(Text(line, style=style), soft_wrap=True)
    console.print(Text(comparison.method, style="dim"))


def _details(name: str, row: BenchmarkComparison, flips: int) -> list[tuple[str, str]]:
    """Lines with their styles: the verdict, flipped questions, early stopping, and warnings."""
    from kkwarm.reporting.labels import CONTAMINATED, SCORING, metric_change_text, metric_text, protocol_pair

    lines = [(f"{name}: {row.statement}", "")]
    for metric, change in row.change.metrics.items():
        both = f"A {metric_text(row.a.metrics[metric])}, B {metric_text(row.b.metrics[metric])}"
        lines.append((f"  {metric}: {both}; B - A {metric_change_text(change)}", ""))
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
