"""The domain `math`: MATH-500, a training pool of other problems, a strict verifier and a lenient one."""

from __future__ import annotations

from kkwarm.plugins import hookimpl
from kkwarm.types import CaseGenerator, Domain, Example, Probe, Protocol, Verifier
from kkwarm_math.data import PINS, load
from kkwarm_math.verifier import LENIENT_VERIFIER, VERIFIER


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
            description="MATH-500, training pool of other MATH problems; final expressions compared exactly",
            facet="subject",
            facets=("level",),
            pins=PINS,
        )
    ]


@hookimpl
def kkwarm_verifiers() -> list[Verifier]:
    """math-verify as it is, to reproduce published scores."""
    return [LENIENT_VERIFIER]


@hookimpl
def kkwarm_protocols() -> list[Protocol]:
    """Published ways to ask and read MATH."""
    from kkwarm_math.protocols import PROTOCOLS

    return list(PROTOCOLS)


@hookimpl
def kkwarm_probes() -> list[Probe]:
    """Correct notations of a final expression, and hedged answers."""
    from kkwarm_math.probes import PROBES

    return list(PROBES)


@hookimpl
def kkwarm_case_generators() -> list[CaseGenerator]:
    """Other notations, other values, unfinished work and changed contexts, labelled with sympy."""
    from kkwarm_math.cases import GENERATORS

    return list(GENERATORS)
