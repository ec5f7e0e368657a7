"""What comparing a stored run with today gives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["SHOWN", "Finding", "State"]

SHOWN = 5  # ids or lines that a sentence names


class State(StrEnum):
    """What comparing a stored run with today gave."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNCHECKED = "unchecked"  # what it would be compared with is not on this machine, or was not recorded


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was compared. `lines`: lines of samples.jsonl it is about; `step`: the step of a study."""

    what: str
    state: State
    says: str = ""
    lines: tuple[int, ...] = ()
    step: str = ""
