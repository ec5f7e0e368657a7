"""Settings of distill, warmup, rlvr and bench. Each is defined once: type, default, bounds, description, panel."""

from __future__ import annotations

__all__ = ["fraction_hint"]


def fraction_hint(name: str, value: float) -> str:
    """A hint where a number of percentage points looks like a fraction (above 0 and below 0.2); otherwise empty."""
    if not 0 < value < 0.2:
        return ""
    return f"{name} is in percentage points: {value:g} means {value:g} points; did you mean {100 * value:g}?"
