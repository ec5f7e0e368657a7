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
    print_verifiers,
    unpinned_option,
    unsandboxed_option,
)
from kkwarm.errors import KkwarmError, warn
from kkwarm.types import REFERENCE_DIFFERS

if TYPE_CHECKING:
    from kkwarm.plugins import Registry
    from kkwarm.scoring.score import Row, Scored
    from kkwarm.store import Run
    from kkwarm.types import Benchmark, Example, Protocol
    from kkwarm.verify.rewards import TaskReward


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

    FILE holds JSON lines (.gz too): `id` (the benchmark's own), `completion` (a string, or a list of strings for
    several samples; rows with the same id are samples of one question) and, optionally, `reference` (the gold answer;
    then the id need not be the benchmark's; if it is and the answers differ, a note says so). Answers are never
    guessed: an answer that cannot be read is `unparsed`.
    """
    from kkwarm.data.pins import find_unpinned
    from kkwarm.plugins import registry
    from kkwarm.scoring.score import match_examples, read_rows

    reg = registry()
    benchmark = reg.benchmark(name)
    protocol = reg.protocol(benchmark, protocol_name or reg.saved_protocol(benchmark))
    _check_writable(samples_out, file)
    rows = read_rows(file)
    examples = match_examples(rows, benchmark, file)
    replaced = _check_references(reg, rows, examples, benchmark, file)
    notes = [_describe_replaced(rows, replaced, benchmark.name, file)] if replaced else []
    for note in notes:
        warn(note)
    start = time.perf_counter()
    with _open_run(out, file, benchmark, protocol) as run:
        scored = _score(rows, examples, benchmark, protocol, workers, run, replaced)
        verifier = reg.verifier_of(benchmark, protocol).name
        figures = {benchmark.name: {**scored.figures, "verifier": verifier}}
        unpinned = None if all(row.has_reference for row in rows) else find_unpinned(benchmark)
        if unpinned is not None:
            figures[benchmark.name]["unpinned"] = unpinned
        if run is not None:
            marks = {} if unpinned is None else {benchmark.name: unpinned}
            run.finish(results={"benchmarks": figures}, notes=notes, unpinned=marks)
    seconds = time.perf_counter() - start
    if samples_out is not None:
        _write_samples(samples_out, scored, examples, reg.reward_of(benchmark))
    document = {
        "benchmarks": figures,
        "file": str(file),
        "protocol": protocol.name,
        "verifier": verifier,
        "notes": notes,
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
) -> frozenset[int]:
    """Checks the references; returns the positions of rows that have the id of one of the benchmark's questions, and
    another answer than the benchmark's own.
    """
    from kkwarm.scoring.score import check_references, find_replaced_answers

    base = benchmark.name if benchmark.name in reg.tasks else benchmark.name.rpartition(":")[0]
    task = reg.tasks.get(base)
    verifier, protocol = reg.verifier(benchmark.verifier), reg.protocol(benchmark if task is None else task)
    if task is not None:
        check_references(rows, examples, task, verifier, protocol, file)
    return find_replaced_answers(rows, examples, benchmark, task, verifier, protocol)


def _describe_replaced(rows: Sequence[Row], replaced: frozenset[int], name: str, file: Path) -> str:
    first = rows[min(replaced)]
    text = json.dumps(first.reference, ensure_ascii=False)[:60]
    return (
        f"{file}: {len(replaced):,} of {len(rows):,} completions have the id of a question of {name} and a reference "
        f"that differs from its answer, such as line {first.line} ({first.id}: {text}); they are scored against their "
        f"references, so the figures are not those of {name}"
    )


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
        reg = registry()
        verifier, reward = reg.verifier_of(benchmark, protocol), reg.reward_of(benchmark).function
        now = verifier_provenance(verifier, protocol, reward)
        then = run.manifest.verifiers.get(benchmark.name)
        if then and any(then.get(key) != now.get(key) for key in ("name", "code")):
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
    replaced: frozenset[int],
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

        storage: dict[str, Any] = {"replaced": replaced, "reward": registry().reward_of(benchmark)}
        if run is not None:
            storage |= {"stored": {(s.id, s.index): s for s in run.samples()}, "keep": run.append}
        return score_rows(rows, examples, benchmark, verifier, protocol, workers=workers, progress=advance, **storage)


def _check_writable(path: Path | None, source: Path) -> None:
    """Reports an unwritable file before the work rather than after it."""
    if path is None:
        return
    if path.exists() and source.exists() and path.samefile(source):
        raise KkwarmError(f"--samples-out {path} is the file to score", hint="use another --samples-out")
    problem = ""
    if path.is_dir():
        problem = "Is a directory"
    elif not path.exists():
        folder = path.resolve().parent
        problem = (
            ""
            if os.access(folder, os.W_OK)
            else "Permission denied"
            if folder.exists()
            else "No such file or directory"
        )
    elif not os.access(path, os.W_OK):
        problem = "Permission denied"
    if problem:
        raise KkwarmError(f"{path} cannot be written: {problem}", hint="use another --samples-out")


def _write_samples(path: Path, scored: Scored, examples: Sequence[Example], reward_of: TaskReward) -> None:
    """Writes the file completely or not at all, unless it is a pipe or device such as /dev/stdout."""
    from kkwarm.files import write_file

    lines = []
    rewards = reward_of([(e, s.completion, s.verdict) for e, s in zip(examples, scored.samples, strict=True)])
    for id_, sample, reward in zip(scored.ids, scored.samples, rewards, strict=True):
        verdict = sample.verdict
        row: dict[str, Any] = {
            "id": id_,
            "status": verdict.status.value,
            "answer": verdict.answer,
            "reward": reward.total,
            "reason": verdict.reason,
        }
        if reward.parts:
            row["rewards"] = dict(reward.parts)
        if verdict.metrics:
            row["metrics"] = dict(verdict.metrics)
        if sample.meta.get(REFERENCE_DIFFERS):
            row[REFERENCE_DIFFERS] = True
        lines.append(json.dumps(row) + "\n")
    write_file(path, lines, follow=True, hint="free space and score again")


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
