"""`kkwarm rescore`: scores a stored run again."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import (
    Whole,
    complete_runs,
    domain_option,
    echo_json,
    json_option,
    out_console,
    unpinned_option,
    unsandboxed_option,
    verification_bar,
)
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    from kkwarm.scoring.rescore import Flip, RescoredBenchmark
    from kkwarm.store import Run

EXAMPLES = 3  # flipped samples to print for each kind of flip


@click.command()
@click.argument("run", shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.option(
    "--compare-to",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Run to compare RUN with, before and after rescoring. Can be given several times.",
)
@click.option("--alone", is_flag=True, help="Do not compare RUN with other runs.")
@click.option(
    "--protocol",
    metavar="NAME|BENCHMARK=NAME,...",
    help="Read the completions by another protocol, such as official.  [default: the protocol of the run]",
)
@click.option("--write", is_flag=True, help="Write the new verdicts to a run beside RUN. RUN itself never changes.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write the new verdicts to this folder.")
@click.option("--workers", type=Whole(1), help="Number of processes for slow verifiers.  [default: one per core]")
@domain_option
@unsandboxed_option
@unpinned_option
@json_option
def command(
    run: Path,
    compare_to: tuple[Path, ...],
    alone: bool,
    protocol: str | None,
    write: bool,
    out: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Score the stored completions of RUN with today's verifiers, and show which verdicts and comparisons change.

    RUN is a run with samples, or a study. It is compared with the runs of --compare-to; without that option, with the
    runs that its study compares it with, or with runs beside it that have the same questions. The other runs are
    rescored too. No model is needed.
    """
    from kkwarm.store import Run, find_run

    if alone and compare_to:
        raise KkwarmError("--alone and --compare-to exclude each other", hint="leave out one of them")
    stored = Run.read(find_run(run))
    others = [Run.read(find_run(path)).path for path in compare_to]
    target = out or (_sibling(stored.path) if write else None)
    _check_target(target)
    with verification_bar(stored.name) as advance:
        if stored.manifest.kind == "study":
            document = _study(stored, target, protocol, workers, advance)
        else:
            document = _run(stored, [] if alone else others or None, target, protocol, workers, advance)
    if as_json:
        echo_json(document)
    else:
        show(document)


