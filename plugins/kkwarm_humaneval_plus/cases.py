"""The case generator of programs: the canonical solution in other texts, and with a line that breaks it.

A text around a program changes nothing. A line behind it that raises, removes the function or is no Python makes any
program wrong, so a reader that drops lines until the rest works is found out.
"""

from __future__ import annotations

import random
import textwrap

from kkwarm.types import Case, CaseGenerator, Target

__all__ = ["GENERATORS"]

# `@` stands for the program; `%` for the program indented by three spaces.
_FENCED = (
    "```python\n@\n```", "```\n@\n```", "~~~python\n@\n~~~", "````python\n@\n````", "```py\n@\n```", "```python\n@",
    "Here is the function:\n\n```python\n@\n```", "```python\n@\n```\n\nIt runs in linear time.", "~~~\n@\n~~~\n",
    "1. The function:\n\n   ```python\n%\n   ```", "```Python\n@\n```\n", "`````\n@\n`````", "``` python\n@\n```",
    "The answer:\n\n~~~~python\n@\n~~~~\n\nThat is all.", "```python\n\n@\n\n```",
)  # fmt: skip
_BARE = ("@", "\ufeff@", "@\n\n", "\n\n@")
_BROKEN = (
    "raise ValueError", "1 / 0", "return return", ")", "}", "def", "del ENTRY", "ENTRY = None", "ENTRY = 3",
    "import no_such_module", "raise SystemExit", "assert False", "ENTRY()()", "\x00", "class", "'unclosed",
    "ENTRY = lambda *a: None", "lambda", "for", "x = = 1", "else:", "async", "@ENTRY.wrong", "x = (", "if True",
)  # fmt: skip
_PROSE = (
    "This is no Python.",
    "not a program",
    "Note: it works",
)  # broken lines of a block, but a remark behind bare code


def _generate(target: Target, rng: random.Random) -> Case:
    fenced = bool(rng.randrange(3))
    frame = rng.choice(_FENCED if fenced else _BARE)
    program, broken = target.gold, bool(rng.randrange(2))
    if broken:
        line = rng.choice(_BROKEN + _PROSE if fenced else _BROKEN)
        line = line.replace("ENTRY", target.example.answer["entry_point"])
        program = f"{program.rstrip()}\n\n{line}\n"
    place = "%" if "%" in frame else "@"
    text = frame.replace(place, textwrap.indent(program, "   ") if place == "%" else program)
    return Case(
        target.compose(text), "reject" if broken else "accept", "broken line" if broken else "program in a text"
    )


GENERATORS = tuple(
    CaseGenerator(f"program of {domain}", _generate, domain=domain) for domain in ("humaneval_plus", "mbpp_plus")
)
