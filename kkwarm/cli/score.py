"""`kkwarm score`: scores saved outputs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import (
    Whole,
    complete_domains,
    echo_json,
    err_console,
    json_option,
    out_console,
    unsandboxed_option,
)
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    from kkwarm.plugins import Registry
    from kkwarm.scoring.score import Row, Scored
    from kkwarm.store import Run
    from kkwarm.types import Benchmark, Example, Protocol, Rewards


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
@click.option(
    "--protocol",
    "protocol_name",
    metavar="NAME",
    help="Protocol by which answers are read, such as official.  [default: auto, which reads strictly]",
)
@click.option("--workers", type=Whole(1), help="Number of processes for slow verifiers.  [default: one per core]")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Store the samples as a run in this folder. The same command resumes it.",
)
@unsandboxed_option
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

    FILE holds JSON lines (.gz too): `id` (the benchmark's own), `completion` (a string, or a list of strings for
    several samples; rows with the same id are samples of one question) and, optionally, `reference` (the gold answer;
    then the id need not be the benchmark's). Answers are never guessed: an answer that cannot be read is `unparsed`.
    """
    from kkwarm.plugins import registry
    from kkwarm.scoring.score import match_examples, read_rows

    reg = registry()
    benchmark = reg.benchmark(name)
    protocol = reg.protocol(benchmark, protocol_name or "auto")
    _check_writable(samples_out, file)
    rows = read_rows(file)
    examples = match_examples(rows, benchmark, file)
    _check_references(reg, rows, examples, benchmark, file)
    start = time.perf_counter()
    with _open_run(out, file, benchmark, protocol) as run:
        scored = _score(rows, examples, benchmark, protocol, workers, run)
        figures = {benchmark.name: scored.figures}
        if run is not None:
            run.finish(results={"benchmarks": figures})
    seconds = time.perf_counter() - start
    if samples_out is not None:
        _write_samples(samples_out, scored, reg.rewards(benchmark.name))
    document = {
        "benchmarks": figures,
        "file": str(file),
        "protocol": protocol.name,
        "verifier": reg.verifier_of(benchmark, protocol).name,
        "seconds": round(seconds, 3),
    }
    if run is not None:
        document["run"] = str(run.path)
    if as_json:
        echo_json(document)
    else:
        show(document)


def _check_references(
    reg: Registry, rows: Sequence[Row], examples: Sequence[Example], benchmark: Benchmark, file: Path
) -> None:
    from kkwarm.scoring.score import check_references

    base = benchmark.name if benchmark.name in reg.tasks else benchmark.name.rpartition(":")[0]
    if base in reg.tasks:
        task = reg.tasks[base]
        check_references(rows, examples, task, reg.verifier(benchmark.verifier), reg.protocol(task), file)


@contextmanager
def _open_run(out: Path | None, file: Path, benchmark: Benchmark, protocol: Protocol) -> Iterator[Run | None]:
    """The run that stores the samples; None without --out."""
    if out is None:
        yield None
        return
    from kkwarm.plugins import registry
    from kkwarm.store import Run, file_hash
    from kkwarm.verify.source import verifier_provenance

    config = {"benchmark": benchmark.name, "protocol": protocol.name}
    with Run.open(out, kind="score", config=config, inputs={"outputs": file_hash(file)}) as run:
        now = verifier_provenance(registry().verifier_of(benchmark, protocol), protocol)
        then = run.manifest.verifiers.get(benchmark.name)
        if then and then.get("code") != now.get("code"):
            hint = f"run `kkwarm rescore {out}`, or use another --out"
            raise KkwarmError(f"the verdicts in {out} come from another version of the verifier", hint=hint)
        run.record(file=str(file))
        run.record_verifiers({benchmark.name: now})
        yield run


