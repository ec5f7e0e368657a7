"""kkwarm domains: lists domains, or shows one with rendered examples, gold completions and their verdicts."""

from __future__ import annotations

from typing import Any

import click

from kkwarm.cli.console import Whole, complete_domains, echo_json, json_option, out_console


@click.command()
@click.argument("name", shell_complete=complete_domains, required=False)
@click.option(
    "--examples", type=Whole(0), default=3, show_default=True, help="Number of examples to show of domain NAME."
)
@json_option
def command(name: str | None, examples: int, as_json: bool) -> None:
    """List all domains, or show the domain NAME: splits, verifier, rewards, and examples with gold answers."""
    from kkwarm.plugins import registry

    reg = registry()
    if name is None:
        _list(reg, as_json)
    else:
        _show_one(reg, name, examples, as_json)


def _list(reg: Any, as_json: bool) -> None:
    rows = [
        {
            "name": d.name,
            "description": d.description,
            "protocol": d.protocol,
            "distribution": reg.origin["domain", d.name].distribution,
            "teachers": [t for dom, t in reg.teachers if dom == d.name],
        }
        for d in reg.domains.values()
    ]
    if as_json:
        echo_json({"domains": rows})
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("domain", "description", "teachers"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row["name"], escape(row["description"]), ", ".join(row["teachers"]))
    console = out_console()
    console.print(table)
    if reg.failures:
        console.print(f"\n{len(reg.failures)} plugin failures: see `kkwarm plugins`", style="yellow")


def _show_one(reg: Any, name: str, count: int, as_json: bool) -> None:
    document = _describe(reg, name, count)
    if as_json:
        echo_json(document)
    else:
        _print(document)


def _describe(reg: Any, name: str, count: int) -> dict[str, Any]:
    from collections import Counter
    from dataclasses import asdict

    from kkwarm.data import content_hash, fingerprint
    from kkwarm.protocols import make_renderer
    from kkwarm.types import Completion, Status
    from kkwarm.verify import verify

    domain, benchmark, task = reg.domain(name), reg.benchmark(name), reg.task(name)
    protocol = reg.protocol(domain)
    render = make_renderer(protocol)
    test, train = list(benchmark.load()), list(task.load())
    chosen = sorted(test, key=content_hash)[:count]
    golds = [protocol.compose(None, domain.gold(e)) if domain.gold else "" for e in chosen]
    pairs = [(e, Completion(g, finish_reason="stop")) for e, g in zip(chosen, golds, strict=True)]
    verdicts = verify(reg.verifier(benchmark.verifier), protocol, pairs)
    examples = [
        {
            "id": e.id,
            "prompt": render(e),
            "gold_completion": g,
            "verdict": str(v.status),
            "reason": v.reason,
        }
        for e, g, v in zip(chosen, golds, verdicts, strict=True)
    ]
    return {
        "name": name,
        "description": domain.description,
        "protocol": domain.protocol,
        "verifier": benchmark.verifier,
        "facet": domain.facet,
        "facets": Counter(str(e.meta.get(domain.facet)) for e in test) if domain.facet else {},
        "teachers": [teacher for of, teacher in reg.teachers if of == name],
        "rewards": {str(s): domain.rewards.for_status(s) for s in Status},
        "sampling": asdict(domain.sampling),
        "splits": {
            "train": len(train),
            "test": len(test),
            "test_hash": fingerprint(test),
            "train_hash": fingerprint(train),
        },
        "examples": examples,
    }


def _print(document: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.panel import Panel

    console = out_console()
    splits = document["splits"]
    console.print(f"[bold]{escape(document['name'])}[/]  {escape(document['description'])}")
    console.print(
        f"{splits['train']:,} training examples, {splits['test']:,} test examples; "
        f"protocol {document['protocol']}, verifier {document['verifier']}"
    )
    if document["facets"]:
        values = ", ".join(f"{value} ({count:,})" for value, count in document["facets"].most_common(20))
        console.print(f"facet {document['facet']}: {values}", markup=False)
    if document["teachers"]:
        console.print(f"teachers {', '.join(document['teachers'])}", markup=False)
    console.print("rewards: " + ", ".join(f"{status} {reward:+g}" for status, reward in document["rewards"].items()))
    for row in document["examples"]:
        mark = "green" if row["verdict"] == "correct" else "red"
        console.print(
            Panel(
                f"{escape(row['prompt'])}[cyan]{escape(row['gold_completion'])}[/]",
                title=escape(row["id"]),
                subtitle=f"[{mark}]{row['verdict']}[/]",
                title_align="left",
            )
        )
