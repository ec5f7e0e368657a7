"""`kkwarm report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import Number, complete_runs, echo_json, json_option, out_console
from kkwarm.errors import KkwarmError


@click.command()
@click.argument("runs", nargs=-1, shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write one HTML file that works offline.")
@click.option("--png", type=click.Path(path_type=Path), help="Write the figures: FILE.png, or a folder of pictures.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Write the terminal view as a picture.")
@click.option("--markdown", is_flag=True, help="Print the matrix and claims as Markdown.")
@click.option("--latex", is_flag=True, help="Print the matrix as a LaTeX table (booktabs).")
@click.option("--margin", type=Number(0, 1), help="What still is a tie.  [default: the study's, or 0.05]")
@json_option
def command(
    runs: tuple[Path, ...],
    html: Path | None,
    png: Path | None,
    svg: Path | None,
    markdown: bool,
    latex: bool,
    margin: float | None,
    as_json: bool,
) -> None:
    """Transfer matrix, claims and sample efficiency of a study, or of bench runs side by side.

    RUN is a study folder, or bench runs (the first is what the others are compared with). Default: the newest study.
    """
    from kkwarm.analysis.build import analyse
    from kkwarm.analysis.load import load, newest_study
    from kkwarm.store import find_run

    if as_json + markdown + latex > 1:
        raise click.UsageError("--json, --markdown and --latex each print: choose one")
    if png is not None and png.suffix.lower() not in ("", ".png"):
        raise KkwarmError(f"--png {png}: pictures are PNG", hint="name FILE.png, or a folder")
    paths = [find_run(run) for run in runs] or [newest_study()]
    document = analyse(load(paths, margin=margin))
    for path in _files(document, paths, html, png, svg):
        click.echo(f"wrote {path}", err=True)
    if as_json:
        echo_json(document)
    elif markdown:
        from kkwarm.reporting.markdown import markdown_text

        click.echo(markdown_text(document))
    elif latex:
        from kkwarm.reporting.latex import latex_text

        click.echo(latex_text(document))
    elif html is None and png is None and svg is None:
        from kkwarm.reporting.terminal import show

        show(document, out_console())


def _files(
    document: dict[str, Any], paths: list[Path], html: Path | None, png: Path | None, svg: Path | None
) -> list[Path]:
    """Writes what was asked for; returns the files."""
    written: list[Path] = []
    if html is not None:
        from kkwarm.reporting.html import write_html

        write_html(document, paths, html)
        written.append(html)
    if png is not None:
        from kkwarm.reporting.png import write_png

        written += write_png(document, png)
    if svg is not None:
        from kkwarm.reporting.terminal import write_svg

        write_svg(document, svg)
        written.append(svg)
    return written
