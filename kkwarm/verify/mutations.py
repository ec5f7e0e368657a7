"""The case generators for every domain: changes to a gold answer that no verifier may overlook.

They know nothing about the domain. The one for text therefore makes answers that are wrong, or state no single answer,
whatever the gold answer means, and leaves out gold answers of several lines. The one for programs puts the gold answer
in a text, which changes nothing, or adds a line that ends any program with an error.
"""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Callable

from kkwarm.types import Case, CaseGenerator, Target
from kkwarm.verify.probes import outside_tolerance

_MAX_PHRASE = 80  # characters of a gold answer that is a single expression or phrase
_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,30})?")
_NEGATIONS = (
    "not {}", "{} is wrong", "It is not {}", "It is false that {}", "anything but {}", "{} is false", "never {}",
    "{} is incorrect", "the opposite of {}", "It cannot be {}", "{}, which is wrong", "everything except {}", "no {}",
    "The answer is not {}", "{} is not the answer", "neither {} nor anything else", "{} is impossible", "{} (wrong)",
)  # fmt: skip
_HEDGES = (
    "{}?", "maybe {}", "perhaps {}", "{}, perhaps", "{} or something else", "possibly {}", "I would guess {}", "{} (?)",
    "If I am right, {}", "{}, but I am not sure", "It might be {}", "{} unless I am wrong", "suppose {}", "{} or so",
    "I do not know, say {}", "It could be {}",
)  # fmt: skip
_SEPARATORS = (
    " or ",
    " / ",
    " | ",
    " or maybe ",
    "; or ",
    "\n",
    " and ",
    " vs ",
    " -> ",
    ". No, ",
    ". Wait, ",
    " not ",
)
_REVERSALS = ("{old}, no, {new}", "first {old}, then {new}", "{new} instead of {old}", "not {old} but {new}")
_ENDS = ("7", "q", "99", "abc", "x7", "(2)", "_1", "^7", "!7", "\u0663", "\u200b7")
_BEGINNINGS = ("9", "q", "un", "7x", "3*", "\u0663")
_DECORATIONS = ("{}", "{}.", "**{}**", "({})", '"{}"', "`{}`", "${}$", "\\text{{{}}}", "\\boxed{{{}}}", " {} ", "{}!")


def decorate(rng: random.Random, text: str) -> str:
    """The text with emphasis, quotes, brackets or the like around it, none of which changes what it says."""
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        text = rng.choice(_DECORATIONS).format(text)
    return text


def change_digits(rng: random.Random, text: str) -> str | None:
    """The text with one digit replaced by another; None where it has none."""
    places = [i for i, c in enumerate(text) if c.isascii() and c.isdigit()]
    if not places:
        return None
    at = rng.choice(places)
    digit = rng.choice([d for d in "1234567890" if d != text[at]])
    return text[:at] + digit + text[at + 1 :]


def _negated(t: Target, rng: random.Random) -> str | None:
    return rng.choice(_NEGATIONS).format(t.gold)


def _hedged(t: Target, rng: random.Random) -> str | None:
    return rng.choice(_HEDGES).format(t.gold)


def _other(t: Target, rng: random.Random) -> str | None:
    """Another example's gold answer that shares no part with this one."""

    def key(text: str) -> str:
        return "".join(c for c in text.casefold() if c.isalnum())

    mine = key(t.gold)
    others = [o for o in dict.fromkeys(t.others) if (k := key(o)) and k not in mine and mine not in k]
    return rng.choice(others) if others else None


def _alternatives(t: Target, rng: random.Random) -> str | None:
    other = _other(t, rng)
    if other is None:
        return None
    pair = [t.gold, other]
    if rng.randrange(2):
        pair.reverse()
    return rng.choice(_SEPARATORS).join(pair)


def _replaced(t: Target, rng: random.Random) -> str | None:
    other = _other(t, rng)
    return None if other is None else rng.choice(_REVERSALS).format(old=t.gold, new=other)


def _another(t: Target, rng: random.Random) -> str | None:
    return _other(t, rng)


def _attached(t: Target, rng: random.Random) -> str | None:
    if rng.randrange(2):
        return rng.choice(_BEGINNINGS) + t.gold
    return t.gold + rng.choice(_ENDS)


