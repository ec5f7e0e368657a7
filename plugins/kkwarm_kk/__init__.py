"""Knights & Knaves: the domain of the warm-up, and its teachers, which need no model."""

from __future__ import annotations

from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Probe, Teacher, Verifier
from kkwarm_kk.data import gold, identity, load
from kkwarm_kk.teachers import direct_traces, symbolic_traces
from kkwarm_kk.verifier import check


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
        Teacher("symbolic", "kk", symbolic_traces, "generated puzzles with long reasoning from a symbolic solver"),
        Teacher("direct", "kk", direct_traces, "control: the same puzzles with the answer only"),
    ]


@hookimpl
def kkwarm_probes() -> list[Probe]:
    from kkwarm_kk.probes import PROBES

    return list(PROBES)
