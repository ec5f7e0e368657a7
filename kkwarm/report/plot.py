"""Curves in the terminal: two series of characters that can be told apart without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["mean_curve", "plot"]

MARKS = ("o", "*")
STYLES = ("cyan", "magenta")
BOTH = "#"


def mean_curve(
    curves: Sequence[Mapping[str, Any]], condition: str, field: str = "smoothed"
) -> tuple[list[int], list[float]]:
    """Steps and the mean over seeds of one condition's curves, on the steps that all of them have."""
    mine = [c for c in curves if c["condition"] == condition]
    if not mine:
        return [], []
    count = min(len(c["steps"]) for c in mine)
    means = [sum(c[field][i] for c in mine) / len(mine) for i in range(count)]
    return list(mine[0]["steps"][:count]), means


def plot(series: Sequence[tuple[str, Sequence[int], Sequence[float]]], width: int, height: int = 10) -> Any:
    """A rich Text of at most two series (name, steps, values): value upwards, step to the right; a legend below."""
    from rich.text import Text

    values = [v for _, _, ys in series for v in ys]
    steps = [s for _, xs, _ in series for s in xs]
    low, high = min(values), max(values)
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)
    first, last = min(steps), max(steps)
    wide = max(10, width - 9)
    grid: list[list[int]] = [[0] * wide for _ in range(height)]
    for n, (_, xs, ys) in enumerate(series):
        for column, value in _columns(xs, ys, first, last, wide):
            row = round((high - value) / (high - low) * (height - 1))
            grid[row][column] |= 1 << n
    text = Text()
    for row, cells in enumerate(grid):
        value = high - (high - low) * row / (height - 1)
        text.append(f"{value:7.2f} " if row % 3 == 0 or row == height - 1 else " " * 8, style="dim")
        text.append("|", style="dim")
        for bits in cells:
            mark = {0: " ", 1: MARKS[0], 2: MARKS[1], 3: BOTH}[bits]
            text.append(mark, style=STYLES[bits - 1] if bits in (1, 2) else "")
        text.append("\n")
    text.append(" " * 8 + "+" + "-" * wide + "\n", style="dim")
    text.append(" " * 9 + f"{first}{'step ' + str(last):>{wide - len(str(first))}}\n", style="dim")
    for n, (name, _, _) in enumerate(series):
        text.append(" " * 9 + MARKS[n], style=STYLES[n])
        text.append(f" {name}\n" if n < len(series) - 1 else f" {name}")
    return text


def _columns(xs: Sequence[int], ys: Sequence[float], first: int, last: int, wide: int) -> list[tuple[int, float]]:
    """One value for each column between the series' first and last step, interpolated."""
    if last == first:
        return [(0, ys[0])]
    found, i = [], 0
    for column in range(wide):
        step = first + (last - first) * column / (wide - 1)
        if step < xs[0] or step > xs[-1]:
            continue
        while i + 1 < len(xs) - 1 and xs[i + 1] < step:
            i += 1
        j = min(i + 1, len(xs) - 1)
        span = xs[j] - xs[i]
        part = 0.0 if span == 0 else min(1.0, max(0.0, (step - xs[i]) / span))
        found.append((column, ys[i] + (ys[j] - ys[i]) * part))
    return found
