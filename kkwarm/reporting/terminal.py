"""The report in the terminal: one screen by default, and every section on request."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kkwarm.files import write_file
from kkwarm.reporting.figures import figures
from kkwarm.reporting.labels import (
    CONTAMINATED,
    HOLDS,
    LEGEND,
    STYLE,
    alarm_lines,
    break_name,
    change_text,
    checkpoint_lines,
    corrected_p,
    cost_line,
    efficiency_title,
    labels_text,
    measured_lines,
    nothing_learned_lines,
    percent,
    saved_text,
    verdict_counts,
    warning_lines,
    with_short_names,
)
from kkwarm.reporting.plot import plot
from kkwarm.reporting.sanitize import console as safe_console
from kkwarm.reporting.sections import Section, tables
from kkwarm.schema.report import Cell, Claim, Report

GAP = "    "
MIN_PLOT, MAX_PLOT = 64, 100  # columns
SCREEN = 45  # lines of the default view
NAME = 18  # columns of the names of conditions, unless they are longer than this by themselves
_CORNER = "percent correct"
SECTIONS = (
    *("claims", "matrix", "warnings", "curves", "efficiency", "facets", "pass-at-k", "metrics", "reasoning", "flips"),
    *("lengths", "statuses", "cost", "training", "prompts", "method"),
)
# Heat of a cell from 0% to 100%; text in these colors is legible on all of it.
COLD, HOT = (0x22, 0x2B, 0x36), (0x1F, 0x5F, 0xA8)
INK = {"gain": "#8df0a8", "loss": "#ffb9bd", "tie": "#e4e7eb", "underpowered": "#f5d98c"}


def print_report(report: Report, console: Any, *, full: bool = False, sections: Sequence[str] = ()) -> None:
    """Prints the report: one screen, all of it (`full`), or the named sections."""
    report = with_short_names(report)
    if sections or full:
        if full:
            _print_title(report, console)
        for name in sections or SECTIONS:
            _print_section(report, name, console, heading=full)
        return
    _print_title(report, console)
    if not report.cells():
        console.print("Nothing is evaluated yet.\n")
        _print_warnings(report, console, SCREEN)
        return
    for part in _claims_brief(report, console.width):
        console.print(part)
    console.print()
    foot = _foot(report)
    used = 4 + _height(console, *_claims_brief(report, console.width), *foot)
    console.print(_matrix(report, console.width, bars=used + 2 * len(report.matrix) + 6 <= SCREEN))
    console.print(LEGEND + "\n", style="dim", markup=False)
    used += _height(console, _matrix(report, console.width, bars=True)) + 3
    _print_warnings(report, console, max(3, SCREEN - used))
    for line in foot:
        console.print(line)


def render_text(report: Report, width: int = 100, *, full: bool = False, sections: Sequence[str] = ()) -> str:
    """The report as plain text."""
    out = io.StringIO()
    console = safe_console(file=out, width=width, color_system=None, force_terminal=False)
    print_report(report, console, full=full, sections=sections)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def write_svg(report: Report, path: Path, width: int = 100) -> None:
    """Writes the terminal view as an SVG image of `width` columns.

    :raises KkwarmError: the file cannot be written.
    """
    write_file(path, svg_text(report, width), follow=True)


def svg_text(report: Report, width: int = 100) -> str:
    """The terminal view as an SVG image."""
    console = safe_console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    print_report(report, console)
    text: str = console.export_svg(title="kkwarm report", unique_id="kkwarm")
    return text


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


def _height(console: Any, *parts: Any) -> int:
    return sum(len(console.render_lines(part, console.options.update(height=None))) for part in parts)


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


def _titled(title: str, *parts: Any) -> Any:
    from rich.console import Group
    from rich.text import Text

    return Group(Text(title, style="bold"), *parts)


# -- claims and matrix -------------------------------------------------------------------------------------------------


def _claims_brief(report: Report, width: int) -> list[Any]:
    """One sentence for each claim; without claims, how many changes are gains, losses and ties."""
    from rich.table import Table
    from rich.text import Text

    if not report.claims:
        counts = verdict_counts(report)
        return [Text(counts)] if counts else []
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for claim in report.claims:
        label, style = HOLDS[claim.holds]
        table.add_row(Text(label, style=f"bold {style}"), Text(_sentence(claim)))
    return [table]


def _sentence(claim: Claim) -> str:
    text = claim.text + (CONTAMINATED if claim.contaminated else "")
    if claim.estimate is None:
        return f"{text}: {claim.statement}."
    interval = f" [{claim.ci[0]:+.1f}, {claim.ci[1]:+.1f}]" if claim.ci else ""
    return f"{text}: {claim.estimate:+.1f} points{interval}{corrected_p(claim)}."


def _claims(report: Report) -> Any:
    from rich.table import Table
    from rich.text import Text

    if not report.claims:
        return None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for claim in report.claims:
        label, style = HOLDS[claim.holds]
        text = Text().append(_sentence(claim), "bold").append("\n")
        text.append(claim.verdict, style=STYLE[claim.verdict])
        text.append(f": {claim.statement}" if claim.estimate is not None else "", style="dim")
        table.add_row(Text(claim.id, style="bold"), Text(label, style=f"bold {style}"), text)
    return _titled("The paper's claims (estimates in percentage points, with 95% intervals)\n", table)


def _matrix(report: Report, width: int, *, bars: bool = True) -> Any:
    """The matrix in as many tables as the width needs. Where there is room, a cell has its change beside the accuracy,
    and its interval as a bar below; else the change is below.
    """
    from rich.console import Group

    longest = max((len(c) for c in report.matrix), default=0)
    longest = max(longest, len(_CORNER) if width >= MIN_PLOT else 0)
    name = min(max(longest, 3 + max((len(report.baseline(c) or "") for c in report.matrix), default=0)), max(NAME, 10))
    beside = _fit(report, width - name, beside=True)
    side_by_side = len(beside) == 1
    groups = beside if side_by_side else _fit(report, width - name, beside=False)
    parts = [_matrix_part(report, domains, name, beside=side_by_side, bars=bars) for domains in groups]
    return Group(*parts)


def _cell_width(report: Report, domain: str, *, beside: bool) -> int:
    cells = [row[domain] for row in report.matrix.values() if domain in row]
    widths = [(len(percent(c)) + c.partial, len(change_text(c.change))) for c in cells] or [(5, 0)]
    if not beside:
        return max(max(pair) for pair in widths)
    return max(a for a, _ in widths) + max(b for _, b in widths) + 1


def _fit(report: Report, width: int, *, beside: bool) -> list[list[str]]:
    """The domains in groups that fit into `width`."""
    groups: list[list[str]] = [[]]
    used = 0
    for domain in report.domains:
        needed = _cell_width(report, domain, beside=beside) + 2
        if groups[-1] and used + needed > width:
            groups.append([])
            used = 0
        groups[-1].append(domain)
        used += needed
    return groups


def _matrix_part(report: Report, domains: Sequence[str], name_width: int, *, beside: bool, bars: bool) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column(Text(_CORNER, style="dim"), width=name_width)
    widths = {d: _cell_width(report, d, beside=beside) for d in domains}
    for domain in domains:
        head = Text(break_name(domain, widths[domain]), style="bold")
        justify: Any = "left" if beside else "right"
        table.add_column(head, justify=justify, no_wrap=True, min_width=widths[domain])
    for condition, row in report.matrix.items():
        name = Text(break_name(condition, name_width), style="bold")
        if (baseline := report.baseline(condition)) and (bars or not beside):
            name.append("\n" + break_name(f"vs {baseline}", name_width), style="dim not bold")
        cells = [_cell(row.get(d), widths[d], beside=beside, bars=bars) for d in domains]
        table.add_row(name, *cells)
    return table


def _cell(cell: Cell | None, width: int, *, beside: bool, bars: bool) -> Any:
    from rich.text import Text

    if cell is None:
        return Text("-")
    text = Text(style=_heat(cell.accuracy))
    change = change_text(cell.change)
    accuracy = percent(cell) + ("*" if cell.partial else "")
    style = INK[cell.change.verdict] if cell.change else ""
    if beside:
        text.append(accuracy).append(change.rjust(width - len(accuracy)), style)
        if bars:
            text.append("\n" + _bar(cell, width), "#9db7d3")
    else:
        text.append(accuracy.rjust(width)).append("\n" + change.rjust(width), style)
    return text


def _heat(accuracy: float) -> str:
    red, green, blue = (round(a + (b - a) * accuracy) for a, b in zip(COLD, HOT, strict=True))
    return f"#f4f7fa on #{red:02x}{green:02x}{blue:02x}"


def _bar(cell: Cell, width: int) -> str:
    """From 0% to 100%: filled up to the lower end of the interval, shaded up to its upper end."""
    low, high = (round(end * width) for end in cell.ci)
    high = max(high, low + 1) if low < width else high
    return "█" * low + "▒" * (high - low) + "·" * (width - high)


# -- warnings and foot -------------------------------------------------------------------------------------------------


def _warnings(report: Report) -> list[tuple[str, str]]:
    """What limits the figures, alarms and advice: lines with their styles."""
    lines = [(line, "bold red" if wrong else "yellow") for line, wrong in warning_lines(report)]
    lines += [(f"! {line}", "yellow") for line in alarm_lines(report)]
    return lines + ([(f"{report.advice}.", "yellow")] if report.advice else [])


def _print_warnings(report: Report, console: Any, most: int) -> None:
    """Prints the warnings that fit into so many lines, and how many do not."""
    from rich.text import Text

    lines = _warnings(report)
    left = most
    for number, (line, style) in enumerate(lines):
        text = Text(line, style=style)
        left -= _height(console, text)
        if left < (number < len(lines) - 1) and number:
            console.print(f"and {len(lines) - number} more: kkwarm report --section warnings", style="yellow")
            break
        console.print(text)
    if lines:
        console.print()


def _foot(report: Report) -> list[Any]:
    """What was measured, how certain it is, and what it cost."""
    from rich.text import Text

    note = report.note.split(". ")[0].rstrip(".")
    about = [f"{line}." for line in (note, *checkpoint_lines(report)[:1]) if line]
    lines = [Text(" ".join(about))] if about else []
    labeled = [f"{c.name}: {text}" for c in report.conditions if (text := labels_text(c.labels, named=True))]
    lines += [Text(f"Labels: {'; '.join(labeled)}")] if labeled else []
    lines += [Text(f"{line}.") for line in measured_lines(report)]
    lines.append(Text(f"{report.method}.", style="dim"))
    lines.append(Text(cost_line(report), style="dim"))
    lines.append(Text("More: kkwarm report with --full, --section NAME or --html FILE", style="dim"))
    return lines


# -- sections ----------------------------------------------------------------------------------------------------------


def _print_section(report: Report, name: str, console: Any, *, heading: bool) -> None:
    """Prints a section; an empty one is left out of the whole report (`heading`), and named alone it says so."""
    from rich.text import Text

    parts = [part for part in _parts(report, name, console) if part is not None]
    if not parts:
        if not heading:
            console.print(Text(f"{name}: nothing to show in this report", style="dim"))
        return
    print_beside(console, parts)


def _parts(report: Report, name: str, console: Any) -> Iterator[Any]:
    from rich.text import Text

    width = console.width
    special: dict[str, Callable[[], list[Any]]] = {
        "claims": lambda: [_claims(report)],
        "matrix": lambda: [_titled(LEGEND, _matrix(report, width))] if report.cells() else [],
        "warnings": lambda: [Text(line, style=style) for line, style in _warnings(report)],
        "curves": lambda: _plots(report, width),
        "efficiency": lambda: _examples_saved(report),
        "prompts": lambda: _prompts(report),
        "method": lambda: _method(report),
    }
    yield from special.get(name, list)()
    yield from (part for t in tables(report) if t.key == name for part in _table(t, width))


def _table(table: Section, width: int) -> Iterator[Any]:
    """The table, in parts where its columns do not fit side by side."""
    from rich.table import Table
    from rich.text import Text

    first = max(len(row[0]) for row in table.rows)
    columns = list(range(len(table.columns)))
    title = table.title
    while columns:
        used, taken = first + 2, 0
        widths = {}
        for i in columns:
            widths[i] = max(len(line) for row in table.rows for line in row[i + 1].split("\n"))
            used += max(widths[i], min(len(table.columns[i]), 12)) + 2
            if used > width and taken:
                break
            taken += 1
        part, columns = columns[:taken], columns[taken:]
        drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
        drawn.add_column("", overflow="fold")
        for i in part:
            head = Text(break_name(table.columns[i], max(widths[i], 12)), style="bold")
            drawn.add_column(head, justify="right", no_wrap=True)
        for row in table.rows:
            drawn.add_row(Text(row[0]), *(row[i + 1] for i in part))
        yield _titled(title, drawn)
        title = f"{table.title}, continued"


def _plots(report: Report, width: int) -> list[Any]:
    """Accuracy against steps and against examples; rewards are on the page and in the images."""
    columns = (width - len(GAP)) // 2 if width >= 2 * MIN_PLOT + len(GAP) else min(width, MAX_PLOT)
    shown = [f for f in figures(report) if not f.key.startswith("reward")]
    return [_titled(f"{f.title} ({f.y})", plot(f, min(columns, MAX_PLOT))) for f in shown]


def _examples_saved(report: Report) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    parts = []
    for entry in report.efficiency:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
        for head in ("examples", "level", "base", "warmed", "saved", "95% interval", ""):
            table.add_column(Text(head, style="bold"), justify="right", no_wrap=True)
        for row in entry.saved:
            style = {"saves": "green", "costs": "red"}.get(row.verdict, "yellow")
            verdict = Text(row.verdict, style=style)
            table.add_row(str(row.examples), f"{100 * row.level:.1f}", *saved_text(row), verdict)
        legend = "level: accuracy that the base reaches; base, warmed: examples that each start needs for it"
        parts.append(_titled(efficiency_title(report, entry), table, Text(legend, style="dim")))
    return parts


def _prompts(report: Report) -> list[Any]:
    from rich.text import Text

    return [
        _titled(f"Prompt of {p.domain} {p.id}, as sent to {', '.join(p.conditions)}", Text(p.text))
        for p in report.prompts
    ]


def _method(report: Report) -> list[Any]:
    from rich.text import Text

    measured = [f"{line}." for line in (*checkpoint_lines(report), *measured_lines(report), report.method) if line]
    lines = [report.note, *measured, cost_line(report)]
    return [Text("\n".join(line for line in lines if line))]
