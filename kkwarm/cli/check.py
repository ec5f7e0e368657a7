"""kkwarm check: conformance rules without a model, and adversarial probes on the verifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import (
    Number,
    Whole,
    complete_domains,
    echo_json,
    json_option,
    out_console,
    search_bar,
    unpinned_option,
    unsandboxed_option,
)
from kkwarm.errors import warn

if TYPE_CHECKING:
    from kkwarm.testing import Finding
    from kkwarm.verify.probes import ProbeFailure, ProbeReport
    from kkwarm.verify.search import Counterexample, SearchResult


@click.command()
@click.argument("name", shell_complete=complete_domains)
@click.option(
    "--examples",
    type=Whole(1),
    default=12,
    show_default=True,
    help="Number of evaluation examples on which the adversarial probes and the search are run.",
)
@click.option(
    "--search",
    "seconds",
    type=Number(min=0, min_open=True),
    metavar="SECONDS",
    help="Seconds of adversarial search. By default it generates 200 cases per generator, in at most 30 seconds.",
)
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Random seed of the generated cases.")
@click.option(
    "--peers",
    is_flag=True,
    help="Also score the generated cases with the other scorers that the plugin names, and count their wrong verdicts.",
)
@click.option(
    "--protocol",
    "protocol_name",
    metavar="NAME",
    help="Protocol to check, with its reader and verifier.  [default: the domain's]",
)
@unsandboxed_option
@unpinned_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    examples: int,
    seconds: float | None,
    seed: int,
    peers: bool,
    protocol_name: str | None,
    as_json: bool,
) -> None:
    """Check the domain NAME without a model: conformance rules, adversarial probes on its verifier, and a search.

    The search generates answers with known labels and shrinks each kind of wrong verdict to a small counterexample.
    Exits with 1 if anything fails.
    """
    from kkwarm.plugins import registry
    from kkwarm.testing.conformance import check_domain, failed
    from kkwarm.verify import Judge
    from kkwarm.verify.probes import ProbeReport, probe_domain
    from kkwarm.verify.search import Budget, SearchResult, search_domain

    reg = registry()
    probes = ProbeReport([], {}, {}, {})
    found = SearchResult()
    with Judge() as judge:
        findings = check_domain(reg, name, judge, protocol_name)
        if not failed(findings):
            probes = probe_domain(reg, name, examples, judge, protocol_name)
            budget = Budget(seed=seed) if seconds is None else Budget(None, seconds, seed)
            with search_bar(name) as report:
                found = search_domain(
                    reg, name, examples, judge, budget, protocol_name=protocol_name, peers=peers, report=report
                )
    broken = [f for f in reg.failures if f.cause.startswith(("kkwarm_probes", "kkwarm_case_generators"))]
    for failure in broken:
        warn(f"plugin {failure.plugin}: {failure.cause}")
    ok = not failed(findings) and not probes.failures and not found.counterexamples and not broken
    waivers = reg.domain(name).waivers
    if as_json:
        echo_json(
            {
                "domain": name,
                "ok": ok,
                "rules": [
                    {"rule": f.rule, "ok": f.ok, "problem": f.problem, "see": f.where, "note": f.note} for f in findings
                ],
                "prompt": next((f.shown for f in findings if f.shown), None),
                "probes": probes.counts,
                "not_applicable": probes.not_applicable,
                "waived": _waived_rows(waivers, probes, found),
                **{
                    outcome.replace(" ", "_"): [_failure_row(f) for f in probes.failures if f.outcome == outcome]
                    for outcome in ("wrongly accepted", "wrongly rejected", "wrongly rewarded")
                },
                "search": _search_rows(found, seed),
            }
        )
    else:
        _print_results(name, findings, probes)
        _print_search(found, seed)
        _print_waivers(_waived_rows(waivers, probes, found) if probes.counts else [])
    ctx.exit(0 if ok else 1)


def _waived_rows(waivers: Mapping[str, str], probes: ProbeReport, found: SearchResult) -> list[dict[str, Any]]:
    """Each waiver with its reason and the number of completions with a wrong verdict that it covers."""
    wrong = Counter(probes.waived)
    for example in found.waived:
        for name in {example.generator, example.name} & set(waivers):
            wrong[name] = max(wrong[name], example.count)
    return [{"probe": name, "reason": reason, "wrong": wrong[name]} for name, reason in waivers.items()]


def _failure_row(failure: ProbeFailure) -> dict[str, str]:
    return {
        "probe": failure.probe,
        "example": failure.example,
        "completion": failure.completion[:2_000],
        "verdict": failure.verdict,
    }


def _search_rows(result: SearchResult, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "seconds": round(result.seconds, 1),
        "n_cases": result.n_cases,
        "cases": {name: dict(kinds) for name, kinds in result.cases.items()},
        "counterexamples": [_counterexample_row(c) for c in result.counterexamples],
        "peers": {name: dict(counts) for name, counts in result.peers.items()},
    }


def _counterexample_row(found: Counterexample) -> dict[str, Any]:
    return {
        "generator": found.generator,
        "kind": found.case.kind,
        "outcome": found.outcome,
        "expect": found.case.expect,
        "status": str(found.verdict.status),
        "reason": found.verdict.reason,
        "count": found.count,
        "example": found.example.id,
        "question": found.example.question[:2_000],
        "gold": found.gold,
        "free_text": found.case.free_text,
        "completion": found.case.completion[:2_000],
        "peers": found.peers,
    }


def _print_search(result: SearchResult, seed: int) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not result.n_cases:
        return
    console = out_console()
    console.print(f"[i]adversarial search: {result.n_cases:,} cases in {result.seconds:.1f} s, seed {seed}[/]")
    table = Table(box=None, show_header=False, pad_edge=False)
    wrong: dict[tuple[str, str], int] = {}
    for found in result.counterexamples:
        wrong[found.generator, found.case.kind] = found.count
    waived = {(c.generator, c.case.kind) for c in result.waived}
    for generator, kinds in result.cases.items():
        for kind, count in sorted(kinds.items()):
            failed = (generator, kind) in wrong
            state = "[bold red]FAIL[/]" if failed else "[green]ok[/]"
            if (generator, kind) in waived:
                state = "[yellow]waived[/]"
            note = f"{count:,} cases" + (f", {wrong[generator, kind]:,} wrong" if failed else "")
            table.add_row(state, escape(f"{generator}: {kind}"), f"[dim]{note}[/]")
    console.print(table)
    for name, counts in result.peers.items():
        console.print(
            f"peer {escape(name)}: {counts['wrongly_accepted']:,} wrongly accepted, {counts['wrongly_rejected']:,} "
            f"wrongly rejected of {counts['verdicts']:,}; {counts['no_verdict']:,} without a verdict"
        )
    for found in result.counterexamples:
        peers = "".join(f"; {name}: {status}" for name, status in found.peers.items())
        reason = f": {found.verdict.reason}" if found.verdict.reason else ""
        console.print(
            f"\n[bold red]{found.outcome}[/]: {escape(found.generator)}: {escape(found.case.kind)} "
            f"({found.count:,} cases), {'free text' if found.case.free_text else 'tagged'}\n"
            f"  gold       {escape(repr(found.gold))}\n"
            f"  completion {escape(repr(found.case.completion[:1_000]))}\n"
            f"  verdict    {escape(str(found.verdict.status) + reason + peers)}; it should be {found.case.expect}ed"
        )


def _print_waivers(rows: Sequence[dict[str, Any]]) -> None:
    from rich.markup import escape

    for row in rows:
        found = f"{row['wrong']:,} wrong verdicts" if row["wrong"] else "no wrong verdict, so it may be removed"
        out_console().print(f"[yellow]waived[/]: {escape(row['probe'])}: {escape(row['reason'])} [dim]({found})[/]")


def _print_results(name: str, findings: Sequence[Finding], probes: ProbeReport) -> None:
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
    if probes.counts:
        failed_probes = {f.probe for f in probes.failures}
        table = Table(title="adversarial probes", title_justify="left", box=None, show_header=False, pad_edge=False)
        for probe, count in probes.counts.items():
            state = "[yellow]waived[/]" if probes.waived.get(probe) else fail if probe in failed_probes else ok
            table.add_row(state, escape(probe), f"[dim]{count} completions[/]")
        console.print(table)
        for why in dict.fromkeys(probes.not_applicable.values()):
            names = ", ".join(probe for probe, reason in probes.not_applicable.items() if reason == why)
            console.print(f"[dim]not applicable: {escape(names)} ({escape(why)})[/]")
    for f in findings:
        if f.shown:
            console.print(Panel(escape(f.shown), title=f"[dim]{f.rule}: first example[/]", title_align="left"))
    first_failures: dict[tuple[str, str], Any] = {}
    for failure in probes.failures:
        first_failures.setdefault((failure.probe, failure.outcome), failure)
    for failure in first_failures.values():
        where = f"probe {escape(failure.probe)}, example {escape(failure.example)} ({escape(failure.verdict)})"
        text = failure.completion if len(failure.completion) <= 300 else failure.completion[:300] + "…"
        console.print(f"\n[bold red]{failure.outcome}[/]: {where}\n  {escape(repr(text))}")
    if not probes.counts:
        console.print("\nThe adversarial probes run once all rules above pass.")
