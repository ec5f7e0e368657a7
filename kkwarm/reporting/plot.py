"""Curves in the terminal: two series of characters that are distinct without color."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kkwarm.reporting.figures import Figure, Series, ticks

MARKS = ("o", "*")
STYLES = ("cyan", "magenta")
BOTH = "#"
LEFT = 7


def plot(figure: Figure, width: int, height: int = 11) -> Any:
    """A rich Text of a figure's means: value upwards, steps or examples to the right, a legend below."""
    from rich.text import Text

    low, high = figure.value_range(bands=False)
    first = min(s.xs[0] for s in figure.series)
    last = max(s.xs[-1] for s in figure.series)
    columns = max(10, width - LEFT - 1)
    grid = [[0] * columns for _ in range(height)]
    for n, series in enumerate(figure.series):
        for column, value in _interpolate(series, first, last, columns):
            grid[_row(value, low, high, height)][column] |= 1 << n
    labels = {_row(v, low, high, height): f"{v:g}" for v in ticks(low, high)}
    text = Text()
    for row, cells in enumerate(grid):
        text.append(f"{labels.get(row, ''):>{LEFT - 1}} {'┤' if row in labels else '│'}", style="dim")
        for bits in cells:
            mark = {0: " ", 1: MARKS[0], 2: MARKS[1], 3: BOTH}[bits]
            text.append(mark, style=STYLES[bits - 1] if bits in (1, 2) else "")
        text.append("\n")
    text.append(" " * LEFT + "└" + "─" * columns + "\n", style="dim")
    labeled = sorted({x for s in figure.series for x in s.xs}) if figure.marks else _steps(first, last)
    text.append(" " * (LEFT + 1) + _axis(labeled, figure.x, first, last, columns) + "\n", style="dim")
    text.append(" " * (LEFT + 1))
    for n, series in enumerate(figure.series):
        text.append(MARKS[n], style=STYLES[n])
        text.append(f" {series.name}   ")
    text.rstrip()
    return text


def _row(value: float, low: float, high: float, height: int) -> int:
    return round((high - value) / (high - low) * (height - 1))


def _steps(first: float, last: float) -> list[float]:
    """The first and last step, and round ones between that are not close to them."""
    between = ticks(first, last, 6, whole=True)
    apart = (between[1] - between[0]) / 2 if len(between) > 1 else 1.0
    return [first, *(x for x in between if x - first >= apart and last - x >= apart), last]


def _axis(labeled: Sequence[float], name: str, first: float, last: float, columns: int) -> str:
    """The numbers that fit, under their columns; the last one with the axis's name, right-aligned."""
    end = f"{name} {last:g}"
    line = ""
    for x in labeled[:-1]:
        at = round((x - first) / max(1e-9, last - first) * (columns - 1))
        at = max(0, at - len(f"{x:g}") // 2)
        if (not line or at > len(line)) and at + len(f"{x:g}") < columns - len(end):
            line = f"{line:<{at}}{x:g}"
    return f"{line}{end:>{columns - len(line)}}"


def _interpolate(series: Series, first: float, last: float, columns: int) -> list[tuple[int, float]]:
    """One interpolated value for each column between the series' first and last x."""
    xs, ys = series.xs, series.ys
    if last == first:
        return [(0, ys[0])]
    values, i = [], 0
    for column in range(columns):
        x = first + (last - first) * column / (columns - 1)
        if x < xs[0] or x > xs[-1]:
            continue
        while i + 1 < len(xs) - 1 and xs[i + 1] < x:
            i += 1
        j = min(i + 1, len(xs) - 1)
        span = xs[j] - xs[i]
        part = 0.0 if span == 0 else min(1.0, max(0.0, (x - xs[i]) / span))
        values.append((column, ys[i] + (ys[j] - ys[i]) * part))
    return values
