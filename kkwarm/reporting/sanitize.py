"""What may be shown of text that a model, a plugin or another tool wrote: no command to a terminal, nothing that turns
the direction of the words around it, nothing that has no encoding.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["console", "escaped_json", "shown"]

# Controls but for tab and line feed (C0, delete, C1: escapes begin with one), and marks of direction.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ALONE = re.compile("[\ud800-\udfff]")


def shown(text: str) -> str:
    """`text` without what commands; half a surrogate pair becomes U+FFFD. The width in columns stays what it was."""
    return _ALONE.sub("\ufffd", _COMMANDS.sub("", text))


def escaped_json(text: str) -> str:
    """JSON that says the same, with escapes for what `shown` leaves out."""
    for unsafe in (_COMMANDS, _ALONE):
        text = unsafe.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text


def console(**settings: Any) -> Any:
    """A rich console that shows every text so. Its own colours are not text, and stay."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Shown(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Any:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(shown(segment.text), segment.style)

    return Shown(highlight=False, **settings)
