"""The data that an analysis works on: cells, training curves and roles of a study or of bench runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kkwarm.analysis.cells import Cell
from kkwarm.analysis.training import Curve, Training

MARGIN = 5.0  # percentage points


@dataclass(frozen=True, slots=True)
class Condition:
    """A row of the matrix, as `kkwarm.schema.report.Condition`."""

    name: str
    baseline: str | None = None
    chain: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    model: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a condition took in all its seeds: tokens, seconds and GPU-hours, as `kkwarm.schema.report.Cost`."""

    condition: str
    tokens: int | None
    evaluation_s: float | None
    training_s: float | None = None
    gpu_hours: float | None = None


@dataclass(frozen=True, slots=True)
class Roles:
    """The conditions that the claims compare. `on`: the domain of RLVR; `warmup`: the domain of the traces."""

    base: str
    warmed: str
    base_rlvr: str
    warmed_rlvr: str
    on: str
    warmup: str


@dataclass(frozen=True, slots=True)
class StudyData:
    """Everything that a report is computed from.

    `cells`, `forced`: by (condition, domain); `forced` holds the samples of prompts that force reasoning. `margin`:
    equivalence margin in percentage points. `contaminated`: evaluated questions that a condition was trained on, by
    (condition, domain). `grids`: conditions by number of RLVR examples. `stages`: what each stage trained.
    """

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
    contaminated: Mapping[tuple[str, str], int] = field(default_factory=dict)
    grids: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    across_protocols: bool = False
    prompts: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    cost: tuple[Cost, ...] = ()
    stages: Mapping[str, str] = field(default_factory=dict)

    @property
    def margin_fraction(self) -> float:
        """The equivalence margin as a difference of accuracies in 0..1."""
        return self.margin / 100
