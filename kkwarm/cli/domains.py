"""kkwarm domains: lists domains, or shows one with rendered examples, gold completions and their verdicts."""

from __future__ import annotations

from typing import Any

import click

from kkwarm.cli.console import Whole, complete_domains, echo_json, json_option, out_console, protocol_option


@click.command()
@click.argument("name", shell_complete=complete_domains, required=False)
@click.option(
    "--examples", type=Whole(0), default=3, show_default=True, help="Number of examples to show of domain NAME."
)
@protocol_option("Protocol that renders the examples.  [default: the domain's]")
@json_option
def command(name: str | None, examples: int, protocol_name: str | None, as_json: bool) -> None:
    """List all domains and benchmarks, or show one: splits, protocols, verifier, rewards, examples with gold answers.

    Prompts are shown as text, without a checkpoint's chat template.
    """
    from kkwarm.plugins import registry

    reg = registry()
    if name is None:
        _list(reg, as_json)
        return
    document = _describe(reg, name, examples, protocol_name)
    echo_json(document) if as_json else _print(document)


def _list(reg: Any, as_json: bool) -> None:
    rows = [
        {
            "name": name,
            "description": benchmark.description,
            "protocol": benchmark.protocol,
            "distribution": (reg.origin.get(("domain", name)) or reg.origin["benchmark", name]).distribution,
            "teachers": reg.teachers_of(name),
        }
        for name, benchmark in reg.benchmarks.items()
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


def _describe(reg: Any, name: str, count: int, protocol_name: str | None) -> dict[str, Any]:
    from collections import Counter
    from dataclasses import asdict

    from kkwarm.data import content_hash, fingerprint
    from kkwarm.protocols import make_renderer
    from kkwarm.schema.by_benchmark import check_protocols
    from kkwarm.types import Completion, Status
    from kkwarm.verify import verify

    benchmark, task = reg.benchmark(name), reg.task(name)
    check_protocols(protocol_name, [benchmark.name])
    protocol = reg.protocol(benchmark, protocol_name)
    render = make_renderer(protocol, task=task)
    protocol = render.protocol
    test, train = list(benchmark.load()), list(task.load())
    chosen = sorted(test, key=content_hash)[:count]
    golds = [protocol.compose(None, task.gold(e)) if task.gold else "" for e in chosen]
    pairs = [(e, Completion(g, finish_reason="stop")) for e, g in zip(chosen, golds, strict=True)]
    verdicts = verify(reg.verifier_of(benchmark, protocol), protocol, pairs)
    examples = [
        {"id": e.id, "prompt": render(e), "gold_completion": g, "verdict": str(v.status), "reason": v.reason}
        for e, g, v in zip(chosen, golds, verdicts, strict=True)
    ]
    return {
        "name": name,
        "description": benchmark.description,
        "protocol": protocol.name,
        "verifier": reg.verifier_of(benchmark, protocol).name,
        "protocols": [
            {
                "name": p.name,
                "description": p.description,
                "source": p.source,
                "official": p.official,
                "default": p.name == benchmark.protocol,
                "chat": p.chat,
                "shots": p.shots,
            }
            for p in reg.protocols_of(name).values()
        ],
        "facet": benchmark.facet,
        "facets": Counter(str(e.meta.get(benchmark.facet)) for e in test) if benchmark.facet else {},
        "teachers": reg.teachers_of(name),
        "rewards": {str(s): task.rewards.for_status(s) for s in Status},
        "partial_credit": task.rewards.partial or ("its own reward function" if task.reward is not None else None),
        "sampling": asdict(benchmark.sampling),
        "splits": {
            "train": len(train),
            "test": len(test),
            "test_hash": fingerprint(test),
            "train_hash": fingerprint(train),
        },
        "pins": {
            split: {"repo": pin.repo, "revision": pin.revision, "source": pin.source, "sha256": pin.content}
            for split, pin in (("test", benchmark.pin), ("train", task.pin))
            if pin is not None
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
    for split, pin in document["pins"].items():
        origin = pin["source"] or f"{pin['repo']} at {pin['revision'][:8]}"
        console.print(f"{split} data: {origin}; pinned hash {pin['sha256'][:16]}", markup=False, soft_wrap=True)
    if document["facets"]:
        values = ", ".join(f"{value} ({count:,})" for value, count in document["facets"].most_common(20))
        console.print(f"facet {document['facet']}: {values}", markup=False)
    if document["teachers"]:
        console.print(f"teachers {', '.join(document['teachers'])}", markup=False)
    console.print("rewards: " + ", ".join(f"{status} {reward:+g}" for status, reward in document["rewards"].items()))
    if document["partial_credit"]:
        console.print(f"partial credit by {document['partial_credit']}", markup=False)
    _print_protocols(document, console)
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


def _print_protocols(document: dict[str, Any], console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("protocol", no_wrap=True)
    table.add_column("description and source", overflow="fold")
    for p in document["protocols"]:
        marks = [m for m, holds in (("default", p["default"]), ("official", p["official"])) if holds]
        text = Text(p["description"])
        if p["source"]:
            text.append(f"\n{p['source']}", style="dim")
        table.add_row(Text("\n".join([p["name"], *(f"  {m}" for m in marks)])), text)
    console.print(table)
