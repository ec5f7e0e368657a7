"""The report in the terminal: at 80 and 160 columns, with and without colour. Renders a document only."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.reporting.figures import figures
from kkwarm.reporting.plot import plot
from kkwarm.reporting.sanitize import console as safe_console
from kkwarm.reporting.training import alarm_lines, differs_lines, watched
from kkwarm.study.progress import duration, workers

__all__ = [
    "LEAKED",
    "MARK",
    "change_text",
    "efficiency_title",
    "percent",
    "render_text",
    "saved_text",
    "show",
    "works_text",
    "write_svg",
]

MARK = {"gain": "▲", "loss": "▼", "tie": "=", "underpowered": "?"}
LEAKED = "†"  # at every figure that rests on questions that were trained on
STYLE = {"gain": "green", "loss": "red", "tie": "", "underpowered": "yellow", "no data": "yellow"}
HOLDS = {True: ("holds", "green"), False: ("FAILS", "red"), None: ("undecided", "yellow")}
STATUS_ORDER = ("correct", "wrong", "unparsed", "malformed", "truncated", "timeout", "error")
GAP = "    "
MIN_PLOT, MAX_PLOT = 64, 100  # columns
Document = Mapping[str, Any]
Cell = Mapping[str, Any]


def percent(cell: Mapping[str, Any]) -> str:
    """``54.0 ±2.9``: accuracy and half its 95% interval, in percent; marked where a leak touches it."""
    low, high = cell["ci"]
    return f"{100 * cell['accuracy']:.1f} ±{50 * (high - low):.1f}{LEAKED if cell.get('leaked') else ''}"


def change_text(change: Mapping[str, Any] | None) -> str:
    """``▲ +10.2``: the verdict's mark and the change in points."""
    if change is None:
        return ""
    return f"{MARK[change['verdict']]} {100 * change['estimate']:+.1f}{LEAKED if change.get('leaked') else ''}"


def works_text(cell: Mapping[str, Any]) -> tuple[str, str]:
    """How often a cell's completions show work, and the accuracy when they are made to; empty where not known."""
    works = "" if cell["works"] is None else f"{cell['works']:.2f}"
    leaked = LEAKED if cell.get("leaked") else ""
    return works, f"{100 * cell['forced']['accuracy']:.1f}{leaked}" if cell["forced"] else ""


def efficiency_title(document: Document, entry: Mapping[str, Any]) -> str:
    """The title of a table of examples saved, marked where one of its conditions was trained on what it is asked."""
    conditions = {p["condition"] for start in entry["starts"].values() for p in start["points"]}
    leaked = any(k["domain"] == entry["on"] and k["condition"] in conditions for k in document["contamination"])
    return f"Examples of {entry['on']} that the warm-up saves{LEAKED if leaked else ''}"


