"""The report in the terminal: at 80 and 160 columns, with and without color."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kkwarm.files import write_file
from kkwarm.progress import duration
from kkwarm.reporting.figures import figures
from kkwarm.reporting.labels import (
    CONTAMINATED,
    HOLDS,
    LEGEND,
    SCORING,
    STATUS_ORDER,
    STYLE,
    alarm_lines,
    change_text,
    contamination_lines,
    efficiency_title,
    evals_text,
    metric_change_text,
    metric_names,
    metric_text,
    nothing_learned_lines,
    percent,
    protocol_lines,
    reasoning_text,
    saved_text,
    scoring_lines,
    settings_lines,
)
from kkwarm.reporting.plot import plot
from kkwarm.reporting.sanitize import console as safe_console
from kkwarm.schema.report import Cell, Report
from kkwarm.study.progress import workers

__all__ = ["print_beside", "print_report", "render_text", "write_svg"]

GAP = "    "
MIN_PLOT, MAX_PLOT = 64, 100  # columns


def print_report(report: Report, console: Any) -> None:
    """Prints the whole report."""
    _print_title(report, console)
    if not report.cells():
        console.print("Nothing is evaluated yet.\n")
        _print_alarms(report, console)
        print_beside(console, [*_plots(report, console.width), _evals(report)])
        return
    print_beside(console, _claims(report))
    console.print(_matrix(report, console.width))
    console.print(f"{LEGEND}\n", style="dim", markup=False)
    _print_alarms(report, console)
    print_beside(console, [*_plots(report, console.width), *_examples_saved(report)])
    if metrics := _metrics(report):
        print_beside(console, metrics)
        console.print("The intervals of metrics are not corrected for several comparisons.\n", style="dim")
    print_beside(console, [_reasoning(report), _flips(report), _lengths(report), _statuses(report), _evals(report)])
    _print_foot(report, console)


def render_text(report: Report, width: int = 100) -> str:
    """The report as plain text."""
    out = io.StringIO()
    print_report(report, safe_console(file=out, width=width, color_system=None, force_terminal=False))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def write_svg(report: Report, path: Path, width: int = 100) -> None:
    """Writes the terminal view as an SVG image of `width` columns.

    :raises KkwarmError: the file cannot be written.
    """
    console = safe_console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    print_report(report, console)
    write_file(path, console.export_svg(title="kkwarm report"), follow=True)


def print_beside(console: Any, parts: Sequence[Any]) -> None:
    """Prints parts, two side by side where both fit into the width."""
    from rich.measure import Measurement
    from rich.table import Table

    waiting = [p for p in parts if p is not None]
    widths = {id(p): Measurement.get(console, console.options, p).maximum for p in waiting}
    while waiting:
        first = waiting.pop(0)
        if waiting and widths[id(first)] + len(GAP) + widths[id(waiting[0])] <= console.width:
            grid = Table.grid(padding=(0, len(GAP), 0, 0))
            grid.add_row(first, waiting.pop(0))
            console.print(grid)
        else:
            console.print(first)
        console.print()


def _print_title(report: Report, console: Any) -> None:
    from rich.text import Text

    title = Text().append(report.title, "bold")
    if report.state != "done":
        p = report.progress
        done = f" ({p.done} of {p.steps} steps)" if p else ""
        title.append(f"   IN PROGRESS{done}: figures will change", style="bold yellow")
    console.print(title)
    for line in nothing_learned_lines(report):
        console.print(Text(f"! {line}", style="bold red"))
    console.print()


def _table(headers: Sequence[str], width_first: int | None = None) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column(Text(headers[0], style="bold"), min_width=width_first, overflow="fold")
    for name in headers[1:]:
        table.add_column(Text(name.replace(":", ":\n"), style="bold"), justify="right", no_wrap=True)
    return table


def _titled(title: str, *parts: Any) -> Any:
    from rich.console import Group
    from rich.text import Text

    return Group(Text(title, style="bold"), *parts)


def _matrix(report: Report, width: int) -> Any:
    from rich.text import Text

    wide = width >= 30 + 24 * len(report.domains)
    table = _table(["condition", *report.domains])
    for number, (condition, row) in enumerate(report.matrix.items()):
        name = Text().append(condition, "bold")
        if baseline := report.baseline(condition):
            name.append(f"{'  ' if wide else chr(10) + '  '}vs {baseline}", style="dim")
        cells = []
        for domain in report.domains:
            cell = row.get(domain)
            text = Text("-" if cell is None else percent(cell) + ("*" if cell.partial else ""))
            if cell is not None and cell.change is not None:
                text.append("  " if wide else "\n")
                text.append(f"{change_text(cell.change):>8}", style=STYLE[cell.change.verdict])
            elif wide and cell is not None:
                text.append(" " * 10)
            cells.append(text)
        table.add_row(name, *cells, end_section=not wide and number < len(report.matrix) - 1)
    return table


def _by_domain(report: Report, title: str, text: Callable[[Cell], str]) -> Any:
    """A table of `text(cell)` for each cell; None where all are empty."""
    from rich.text import Text

    rows = {c: [text(row[d]) if d in row else "" for d in report.domains] for c, row in report.matrix.items()}
    if not any(any(texts) for texts in rows.values()):
        return None
    table = _table(["", *report.domains])
    for name, texts in rows.items():
        if any(texts):
            table.add_row(Text(name), *(Text(t or "-") for t in texts))
    return _titled(title, table)


def _metrics(report: Report) -> list[Any]:
    """A table for each metric: its mean and, in the line below, the change from the baseline."""

    def text(cell: Cell) -> str:
        if name not in cell.metrics:
            return ""
        change = metric_change_text(cell.change.metrics.get(name)) if cell.change is not None else ""
        return "\n".join(filter(None, (metric_text(cell.metrics[name]), change)))

    tables = []
    for name in metric_names(report):
        tables.append(_by_domain(report, f"Metric {name}: mean and change [95% interval]", text))
    return tables


def _reasoning(report: Report) -> Any:
    def text(cell: Cell) -> str:
        rate, forced = reasoning_text(cell)
        return f"{rate} / {forced}" if forced else rate

    forced = any(cell.forced for cell in report.cells())
    return _by_domain(report, "Reasoning rate" + (" / accuracy with forced reasoning" if forced else ""), text)


def _flips(report: Report) -> Any:
    def text(cell: Cell) -> str:
        return f"+{cell.change.gained} -{cell.change.lost}" if cell.change else ""

    return _by_domain(report, "Questions gained and lost against the baseline", text)


def _lengths(report: Report) -> Any:
    def text(cell: Cell) -> str:
        return "{:.0f} / {:.0f}".format(*cell.lengths) if cell.lengths else ""

    return _by_domain(report, "Tokens per completion: median / 95th percentile", text)


def _claims(report: Report) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    if not report.claims:
        return []
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for claim in report.claims:
        label, style = HOLDS[claim.holds]
        text = Text().append(claim.text + (CONTAMINATED if claim.contaminated else ""), "bold").append("\n")
        if claim.estimate is not None:
            text.append(claim.verdict, style=STYLE[claim.verdict])
            if claim.ci:
                text.append(f" {claim.estimate:+.1f} [{claim.ci[0]:+.1f}, {claim.ci[1]:+.1f}]")
            text.append(": ", style="dim")
        text.append(claim.statement, style="dim")
        table.add_row(Text(claim.id, style="bold"), Text(label, style=f"bold {style}"), text)
    return [_titled("The paper's claims (estimate in percentage points, 95% interval)\n", table)]


def _plots(report: Report, width: int) -> list[Any]:
    """Accuracy against steps and against examples; rewards are on the page and in the images."""
    columns = (width - len(GAP)) // 2 if width >= 2 * MIN_PLOT + len(GAP) else min(width, MAX_PLOT)
    shown = [f for f in figures(report) if not f.key.startswith("reward")]
    return [_titled(f"{f.title} ({f.y})", plot(f, min(columns, MAX_PLOT))) for f in shown]


def _examples_saved(report: Report) -> list[Any]:
    from rich.text import Text

    parts = []
    for entry in report.efficiency:
        table = _table(["examples", "level", "base", "warmed", "saved", "95% interval", ""], 8)
        for row in entry.saved:
            style = {"saves": "green", "costs": "red"}.get(row.verdict, "yellow")
            verdict = Text(row.verdict, style=style)
            table.add_row(str(row.examples), f"{100 * row.level:.1f}", *saved_text(row), verdict)
        legend = "level: accuracy that the base reaches; base, warmed: examples that each start needs for it"
        parts.append(_titled(efficiency_title(report, entry), table, Text(legend, style="dim")))
    return parts


def _statuses(report: Report) -> Any:
    """Share of completions by status, over all domains."""
    from rich.text import Text

    present = [s for s in STATUS_ORDER if any(total.get(s) for total in report.statuses.values())]
    table = _table(["", *present, "number"])
    for name, total in report.statuses.items():
        count = sum(total.values())
        shares = [f"{100 * total.get(s, 0) / count:.1f}" if total.get(s) else "-" for s in present]
        table.add_row(Text(name), *shares, f"{count:,}")
    return _titled("Completions by status, all domains (percent)", table)


def _print_alarms(report: Report, console: Any) -> None:
    from rich.text import Text

    lines = alarm_lines(report)
    for line in lines:
        console.print(Text(f"! {line}", style="yellow"))
    if lines:
        console.print()


def _evals(report: Report) -> Any:
    from rich.text import Text

    domains, rows = evals_text(report)
    if not rows:
        return None
    table = _table(["", *domains])
    for name, ends in rows:
        table.add_row(Text(name), *ends)
    return _titled("In-training evaluations: percent correct at the first and the last one", table)


def _print_foot(report: Report, console: Any) -> None:
    from rich.text import Text

    if report.note:
        console.print(Text(report.note))
        console.print()
    for line in protocol_lines(report):
        console.print(Text(line))
    for problem in report.problems:
        console.print(Text(f"Not compared: {problem}", style="yellow"))
    for line in report.unusable:
        console.print(Text(f"! {line}", style="yellow"))
    for line in settings_lines(report):
        console.print(Text(f"Measured differently: {line}", style="yellow"))
    for line in scoring_lines(report):
        console.print(Text(f"{SCORING} {line}", style="yellow"))
    for line in contamination_lines(report):
        console.print(Text(f"{CONTAMINATED} CONTAMINATED: {line}", style="bold red"))
    cells = report.cells()
    if any(cell.partial for cell in cells):
        console.print(Text("* some samples are still missing or left out", style="yellow"))
    counts = sorted({cell.n for cell in cells})
    questions = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    if report.advice:
        console.print(Text(f"{report.advice}.", style="yellow"))
    console.print(Text(f"{questions} questions per cell. {report.method}.", style="dim"))
    p = report.provenance
    facts = [p.get("created", "")]
    if "wall_s" in p:
        facts.append(f"{duration(p['wall_s'])} with {workers(p['jobs'])}")
    environment = p.get("environment", {})
    facts += [f"{environment['processor']}, {environment['cores']} cores"] if "processor" in environment else []
    facts += ["kkwarm " + environment["versions"]["kkwarm"]] if "kkwarm" in environment.get("versions", {}) else []
    console.print(Text(" · ".join(f for f in facts if f), style="dim"))
