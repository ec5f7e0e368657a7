"""Figures as a CSV or Parquet file, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.files import write_file
from kkwarm.schema.report import Figure, Report


def table_rows(report: Report) -> list[dict[str, Any]]:
    """A row for each figure of a report's matrix: accuracies, pass@k and facets, as fractions with 95% intervals;
    changes from the baseline in percentage points.
    """
    rows = []
    for condition, row in report.matrix.items():
        for domain, cell in row.items():
            facts = {"condition": condition, "baseline": report.baseline(condition), "domain": domain}
            overall = Figure(value=cell.accuracy, ci=cell.ci, n=cell.n)
            figures = [("accuracy", "", "", overall), *((k, "", "", figure) for k, figure in cell.pass_at.items())]
            for facet, parts in cell.facets.items():
                figures += [("accuracy", facet, value, figure) for value, figure in parts.items()]
            for metric, facet, value, figure in figures:
                low, high = figure.ci or (None, None)
                entry: dict[str, Any] = {"metric": metric, "facet": facet, "value": value, "mean": figure.value}
                entry |= {"low": low, "high": high, "questions": figure.n}
                change = cell.change if figure is overall else None
                entry |= {"change": None if change is None else change.estimate}
                entry |= {"change_low": None if change is None else change.ci[0]}
                entry |= {"change_high": None if change is None else change.ci[1]}
                rows.append(facts | entry | {"verdict": None if change is None else change.verdict})
    return rows


def write_table(rows: Sequence[Mapping[str, Any]], path: Path, *, parquet: bool = False) -> None:
    """Writes rows; a column that a row lacks is empty there.

    :raises KkwarmError: there are no rows, or the file cannot be written.
    """
    if not rows:
        raise KkwarmError(f"there are no figures to write to {path}")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if parquet:
        import pyarrow
        import pyarrow.parquet

        data = io.BytesIO()
        table = pyarrow.table({name: [row.get(name) for row in rows] for name in columns})
        pyarrow.parquet.write_table(table, data)
        write_file(path, data.getvalue(), follow=True)
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in row.items()} for row in rows)
    write_file(path, text.getvalue(), follow=True)


def _safe(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula begins with an apostrophe, as OWASP recommends."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
