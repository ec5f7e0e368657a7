"""Figures as a CSV or Parquet file, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.files import write_file

__all__ = ["write_table"]


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