def _run(
    run: Run,
    others: Sequence[Path] | None,
    target: Path | None,
    protocol: str | None,
    workers: int | None,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    from kkwarm.plugins import registry
    from kkwarm.scoring.rescore import rescore, write_rescored
    from kkwarm.scoring.rescored_comparisons import compare_rescored, find_comparable_runs

    results = rescore(run, registry(), protocol=protocol, workers=workers, progress=advance)
    folders = find_comparable_runs(run) if others is None else list(others)
    comparisons, problems = compare_rescored(
        run, results, folders, registry(), protocol=protocol, workers=workers, progress=advance
    )
    document: dict[str, Any] = {
        "run": str(run.path),
        "flipped": sum(len(r.flips) for r in results),
        "benchmarks": {r.benchmark: _figures(r) for r in results if not r.skipped},
        "skipped": {r.benchmark: r.skipped for r in results if r.skipped},
        "comparisons": [c.document() for c in comparisons],
        "not_compared": problems,
    }
    if target is not None:
        document["written"] = str(write_rescored(run, results, target).path)
    return document


def _study(
    run: Run, target: Path | None, protocol: str | None, workers: int | None, advance: Callable[[int], None]
) -> dict[str, Any]:
    from kkwarm.plugins import registry
    from kkwarm.scoring.rescored_comparisons import rescore_study

    with tempfile.TemporaryDirectory() as folder:
        steps, comparisons, claims = rescore_study(
            run, registry(), target or Path(folder, "study"), protocol=protocol, workers=workers, progress=advance
        )
    flips = {step: sum(len(r.flips) for r in results) for step, results in steps.items()}
    document: dict[str, Any] = {
        "run": str(run.path),
        "flipped": sum(flips.values()),
        "steps": {step: n for step, n in flips.items() if n},
        "benchmarks": {},
        "skipped": {r.benchmark: r.skipped for results in steps.values() for r in results if r.skipped},
        "comparisons": [c.document() for c in comparisons],
        "claims": claims,
        "not_compared": [],
    }
    return document | ({"written": str(target)} if target is not None else {})


def _check_target(target: Path | None) -> None:
    """Reports an unusable folder before the work rather than after it."""
    if target is None:
        return
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        what = "a file" if target.is_file() else "not empty"
        raise KkwarmError(f"{target} is {what}", hint="use another --out")
    parent = next(p for p in target.absolute().parents if p.exists())
    if not os.access(target if target.exists() else parent, os.W_OK):
        raise KkwarmError(f"{target} cannot be written", hint="use another --out")


def _sibling(path: Path) -> Path:
    """``RUN-rescored``, or the first of ``RUN-rescored-2``, ``RUN-rescored-3``, ... that does not exist."""
    base = path.resolve()
    sibling = base.with_name(f"{base.name}-rescored")
    number = 1
    while sibling.exists():
        number += 1
        sibling = base.with_name(f"{base.name}-rescored-{number}")
    return sibling


def _figures(result: RescoredBenchmark) -> dict[str, Any]:
    before, after = result.figures_before, result.figures_after
    return {
        "n": after["n"],
        "samples": after["samples"],
        "accuracy": {"before": before["accuracy"], "after": after["accuracy"]},
        "stderr": {"before": before["stderr"], "after": after["stderr"]},
        "ci": {"before": before["ci"].get("pass@1"), "after": after["ci"].get("pass@1")},
        "status": {"before": before["status"], "after": after["status"]},
        "flips": result.counts,
        "metrics": {"before": before["metrics"], "after": after["metrics"]},
        "other_metrics": len(result.other_metrics),
        "missing": result.missing,
        "examples": _examples(result.flips),
    }


def _examples(flips: list[Flip]) -> list[dict[str, Any]]:
    """The shortest completions of each kind of flip."""
    rows: list[dict[str, Any]] = []
    count: Counter[tuple[str, str]] = Counter()
    for flip in sorted(flips, key=lambda f: len(f.after.completion.text or "")):
        before, after = flip.before.verdict, flip.after.verdict
        kind = before.status.value, after.status.value
        count[kind] += 1
        if count[kind] > EXAMPLES:
            continue
        text = flip.after.completion.text
        rows.append(
            {
                "id": flip.after.id,
                "index": flip.after.index,
                "before": {"status": kind[0], "answer": before.answer, "reason": before.reason},
                "after": {"status": kind[1], "answer": after.answer, "reason": after.reason},
                "end": text[-200:] if isinstance(text, str) else text,
            }
        )
    return rows


def show(document: dict[str, Any]) -> None:
    """Prints accuracy and flips of each benchmark, then the comparisons that change."""
    from rich.table import Table
    from rich.text import Text

    from kkwarm.reporting.labels import with_interval

    console = out_console()
    title = Text(f"{document['run']}: {document['flipped']:,} verdicts changed")
    console.print(title, soft_wrap=True)
    if document["benchmarks"]:
        table = Table()
        for column in ("", "samples", "stored", "today (±: 95% interval)", "changed verdicts"):
            table.add_column(column, justify="left" if column in ("", "changed verdicts") else "right")
        for name, figures in document["benchmarks"].items():
            flips = "\n".join(f"{count:,} {kind}" for kind, count in figures["flips"].items()) or "none"
            before, after = (with_interval(figures["accuracy"][w], figures["ci"][w]) for w in ("before", "after"))
            table.add_row(Text(name), f"{figures['samples']:,}", before, after, flips)
        console.print(table)
    for step, count in document.get("steps", {}).items():
        console.print(f"  {count:,} in {step}", markup=False)
    _show_flips(document, console)
    _show_comparisons(document, console)
    for name, reason in document["skipped"].items():
        console.print(f"{name}: not scored again: {reason}", markup=False)
    if "written" in document:
        console.print(f"written to {document['written']}", markup=False)


def _show_flips(document: dict[str, Any], console: Any) -> None:
    for name, figures in document["benchmarks"].items():
        for flip in figures["examples"]:
            before, after = flip["before"], flip["after"]
            sample = f"{name} {flip['id']}[{flip['index']}]"
            reason = after["reason"] or "no reason given"
            console.print(f"{sample}: {before['status']} -> {after['status']} ({reason})", markup=False)
            console.print(f"    answer {before['answer']!r} stored, {after['answer']!r} today", markup=False)
        if changed := figures["other_metrics"]:
            stored, today = figures["metrics"]["before"], figures["metrics"]["after"]
            means = (f"{m} {stored[m]:.4g} -> {today[m]:.4g}" for m in stored if m in today and stored[m] != today[m])
            message = f"{name}: {changed:,} samples have the same verdict, but other metrics or another reward: "
            console.print(message + (", ".join(means) or "the means are the same"), markup=False)
        if figures["missing"]:
            message = f"{name}: {figures['missing']:,} samples keep their verdict: their questions no longer exist"
            console.print(message, markup=False)


def _show_comparisons(document: dict[str, Any], console: Any) -> None:
    """Prints how many comparisons have another verdict today, and which."""
    from rich.text import Text

    from kkwarm.reporting.labels import STYLE

    comparisons = document["comparisons"]
    changed = [c for c in comparisons if c["changed"]]
    if comparisons:
        console.print(f"{len(changed):,} of {len(comparisons):,} comparisons have another verdict today", style="bold")
    for c in changed:
        text = Text(f"  {c['what']} compared with {c['baseline']} on {c['benchmark']}: ")
        for when, separator in (("before", " -> "), ("after", "")):
            figures = c[when]
            text.append(f"{figures['verdict']} {figures['estimate']:+.1f}", style=STYLE[figures["verdict"]])
            text.append(separator)
        console.print(text)
    for claim in document.get("claims", ()):
        before, after = claim["holds"]["before"], claim["holds"]["after"]
        if before != after:
            stored = {True: "held", False: "failed", None: "was undecided"}[before]
            today = {True: "holds", False: "fails", None: "is undecided"}[after]
            line = f"  claim {claim['id']} {stored} with the stored verdicts and {today} today: {claim['text']}"
            console.print(Text(line, style="bold red"))
    for problem in document["not_compared"]:
        console.print(f"not compared: {problem}", style="yellow", markup=False)
