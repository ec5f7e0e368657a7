"""The report's curves as figures to be drawn: by characters, as SVG, or by matplotlib. Computes no statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Figure", "Series", "figures"]

Document = Mapping[str, Any]
NARROW = 5  # points; a flatter figure than that would show noise as hills


@dataclass(frozen=True, slots=True)
class Series:
    """A line: `ys` at `xs`, with a band from `low` to `high` (the lowest and highest seed) and each seed's own line."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """At most two series. `key` names its file; `marks`: points were measured at the xs, not a line of steps."""

    key: str
    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    marks: bool = False

    def reach(self, *, bands: bool) -> tuple[float, float]:
        """The lowest and the highest value, never the same: of the bands, or of the lines alone."""
        values = [v for s in self.series for v in ((*s.low, *s.high) if bands else s.ys)]
        low, high = min(values), max(values)
        if self.y == "percent" and high - low < NARROW:
            low = min(max((low + high - NARROW) / 2, 0.0), 100.0 - NARROW)
            high = low + NARROW
        return (low, high) if high > low else (low - 0.5, high + 0.5)


def figures(document: Document) -> list[Figure]:
    """Accuracy against RLVR's examples and steps, and its reward against steps: for each claim's domain of RLVR, or,
    in a study without claims, for each condition of RLVR beside the one that it is compared with.
    """
    found = [_against_examples(entry) for entry in document.get("efficiency", ())]
    drawn = [((r["base_rlvr"], r["warmed_rlvr"]), r["on"], f"RLVR on {r['on']}") for r in document["roles"]]
    return found + [
        f for names, key, what in drawn or _trained(document) for f in _against_steps(document, names, key, what)
    ]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, some `about` of them."""
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


# -- inside ------------------------------------------------------------------------------------------------------------


def _trained(document: Document) -> list[tuple[tuple[str, ...], str, str]]:
    """Conditions with a curve of RLVR, each with the one that it is compared with where that has one too."""
    against = {c["name"]: c["baseline"] for c in document["conditions"]}
    known = list(dict.fromkeys(c["condition"] for c in document["curves"]))
    pairs = [(against[name], name) if against.get(name) in known else (name,) for name in known]
    beside = {pair[0] for pair in pairs if len(pair) == 2}
    return [(pair, re.sub(r"\W+", "-", pair[-1]), "RLVR") for pair in pairs if len(pair) == 2 or pair[0] not in beside]


def _against_steps(document: Document, names: Sequence[str], on: str, what: str) -> Iterator[Figure]:
    for field, key, title, unit, scale in (
        ("smoothed_accuracy", "steps", f"Correct rollouts of {what}, 5-step mean", "percent", 100.0),
        ("smoothed", "reward", f"Reward of {what}, 5-step mean", "reward", 1.0),
    ):
        series = [made for name in names if (made := _curve(document["curves"], name, field, scale))]
        if series:
            yield Figure(f"{key}-{on}", title, "step", unit, tuple(series))


def _curve(curves: Sequence[Mapping[str, Any]], condition: str, field: str, scale: float) -> Series | None:
    """The mean over seeds on the steps that all of them have; None for a single step, or where a log lacks figures."""
    mine = [c for c in curves if c["condition"] == condition]
    count = min((len(c["steps"]) for c in mine), default=0)
    rows = [[scale * v for v in (c.get(field) or ())[:count]] for c in mine]
    if count < 2 or any(len(row) < count for row in rows):
        return None
    return _series(condition, mine[0]["steps"][:count], rows)


def _series(name: str, xs: Sequence[float], rows: Sequence[Sequence[float]]) -> Series:
    columns = list(zip(*rows, strict=True))
    return Series(
        name,
        tuple(xs),
        tuple(sum(c) / len(c) for c in columns),
        tuple(map(min, columns)),
        tuple(map(max, columns)),
        tuple(map(tuple, rows)) if len(rows) > 1 else (),
    )


def _against_examples(entry: Mapping[str, Any]) -> Figure:
    series = []
    for start in ("base", "warmed"):
        points = entry["starts"][start]["points"]
        seeds = min(len(p["by_seed"]) for p in points)
        means = tuple(100 * p["accuracy"] for p in points)
        lows = tuple(100 * min(p["by_seed"]) for p in points)
        highs = tuple(100 * max(p["by_seed"]) for p in points)
        rows = tuple(tuple(100 * p["by_seed"][i] for p in points) for i in range(seeds)) if seeds > 1 else ()
        xs = tuple(float(p["examples"]) for p in points)
        series.append(Series(f"from {entry['starts'][start]['condition']}", xs, means, lows, highs, rows))
    title = f"Accuracy on {entry['on']} against the examples of RLVR on it"
    return Figure(f"examples-{entry['on']}", title, "examples", "percent", tuple(series), marks=True)
