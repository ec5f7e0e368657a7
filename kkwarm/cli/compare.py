"""`kkwarm compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import Number, Whole, complete_runs, echo_json, json_option, out_console


@click.command()
@click.argument("run_a", shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.argument("run_b", shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.option("--common", is_flag=True, help="Where the questions differ, compare those that both have.")
@click.option("--margin", type=Number(0, 1), default=0.05, show_default=True, help="What still is a tie.")
@click.option("--flips", type=Whole(0), default=0, metavar="N", help="Name N questions that flipped, each way.")
@json_option
def command(run_a: Path, run_b: Path, common: bool, margin: float, flips: int, as_json: bool) -> None:
    """Compare two runs on the same questions: B minus A, with interval, test and verdict.

    Runs of different questions, prompts or protocols are refused. One that another tool drew (`kkwarm import`) is
    compared, with a warning that says in what it was measured otherwise.
    """
    from kkwarm.analysis.compare import compare
    from kkwarm.store import find_run

    document = compare(find_run(run_a), find_run(run_b), margin=margin, common=common)
    if as_json:
        echo_json(document)
        return
    _show(document, flips, out_console())


def _show(document: dict[str, Any], flips: int, console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from kkwarm.reporting.terminal import LEAKED, STYLE, change_text

    for side in "ab":
        open_ = "" if document["states"][side] == "done" else "   IN PROGRESS: figures will change"
        console.print(Text(f"{side.upper()}  {document[side]}").append(open_, "bold yellow"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("benchmark", overflow="fold")
    for name in ("n", "A", "B", "B - A", "95% interval", "p", "verdict"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in document["benchmarks"].items():
        c = row["change"]
        table.add_row(
            Text(name),
            f"{c['questions']:,}",
            *(f"{100 * row[k]['accuracy']:.1f}{LEAKED if row['leaked'][k] else ''}" for k in ("a", "b")),
            change_text(c),
            f"{100 * c['ci'][0]:+.1f} to {100 * c['ci'][1]:+.1f}",
            f"{c['p'] if c['p_holm'] is None else c['p_holm']:.2g}",
            Text(c["verdict"], style=STYLE[c["verdict"]]),
        )
    console.print(table)
    for name, row in document["benchmarks"].items():
        console.print(Text(f"{name}: {row['says']}"), soft_wrap=True)
        for side, ids in row["flipped"].items():
            if flips and ids:
                more = f", and {len(ids) - flips} more" if len(ids) > flips else ""
                console.print(Text(f"  only {side.upper()}: {', '.join(ids[:flips])}{more}"), soft_wrap=True)
        for side, stop in row["stopped"].items():
            if stop is not None:
                where = f"after {stop['questions']:,} of {stop['of']:,}"
                told = f"  {side.upper()} was stopped by rule ({stop['rule']}) {where}"
                console.print(Text(told, "dim"), soft_wrap=True)
        if row["differs"]:
            told = f"  warning: not measured alike: {'; '.join(row['differs'])}"
            console.print(Text(told, "yellow"), soft_wrap=True)
        for k in ("a", "b"):
            if row["leaked"][k]:
                said = f"{LEAKED} LEAK: {k.upper()} was trained on {row['leaked'][k]} questions of {name}"
                console.print(Text(said, style="bold red"))
    console.print(Text(document["method"], style="dim"))
