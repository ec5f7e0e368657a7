"""Output of `kkwarm doctor --parity`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kkwarm.cli.console import echo_json, err_console, out_console

if TYPE_CHECKING:
    from kkwarm.backends.parity import Variant


def compare(
    checkpoint: str, server: tuple[str, str] | None, prompts: Sequence[str], device: str | None, as_json: bool
) -> bool:
    """Compares the variants and prints the result. Returns whether all that could be run agree."""
    from kkwarm.backends.parity import PROMPTS, compare_variants

    console = err_console()
    with console.status("loading") as status:
        variants, tolerance = compare_variants(
            checkpoint,
            prompts=prompts or PROMPTS,
            device=device,
            vllm=importlib.util.find_spec("vllm") is not None,
            server=server,
            on_start=status.update,
        )
    ok = all(variant.agrees is not False for variant in variants)
    if as_json:
        rows = [asdict(variant) for variant in variants]
        echo_json({"ok": ok, "checkpoint": checkpoint, "tolerance": tolerance, "variants": rows})
    else:
        _print(variants, tolerance)
    return ok


def _print(variants: Sequence[Variant], tolerance: float) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = out_console()
    table = Table(box=None, pad_edge=False, title_justify="left", title="compared with hf eager, one text at a time")
    for column in ("", "variant", "greedy texts", "max. difference of log-probabilities", "mean"):
        table.add_column(column, justify="left" if column in ("", "variant") else "right")
    marks = {True: "[green]agrees[/]", False: "[bold red]differs[/]", None: "[yellow]not run[/]"}
    for v in variants:
        texts = "" if v.agrees is None else f"{v.same_texts} of {v.texts} equal"
        table.add_row(marks[v.agrees], escape(v.name), texts, _number(v.max_error), _number(v.mean_error))
    console.print(table)
    for v in variants:
        if v.note:
            console.print(f"{v.name}: {v.note}", markup=False, soft_wrap=True)
        for d in v.divergences:
            margin = "" if d.margin is None else f" (the reference prefers its own by {d.margin:.2g})"
            console.print(
                f"{v.name}: {d.prompt[:40]!r} after {d.tokens} tokens: {d.expected!r}, here {d.actual!r}{margin}",
                markup=False,
                soft_wrap=True,
            )
    console.print(f"tolerance {tolerance:g}: rounding does not explain a larger difference", markup=False)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.2g}"
