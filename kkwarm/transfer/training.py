"""What a training run told about itself: its alarms, and the flight recorder's evaluations between the steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kkwarm.store import Run
from kkwarm.transfer.curves import logged_steps

__all__ = ["Training", "trained"]

FLIGHTS = "flights.jsonl"


@dataclass(frozen=True, slots=True)
class Training:
    """A warm-up or RLVR that raised alarms or was watched.

    `conditions`: the rows that were made by it; `alarms`: ``kind``, ``step``, ``text`` of each; `flights`: for each
    step of the flight recorder the accuracy on every watched domain.
    """

    stage: str
    kind: str
    seed: int
    conditions: tuple[str, ...]
    alarms: tuple[Mapping[str, Any], ...]
    flights: Mapping[int, Mapping[str, float]]

    def fields(self) -> dict[str, Any]:
        """For the report's document: ``flights`` is a list, in the order of steps."""
        return {
            "stage": self.stage,
            "kind": self.kind,
            "seed": self.seed,
            "conditions": list(self.conditions),
            "alarms": [dict(a) for a in self.alarms],
            "flights": [{"step": s, "accuracy": dict(a)} for s, a in sorted(self.flights.items())],
        }


def trained(run: Run, stage: str, seed: int, conditions: tuple[str, ...]) -> Training | None:
    """What the run told; None where it raised no alarm and was not watched.

    :raises KkwarmError: its flights cannot be read.
    """
    alarms = tuple(run.manifest.get("alarms", ()))
    flights = logged_steps(run.path / FLIGHTS, "accuracy")
    if not alarms and not flights:
        return None
    kind = str(run.manifest["kind"])
    return Training(stage, kind, seed, conditions, alarms, {s: row["accuracy"] for s, row in flights.items()})
