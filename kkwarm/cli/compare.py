"""`kkwarm compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import echo_json, json_option, out_console


@click.command()
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option("--common", is_flag=True, help="Where the questions differ, compare those that both have.")
@click.option("--margin", type=click.FloatRange(0, 1), default=0.05, show_default=True, help="What still is a tie.")
@json_option
def command(run_a: Path, run_b: Path, common: bool, margin: float, as_json: bool) -> None:
    """Compare two runs on the same questions: B minus A, with interval, test and verdict.

    Runs of different questions, prompts or protocols are refused.
    """
    from kkwarm.report.compare import compare

    document = compare(run_a, run_b, margin=margin, common=common)
    if as_json:
        echo_json(document)
        return
    _show(document, out_console())


def _show(document: dict[str, Any], console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from kkwarm.report.terminal import LEAKED, STYLE, change_text

    console.print(Text(f"A  {document['a']}\nB  {document['b']}"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("benchmark")
    for name in ("A", "B", "B - A", "95% interval", "p", "verdict", "only A", "only B", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in document["benchmarks"].items():
        c = row["change"]
        table.add_row(
            Text(name),
            *(f"{100 * row[k]['accuracy']:.1f}{LEAKED if row['leaked'][k] else ''}" for k in ("a", "b")),
            change_text(c),
            f"{100 * c['ci'][0]:+.1f} to {100 * c['ci'][1]:+.1f}",
            f"{c['p_holm']:.2g}",
            Text(c["verdict"], style=STYLE[c["verdict"]]),
            str(row["only_a"]),
            str(row["only_b"]),
            str(c["questions"]),
        )
    console.print(table)
    for name, row in document["benchmarks"].items():
        for k in ("a", "b"):
            if row["leaked"][k]:
                said = f"{LEAKED} LEAK: {k.upper()} was trained on {row['leaked'][k]} questions of {name}"
                console.print(Text(said, style="bold red"))
    console.print(Text(document["method"], style="dim"))
