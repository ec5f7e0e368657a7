"""`kkwarm rescore`: judges a stored run again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import Whole, complete_runs, echo_json, json_option, judged_bar, out_console, unsandboxed_option
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    from kkwarm.scoring.rescore import Flip, Rescored
    from kkwarm.store import Run

SHOWN = 3  # flipped samples shown for each kind


@click.command()
@click.argument("run", shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.option(
    "--compare-to", multiple=True, type=click.Path(path_type=Path), help="Runs to compare with, then and today."
)
@click.option("--alone", is_flag=True, help="Compare with no other run.")
@click.option("--write", is_flag=True, help="Keep the new verdicts as a run beside RUN (RUN is never changed).")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Keep them in this folder instead.")
@click.option("--workers", type=Whole(1), help="Processes for slow verdicts.  [default: one for each core]")
@unsandboxed_option
@json_option
def command(
    run: Path,
    compare_to: tuple[Path, ...],
    alone: bool,
    write: bool,
    out: Path | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Judge the stored completions of RUN by today's verifiers: what flipped, and which comparisons change.

    RUN is a run with samples, or a study. It is compared with --compare-to, else with the runs that its study compares it
    with, else with those beside it that asked the same; both sides by today's verdicts. No model is needed.
    """
    from kkwarm.store import Run, find_run

    if alone and compare_to:
        raise KkwarmError("--alone compares with no other run, --compare-to with some", hint="leave one of them out")
    stored = Run.read(find_run(run))
    others = [Run.read(find_run(path)).path for path in compare_to]
    target = out or (_beside(stored.path) if write else None)
    _free(target)
    with judged_bar(stored.name) as advance:
        if stored.manifest.kind == "study":
            document = _study(stored, target, workers, advance)
        else:
            document = _run(stored, [] if alone else others or None, target, workers, advance)
    if as_json:
        echo_json(document)
    else:
        show(document)


def _run(
    run: Run, against: Sequence[Path] | None, target: Path | None, workers: int | None, advance: Callable[[int], None]
) -> dict[str, Any]:
    from kkwarm.plugins import registry
    from kkwarm.scoring.rescore import rescore, write_rescored
    from kkwarm.scoring.rescored_comparisons import comparisons, partners

    results = rescore(run, registry(), workers=workers, progress=advance)
    others = partners(run) if against is None else list(against)
    found, problems = comparisons(run, results, others, registry(), workers=workers, progress=advance)
    document: dict[str, Any] = {
        "run": str(run.path),
        "flipped": sum(len(r.flips) for r in results),
        "benchmarks": {r.benchmark: _figures(r) for r in results if not r.skipped},
        "skipped": {r.benchmark: r.skipped for r in results if r.skipped},
        "comparisons": [c.document() for c in found],
        "not_compared": problems,
    }
    if target is not None:
        document["written"] = str(write_rescored(run, results, target).path)
    return document


def _study(run: Run, target: Path | None, workers: int | None, advance: Callable[[int], None]) -> dict[str, Any]:
    from kkwarm.plugins import registry
    from kkwarm.scoring.rescored_comparisons import study_again

    with tempfile.TemporaryDirectory() as folder:
        steps, found, claims = study_again(
            run, registry(), target or Path(folder, "study"), workers=workers, progress=advance
        )
    flips = {step: sum(len(r.flips) for r in results) for step, results in steps.items()}
    document: dict[str, Any] = {
        "run": str(run.path),
        "flipped": sum(flips.values()),
        "steps": {step: n for step, n in flips.items() if n},
        "benchmarks": {},
        "skipped": {r.benchmark: r.skipped for results in steps.values() for r in results if r.skipped},
        "comparisons": [c.document() for c in found],
        "claims": claims,
        "not_compared": [],
    }
    return document | ({"written": str(target)} if target is not None else {})


def _free(target: Path | None) -> None:
    """Finds out before the work, not after it, that a folder cannot be taken."""
    if target is None:
        return
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        what = "a file" if target.is_file() else "not empty"
        raise KkwarmError(f"{target} is {what}", hint="choose another folder with -o")
    parent = next(p for p in target.absolute().parents if p.exists())
    if not os.access(target if target.exists() else parent, os.W_OK):
        raise KkwarmError(f"{target} cannot be written", hint="choose another folder with -o")


def _beside(path: Path) -> Path:
    """``RUN-rescored``, or the first of ``RUN-rescored-2`` ... that is not there."""
    base = path.resolve()
    named = base.with_name(f"{base.name}-rescored")
    number = 1
    while named.exists():
        number += 1
        named = base.with_name(f"{base.name}-rescored-{number}")
    return named


