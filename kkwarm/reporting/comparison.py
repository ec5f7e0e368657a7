"""Comparisons of runs in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kkwarm.reporting.labels import (
    CONTAMINATED,
    LEGEND,
    SCORING,
    STYLE,
    break_name,
    change_text,
    labels_text,
    metric_change_text,
    metric_text,
    percent,
    protocol_pair,
)
from kkwarm.schema.report import BenchmarkComparison, Comparison


def print_comparisons(comparisons: Sequence[Comparison], console: Any, *, flips: int = 0) -> None:
    """Prints each comparison, and the method below them.

    :param flips: number of flipped questions to list, each way.
    """
    for comparison in comparisons:
        _print_comparison(comparison, console, flips)
        console.print()
    console.print(f"{LEGEND}. {comparisons[0].method}", style="dim", markup=False)


def _print_comparison(comparison: Comparison, console: Any, flips: int) -> None:
    from rich.table import Table
    from rich.text import Text

    for side, path in (("a", comparison.a), ("b", comparison.b)):
        labels = labels_text(comparison.labels[side], named=True)
        head = Text(f"{side.upper()}  ")
        if name := comparison.labels[side].get("condition"):
            head.append(f"{name}  ", "bold")
        head.append(path).append(f"  ({labels})" if labels else "", "dim")
        state = "" if comparison.states[side] == "done" else "   IN PROGRESS: figures will change"
        console.print(head.append(state, "bold yellow"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("benchmark", overflow="fold")
    for name in ("questions", "A", "B", "B - A", "95% interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in comparison.benchmarks.items():
        change = row.change
        marks = [
            (CONTAMINATED if row.contaminated[side] else "") + (SCORING if row.scoring[side] else "") for side in "ab"
        ]
        table.add_row(
            Text(break_name(name, max(10, console.width - 70))),
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
