"""Curves as inline SVG, without a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from kkwarm.report.plot import mean_curve

__all__ = ["curves_svg"]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 280, 48, 30, 10
CLASSES = ("one", "two")


def curves_svg(curves: Sequence[Mapping[str, Any]], conditions: Sequence[str]) -> str:
    """Each seed's curve thin, their mean thick, for two conditions; empty where there is no curve."""
    mine = [c for c in curves if c["condition"] in conditions and c["steps"]]
    if not mine:
        return ""
    values = [v for c in mine for v in c["smoothed"]]
    low, high = min(values), max(values)
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)
    first, last = min(c["steps"][0] for c in mine), max(c["steps"][-1] for c in mine)

    def points(steps: Sequence[int], ys: Sequence[float]) -> str:
        across = (WIDTH - LEFT - 10) / max(1, last - first)
        up = (HEIGHT - TOP - BOTTOM) / (high - low)
        pairs = zip(steps, ys, strict=True)
        return " ".join(f"{LEFT + (s - first) * across:.1f},{TOP + (high - y) * up:.1f}" for s, y in pairs)

    parts = []
    for i in range(5):
        y = low + (high - low) * i / 4
        at = TOP + (high - y) * (HEIGHT - TOP - BOTTOM) / (high - low)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{at:.1f}" y2="{at:.1f}" stroke="currentColor" opacity=".12"/>'
        )
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y:.2f}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">{first}</text>')
    parts.append(f'<text x="{WIDTH - 10}" y="{HEIGHT - 8}" text-anchor="end">step {last}</text>')
    keys = []
    for name, css in zip(conditions, CLASSES, strict=False):
        for curve in (c for c in mine if c["condition"] == name):
            line = points(curve["steps"], curve["smoothed"])
            parts.append(f'<polyline class="{css} thin" fill="none" points="{line}"/>')
        steps, ys = mean_curve(mine, name)
        if steps:
            parts.append(f'<polyline class="{css} thick" fill="none" points="{points(steps, ys)}"/>')
            keys.append(f'<span class="key-{css}">&#9632;</span> {escape(name)}')
    label = escape(" and ".join(conditions))
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="reward: {label}">{"".join(parts)}</svg>'
    return f"{svg}<p>{' &nbsp; '.join(keys)}</p>"
