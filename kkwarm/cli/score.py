"""`kkwarm score`: scores saved outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import (
    Whole,
    complete_domains,
    echo_json,
    err_console,
    json_option,
    out_console,
    print_verifiers,
    protocol_option,
    unpinned_option,
    unsandboxed_option,
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--benchmark",
    "name",
    shell_complete=complete_domains,
    required=True,
    help="Benchmark that provides verifier and questions, as NAME or NAME:FACET.",
)
@click.option("--samples-out", type=click.Path(path_type=Path), help="Write one JSON line per completion to this file.")
@protocol_option(
    "Protocol by which answers are read, such as official.  [default: the benchmark's own default protocol; if it has "
    "none, auto, which reads strictly]"
)
@click.option("--workers", type=Whole(1), help="Number of processes for slow verifiers.  [default: one per core]")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Store the samples as a run in this folder. The same command resumes it.",
)
@unsandboxed_option
@unpinned_option
@json_option
def command(
    file: Path,
    name: str,
    samples_out: Path | None,
    protocol_name: str | None,
    workers: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Score the saved outputs in FILE.

    FILE holds JSON lines (.gz too), each with the benchmark's own `id` and a `completion`: a string, or a list of
    strings for several samples. Lines with the same id are samples of one question. A line may have a `reference`, the
    gold answer, with its `question`; then the id need not be the benchmark's. Answers are never guessed: one that
    cannot be read is `unparsed`.
    """
    from kkwarm.scoring.files import score_file

    with _verification_bar(name) as progress:
        result = score_file(
            file, name, protocol=protocol_name, workers=workers, out=out, samples_out=samples_out, progress=progress
        )
    if as_json:
        echo_json(result.document())
    else:
        show(result.document())


@contextmanager
def _verification_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how many completions of all are verified. Yields a function of the number of new ones, and of all."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err_console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name)
        yield lambda new, total: bar.update(task, advance=new, total=total)


def show(document: dict[str, Any]) -> None:
    """Prints the figures as a table of at most 80 columns."""
    from kkwarm.data.pins import unpinned_text
    from kkwarm.reporting.labels import SCORING
    from kkwarm.reporting.results import print_figures

    console = out_console()
    for name, figures in document["benchmarks"].items():
        if entry := figures.get("unpinned"):
            console.print(f"{SCORING} {name}: {unpinned_text(entry)}", style="yellow", markup=False, soft_wrap=True)
    print_figures(document, console)
    console.print(f"read by protocol {document['protocol']}", markup=False)
    print_verifiers(document["benchmarks"], console)
    if "run" in document:
        console.print(f"stored in {document['run']}", markup=False, soft_wrap=True)
