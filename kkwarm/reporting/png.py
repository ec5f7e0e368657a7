"""The report's figures as PNG images, by matplotlib (the extra `plots`)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.files import write_file
from kkwarm.reporting.figures import Figure, figures
from kkwarm.reporting.labels import HOLDS, LEGEND, change_text, percent, with_short_names
from kkwarm.reporting.sanitize import sanitize
from kkwarm.schema.report import Claim, Report

COLORS = ("#0b6f82", "#a3398a")
ON_BLUE = {"gain": "#0c5222", "loss": "#8a1620", "tie": "#222222", "underpowered": "#5a3f00"}  # contrast of 4.5
TONES = {"gain": "#1a7f37", "loss": "#bc2c33", "tie": "#444444", "underpowered": "#8a6100", "no data": "#8a6100"}
DPI = 200


def write_png(report: Report, target: Path) -> list[Path]:
    """Writes the figures: all in one image where `target` ends in ``.png``, else each into the folder `target`
    (``matrix.png``, ``claims.png``, and the curves by their key). Returns the files.

    :raises KkwarmError: matplotlib is not installed, there is nothing to draw, or a file cannot be written.
    """
    try:
        from matplotlib.figure import Figure as Canvas
    except ModuleNotFoundError:
        raise KkwarmError("--png needs matplotlib", hint="pip install 'kkwarm[plots]'") from None
    report = with_short_names(report)
    panels = _panels(report)
    if not panels:
        raise KkwarmError("nothing is evaluated yet: there is no figure to draw")
    if target.suffix.lower() == ".png":
        return [_overview(Canvas, panels, report, target)]
    return [_single(Canvas, draw, size, target / f"{_file(key)}.png") for key, size, draw in panels]


def _panels(report: Report) -> list[tuple[str, tuple[float, float], Any]]:
    """Name, size in inches, and the function that draws it on axes."""
    rows = [name for name, row in report.matrix.items() if row]
    if not rows:
        return []
    size = (2.2 + 1.35 * len(report.domains), 0.9 + 0.42 * len(rows))
    panels: list[tuple[str, tuple[float, float], Any]] = [("matrix", size, lambda a: _matrix(a, report, rows))]
    claims = [c for c in report.claims if c.ci]
    if claims:
        panels.append(("claims", (7.0, 0.9 + 0.5 * len(claims)), lambda a: _claims(a, claims, report.margin)))
    for figure in figures(report):
        panels.append((figure.key, (5.6, 3.4), lambda a, f=figure: _curves(a, f)))
    return panels


def _file(key: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in key)


def _single(canvas: Any, draw: Any, size: tuple[float, float], path: Path) -> Path:
    picture = canvas(figsize=size, layout="constrained")
    draw(picture.add_subplot())
    return _save(picture, path)


def _save(picture: Any, path: Path) -> Path:
    data = io.BytesIO()
    picture.savefig(data, dpi=DPI, format="png")
    write_file(path, data.getvalue(), follow=True)
    return path


def _overview(canvas: Any, panels: list[tuple[str, tuple[float, float], Any]], report: Report, path: Path) -> Path:
    """Matrix and claims in rows of their own, curves two to a row."""
    wide = [p for p in panels if p[0] in ("matrix", "claims")]
    curves = panels[len(wide) :]
    pairs = [curves[i : i + 2] for i in range(0, len(curves), 2)]
    heights = [p[1][1] for p in wide] + [row[0][1][1] for row in pairs]
    width = max([p[1][0] for p in wide] + [9.5 if pairs else 0])
    picture = canvas(figsize=(width, sum(heights) + 0.5), layout="constrained")
    grid = picture.add_gridspec(len(heights), 2, height_ratios=heights)
    for n, (_, _, draw) in enumerate(wide):
        draw(picture.add_subplot(grid[n, :]))
    for n, row in enumerate(pairs, len(wide)):
        for m, (_, _, draw) in enumerate(row):
            draw(picture.add_subplot(grid[n, m]))
    picture.suptitle(_plain(report.title), fontsize=12, fontweight="bold")
    return _save(picture, path)


def _plain(text: str) -> str:
    return sanitize(text).replace("$", r"\$")  # otherwise matplotlib reads it as mathematics


def _matrix(axes: Any, report: Report, rows: list[str]) -> None:
    domains = report.domains
    cells = [[report.matrix[r].get(d) for d in domains] for r in rows]
    values = [[float("nan") if c is None else 100 * c.accuracy for c in row] for row in cells]
    edges = [[i - 0.5 for i in range(n + 1)] for n in (len(domains), len(rows))]
    # vmax keeps the color light enough for dark text at 100
    axes.pcolormesh(*edges, values, cmap="Blues", vmin=0, vmax=240, edgecolor="white", linewidth=2)
    axes.invert_yaxis()
    for y, row in enumerate(cells):
        for x, cell in enumerate(row):
            if cell is None:
                continue
            change = cell.change
            above = 0.17 if change else 0.0
            axes.text(x, y - above, percent(cell), ha="center", va="center", fontsize=8.5)
            if change:
                tone = ON_BLUE[change.verdict]
                axes.text(x, y + 0.22, change_text(change), ha="center", va="center", fontsize=7.5, color=tone)
    axes.set_xticks(range(len(domains)), [_plain(d) for d in domains], fontsize=9)
    names = [f"{r}\nvs {baseline}" if (baseline := report.baseline(r)) else r for r in rows]
    axes.set_yticks(range(len(rows)), map(_plain, names), fontsize=8.5)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    state = "" if report.state == "done" else "; in progress"
    axes.set_xlabel(f"{LEGEND}{state}", fontsize=8, color="#555555")


def _claims(axes: Any, claims: list[Claim], margin: float) -> None:
    axes.axvspan(-margin, margin, color="#eeeeee", zorder=0)
    axes.axvline(0, color="#999999", linewidth=0.8, linestyle=":")
    for n, claim in enumerate(claims):
        tone = TONES[{True: "gain", False: "loss", None: "underpowered"}[claim.holds]]
        axes.plot(list(claim.ci or ()), [n, n], color=tone, linewidth=2)
        axes.plot([claim.estimate], [n], "o", color=tone, markersize=5)
    names = [_plain(f"{c.id} {c.on}\n{HOLDS[c.holds][0]}") for c in claims]
    axes.set_yticks(range(len(claims)), names, fontsize=8)
    axes.set_ylim(len(claims) - 0.5, -0.5)
    axes.set_xlabel("the claims' estimates in percentage points, 95% interval; gray: equivalence margin", fontsize=8)
    _bare(axes)


def _curves(axes: Any, figure: Figure) -> None:
    for series, color, dash in zip(figure.series, COLORS, ("-", (0, (5, 2))), strict=False):
        if series.seeds:
            axes.fill_between(series.xs, series.low, series.high, color=color, alpha=0.15, linewidth=0)
            for row in series.seeds:
                axes.plot(series.xs, row, color=color, linewidth=0.7, alpha=0.4)
        mark = "o" if figure.marks else None
        style: dict[str, Any] = {"color": color, "linewidth": 2, "linestyle": dash, "marker": mark, "markersize": 4}
        axes.plot(series.xs, series.ys, label=_plain(series.name), **style)
    if figure.marks:
        axes.set_xticks(sorted({x for s in figure.series for x in s.xs}))
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(_plain(figure.title), fontsize=9, loc="left")
    axes.set_xlabel(figure.x, fontsize=8)
    axes.set_ylabel(figure.y, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)
    _bare(axes)


def _bare(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
