"""`kkwarm verify`: checks a stored run against itself and against this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kkwarm.cli.console import complete_runs, domain_option, echo_json, json_option, out_console, verification_bar

if TYPE_CHECKING:
    from kkwarm.scoring.verify_run import Finding
    from kkwarm.store import Run

STYLE = {"agrees": "green", "differs": "bold red", "unchecked": "yellow"}


@click.command()
@click.argument("run", shell_complete=complete_runs, type=click.Path(path_type=Path))
@domain_option
@json_option
@click.pass_context
def command(ctx: click.Context, run: Path, as_json: bool) -> None:
    """Check a stored RUN, or every step of a study, without a model.

    Verifies its completions again, and compares checksums, figures, and the hashes of data, prompts, verifier,
    settings, traces and checkpoints with those on this machine. Exits with 1 if something differs.
    """
    from kkwarm.store import Run, find_run

    stored = Run.read(find_run(run))
    findings = _find(stored)
    counts = {state: sum(f.state == state for f in findings) for state in STYLE}
    if as_json:
        rows = [
            {"what": f.what, "state": f.state.value, "detail": f.detail, "lines": list(f.lines)}
            | ({"step": f.step} if f.step else {})
            for f in findings
        ]
        document = {"run": str(stored.path), "kind": stored.manifest.kind, "agrees": not counts["differs"]}
        echo_json({**document, "counts": counts, "findings": rows})
    else:
        _show(stored, findings, counts)
    ctx.exit(1 if counts["differs"] else 0)


def _find(run: Run) -> list[Finding]:
    from kkwarm.plugins import registry
    from kkwarm.scoring.verify_run import verify_run

    with verification_bar(run.name) as advance:
        return list(verify_run(run, registry(), lambda name, n: advance(n, name)))


def _show(run: Run, findings: Sequence[Finding], counts: dict[str, int]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = out_console()
    study = run.manifest.kind == "study"
    title = f"{run.path} ({run.manifest.kind})"
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=not study, overflow="fold")
    table.add_column(overflow="fold")
    rows = _group(findings) if study else [(f.what, f.state.value, f.detail) for f in findings]
    for what, state, detail in rows:
        style = "dim" if state == "agrees" else ""
        table.add_row(Text(state, style=STYLE[state]), Text(what), Text(detail, style=style))
    console.print(table)
    summary = f"{counts['agrees']:,} agree; {counts['differs']:,} differ; {counts['unchecked']:,} could not be checked."
    console.print(Text(summary, style=STYLE["differs" if counts["differs"] else "agrees"]))


def _group(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    """Rows for a study: what agrees is counted over steps and benchmarks, equal other findings share a row."""
    agreeing = Counter(_kind(f) for f in findings if f.state == "agrees")
    rows = [(kind, "agrees", f"{n:,} time{'s' * (n > 1)}") for kind, n in agreeing.items()]
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for f in findings:
        if f.state != "agrees":
            groups.setdefault((_kind(f), f.state.value, f.detail), []).append(f)
    for (kind, state, detail), group in groups.items():
        benchmark = group[0].what.partition(": ")[2]
        where = ", ".join(part for part in (benchmark, group[0].step) if part)
        more = f", and {len(group) - 1:,} more" if len(group) > 1 else ""
        rows.append((kind, state, f"{detail} ({where}{more})" if where else detail))
    return rows


def _kind(finding: Finding) -> str:
    """``verdicts`` of ``verdicts: kk``."""
    return finding.what.partition(":")[0]
