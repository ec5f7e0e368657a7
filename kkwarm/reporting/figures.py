"""Arranges a report's curves as figures, to be plotted as characters, as SVG, or by matplotlib."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kkwarm.schema.report import EfficiencyStart, Report, SampleEfficiency

MIN_RANGE = 5  # percentage points; a smaller range would show noise as hills


@dataclass(frozen=True, slots=True)
class Series:
    """A line of `ys` at `xs`, with a band from `low` to `high` (the lowest and highest seed) and a line per seed."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """At most two series. `key`: name of its file; `marks`: the xs are measured points, not a line of steps."""

    key: str
    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    marks: bool = False

    def value_range(self, *, bands: bool) -> tuple[float, float]:
        """The lowest and highest value, never equal: of the bands, or of the lines alone."""
        values = [v for s in self.series for v in ((*s.low, *s.high) if bands else s.ys)]
        low, high = min(values), max(values)
        if self.y == "percent" and high - low < MIN_RANGE:
            low = min(max((low + high - MIN_RANGE) / 2, 0.0), 100.0 - MIN_RANGE)
            high = low + MIN_RANGE
        return (low, high) if high > low else (low - 0.5, high + 0.5)


def figures(report: Report) -> list[Figure]:
    """Accuracy against RLVR examples and steps, and reward against steps: for each claim's domain of RLVR, or, in a
    study without claims, for each RLVR condition beside its baseline.
    """
    groups: list[tuple[tuple[str, ...], str, str]] = [
        ((r.base_rlvr, r.warmed_rlvr), r.on, f"RLVR on {r.on}") for r in report.roles
    ]
    by_examples = [_examples_figure(entry) for entry in report.efficiency]
    return by_examples + [
        f for names, key, stage in groups or _rlvr_groups(report) for f in _step_figures(report, names, key, stage)
    ]


def ticks(low: float, high: float, about: int = 5, *, whole: bool = False) -> list[float]:
    """Round numbers from `low` to `high`, about `about` of them; whole numbers only, if `whole`."""
    raw = max((high - low) / about, 1.0 if whole else 1e-9)
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _rlvr_groups(report: Report) -> list[tuple[tuple[str, ...], str, str]]:
    """Conditions with an RLVR curve, each with its baseline where that has one too."""
    with_curve = list(dict.fromkeys(c.condition for c in report.curves))
    pairs: list[tuple[str, ...]] = []
    for name in with_curve:
        baseline = report.baseline(name)
        pairs.append((baseline, name) if baseline is not None and baseline in with_curve else (name,))
    baselines = {pair[0] for pair in pairs if len(pair) == 2}
    return [
        (pair, re.sub(r"\W+", "-", pair[-1]), "RLVR") for pair in pairs if len(pair) == 2 or pair[0] not in baselines
    ]


def _step_figures(report: Report, names: Sequence[str], key: str, stage: str) -> Iterator[Figure]:
    curves = {c.condition: c for c in report.mean_curves if c.condition in names}
    for metric, title, unit, scale in (
        ("accuracy", f"Correct rollouts of {stage}, 5-step mean", "percent", 100.0),
        ("reward", f"Reward of {stage}, 5-step mean", "reward", 1.0),
    ):
        series = []
        for name in names:
            band = getattr(curves[name], metric) if name in curves else None
            if band is not None:
                rows = (band.mean, band.low, band.high, *band.by_seed)
                ys, low, high, *seeds = (tuple(scale * v for v in row) for row in rows)
                xs = tuple(map(float, curves[name].steps))
                series.append(Series(name, xs, ys, low, high, tuple(seeds) if len(seeds) > 1 else ()))
        if series:
            yield Figure(f"{'steps' if metric == 'accuracy' else metric}-{key}", title, "step", unit, tuple(series))


def _examples_figure(entry: SampleEfficiency) -> Figure:
    title = f"Accuracy on {entry.on} against the number of RLVR examples"
    series = (_examples_series(entry.base), _examples_series(entry.warmed))
    return Figure(f"examples-{entry.on}", title, "examples", "percent", series, marks=True)


def _examples_series(start: EfficiencyStart) -> Series:
    points = start.points
    seeds = min(len(p.by_seed) for p in points)
    return Series(
        f"from {start.condition}",
        tuple(float(p.examples) for p in points),
        tuple(100 * p.accuracy for p in points),
        tuple(100 * min(p.by_seed) for p in points),
        tuple(100 * max(p.by_seed) for p in points),
        tuple(tuple(100 * p.by_seed[i] for p in points) for i in range(seeds)) if seeds > 1 else (),
    )
