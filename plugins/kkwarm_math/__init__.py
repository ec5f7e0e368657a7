"""The domain `math`: MATH-500, a training pool outside it, and a verifier in front of math-verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example
from kkwarm_math.data import load
from kkwarm_math.verify import VERIFIER

if TYPE_CHECKING:
    from kkwarm.verify.audit import Attack


def _gold(example: Example) -> str:
    return str(example.answer)


@hookimpl
def kkwarm_domains() -> list[Domain]:
    """The domain `math`."""
    return [
        Domain(
            "math",
            load,
            VERIFIER,
            gold=_gold,
            description="MATH-500; training pool of other MATH problems; final expressions compared by math-verify",
            facet="subject",
        )
    ]


@hookimpl
def kkwarm_attacks() -> list[Attack]:
    """Honest and dishonest ways to write a final expression."""
    from kkwarm_math.attacks import ATTACKS

    return list(ATTACKS)
