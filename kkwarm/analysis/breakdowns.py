"""Further figures of a cell: pass@k, and accuracy by facet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kkwarm.analysis.cells import Cell
from kkwarm.analysis.metrics import mean_interval, natural_order, pass_at_k, reported_k
from kkwarm.analysis.stats.estimates import estimate_mean
from kkwarm.analysis.stats.seed_variance import SeedVariance
from kkwarm.schema.report import Figure

MAX_VALUES = 100  # of one facet; more are not a breakdown


def pass_at(cell: Cell) -> dict[str, Figure]:
    """pass@k of a cell for k = 2, 4, 8, ... and the number of samples of each question in each seed."""
    fewest = min((t.questions[i].samples for t in cell.tallies for i in cell.ids), default=0)
    figures = {}
    for k in reported_k(fewest):
        rows = [
            [pass_at_k(q.samples, q.correct, k) for q in map(t.questions.__getitem__, cell.ids)] for t in cell.tallies
        ]
        figures[f"pass@{k}"] = _figure(rows)
    return figures


def by_facet(cell: Cell, seed_variance: SeedVariance | None) -> dict[str, dict[str, Figure]]:
    """Accuracy by facet and value."""
    values: dict[str, dict[str, str]] = {}
    for tally in cell.tallies:
        for facet, of in tally.facets.items():
            values.setdefault(facet, {}).update(of)
    return {facet: parts for facet, of in values.items() if (parts := _parts(cell, of, seed_variance))}


def _parts(cell: Cell, value_of: Mapping[str, str], seed_variance: SeedVariance | None) -> dict[str, Figure]:
    positions: dict[str, list[int]] = {}
    for n, id_ in enumerate(cell.ids):
        if id_ in value_of:
            positions.setdefault(value_of[id_], []).append(n)
    if len(positions) > MAX_VALUES:
        return {}
    figures = {}
    for value in sorted(positions, key=natural_order):
        estimate = estimate_mean(cell.scores[:, positions[value]], seed_variance)
        figures[value] = Figure(value=estimate.value, ci=(estimate.low, estimate.high), n=estimate.questions)
    return figures


def _figure(rows: Sequence[Sequence[float]]) -> Figure:
    """:param rows: values of shape (seeds, questions)."""
    return Figure(value=float(np.mean(rows)), ci=mean_interval(rows), n=len(rows[0]))