def _figures(result: Rescored) -> dict[str, Any]:
    before, after = result.figures_before, result.figures_after
    return {
        "n": after["n"],
        "samples": after["samples"],
        "accuracy": {"before": before["accuracy"], "after": after["accuracy"]},
        "stderr": {"before": before["stderr"], "after": after["stderr"]},
        "status": {"before": before["status"], "after": after["status"]},
        "flips": result.counts,
        "gone": result.gone,
        "examples": _examples(result.flips),
    }


def _examples(flips: list[Flip]) -> list[dict[str, Any]]:
    """The shortest completions of each kind of flip."""
    shown: list[dict[str, Any]] = []
    taken: dict[tuple[str, str], int] = {}
    for flip in sorted(flips, key=lambda f: len(f.after.completion.text or "")):
        before, after = flip.before.verdict, flip.after.verdict
        kind = before.status.value, after.status.value
        taken[kind] = taken.get(kind, 0) + 1
        if taken[kind] > SHOWN:
            continue
        text = flip.after.completion.text
        shown.append(
            {
                "id": flip.after.id,
                "index": flip.after.index,
                "before": {"status": kind[0], "answer": before.answer, "reason": before.reason},
                "after": {"status": kind[1], "answer": after.answer, "reason": after.reason},
                "end": text[-200:] if isinstance(text, str) else text,
            }
        )
    return shown


def show(document: dict[str, Any]) -> None:
    """Prints before, after and flips for each benchmark, and what that changes."""
    from rich.table import Table
    from rich.text import Text

    console = out_console()
    title = Text(f"{document['run']}: {document['flipped']:,} verdicts flipped")
    if document["benchmarks"]:
        table = Table(title=title, title_justify="left")
        for column in ("", "samples", "accuracy then", "today", "flipped"):
            table.add_column(column, justify="left" if column in ("", "flipped") else "right")
        for name, figures in document["benchmarks"].items():
            accuracy = figures["accuracy"]
            flips = "\n".join(f"{count:,} {kind}" for kind, count in figures["flips"].items()) or "none"
            then, today = (f"{100 * accuracy[when]:.2f}" for when in ("before", "after"))
            table.add_row(Text(name), f"{figures['samples']:,}", then, today, flips)
        console.print(table)
    else:
        console.print(title)
    for step, count in document.get("steps", {}).items():
        console.print(f"  {count:,} in {step}", markup=False)
    _show_flips(document, console)
    _show_comparisons(document, console)
    for name, why in document["skipped"].items():
        console.print(f"{name}: not judged again: {why}", markup=False)
    if "written" in document:
        console.print(f"kept in {document['written']}", markup=False)


def _show_flips(document: dict[str, Any], console: Any) -> None:
    for name, figures in document["benchmarks"].items():
        for flip in figures["examples"]:
            was, now = flip["before"], flip["after"]
            which = f"{name} {flip['id']}[{flip['index']}]"
            line = f"{which}: {was['status']} -> {now['status']} ({now['reason'] or 'no reason'})"
            console.print(line, markup=False)
            console.print(f"    read {was['answer']!r} then, {now['answer']!r} today", markup=False)
        if figures["gone"]:
            said = f"{name}: {figures['gone']:,} samples of questions that it no longer has keep their verdict"
            console.print(said, markup=False)


def _show_comparisons(document: dict[str, Any], console: Any) -> None:
    """How many comparisons say something else today, and which."""
    from rich.text import Text

    from kkwarm.reporting.terminal import STYLE

    found = document["comparisons"]
    changed = [c for c in found if c["changed"]]
    if found:
        console.print(f"{len(changed):,} of {len(found):,} comparisons say something else today", style="bold")
    for c in changed:
        text = Text(f"  {c['what']} against {c['baseline']} on {c['benchmark']}: ")
        for when, word in (("before", " -> "), ("after", "")):
            figures = c[when]
            text.append(f"{figures['verdict']} {100 * figures['estimate']:+.1f}", style=STYLE[figures["verdict"]])
            text.append(word)
        console.print(text)
    for claim in document.get("claims", ()):
        then, today = claim["holds"]["before"], claim["holds"]["after"]
        if then != today:
            said = {True: "held", False: "failed", None: "was undecided"}[then]
            now = {True: "holds", False: "fails", None: "is undecided"}[today]
            console.print(Text(f"  claim {claim['id']} {said} then and {now} today: {claim['text']}", style="bold red"))
    for problem in document["not_compared"]:
        console.print(f"not compared: {problem}", style="yellow", markup=False)
