"""`kkwarm score`: scores saved outputs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import complete_domains, echo_json, json_option, unsandboxed_option
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    from kkwarm.types import Benchmark, Format, Verifier
    from kkwarm.verify.score import Row, Scored


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--benchmark",
    "name",
    shell_complete=complete_domains,
    required=True,
    help="Whose verifier and questions (NAME or NAME:FACET).",
)
@click.option("--samples-out", type=click.Path(path_type=Path), help="Write a JSON line for each completion.")
@click.option("--format", "format_name", help="How completions are split.  [default: the benchmark's, mostly auto]")
@click.option("--workers", type=click.IntRange(1), help="Processes for slow verdicts.  [default: one for each core]")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Keep the samples as a run in this folder.")
@unsandboxed_option
@json_option
def command(
    file: Path,
    name: str,
    samples_out: Path | None,
    format_name: str | None,
    workers: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Score the saved outputs in FILE.

    FILE holds JSON lines (.gz too): `id` (the benchmark's own), `completion` (a string, or a list of strings for
    several samples; rows with one id are samples of one question) and, optionally, `reference` (the gold answer; then
    the id need not be the benchmark's). Nothing is ever guessed: an answer that cannot be read counts as unparsed.
    """
    from kkwarm.plugins import registry
    from kkwarm.verify.score import examples_of, read_rows

    reg = registry()
    benchmark = reg.benchmark(name)
    verifier = reg.verifier(benchmark.verifier)
    fmt = reg.format(format_name or benchmark.saved_format)
    _writable(samples_out, file)
    rows = read_rows(file)
    examples = examples_of(rows, benchmark, file)
    began = time.perf_counter()
    scored = _judged(rows, examples, benchmark, verifier, fmt, workers)
    seconds = time.perf_counter() - began
    if samples_out is not None:
        _write_samples(samples_out, scored)
    document = {
        "benchmarks": {benchmark.name: scored.figures},
        "file": str(file),
        "format": fmt.name,
        "verifier": verifier.name,
        "seconds": round(seconds, 3),
    }
    if out is not None:
        document["run"] = str(_store(out, file, benchmark, fmt, scored))
    if as_json:
        echo_json(document)
    else:
        show(document)


def _judged(
    rows: list[Row], examples: Any, benchmark: Benchmark, verifier: Verifier, fmt: Format, workers: int | None
) -> Scored:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from kkwarm.verify.score import score_rows

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(benchmark.name, total=len(rows))
        return score_rows(
            rows, examples, benchmark, verifier, fmt, workers=workers, progress=lambda n: bar.advance(task, n)
        )


def _writable(path: Path | None, source: Path) -> None:
    """Finds out before the work, not after it, that a file cannot be written."""
    if path is None:
        return
    if path.exists() and source.exists() and path.samefile(source):
        raise KkwarmError(f"--samples-out {path} is the file to be scored", hint="choose another file")
    try:
        with open(path, "a", encoding="utf-8"):
            pass
    except OSError as err:
        raise KkwarmError(f"{path} cannot be written: {err.strerror}", hint="choose another --samples-out") from None


def _write_samples(path: Path, scored: Scored) -> None:
    from kkwarm.plugins import registry

    rewards = _rewards(registry(), scored)
    try:
        with open(path, "w", encoding="utf-8") as out:
            for id_, sample in zip(scored.ids, scored.samples, strict=True):
                verdict = sample.verdict
                row = {
                    "id": id_,
                    "status": verdict.status.value,
                    "answer": verdict.answer,
                    "reward": rewards.of(verdict.status),
                    "reason": verdict.reason,
                }
                if verdict.metrics:
                    row["metrics"] = dict(verdict.metrics)
                out.write(json.dumps(row) + "\n")
    except OSError as err:
        raise KkwarmError(f"{path} cannot be written: {err.strerror}", hint="free space and score again") from None


def _rewards(reg: Any, scored: Scored) -> Any:
    """The reward table of the task of the benchmark's name; the default table where there is no such task."""
    from kkwarm.types import Rewards

    name = scored.samples[0].benchmark.partition(":")[0]
    return reg.tasks[name].rewards if name in reg.tasks else Rewards()


def _store(out: Path, file: Path, benchmark: Benchmark, fmt: Format, scored: Scored) -> Path:
    from kkwarm.plugins import registry
    from kkwarm.store import Run, file_hash
    from kkwarm.verify.source import judged_by, note_verifiers

    config = {"benchmark": benchmark.name, "format": fmt.name}
    with Run.open(out, kind="score", config=config, inputs={"outputs": file_hash(file)}) as run:
        stored = {(s.id, s.index) for s in run.samples()}
        run.append(s for s in scored.samples if (s.id, s.index) not in stored)
        run.record(file=str(file))
        note_verifiers(run, {benchmark.name: judged_by(registry().verifier(benchmark.verifier), fmt)})
        run.finish(results={"benchmarks": {benchmark.name: scored.figures}})
        return run.path


# -- the table --------------------------------------------------------------------------------------------------------


def show(document: dict[str, Any]) -> None:
    """Prints the figures as a table of at most 80 columns."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, figures in document["benchmarks"].items():
        title = f"{name}: {figures['n']:,} questions, {figures['samples']:,} completions"
        table = Table(title=title, title_justify="left")
        table.add_column("")
        for column in ("n", "accuracy", "± se"):
            table.add_column(column, justify="right")
        statuses = list(figures["status"])
        for status in statuses:
            table.add_column(status, justify="right", overflow="fold")
        by = figures.get("by") or {}
        for value, part in by.items():
            table.add_row(value, *_cells(part, statuses))
        if by:
            table.add_section()
        table.add_row("all", *_cells(figures, statuses), style="bold")
        console.print(table)
        further = [f"{key} {_percent(figures[key])}" for key in _shown_k(figures)]
        further += [f"{key} {value:.4g}" for key, value in figures["metrics"].items()]
        if further:
            console.print("; ".join(further), highlight=False)
    if "run" in document:
        console.print(f"kept in {document['run']}", highlight=False)


def _cells(figures: dict[str, Any], statuses: list[str]) -> list[str]:
    error = figures["stderr"]
    counts = [f"{figures['status'].get(s, 0):,}" for s in statuses]
    return [f"{figures['n']:,}", _percent(figures["accuracy"]), "" if error is None else f"{100 * error:.2f}", *counts]


def _shown_k(figures: dict[str, Any]) -> list[str]:
    """pass@k for powers of two and the largest k, where there are several samples."""
    ks = [int(key.removeprefix("pass@")) for key in figures if key.startswith("pass@")]
    return [f"pass@{k}" for k in ks if k > 1 and (k & (k - 1) == 0 or k == max(ks))]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
