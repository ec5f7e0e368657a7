"""`kkwarm compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import (
    Whole,
    across_protocols_option,
    complete_runs,
    echo_json,
    json_option,
    margin_option,
    out_console,
    table_options,
    write_tables,
)

if TYPE_CHECKING:
    from kkwarm.schema.report import Comparison


@click.command()
@click.argument("runs", nargs=-1, required=True, shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.option("--common", is_flag=True, help="Where the questions differ, compare those that both runs have.")
@across_protocols_option
@margin_option("that of early stopping, or 5")
@click.option("--flips", type=Whole(0), default=0, metavar="N", help="List up to N questions that flipped, each way.")
@table_options
@json_option
def command(
    runs: tuple[Path, ...],
    common: bool,
    across_protocols: bool,
    margin: float | None,
    flips: int,
    csv: Path | None,
    parquet: Path | None,
    as_json: bool,
) -> None:
    """Compare runs on the same questions: B minus A, with interval, test and verdict.

    The first run is A, and each other one is compared with it; p-values are corrected over all comparisons. Runs with
    different questions, prompts or protocols are refused; --common and --across-protocols allow them. A run that was
    stopped early is compared on the questions that it answered. A run of another tool (`kkwarm import`) is compared
    with a warning that lists how its measurement differs.
    """
    from kkwarm.analysis.compare import compare_all
    from kkwarm.store import find_run

    if len(runs) < 2:
        raise click.UsageError("name at least two runs")
    paths = [find_run(run) for run in runs]
    result = compare_all(paths, margin=margin, common=common, across_protocols=across_protocols)
    one = result.comparisons[0] if len(result.comparisons) == 1 else None
    write_tables([row for c in result.comparisons for row in _table_rows(c)], csv, parquet)
    if as_json:
        echo_json((one or result).model_dump(mode="json"))
    elif csv is None and parquet is None:
        from kkwarm.reporting.comparison import print_comparisons

        print_comparisons(result.comparisons, out_console(), flips=flips)


def _table_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each benchmark, for --csv and --parquet; accuracies are fractions, differences percentage points."""
    return [
        {"run_a": comparison.a, "run_b": comparison.b, "benchmark": name, "questions": row.change.questions}
        | {f"{side}_accuracy": accuracy.accuracy for side, accuracy in (("a", row.a), ("b", row.b))}
        | {"difference": row.change.estimate, "low": row.change.ci[0], "high": row.change.ci[1]}
        | {"p": row.change.p, "p_holm": row.change.p_holm, "verdict": row.change.verdict, "margin": row.change.margin}
        for name, row in comparison.benchmarks.items()
    ]
