"""kkwarm plugins: lists plugins with their distributions, versions, hooks and failures."""

from __future__ import annotations

from dataclasses import asdict

import click

from kkwarm.cli.console import echo_json, json_option, out_console


@click.command()
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List plugins with their hooks and failures. Exits with 1 if one failed."""
    from kkwarm.plugins import registry

    reg = registry()
    if as_json:
        failures = [{"plugin": f.plugin, "distribution": f.distribution, "cause": f.cause} for f in reg.failures]
        echo_json({"plugins": [asdict(plugin) for plugin in reg.plugins], "failures": failures})
        ctx.exit(1 if reg.failures else 0)
    from rich.markup import escape
    from rich.table import Table

    console = out_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("plugin", "distribution", "hooks"):
        table.add_column(column, overflow="fold")
    for p in reg.plugins:
        hooks = ", ".join(h.removeprefix("kkwarm_") for h in p.hooks)
        table.add_row(p.name, f"{p.distribution} {p.version}", hooks)
    console.print(table)
    for f in reg.failures:
        console.print(
            f"[bold red]failed[/] {escape(f.plugin)} ({escape(f.distribution)}): {escape(f.cause)}", soft_wrap=True
        )
    ctx.exit(1 if reg.failures else 0)
