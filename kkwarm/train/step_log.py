"""JSON lines of a run in training: the step log, rollouts, in-training evaluations. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError

__all__ = ["StepLog"]


class StepLog:
    """JSON lines that carry a ``step``. Opening it for a resumed run cuts off the steps that will be done again."""

    def __init__(self, path: Path, resumed: int) -> None:
        self.path = path
        kept = [row for row in self.rows(path) if row["step"] <= resumed] if resumed else []
        temporary = path.with_name(f".{path.name}")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), "utf-8")
        temporary.replace(path)
        self._out = path.open("a", encoding="utf-8")

    @staticmethod
    def rows(path: Path) -> list[dict[str, Any]]:
        """The whole lines of the file."""
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline was torn by a crash
        return [json.loads(line) for line in lines]

    def write(self, *rows: dict[str, Any]) -> None:
        try:
            self._out.write("".join(json.dumps(row) + "\n" for row in rows))
            self._out.flush()
        except OSError as err:
            raise KkwarmError(
                f"{self.path} cannot be written: {err.strerror}", hint="free space; the run resumes"
            ) from None

    def close(self) -> None:
        self._out.close()