def _another_number(t: Target, rng: random.Random) -> str | None:
    if not _NUMBER.fullmatch(t.gold):
        return None
    changes: tuple[Callable[[str], str | None], ...] = (
        lambda text: change_digits(rng, text),
        lambda text: text.removeprefix("-") if text.startswith("-") else f"-{text}",
        lambda text: text + rng.choice("123456789"),
        lambda text: rng.choice("123456789") + text.removeprefix("-"),
        lambda text: text[1:],
        lambda text: text[:-1],
    )
    text = rng.choice(changes)(t.gold)
    return text if text and _NUMBER.fullmatch(text) and float(text) != float(t.gold) else None


_KINDS: dict[str, Callable[[Target, random.Random], str | None]] = {
    "negated": _negated,
    "hedged": _hedged,
    "several answers": _alternatives,
    "answer replaced": _replaced,
    "another example's answer": _another,
    "characters attached": _attached,
    "another number": _another_number,
}


def _generate(target: Target, rng: random.Random) -> Case | None:
    if "\n" in target.gold or len(target.gold) > _MAX_PHRASE or not target.gold.strip():
        return None
    if not rng.randrange(12):
        space = ["", " ", "\n", "\t"]
        return Case(target.compose(rng.choice(space) + target.gold + rng.choice(space)), "accept", "white space")
    kind = rng.choice(list(_KINDS))
    text = _KINDS[kind](target, rng)
    if text is not None:  # of no kind may it be a number that counts as the same
        text = next(outside_tolerance(target.gold, [text], target.tolerance), None)
    return None if text is None else Case(target.compose(decorate(rng, text)), "reject", kind)


# `@` stands for the program; `%` for the program indented by three spaces.
_FENCED = (
    "```python\n@\n```", "```\n@\n```", "~~~python\n@\n~~~", "````python\n@\n````", "```py\n@\n```", "```python\n@",
    "Here is the function:\n\n```python\n@\n```", "```python\n@\n```\n\nIt runs in linear time.", "~~~\n@\n~~~\n",
    "1. The function:\n\n   ```python\n%\n   ```", "```Python\n@\n```\n", "`````\n@\n`````", "``` python\n@\n```",
    "The answer:\n\n~~~~python\n@\n~~~~\n\nThat is all.", "```python\n\n@\n\n```",
)  # fmt: skip
_BARE = ("@", "\ufeff@", "@\n\n", "\n\n@")
_FIRST = ("raise ValueError", "1 / 0", "import no_such_module", "assert False", "undefined", "int('x')")
_LAST = (
    "return return", ")", "}", "def", "class", "'unclosed", "lambda", "for", "x = = 1", "else:", "async", "x = (",
    "if True",
)  # fmt: skip
_PROSE = ("This is no Python.", "not a program")  # broken lines of a block, but a remark behind bare code


def program_case(target: Target, rng: random.Random, spoil: Callable[[bool], str]) -> Case:
    """The gold answer in a text, or the program that `spoil` makes of it.

    :param spoil: ``spoil(fenced)`` returns a program that must be rejected, in a fenced block or as it is.
    """
    fenced = bool(rng.randrange(3))
    frame = rng.choice(_FENCED if fenced else _BARE)
    broken = bool(rng.randrange(2))
    program = spoil(fenced) if broken else target.gold
    place = "%" if "%" in frame else "@"
    text = frame.replace(place, textwrap.indent(program, "   ") if place == "%" else program)
    kind = "broken line" if broken else "program in a text"
    return Case(target.compose(text), "reject" if broken else "accept", kind)


def _generate_program(target: Target, rng: random.Random) -> Case | None:
    def spoil(fenced: bool) -> str:
        # A line that raises comes first, because a program may exit before its last line.
        if rng.randrange(2):
            return f"{rng.choice(_FIRST)}\n{target.gold}"
        return f"{target.gold.rstrip()}\n\n{rng.choice(_LAST + _PROSE if fenced else _LAST)}\n"

    return None if "```" in target.gold or "~~~" in target.gold else program_case(target, rng, spoil)


GENERATORS = (CaseGenerator("any domain", _generate),)
PROGRAM_GENERATORS = (CaseGenerator("any program", _generate_program),)
