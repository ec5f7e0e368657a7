"""The tables of a report beside its matrix, as texts that the terminal and the page arrange."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kkwarm.progress import duration
from kkwarm.reporting.labels import (
    STATUS_ORDER,
    evals_text,
    metric_change_text,
    metric_names,
    metric_text,
    number_range,
    points,
    reasoning_text,
    with_interval,
)
from kkwarm.schema.report import Cell, Report

MAX_COLUMNS = 6  # values of a facet that stand side by side; more are rows


@dataclass(frozen=True, slots=True)
class Section:
    """A table: `rows` are a label and one text for each of the `columns`. Several tables share a `key`."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(report: Report) -> list[Section]:
    """The tables that have anything in them."""
    parts = (_facets, _pass_at, _metrics, _reasoning, _flips, _lengths, _statuses, _cost, _evals)
    return [table for part in parts for table in part(report)]


def _by_domain(report: Report, key: str, title: str, text: Callable[[Cell], str]) -> Iterator[Section]:
    """A table of `text(cell)`; none where all are empty."""
    rows = [(name, *(text(row[d]) if d in row else "" for d in report.domains)) for name, row in report.matrix.items()]
    rows = [(name, *(t or "-" for t in texts)) for name, *texts in rows if any(texts)]
    if rows:
        yield Section(key, title, report.domains, tuple(rows))


def _facets(report: Report) -> Iterator[Section]:
    for domain in report.domains:
        cells = {name: row[domain] for name, row in report.matrix.items() if domain in row}
        for facet in dict.fromkeys(f for cell in cells.values() for f in cell.facets):
            values = list(dict.fromkeys(v for cell in cells.values() for v in cell.facets.get(facet, {})))
            texts = {
                name: [
                    with_interval(of[value].value, of[value].ci) if value in of else "-"
                    for of in [cell.facets.get(facet, {})]
                    for value in values
                ]
                for name, cell in cells.items()
            }
            figures = [cell.facets.get(facet, {}) for cell in cells.values()]
            counts = {value: sorted({of[value].n for of in figures if value in of}) for value in values}
            heads = [f"{value} (n = {number_range(counts[value])})" for value in values]
            title = f"Accuracy on {domain} by {facet} (percent ± 95% interval)"
            if len(values) <= MAX_COLUMNS:
                rows = tuple((name, *row) for name, row in texts.items())
                yield Section("facets", title, tuple(heads), rows)
            else:
                rows = tuple((head, *(texts[name][i] for name in cells)) for i, head in enumerate(heads))
                yield Section("facets", title, tuple(cells), rows)


def _pass_at(report: Report) -> Iterator[Section]:
    ks = sorted({k for cell in report.cells() for k in cell.pass_at}, key=lambda k: int(k.removeprefix("pass@")))
    for k in ks:

        def text(cell: Cell, k: str = k) -> str:
            return with_interval(cell.pass_at[k].value, cell.pass_at[k].ci) if k in cell.pass_at else ""

        yield from _by_domain(report, "pass-at-k", f"{k} (percent ± 95% interval)", text)


def _metrics(report: Report) -> Iterator[Section]:
    for name in metric_names(report):

        def text(cell: Cell, name: str = name) -> str:
            if name not in cell.metrics:
                return ""
            change = metric_change_text(cell.change.metrics.get(name)) if cell.change is not None else ""
            return "\n".join(filter(None, (metric_text(cell.metrics[name]), change)))

        title = f"Metric {name}: mean and change [95% interval, not corrected for several comparisons]"
        yield from _by_domain(report, "metrics", title, text)


def _reasoning(report: Report) -> Iterator[Section]:
    def text(cell: Cell) -> str:
        rate, forced = reasoning_text(cell)
        return f"{rate} / {forced}" if forced else rate

    forced = any(cell.forced for cell in report.cells())
    title = "Reasoning rate: share of completions that reason before the answer"
    title += " / accuracy in percent where the prompt forces it" if forced else ""
    yield from _by_domain(report, "reasoning", title, text)


def _flips(report: Report) -> Iterator[Section]:
    title = "Questions gained and lost against the baseline"
    yield from _by_domain(report, "flips", title, lambda c: f"+{c.change.gained} -{c.change.lost}" if c.change else "")


def _lengths(report: Report) -> Iterator[Section]:
    title = "Tokens per completion: median / 95th percentile"
    yield from _by_domain(report, "lengths", title, lambda c: "{:.0f} / {:.0f}".format(*c.lengths) if c.lengths else "")


def _statuses(report: Report) -> Iterator[Section]:
    """Share of completions by status, over all domains."""
    present = [s for s in STATUS_ORDER if any(total.get(s) for total in report.statuses.values())]
    rows = []
    for name, total in report.statuses.items():
        count = sum(total.values())
        shares = (points(total.get(s, 0) / count) if total.get(s) else "-" for s in present)
        rows.append((name, *shares, f"{count:,}"))
    if rows and present:
        yield Section("statuses", "Completions by status, all domains (percent)", (*present, "number"), tuple(rows))


def _cost(report: Report) -> Iterator[Section]:
    rows = [
        (
            c.condition,
            "-" if c.tokens is None else f"{c.tokens:,}",
            "-" if c.evaluation_s is None else duration(c.evaluation_s),
            "-" if c.training_s is None else duration(c.training_s),
            "-" if c.gpu_hours is None else f"{c.gpu_hours:.3g}",
        )
        for c in report.cost
        if any((c.tokens, c.evaluation_s, c.training_s))
    ]
    if rows:
        columns = ("tokens", "evaluation", "training", "GPU-hours")
        used = [i for i in range(4) if any(row[i + 1] != "-" for row in rows)]
        yield Section(
            "cost",
            "Cost of each condition, all seeds: tokens generated in evaluation, time of generation, time of training",
            tuple(columns[i] for i in used),
            tuple((row[0], *(row[i + 1] for i in used)) for row in rows),
        )


def _evals(report: Report) -> Iterator[Section]:
    domains, rows = evals_text(report)
    if rows:
        title = "In-training evaluations: percent correct at the first and the last one"
        yield Section("training", title, tuple(domains), tuple((name, *ends) for name, ends in rows))
