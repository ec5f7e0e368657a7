"""The report in the terminal: at 80 and 160 columns, with and without colour. Renders a document only."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kkwarm.report.plot import mean_curve, plot
from kkwarm.study.progress import duration

__all__ = ["MARK", "change_text", "percent", "render_text", "saved_text", "show", "write_svg"]

MARK = {"gain": "▲", "loss": "▼", "tie": "=", "underpowered": "?"}
STYLE = {"gain": "green", "loss": "red", "tie": "", "underpowered": "yellow", "no data": "yellow"}
HOLDS = {True: ("holds", "green"), False: ("FAILS", "red"), None: ("undecided", "yellow")}
STATUS_ORDER = ("correct", "wrong", "unparsed", "malformed", "truncated", "timeout", "error")
Document = Mapping[str, Any]


def percent(cell: Mapping[str, Any]) -> str:
    """``54.0 ±2.9``: accuracy and half its 95% interval, in percent."""
    low, high = cell["ci"]
    return f"{100 * cell['accuracy']:.1f} ±{50 * (high - low):.1f}"


def change_text(change: Mapping[str, Any] | None) -> str:
    """``▲ +10.2``: the verdict's mark and the change in points."""
    return "" if change is None else f"{MARK[change['verdict']]} {100 * change['estimate']:+.1f}"


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
        console.print("Nothing is evaluated yet.")
        return
    console.print(_matrix(document, console.width))
    console.print(
        "percent ± 95% interval; change in points: ▲ gain  ▼ loss  = tie  ? underpowered\n", style="dim", markup=False
    )
    for part in (_works(document), *_claims(document), *_plots(document, console.width), _statuses(document)):
        if part is not None:
            console.print(part)
            console.print()
    _foot(document, console)


def render_text(document: Document, width: int = 100) -> str:
    """The report as plain text."""
    from rich.console import Console

    out = io.StringIO()
    show(document, Console(file=out, width=width, color_system=None, force_terminal=False, highlight=False))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def write_svg(document: Document, path: Path, width: int = 100) -> None:
    """The terminal view as an SVG picture of `width` columns."""
    from rich.console import Console

    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, highlight=False)
    show(document, console)
    console.save_svg(str(path), title="kkwarm report")


def _title(document: Document, console: Any) -> None:
    from rich.text import Text

    title = Text(document["title"], style="bold")
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
    against = {c["name"]: c["against"] for c in document["conditions"]}
    table = _table(["condition", *domains])
    for number, (condition, row) in enumerate(document["matrix"].items()):
        name = Text(condition, style="bold")
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


def _works(document: Document) -> Any:
    """P(works step by step), and accuracy when forced to."""
    from rich.text import Text

    domains = document["domains"]
    rows = {
        name: row
        for name, row in document["matrix"].items()
        if any(cell["works"] is not None or cell["forced"] for cell in row.values())
    }
    if not rows:
        return None
    table = _table(["P(works step by step) / accuracy when forced to", *domains])
    for name, row in rows.items():
        cells = []
        for domain in domains:
            cell = row.get(domain)
            works = "-" if cell is None or cell["works"] is None else f"{cell['works']:.2f}"
            forced = "" if cell is None or not cell["forced"] else f" / {100 * cell['forced']['accuracy']:.1f}"
            cells.append(Text(works + forced))
        table.add_row(Text(name), *cells)
    return table


def _claims(document: Document) -> list[Any]:
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
        text = Text(claim["text"], style="bold")
        text.append("\n")
        if claim["estimate"] is not None:
            text.append(f"{claim['verdict']} ", style=STYLE[claim["verdict"]])
            if claim["ci"]:
                low, high = claim["ci"]
                text.append(f"{100 * claim['estimate']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] ")
        text.append(claim["says"], style="dim")
        table.add_row(Text(claim["id"], style="bold"), Text(word, style=f"bold {style}"), text)
    return [Text("The paper's claims (estimate in points, 95% interval)", style="bold"), table]


def _plots(document: Document, width: int) -> list[Any]:
    from rich.text import Text

    parts: list[Any] = []
    for roles in document["roles"]:
        series = []
        for condition in (roles["base_rlvr"], roles["warmed_rlvr"]):
            steps, values = mean_curve(document["curves"], condition)
            if steps:
                series.append((condition, steps, values))
        if series:
            parts.append(Text(f"Reward of RLVR on {roles['on']} (mean over seeds, 5-step running mean)", style="bold"))
            parts.append(plot(series, min(width, 100)))
    return parts


def _statuses(document: Document) -> Any:
    """Share of completions by status, over all domains."""
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
    table = _table(["completions (%), all domains", *present, "number"])
    for name, total in totals.items():
        count = sum(total.values())
        shares = [f"{100 * total.get(s, 0) / count:.1f}" if total.get(s) else "-" for s in present]
        table.add_row(Text(name), *shares, f"{count:,}")
    return table


def _foot(document: Document, console: Any) -> None:
    from rich.text import Text

    if document["note"]:
        console.print(Text(document["note"]))
        console.print()
    for problem in document["problems"]:
        console.print(Text(f"Not compared: {problem}", style="yellow"))
    for leak in document["leaks"]:
        said = f"LEAK: {leak['condition']} was trained on {leak['questions']} questions of {leak['domain']}"
        console.print(Text(said, style="bold red"))
    cells = [cell for row in document["matrix"].values() for cell in row.values()]
    if any(cell["partial"] for cell in cells):
        console.print(Text("* some samples are still missing or left out", style="yellow"))
    counts = sorted({cell["n"] for cell in cells})
    questions = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    console.print(Text(f"{questions} questions a cell. {document['method']}.", style="dim"))
    p = document["provenance"]
    facts = [p.get("created", "")]
    if "wall_s" in p:
        facts.append(f"{duration(p['wall_s'])} with {p['jobs']} worker(s)")
    environment = p.get("environment", {})
    facts += [f"{environment['processor']}, {environment['cores']} cores"] if "processor" in environment else []
    facts += ["kkwarm " + environment["versions"]["kkwarm"]] if "kkwarm" in environment.get("versions", {}) else []
    console.print(Text(" · ".join(f for f in facts if f), style="dim"))
