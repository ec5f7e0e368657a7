"""As much of sympy as the stand-in's scorers need: its `parse_expr` is an `eval` too."""

from typing import Any


def parse_expr(text: str) -> Any:
    return eval(text)
