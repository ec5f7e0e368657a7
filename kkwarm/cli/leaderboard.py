"""`kkwarm leaderboard`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import (
    across_protocols_option,
    complete_runs,
    echo_json,
    json_option,
    on_option,
    out_console,
    table_options,
    write_tables,
)

if TYPE_CHECKING:
    from kkwarm.schema.report import Leaderboard


@click.command()
@click.argument("runs", nargs=-1, shell_complete=complete_runs, type=click.Path(path_type=Path))
@on_option("Benchmarks to rank by.  [default: all that every run has]")
@click.option("--common", is_flag=True, help="Where the questions differ, compare those that both runs have.")
@across_protocols_option
@table_options
@json_option
def command(
    runs: tuple[Path, ...],
    names: tuple[str, ...],
    common: bool,
    across_protocols: bool,
    csv: Path | None,
    parquet: Path | None,
    as_json: bool,
) -> None:
    """Rank runs by mean accuracy, and group those that cannot be distinguished.

    RUNS are bench runs, or folders that hold them; by default all finished ones under KKWARM_HOME. Every pair is
    compared on the same questions, with p-values corrected over all pairs. The rank 1-3 means that the
    run may have any of these ranks.
    """
    from kkwarm.analysis.runs import find_runs, rank, with_samples
    from kkwarm.evaluation.plan import parse_benchmark_names
    from kkwarm.store import find_run, runs_home

    found, _ = find_runs([find_run(run) for run in runs] or [runs_home()])
    benchmarks = parse_benchmark_names(names) if names else []
    paths = [Path(r.path) for r in with_samples(found) if set(benchmarks) <= r.accuracy.keys()]
    board = rank(paths, benchmarks, common=common, across_protocols=across_protocols)
    write_tables(_rows(board), csv, parquet)
    if as_json:
        echo_json(board.model_dump(mode="json"))
    elif csv is None and parquet is None:
        _print(board, out_console())


def _rows(board: Leaderboard) -> list[dict[str, Any]]:
    return [
        {"run": r.path, "name": r.name, "best_rank": r.best_rank, "worst_rank": r.worst_rank}
        | {"groups": r.groups, "mean": r.mean}
        | {name: r.accuracy[name].accuracy for name in board.benchmarks}
        for r in board.runs
    ]


def _print(board: Leaderboard, console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from kkwarm.reporting.labels import break_name, labels_text, number_range, percent, points, short_names

    names = short_names(board.benchmarks)
    each = max(1, (console.width - 44) // 13)  # benchmarks that stand side by side
    for start in range(0, len(board.benchmarks), each):
        shown = board.benchmarks[start : start + each]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("rank", "group"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("run", overflow="fold")
        table.add_column("mean", justify="right", no_wrap=True)
        for name in shown:
            counts = sorted({r.accuracy[name].n for r in board.runs})
            table.add_column(
                f"{break_name(names[name], 11)}\n(n = {number_range(counts)})", justify="right", no_wrap=True
            )
        for r in board.runs:
            ranks = str(r.best_rank) if r.best_rank == r.worst_rank else f"{r.best_rank}-{r.worst_rank}"
            run = Text(break_name(r.name, 24))
            if labels := labels_text(r.labels, named=True):
                run.append(f"\n{labels}", "dim")
            table.add_row(ranks, r.groups, run, points(r.mean), *(percent(r.accuracy[b]) for b in shown))
        console.print(table)
        console.print()
    console.print(f"percent ± 95% interval. {board.method}", style="dim", markup=False)
