"""Knights & Knaves: the domain of the warm-up, and the teachers that need no model."""

from __future__ import annotations

from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Probe, Teacher, Verifier
from kkwarm_kk.answer import check
from kkwarm_kk.data import gold, identity, load
from kkwarm_kk.teacher import direct, symbolic


@hookimpl
def kkwarm_domains() -> list[Domain]:
    return [
        Domain(
            "kk",
            load,
            Verifier("kk", check),
            gold,
            description="Knights & Knaves: the published puzzles of 3 to 7 people (Logic-RL)",
            facet="people",
            identity=identity,
        )
    ]


@hookimpl
def kkwarm_teachers() -> list[Teacher]:
    return [
        Teacher("symbolic", "kk", symbolic, "generated puzzles, worked out at length by logic alone"),
        Teacher("direct", "kk", direct, "the same puzzles with the answer alone (a control)"),
    ]


@hookimpl
def kkwarm_probes() -> list[Probe]:
    from kkwarm_kk.probes import PROBES

    return list(PROBES)
