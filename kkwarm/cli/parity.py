"""What `kkwarm doctor --parity` shows."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kkwarm.cli.console import echo_json, err_console, out_console

if TYPE_CHECKING:
    from kkwarm.backends.parity import Variant

__all__ = ["compare"]


def compare(
    checkpoint: str, server: tuple[str, str] | None, prompts: Sequence[str], device: str | None, as_json: bool
) -> bool:
    """Runs the probe and prints it; whether all ways that could be run agree."""
    from kkwarm.backends.parity import PROMPTS, probe

    console = err_console()
    with console.status("loading") as status:
        ways, limit = probe(
            checkpoint,
            prompts=prompts or PROMPTS,
            device=device,
            vllm=importlib.util.find_spec("vllm") is not None,
            server=server,
            say=status.update,
        )
    ok = all(way.agrees is not False for way in ways)
    if as_json:
        echo_json({"ok": ok, "checkpoint": checkpoint, "tolerance": limit, "ways": [asdict(way) for way in ways]})
    else:
        _show(ways, limit)
    return ok


def _show(ways: Sequence[Variant], limit: float) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = out_console()
    table = Table(box=None, pad_edge=False, title_justify="left", title="beside hf eager, one text at a time")
    for column in ("", "way", "greedy texts", "log-probability off by at most", "on average"):
        table.add_column(column, justify="left" if column in ("", "way") else "right")
    marks = {True: "[green]agrees[/]", False: "[bold red]differs[/]", None: "[yellow]not run[/]"}
    for way in ways:
        texts = "" if way.agrees is None else f"{way.same_texts} of {way.texts} equal"
        table.add_row(marks[way.agrees], escape(way.name), texts, _number(way.max_error), _number(way.mean_error))
    console.print(table)
    for way in ways:
        if way.note:
            console.print(f"{way.name}: {way.note}", markup=False, soft_wrap=True)
        for p in way.divergences:
            tied = "" if p.margin is None else f" (the reference prefers its own by {p.margin:.2g})"
            console.print(
                f"{way.name}: {p.prompt[:40]!r} after {p.tokens} tokens: {p.expected!r}, here {p.got!r}{tied}",
                markup=False,
                soft_wrap=True,
            )
    console.print(f"tolerance {limit:g}: a larger difference is no rounding", markup=False)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.2g}"
