"""Removes what must not be printed from text of models, plugins and other tools: terminal control characters, marks
that change the direction of text, and characters without an encoding.
"""

from __future__ import annotations

import re
from typing import Any

# Control characters but for tab and line feed (C0, delete, C1: escape sequences begin with one), and direction marks.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def sanitize(text: str) -> str:
    """`text` without control characters; half a surrogate pair becomes U+FFFD. The width in columns does not change."""
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


def escaped_json(text: str) -> str:
    """Equivalent JSON with escapes for the characters that `sanitize` removes."""
    for pattern in (_CONTROLS, _SURROGATES):
        text = pattern.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text


def console(**settings: Any) -> Any:
    """A rich console that sanitizes every text. Its own color codes are not text, and are kept. With `soft_wrap` a
    terminal wraps lines between words, and other outputs get them as they are.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class SafeConsole(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Any:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(sanitize(segment.text), segment.style)

        def print(self, *objects: Any, soft_wrap: bool | None = None, **settings: Any) -> None:
            super().print(*objects, soft_wrap=soft_wrap and not self.is_terminal, **settings)

    return SafeConsole(highlight=False, **settings)
