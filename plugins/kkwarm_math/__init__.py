"""The domain `math`: MATH-500, a training pool of other problems, and a verifier with rules before math-verify."""

from __future__ import annotations

from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example, Probe
from kkwarm_math.data import load
from kkwarm_math.verifier import VERIFIER


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
            description="MATH-500, training pool of other MATH problems; final expressions compared by math-verify",
            facet="subject",
        )
    ]


@hookimpl
def kkwarm_probes() -> list[Probe]:
    """Correct notations of a final expression, and hedged answers."""
    from kkwarm_math.probes import PROBES

    return list(PROBES)
