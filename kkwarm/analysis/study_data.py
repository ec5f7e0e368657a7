"""What an analysis works on: the cells, curves and roles of a study, read from the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kkwarm.analysis.cells import Cell
from kkwarm.analysis.curves import Curve
from kkwarm.analysis.training import Training

__all__ = ["Condition", "Roles", "StudyData"]

MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Condition:
    """A row: its name, the row its change is measured against, and the stages that made it."""

    name: str
    baseline: str | None = None
    chain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Roles:
    """Which conditions play the parts of the paper's claims. `on`: the domain of RLVR; `warmup`: of the traces."""

    base: str
    warmed: str
    base_rlvr: str
    warmed_rlvr: str
    on: str
    warmup: str


@dataclass(frozen=True, slots=True)
class StudyData:
    """Everything a report is made of. `forced` holds cells of prompts that make the model work step by step."""

    title: str
    conditions: tuple[Condition, ...]
    domains: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
    forced: Mapping[tuple[str, str], Cell] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    roles: tuple[Roles, ...] = ()
    training: tuple[Training, ...] = ()
    margin: float = MARGIN
    note: str = ""
    state: str = "done"
    progress: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    overlaps: Mapping[tuple[str, str], int] = field(default_factory=dict)  # trained questions, by condition and domain
    grids: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # conditions by number of RLVR examples
