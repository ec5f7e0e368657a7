"""kkwarm check: conformance without a model, and the verifier's adversarial probes."""

from __future__ import annotations

from typing import Any

import click

from kkwarm.cli.console import Whole, complete_domains, echo_json, json_option, out_console, unsandboxed_option


@click.command()
@click.argument("name", shell_complete=complete_domains)
@click.option(
    "--examples", type=Whole(1), default=12, show_default=True, help="Examples that the adversarial probes attacks."
)
@unsandboxed_option
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, examples: int, as_json: bool) -> None:
    """Check the domain NAME without a model, and attack its verifier. Exits 1 if anything fails."""
    from kkwarm.plugins import registry
    from kkwarm.testing.conformance import check_domain
    from kkwarm.verify import Judge
    from kkwarm.verify.probes import ProbeFailure, probe_domain

    reg = registry()
    failures: list[ProbeFailure] = []
    tried: dict[str, int] = {}
    with Judge() as judge:
        findings = check_domain(reg, name, judge)
        if all(f.ok for f in findings):
            failures, tried = probe_domain(reg, name, examples, judge)
    bad = any(not f.ok for f in findings) or bool(failures)
    if as_json:
        echo_json(
            {
                "domain": name,
                "ok": not bad,
                "rules": [_finding(f) for f in findings],
                "prompt": next((f.shown for f in findings if f.shown), None),
                "probes": tried,
                "wrongly_accepted": [_miss(m) for m in failures if m.expect == "reject"],
                "wrongly_rejected": [_miss(m) for m in failures if m.expect == "accept"],
            }
        )
    else:
        _show(name, findings, failures, tried)
    ctx.exit(1 if bad else 0)


def _finding(found: Any) -> dict[str, Any]:
    return {"rule": found.rule, "ok": found.ok, "problem": found.problem, "see": found.where, "note": found.note}


def _miss(miss: Any) -> dict[str, str]:
    return {
        "probe": miss.probe,
        "example": miss.example,
        "completion": miss.completion[:2_000],
        "verdict": miss.verdict,
    }


def _show(name: str, findings: Any, failures: Any, tried: dict[str, int]) -> None:
    from rich.markup import escape
    from rich.panel import Panel
    from rich.table import Table

    console = out_console()
    table = Table(title=f"kkwarm check {name}", title_justify="left", box=None, show_header=False, pad_edge=False)
    for f in findings:
        mark, told = "[green]ok[/]", f"[dim]{escape(f.note)}[/]"
        if not f.ok:
            mark, told = "[bold red]FAIL[/]", f"[red]{escape(f.problem)}[/]; see {escape(f.where)}"
        table.add_row(mark, f.rule, told)
    wrong = {m.probe for m in failures}
    for attack, count in tried.items():
        mark = "[bold red]FAIL[/]" if attack in wrong else "[green]ok[/]"
        table.add_row(mark, f"adversarial probes: {attack}", f"[dim]{count} completions[/]")
    console.print(table)
    for f in findings:
        if f.shown:
            console.print(Panel(escape(f.shown), title=f"[dim]{f.rule}: the first one[/]", title_align="left"))
    shown: set[tuple[str, bool]] = set()
    for m in failures:
        if (m.probe, m.expect) in shown:
            continue
        shown.add((m.probe, m.expect))
        what = "wrongly rejected" if m.expect == "accept" else "wrongly accepted"
        text = repr(m.completion if len(m.completion) <= 300 else m.completion[:300] + "…")
        console.print(
            f"\n[bold red]{what}[/] by {escape(m.probe)}, {escape(m.example)} ({escape(m.verdict)})\n  {escape(text)}"
        )
    if not tried:
        console.print("\nThe adversarial probes attacks once the rules above are kept.")
