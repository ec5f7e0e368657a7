"""The result of `kkwarm check` in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kkwarm.testing.check import CheckResult
    from kkwarm.verify.search import SearchResult


def print_check(result: CheckResult, console: Any) -> None:
    """Prints rules, probes, the search, waivers, and everything that failed."""
    _print_rules(result, console)
    _print_search(result.search, result.seed, console)
    _print_waivers(result.waived_rows() if result.probes.counts else [], console)


def _print_rules(result: CheckResult, console: Any) -> None:
    from rich.markup import escape
    from rich.panel import Panel
    from rich.table import Table

    probes = result.probes
    ok, fail = "[green]ok[/]", "[bold red]FAIL[/]"
    plain: dict[str, Any] = {"title_justify": "left", "box": None, "show_header": False, "pad_edge": False}
    table = Table(title=f"kkwarm check {escape(result.name)}", **plain)
    for f in result.findings:
        detail = f"[dim]{escape(f.note)}[/]" if f.ok else f"[red]{escape(f.problem)}[/]; see {escape(f.where)}"
        table.add_row(ok if f.ok else fail, f.rule, detail)
    console.print(table)
    if probes.counts:
        failed_probes = {f.probe for f in probes.failures}
        table = Table(title="adversarial probes", **plain)
        for probe, count in probes.counts.items():
            state = "[yellow]waived[/]" if probes.waived.get(probe) else fail if probe in failed_probes else ok
            table.add_row(state, escape(probe), f"[dim]{count} completions[/]")
        console.print(table)
        for why in dict.fromkeys(probes.not_applicable.values()):
            names = ", ".join(probe for probe, reason in probes.not_applicable.items() if reason == why)
            console.print(f"[dim]not applicable: {escape(names)} ({escape(why)})[/]")
    for f in result.findings:
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


def _print_search(result: SearchResult, seed: int, console: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not result.n_cases:
        return
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


def _print_waivers(rows: Sequence[dict[str, Any]], console: Any) -> None:
    from rich.markup import escape

    for row in rows:
        count = row["wrong"]
        verdicts = "wrong verdict" if count == 1 else "wrong verdicts"
        found = f"{count:,} {verdicts}" if count else "no wrong verdict, so it may be removed"
        console.print(f"[yellow]waived[/]: {escape(row['probe'])}: {escape(row['reason'])} [dim]({found})[/]")
