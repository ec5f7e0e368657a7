"""The figures of one run as a table: what `bench`, `score` and `import` print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kkwarm.analysis.metrics import reported_k
from kkwarm.reporting.labels import (
    CONTAMINATED,
    SCORING,
    STATUS_ORDER,
    cost_text,
    labels_text,
    metric_figure,
    points,
    with_interval,
)

NO_ANSWER = ("unparsed", "malformed", "truncated")
Figures = Mapping[str, Any]


def print_figures(results: Figures, console: Any) -> None:
    """Prints a table with a row for each benchmark, and below it its pass@k, metrics and facets; then statuses, labels
    and cost.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("percent ± 95% interval", overflow="fold")
    rows = [row for name, figures in results["benchmarks"].items() for row in _rows(name, figures)]
    columns = 5 if any(cells[4] for _, cells, _ in rows) else 4  # saved outputs may have no token counts
    for column in ("questions", "samples", "accuracy", "no answer", "tokens")[:columns]:
        table.add_column(column, justify="right", no_wrap=True)
    for label, cells, style in rows:
        table.add_row(Text(label), *cells[:columns], style=style)
    console.print(table)
    for name, figures in results["benchmarks"].items():
        facts = [", ".join(f"{n:,} {status}" for status in STATUS_ORDER if (n := figures["status"].get(status)))]
        if (rate := figures.get("reasoning_rate")) is not None:
            facts.append(f"{points(rate)}% reason before the answer")
        if lengths := figures.get("tokens"):
            facts.append(f"median {lengths['median']:g} and at most {lengths['max']:,} tokens")
        if text := "; ".join(f for f in facts if f):
            console.print(Text(f"{name}: {text}"), soft_wrap=True)
    if labels := labels_text(results.get("labels") or {}, named=True):
        console.print(Text(f"labels: {labels}"), soft_wrap=True)
    cost = results.get("throughput") or {}
    if text := cost_text(cost.get("tokens"), cost.get("seconds"), cost.get("gpu_hours")):
        speed = f" ({cost['tokens_per_s']:,.0f} tokens/s)" if cost.get("tokens_per_s") else ""
        console.print(f"cost: {text}{speed}")


def _rows(name: str, figures: Figures) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Label, cells and style of each row of a benchmark."""
    yield name, _cells(figures), "bold"
    if figures["accuracy"] is None:  # perplexities of whole texts
        yield from ((f"  {m}", ("", "", f"{value:.4g}", "", ""), "") for m, value in figures["metrics"].items())
        return
    ks = [int(key.removeprefix("pass@")) for key in figures if key.startswith("pass@")]
    for k in reported_k(max(ks, default=0)):
        value = with_interval(figures[f"pass@{k}"], figures["ci"].get(f"pass@{k}"))
        yield f"  pass@{k}", ("", "", value, "", ""), ""
    for metric in figures["metrics"]:
        yield f"  {metric}", ("", "", metric_figure(figures, metric), "", ""), ""
    for facet, parts in figures.get("by", {}).items():
        yield f"  by {facet}:", ("",) * 5, "dim"
        yield from ((f"    {value}", _cells(part), "") for value, part in parts.items())


def _cells(figures: Figures) -> tuple[str, ...]:
    counts = f"{figures['n']:,}", f"{figures['samples']:,}"
    length = "" if figures.get("mean_tokens") is None else f"{figures['mean_tokens']:.0f}"
    if figures["accuracy"] is None:
        return (*counts, "", "", length)
    accuracy = with_interval(figures["accuracy"], figures["ci"].get("pass@1"))
    marks = (CONTAMINATED if figures.get("contaminated") else "") + (SCORING if figures.get("unpinned") else "")
    missing = sum(figures["status"].get(status, 0) for status in NO_ANSWER)
    no_answer = points(missing / figures["samples"]) if missing else "-"
    return (*counts, accuracy + marks, no_answer, length)
