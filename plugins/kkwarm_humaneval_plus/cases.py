"""The case generator of programs: the canonical solution in other texts, and with a line that breaks it.

A text around a program changes nothing. A line behind it that raises, removes the function or is no Python makes any
program wrong, so a reader that drops lines until the rest works is found out.
"""

from __future__ import annotations

import random

from kkwarm.types import Case, CaseGenerator, Target
from kkwarm.verify.mutations import program_case

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
    def spoil(fenced: bool) -> str:
        line = rng.choice(_BROKEN + _PROSE if fenced else _BROKEN)
        line = line.replace("ENTRY", target.example.answer["entry_point"])
        return f"{target.gold.rstrip()}\n\n{line}\n"

    return program_case(target, rng, spoil)


GENERATORS = tuple(
    CaseGenerator(f"program of {domain}", _generate, domain=domain) for domain in ("humaneval_plus", "mbpp_plus")
)
