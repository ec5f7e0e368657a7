"""`kkwarm report`."""

from __future__ import annotations

from pathlib import Path

import click

from kkwarm.cli.console import echo_json, json_option, out_console


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write one HTML file that works offline.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Write the terminal view as a picture.")
@click.option("--markdown", is_flag=True, help="Print the matrix and claims as Markdown.")
@click.option("--margin", type=click.FloatRange(0, 1), default=0.05, show_default=True, help="What still is a tie.")
@json_option
def command(
    runs: tuple[Path, ...], html: Path | None, svg: Path | None, markdown: bool, margin: float, as_json: bool
) -> None:
    """Transfer matrix and claims of a study, or of bench runs side by side.

    RUN is a study folder, or bench runs (the first is what the others are compared with). Default: the newest study.
    """
    from kkwarm.report.load import load, newest_study
    from kkwarm.transfer.analyse import analyse

    paths = list(runs) or [newest_study()]
    material = load(paths, margin=margin)
    document = analyse(material)
    if html is not None:
        from kkwarm.report.html import write_html

        write_html(document, paths, html)
        click.echo(f"wrote {html}", err=True)
    if svg is not None:
        from kkwarm.report.terminal import write_svg

        write_svg(document, svg)
        click.echo(f"wrote {svg}", err=True)
    if as_json:
        echo_json(document)
    elif markdown:
        from kkwarm.report.markdown import markdown_text

        click.echo(markdown_text(document))
    elif html is None and svg is None:
        from kkwarm.report.terminal import show

        show(document, out_console())
