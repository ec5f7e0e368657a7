"""`kkwarm report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kkwarm.cli.console import (
    across_protocols_option,
    complete_runs,
    domain_option,
    echo_json,
    json_option,
    margin_option,
    out_console,
    table_options,
    write_tables,
)
from kkwarm.errors import KkwarmError
from kkwarm.reporting.terminal import SECTIONS

if TYPE_CHECKING:
    from kkwarm.schema.report import Report


@click.command()
@click.argument("runs", nargs=-1, shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.option("--full", is_flag=True, help="Print every section instead of one screen.")
@click.option(
    "--section",
    "sections",
    multiple=True,
    type=click.Choice(SECTIONS),
    metavar="NAME",
    help=f"Print this section: {', '.join(SECTIONS)}. Can be given several times.",
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write one HTML file that works offline.")
@click.option("--png", type=click.Path(path_type=Path), help="Write the figures to FILE.png, or to a folder.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Write the terminal view as an SVG image.")
@click.option("--markdown", is_flag=True, help="Print the matrix and the claims as Markdown.")
@click.option("--latex", is_flag=True, help="Print the matrix as a LaTeX table (booktabs).")
@across_protocols_option
@margin_option("the study's, or 5")
@domain_option
@click.option(
    "--budget-curve",
    is_flag=True,
    help="Print the accuracy of bench runs against the token limit, from their stored samples.",
)
@table_options
@json_option
def command(
    runs: tuple[Path, ...],
    full: bool,
    sections: tuple[str, ...],
    html: Path | None,
    png: Path | None,
    svg: Path | None,
    markdown: bool,
    latex: bool,
    across_protocols: bool,
    margin: float | None,
    budget_curve: bool,
    csv: Path | None,
    parquet: Path | None,
    as_json: bool,
) -> None:
    """Show the transfer matrix and the claims of a study, or bench runs side by side.

    RUNS is a study folder, or several bench runs, of which the first is the baseline. The default is the newest study.
    Bench runs with different protocols stand side by side; --across-protocols also computes their differences.
    """
    from kkwarm.analysis.build import build_report
    from kkwarm.analysis.load import load, newest_study
    from kkwarm.reporting.table import table_rows
    from kkwarm.store import find_run

    if as_json + markdown + latex > 1:
        raise click.UsageError("--json, --markdown and --latex all print to stdout: choose one")
    if png is not None and png.suffix.lower() not in ("", ".png"):
        raise KkwarmError(f"--png {png}: images are PNG", hint="name FILE.png, or a folder")
    if budget_curve:
        if markdown or latex or html or png or svg:
            raise KkwarmError("--budget-curve prints a table, or JSON with --json", hint="leave the other formats out")
        _budget_curves(runs, as_json)
        return
    paths = [find_run(run) for run in runs] or [newest_study()]
    report = build_report(load(paths, margin=margin, across_protocols=across_protocols))
    for path in _write_files(report, paths, html, png, svg):
        click.echo(f"wrote {path}", err=True)
    write_tables(table_rows(report) if csv or parquet else [], csv, parquet)
    if as_json:
        echo_json(report.model_dump(mode="json"))
    elif markdown:
        from kkwarm.reporting.markdown import markdown_text

        click.echo(markdown_text(report))
    elif latex:
        from kkwarm.reporting.latex import latex_text

        click.echo(latex_text(report))
    elif not any((html, png, svg, csv, parquet)):
        from kkwarm.reporting.terminal import print_report

        print_report(report, out_console(), full=full, sections=sections)


def _budget_curves(runs: tuple[Path, ...], as_json: bool) -> None:
    from rich.table import Table

    from kkwarm.analysis.budget import budget_curves
    from kkwarm.reporting.labels import with_interval
    from kkwarm.store import find_run

    if not runs:
        raise KkwarmError("--budget-curve needs the folder of a bench run", hint="kkwarm report RUN --budget-curve")
    curves = {str(path): budget_curves(path) for path in map(find_run, runs)}
    if as_json:
        echo_json({"budget_curves": curves})
        return
    for path, benchmarks in curves.items():
        for name, points in benchmarks.items():
            table = Table(title=f"{Path(path).name}: {name}", title_justify="left")
            for column in ("token limit", "accuracy (±: 95% interval)", "finished"):
                table.add_column(column, justify="right", no_wrap=True)
            for p in points:
                accuracy = with_interval(p["accuracy"], p["ci"])
                table.add_row(f"{p['max_tokens']:,}", accuracy, f"{100 * p['finished']:.0f}%")
            out_console().print(table)


def _write_files(
    report: Report, paths: list[Path], html: Path | None, png: Path | None, svg: Path | None
) -> list[Path]:
    """Writes the requested files and returns them."""
    written: list[Path] = []
    if html is not None:
        from kkwarm.reporting.html import write_html

        write_html(report, paths, html)
        written.append(html)
    if png is not None:
        from kkwarm.reporting.png import write_png

        written += write_png(report, png)
    if svg is not None:
        from kkwarm.reporting.terminal import write_svg

        write_svg(report, svg)
        written.append(svg)
    return written
