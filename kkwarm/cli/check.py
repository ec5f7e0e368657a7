"""kkwarm check: conformance rules without a model, and adversarial probes on the verifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import Whole, complete_domains, echo_json, json_option, out_console, unsandboxed_option

if TYPE_CHECKING:
    from kkwarm.testing import Finding
    from kkwarm.verify.probes import ProbeFailure


@click.command()
@click.argument("name", shell_complete=complete_domains)
@click.option(
    "--examples",
    type=Whole(1),
    default=12,
    show_default=True,
    help="Number of evaluation examples on which the adversarial probes are run.",
)
@unsandboxed_option
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, examples: int, as_json: bool) -> None:
    """Check the domain NAME without a model: conformance rules, then adversarial probes on its verifier.

    Exits with 1 if anything fails.
    """
    from kkwarm.plugins import registry
    from kkwarm.testing.conformance import check_domain, failed
    from kkwarm.verify import Judge
    from kkwarm.verify.probes import probe_domain

    reg = registry()
    failures: list[ProbeFailure] = []
    counts: dict[str, int] = {}
    with Judge() as judge:
        findings = check_domain(reg, name, judge)
        if not failed(findings):
            failures, counts = probe_domain(reg, name, examples, judge)
    ok = not failed(findings) and not failures
    if as_json:
        echo_json(
            {
                "domain": name,
                "ok": ok,
                "rules": [
                    {"rule": f.rule, "ok": f.ok, "problem": f.problem, "see": f.where, "note": f.note} for f in findings
                ],
                "prompt": next((f.shown for f in findings if f.shown), None),
                "probes": counts,
                "wrongly_accepted": [_failure_row(f) for f in failures if f.expect == "reject"],
                "wrongly_rejected": [_failure_row(f) for f in failures if f.expect == "accept"],
            }
        )
    else:
        _print_results(name, findings, failures, counts)
    ctx.exit(0 if ok else 1)


def _failure_row(failure: ProbeFailure) -> dict[str, str]:
    return {
        "probe": failure.probe,
        "example": failure.example,
        "completion": failure.completion[:2_000],
        "verdict": failure.verdict,
    }


def _print_results(
    name: str, findings: Sequence[Finding], failures: Sequence[ProbeFailure], counts: dict[str, int]
) -> None:
    from rich.markup import escape
    from rich.panel import Panel
    from rich.table import Table

    console = out_console()
    ok, fail = "[green]ok[/]", "[bold red]FAIL[/]"
    table = Table(title=f"kkwarm check {name}", title_justify="left", box=None, show_header=False, pad_edge=False)
    for f in findings:
        detail = f"[dim]{escape(f.note)}[/]" if f.ok else f"[red]{escape(f.problem)}[/]; see {escape(f.where)}"
        table.add_row(ok if f.ok else fail, f.rule, detail)
    console.print(table)
    if counts:
        failed_probes = {f.probe for f in failures}
        table = Table(title="adversarial probes", title_justify="left", box=None, show_header=False, pad_edge=False)
        for probe, count in counts.items():
            table.add_row(fail if probe in failed_probes else ok, escape(probe), f"[dim]{count} completions[/]")
        console.print(table)
    for f in findings:
        if f.shown:
            console.print(Panel(escape(f.shown), title=f"[dim]{f.rule}: first example[/]", title_align="left"))
    first_failures: dict[tuple[str, str], Any] = {}
    for failure in failures:
        first_failures.setdefault((failure.probe, failure.expect), failure)
    for failure in first_failures.values():
        outcome = "wrongly rejected" if failure.expect == "accept" else "wrongly accepted"
        where = f"probe {escape(failure.probe)}, example {escape(failure.example)} ({escape(failure.verdict)})"
        text = failure.completion if len(failure.completion) <= 300 else failure.completion[:300] + "…"
        console.print(f"\n[bold red]{outcome}[/]: {where}\n  {escape(repr(text))}")
    if not counts:
        console.print("\nThe adversarial probes run once all rules above pass.")
