"""Figures as inline SVG, without a library: two lines that differ in dash and color, with bands over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from kkwarm.reporting.figures import Figure, Series, ticks

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 560, 300, 44, 16, 34, 12
CLASSES = ("one", "two")
Scale = Callable[[float], float]


def figure_svg(figure: Figure) -> str:
    """A figure with its title and legend, as HTML."""
    low, high = figure.value_range(bands=True)
    pad = 0.04 * (high - low)
    low, high = low - pad, high + pad
    first = min(s.xs[0] for s in figure.series)
    last = max(s.xs[-1] for s in figure.series)

    def x(value: float) -> float:
        return LEFT + (value - first) * (WIDTH - LEFT - RIGHT) / max(1e-9, last - first)

    def y(value: float) -> float:
        return TOP + (high - value) * (HEIGHT - TOP - BOTTOM) / (high - low)

    parts = [_grid(y(v), f"{v:g}") for v in ticks(low, high)]
    measured = sorted({v for s in figure.series for v in s.xs})
    for v in measured if figure.marks else ticks(first, last, 6, whole=True):
        parts.append(f'<text x="{x(v):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{v:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">{escape(figure.x)}</text>')
    for series, css in zip(figure.series, CLASSES, strict=False):
        parts.append(_series(series, css, x, y, figure))
    keys = "".join(
        f'<span class="key key-{css}">{escape(s.name)}</span>' for s, css in zip(figure.series, CLASSES, strict=False)
    )
    several = any(s.seeds for s in figure.series)
    band = '<span class="soft">band: lowest to highest seed</span>' if several else ""
    label = escape(f"{figure.title}: {', '.join(s.name for s in figure.series)}")
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    unit = f' <span class="soft">({escape(figure.y)})</span>'
    caption = f"<figcaption>{escape(figure.title)}{unit}</figcaption>"
    return f'<figure>{caption}{drawing}<p class="keys">{keys}{band}</p></figure>'


def interval_svg(estimate: float, low: float, high: float, margin: float, reach: float) -> str:
    """An estimate with its interval on a line from `-reach` to `reach`, in percentage points; the margin is shaded."""

    def x(value: float) -> float:
        return 100 + 96 * max(-1.0, min(1.0, value / reach))

    zone = f'<rect x="{x(-margin):.1f}" width="{x(margin) - x(-margin):.1f}" y="2" height="14" class="zone"/>'
    zero = '<line x1="100" x2="100" y1="0" y2="18" class="zero"/>'
    line = f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="9" y2="9" class="whisker"/>'
    dot = f'<circle cx="{x(estimate):.1f}" cy="9" r="4"/>'
    label = f"{estimate:+.1f} points, 95% interval {low:+.1f} to {high:+.1f}"
    return f'<svg class="ci" viewBox="0 0 200 18" role="img" aria-label="{label}">{zone}{zero}{line}{dot}</svg>'


def _grid(at: float, text: str) -> str:
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>'
    return f'{line}<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>'


def _series(series: Series, css: str, x: Scale, y: Scale, figure: Figure) -> str:
    parts = []
    if series.seeds:
        upper = _points(series.xs, series.high, x, y)
        lower = _points(series.xs[::-1], series.low[::-1], x, y)
        parts.append(f'<polygon class="{css} band" points="{upper} {lower}"/>')
        parts += [f'<polyline class="{css} thin" points="{_points(series.xs, row, x, y)}"/>' for row in series.seeds]
    parts.append(f'<polyline class="{css} thick" points="{_points(series.xs, series.ys, x, y)}"/>')
    if figure.marks:
        for at, value in zip(series.xs, series.ys, strict=True):
            label = f"{escape(series.name)}, {at:g} {figure.x}: {value:.1f}"
            dot = (
                f'<circle class="{css} dot" cx="{x(at):.1f}" cy="{y(value):.1f}" r="4"><title>{label}</title></circle>'
            )
            parts.append(dot)
    return "".join(parts)


def _points(xs: Sequence[float], ys: Sequence[float], x: Scale, y: Scale) -> str:
    return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(xs, ys, strict=True))