def saved_text(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Of a row of examples saved: what the base needs, what the warmed start needs, the difference, its interval."""

    def of(value: float | None, sign: str = "") -> str:
        return "not reached" if value is None else f"{value:{sign}.0f}"

    low, high = row["ci"]
    interval = "not reached" if high is None else f"{of(low, '+')} to {of(high, '+')}"
    return of(row["base"]), of(row["warmed"]), of(row["saved"], "+"), interval


def show(document: Document, console: Any) -> None:
    """Prints the whole report."""
    _title(document, console)
    if not any(document["matrix"].values()):
        console.print("Nothing is evaluated yet.\n")
        _alarms(document, console)
        beside(console, [*_plots(document, console.width), _watched(document)])
        return
    beside(console, _claims(document))
    console.print(_matrix(document, console.width))
    console.print(
        "percent ± 95% interval; change in points: ▲ gain  ▼ loss  = tie  ? underpowered\n", style="dim", markup=False
    )
    _alarms(document, console)
    beside(console, [*_plots(document, console.width), *_saved(document)])
    beside(console, [_works(document), _flips(document), _lengths(document), _statuses(document), _watched(document)])
    _foot(document, console)


def render_text(document: Document, width: int = 100) -> str:
    """The report as plain text."""
    out = io.StringIO()
    show(document, safe_console(file=out, width=width, color_system=None, force_terminal=False))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def write_svg(document: Document, path: Path, width: int = 100) -> None:
    """The terminal view as an SVG picture of `width` columns.

    :raises KkwarmError: the file cannot be written.
    """
    console = safe_console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    show(document, console)
    try:
        path.write_text(console.export_svg(title="kkwarm report"), encoding="utf-8")
    except OSError as err:
        raise KkwarmError(f"{path} cannot be written: {err.strerror}") from None


def beside(console: Any, parts: Sequence[Any]) -> None:
    """Prints parts, two side by side where both fit into the width."""
    from rich.measure import Measurement
    from rich.table import Table

    waiting = [p for p in parts if p is not None]
    wide = {id(p): Measurement.get(console, console.options, p).maximum for p in waiting}
    while waiting:
        first = waiting.pop(0)
        if waiting and wide[id(first)] + len(GAP) + wide[id(waiting[0])] <= console.width:
            grid = Table.grid(padding=(0, len(GAP), 0, 0))
            grid.add_row(first, waiting.pop(0))
            console.print(grid)
        else:
            console.print(first)
        console.print()


def _title(document: Document, console: Any) -> None:
    from rich.text import Text

    title = Text().append(document["title"], "bold")
    if document["state"] != "done":
        p = document["progress"]
        done = f" ({p['done']} of {p['steps']} steps)" if p else ""
        title.append(f"   IN PROGRESS{done}: figures will change", style="bold yellow")
    console.print(title)
    console.print()


def _table(headers: Sequence[str], width_first: int | None = None) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column(Text(headers[0], style="bold"), min_width=width_first, overflow="fold")
    for name in headers[1:]:
        table.add_column(Text(name.replace(":", ":\n"), style="bold"), justify="right", no_wrap=True)
    return table


def _matrix(document: Document, width: int) -> Any:
    from rich.text import Text

    domains = document["domains"]
    wide = width >= 30 + 24 * len(domains)
    against = {c["name"]: c["baseline"] for c in document["conditions"]}
    table = _table(["condition", *domains])
    for number, (condition, row) in enumerate(document["matrix"].items()):
        name = Text().append(condition, "bold")
        if against[condition]:
            name.append(f"{'  ' if wide else chr(10) + '  '}vs {against[condition]}", style="dim")
        cells = []
        for domain in domains:
            cell = row.get(domain)
            text = Text("-" if cell is None else percent(cell) + ("*" if cell["partial"] else ""))
            if cell is not None and cell["change"] is not None:
                text.append("  " if wide else "\n")
                text.append(f"{change_text(cell['change']):>8}", style=STYLE[cell["change"]["verdict"]])
            elif wide and cell is not None:
                text.append(" " * 10)
            cells.append(text)
        table.add_row(name, *cells, end_section=not wide and number < len(document["matrix"]) - 1)
    return table


def _by_domain(document: Document, title: str, text: Callable[[Cell], str]) -> Any:
    """A table of what `text` says of each cell; None where it says nothing of any."""
    from rich.console import Group
    from rich.text import Text

    domains = document["domains"]
    rows = {name: [text(row[d]) if d in row else "" for d in domains] for name, row in document["matrix"].items()}
    if not any(any(texts) for texts in rows.values()):
        return None
    table = _table(["", *domains])
    for name, texts in rows.items():
        if any(texts):
            table.add_row(Text(name), *(Text(t or "-") for t in texts))
    return Group(Text(title, style="bold"), table)


def _works(document: Document) -> Any:
    def text(cell: Cell) -> str:
        works, forced = works_text(cell)
        return f"{works} / {forced}" if forced else works

    forced = any(cell["forced"] for row in document["matrix"].values() for cell in row.values())
    title = "P(works step by step)" + (" / accuracy when forced to" if forced else "")
    return _by_domain(document, title, text)


def _flips(document: Document) -> Any:
    def text(cell: Cell) -> str:
        change = cell["change"]
        return f"+{change['gained']} -{change['lost']}" if change and "gained" in change else ""

    return _by_domain(document, "Questions gained and lost against the compared row", text)


def _lengths(document: Document) -> Any:
    def text(cell: Cell) -> str:
        return "{:.0f} / {:.0f}".format(*cell["lengths"]) if cell.get("lengths") else ""

    return _by_domain(document, "Tokens of a completion: median / 95th percentile", text)


def _claims(document: Document) -> list[Any]:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if not document["claims"]:
        return []
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for claim in document["claims"]:
        word, style = HOLDS[claim["holds"]]
        text = Text().append(claim["text"] + (LEAKED if claim.get("leaked") else ""), "bold").append("\n")
        if claim["estimate"] is not None:
            text.append(claim["verdict"], style=STYLE[claim["verdict"]])
            if claim["ci"]:
                low, high = claim["ci"]
                text.append(f" {100 * claim['estimate']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
            text.append(": ", style="dim")
        text.append(claim["says"], style="dim")
        table.add_row(Text(claim["id"], style="bold"), Text(word, style=f"bold {style}"), text)
    return [Group(Text("The paper's claims (estimate in points, 95% interval)\n", style="bold"), table)]


def _plots(document: Document, width: int) -> list[Any]:
    """Accuracy against steps and against examples; rewards are on the page and in the pictures."""
    from rich.console import Group
    from rich.text import Text

    across = (width - len(GAP)) // 2 if width >= 2 * MIN_PLOT + len(GAP) else min(width, MAX_PLOT)
    drawn = [f for f in figures(document) if not f.key.startswith("reward")]
    return [Group(Text(f"{f.title} ({f.y})", style="bold"), plot(f, min(across, MAX_PLOT))) for f in drawn]


def _saved(document: Document) -> list[Any]:
    from rich.console import Group
    from rich.text import Text

    parts = []
    for entry in document.get("efficiency", ()):
        table = _table(["examples", "level", "base", "warmed", "saved", "95% interval", ""], 8)
        for row in entry["saved"]:
            style = {"saves": "green", "costs": "red"}.get(row["verdict"], "yellow")
            verdict = Text(row["verdict"], style=style)
            table.add_row(str(row["examples"]), f"{100 * row['level']:.1f}", *saved_text(row), verdict)
        words = "what each start needs for the level that the base reaches with so many"
        title = Text(efficiency_title(document, entry), style="bold")
        parts.append(Group(title, table, Text(words, style="dim")))
    return parts


def _statuses(document: Document) -> Any:
    """Share of completions by status, over all domains."""
    from rich.console import Group
    from rich.text import Text

    totals: dict[str, dict[str, int]] = {}
    for name, row in document["matrix"].items():
        total: dict[str, int] = {}
        for cell in row.values():
            for status, count in cell["status"].items():
                total[status] = total.get(status, 0) + count
        if total:
            totals[name] = total
    present = [s for s in STATUS_ORDER if any(t.get(s) for t in totals.values())]
    table = _table(["", *present, "number"])
    for name, total in totals.items():
        count = sum(total.values())
        shares = [f"{100 * total.get(s, 0) / count:.1f}" if total.get(s) else "-" for s in present]
        table.add_row(Text(name), *shares, f"{count:,}")
    return Group(Text("Completions by status, all domains (percent)", style="bold"), table)


def _alarms(document: Document, console: Any) -> None:
    from rich.text import Text

    lines = alarm_lines(document)
    for line in lines:
        console.print(Text(f"! {line}", style="yellow"))
    if lines:
        console.print()


def _watched(document: Document) -> Any:
    from rich.console import Group
    from rich.text import Text

    domains, rows = watched(document)
    if not rows:
        return None
    table = _table(["", *domains])
    for row in rows:
        ends = ("{:.0f} → {:.0f}".format(*(100 * v for v in row.ends[d])) if d in row.ends else "-" for d in domains)
        table.add_row(Text(row.name), *ends)
    return Group(
        Text("Watched in training: percent correct at the first and the last in-training evaluation", style="bold"),
        table,
    )


def _foot(document: Document, console: Any) -> None:
    from rich.text import Text

    if document["note"]:
        console.print(Text(document["note"]))
        console.print()
    for problem in document["problems"]:
        console.print(Text(f"Not compared: {problem}", style="yellow"))
    for line in differs_lines(document):
        console.print(Text(f"Not measured alike: {line}", style="yellow"))
    for overlap in document["contamination"]:
        said = f"{LEAKED} LEAK: {overlap['condition']} was trained on {overlap['questions']} questions of {overlap['domain']}"
        console.print(Text(said, style="bold red"))
    cells = [cell for row in document["matrix"].values() for cell in row.values()]
    if any(cell["partial"] for cell in cells):
        console.print(Text("* some samples are still missing or left out", style="yellow"))
    counts = sorted({cell["n"] for cell in cells})
    questions = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    if document["advice"]:
        console.print(Text(f"{document['advice']}.", style="yellow"))
    console.print(Text(f"{questions} questions a cell. {document['method']}.", style="dim"))
    p = document["provenance"]
    facts = [p.get("created", "")]
    if "wall_s" in p:
        facts.append(f"{duration(p['wall_s'])} with {workers(p['jobs'])}")
    environment = p.get("environment", {})
    facts += [f"{environment['processor']}, {environment['cores']} cores"] if "processor" in environment else []
    facts += ["kkwarm " + environment["versions"]["kkwarm"]] if "kkwarm" in environment.get("versions", {}) else []
    console.print(Text(" · ".join(f for f in facts if f), style="dim"))
