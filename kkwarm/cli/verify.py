"""`kkwarm verify`: whether a stored run still agrees with itself and with what is on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kkwarm.cli.console import complete_runs, echo_json, json_option, judged_bar, out_console

if TYPE_CHECKING:
    from kkwarm.scoring.findings import Finding
    from kkwarm.store import Run

STYLE = {"agrees": "green", "differs": "bold red", "unchecked": "yellow"}


@click.command()
@click.argument("run", shell_complete=complete_runs, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def command(ctx: click.Context, run: Path, as_json: bool) -> None:
    """Check a stored RUN (or every step of a study) without a model.

    Judges its completions again, and compares checksums, figures, and the hashes of data, prompts, verifier, settings,
    traces and checkpoints with what is on this machine. Exits 1 where something no longer agrees.
    """
    from kkwarm.store import Run, find_run

    stored = Run.read(find_run(run))
    found = _findings(stored)
    counts = {state: sum(f.state == state for f in found) for state in STYLE}
    if as_json:
        rows = [
            {"what": f.what, "state": f.state.value, "says": f.says, "lines": list(f.lines)}
            | ({"step": f.step} if f.step else {})
            for f in found
        ]
        document = {"run": str(stored.path), "kind": stored.manifest.kind, "agrees": not counts["differs"]}
        echo_json({**document, "counts": counts, "findings": rows})
    else:
        _show(stored, found, counts)
    ctx.exit(1 if counts["differs"] else 0)


def _findings(run: Run) -> list[Finding]:
    from kkwarm.plugins import registry
    from kkwarm.scoring.verify_run import agreement

    with judged_bar(run.name) as advance:
        return list(agreement(run, registry(), lambda name, n: advance(n, name)))


def _show(run: Run, found: Sequence[Finding], counts: dict[str, int]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = out_console()
    study = run.manifest.kind == "study"
    title = f"{run.path} ({run.manifest.kind})"
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=not study, overflow="fold")
    table.add_column(overflow="fold")
    for what, state, says in _summed(found) if study else [(f.what, f.state.value, f.says) for f in found]:
        table.add_row(Text(state, style=STYLE[state]), Text(what), Text(says, style="dim" if state == "agrees" else ""))
    console.print(table)
    said = [f"{counts['agrees']:,} agree", f"{counts['differs']:,} no longer agree"]
    said.append(f"{counts['unchecked']:,} could not be checked here")
    verdict = "differs" if counts["differs"] else "agrees"
    console.print(Text("; ".join(said) + ".", style=STYLE[verdict]))


def _summed(found: Sequence[Finding]) -> list[tuple[str, str, str]]:
    """What agrees, counted over the steps and benchmarks of a study; everything else as it is, with its step."""
    kinds = Counter(_kind(f) for f in found if f.state == "agrees")
    rows = [(kind, "agrees", f"{n:,} time{'s' * (n > 1)}") for kind, n in kinds.items()]
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for f in found:
        if f.state != "agrees":
            alike.setdefault((_kind(f), f.state.value, f.says), []).append(f)
    for (kind, state, says), them in alike.items():
        first = them[0].what.partition(": ")[2]
        where = ", ".join(part for part in (first, them[0].step) if part)
        more = f", and {len(them) - 1:,} times more" if len(them) > 1 else ""
        rows.append((kind, state, f"{says} ({where}{more})" if where else says))
    return rows


def _kind(finding: Finding) -> str:
    """``verdicts`` of ``verdicts: kk``."""
    return finding.what.partition(":")[0]