def _score(
    rows: Sequence[Row],
    examples: Sequence[Example],
    benchmark: Benchmark,
    protocol: Protocol,
    workers: int | None,
    run: Run | None,
) -> Scored:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from kkwarm.plugins import registry
    from kkwarm.scoring.score import score_rows

    verifier = registry().verifier_of(benchmark, protocol)
    console = err_console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(benchmark.name, total=len(rows))

        def advance(n: int) -> None:
            bar.advance(task, n)

        storage: dict[str, Any] = {}
        if run is not None:
            storage = {"stored": {(s.id, s.index): s for s in run.samples()}, "keep": run.append}
        return score_rows(rows, examples, benchmark, verifier, protocol, workers=workers, progress=advance, **storage)


def _check_writable(path: Path | None, source: Path) -> None:
    """Reports an unwritable file before the work rather than after it."""
    if path is None:
        return
    exists = path.exists()
    if exists and source.exists() and path.samefile(source):
        raise KkwarmError(f"--samples-out {path} is the file to score", hint="use another --samples-out")
    try:
        with open(path, "a", encoding="utf-8"):
            pass
        if not exists:
            path.unlink()
    except OSError as err:
        raise KkwarmError(f"{path} cannot be written: {err.strerror}", hint="use another --samples-out") from None


def _write_samples(path: Path, scored: Scored, rewards: Rewards) -> None:
    """Writes the file completely or not at all, unless it is a pipe or device such as /dev/stdout."""
    special = path.exists() and not path.is_file()
    path = path.resolve()
    target = path if special else path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(target, "w", encoding="utf-8") as out:
            for id_, sample in zip(scored.ids, scored.samples, strict=True):
                verdict = sample.verdict
                row: dict[str, Any] = {
                    "id": id_,
                    "status": verdict.status.value,
                    "answer": verdict.answer,
                    "reward": rewards.for_status(verdict.status),
                    "reason": verdict.reason,
                }
                if verdict.metrics:
                    row["metrics"] = dict(verdict.metrics)
                out.write(json.dumps(row) + "\n")
        if not special:
            target.replace(path)
    except OSError as err:
        raise KkwarmError(f"{path} cannot be written: {err.strerror}", hint="free space and score again") from None
    finally:
        if not special:
            target.unlink(missing_ok=True)


# -- the table --------------------------------------------------------------------------------------------------------


def show(document: dict[str, Any]) -> None:
    """Prints the figures as a table of at most 80 columns."""
    from rich.table import Table
    from rich.text import Text

    console = out_console()
    for name, figures in document["benchmarks"].items():
        title = Text(f"{name}: {figures['n']:,} questions, {figures['samples']:,} completions")
        table = Table(title=title, title_justify="left")
        table.add_column("")
        for column in ("n", "accuracy", "± se"):
            table.add_column(column, justify="right")
        statuses = list(figures["status"])
        for status in statuses:
            table.add_column(status, justify="right", overflow="fold")
        by = figures.get("by") or {}
        for value, part in by.items():
            table.add_row(Text(value), *_cells(part, statuses))
        if by:
            table.add_section()
        table.add_row("all", *_cells(figures, statuses), style="bold")
        console.print(table)
        extra = [f"{key} {_percent(figures[key])}" for key in _reported_k(figures)]
        extra += [f"{key} {value:.4g}" for key, value in figures["metrics"].items()]
        if extra:
            console.print(Text("; ".join(extra)))
    if "run" in document:
        console.print(Text(f"stored in {document['run']}"))


def _cells(figures: dict[str, Any], statuses: list[str]) -> list[str]:
    error = figures["stderr"]
    counts = [f"{figures['status'].get(s, 0):,}" for s in statuses]
    return [f"{figures['n']:,}", _percent(figures["accuracy"]), "" if error is None else f"{100 * error:.2f}", *counts]


def _reported_k(figures: dict[str, Any]) -> list[str]:
    """pass@k for powers of two and the largest k, where there are several samples."""
    ks = [int(key.removeprefix("pass@")) for key in figures if key.startswith("pass@")]
    return [f"pass@{k}" for k in ks if k > 1 and (k & (k - 1) == 0 or k == max(ks))]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
