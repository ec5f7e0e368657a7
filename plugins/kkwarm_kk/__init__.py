"""Knights & Knaves: the domain of the warm-up, its teachers, which need no model, and the claims of its paper.

Each hook imports what it registers, because ``kkwarm --help`` loads this module for its command.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kkwarm.hookspecs import hookimpl

if TYPE_CHECKING:
    import click

    from kkwarm.analysis.study_data import StudyData
    from kkwarm.schema.report import Claim
    from kkwarm.types import Benchmark, CaseGenerator, ClaimSet, Domain, Probe, Task, Teacher, Verifier


@hookimpl
def kkwarm_domains() -> list[Domain]:
    from kkwarm.types import Domain, Verifier
    from kkwarm_kk.data import PINS, gold, identity, load
    from kkwarm_kk.protocols import LOGIC_RL
    from kkwarm_kk.verifier import check

    return [
        Domain(
            "kk",
            load,
            Verifier("kk", check),
            gold,
            description="Knights & Knaves: the published puzzles of 3 to 7 people (Logic-RL)",
            facet="people",
            identity=identity,
            pins=PINS,
            protocols=[LOGIC_RL],
        )
    ]


@hookimpl
def kkwarm_tasks() -> list[Task]:
    """Generated puzzles to train on, with the verifier of `kk`."""
    from kkwarm.types import Task
    from kkwarm_kk.data import gold, identity, load_generated

    return [Task("kk_generated", partial(load_generated, "train"), "kk", gold=gold, facet="people", identity=identity)]


@hookimpl
def kkwarm_benchmarks() -> list[Benchmark]:
    """Generated puzzles that were never published, so that no model can have memorized them."""
    from kkwarm.types import Benchmark
    from kkwarm_kk.data import identity, load_generated

    load = partial(load_generated, "test")
    description = "Knights & Knaves: generated puzzles of 5 to 8 people, which were never published"
    return [Benchmark("kk_generated", load, load, "kk", facet="people", description=description, identity=identity)]


@hookimpl
def kkwarm_verifiers() -> list[Verifier]:
    from kkwarm_kk.protocols import LOGIC_RL_VERIFIER

    return [LOGIC_RL_VERIFIER]


@hookimpl
def kkwarm_teachers() -> list[Teacher]:
    from kkwarm.types import Teacher
    from kkwarm_kk.teachers import direct_traces, symbolic_traces

    return [
        Teacher("symbolic", "kk", symbolic_traces, "generated puzzles with long reasoning from a symbolic solver"),
        Teacher("direct", "kk", direct_traces, "control: the same puzzles with the answer only"),
    ]


@hookimpl
def kkwarm_claims() -> list[ClaimSet]:
    from kkwarm.types import ClaimSet

    return [ClaimSet("warm_up", evaluate_claims, "the four claims of the warm-up paper (arXiv 2505.13718)")]


@hookimpl
def kkwarm_probes() -> list[Probe]:
    from kkwarm_kk.probes import PROBES

    return list(PROBES)


def evaluate_claims(study: StudyData) -> list[Claim]:
    """Imports numpy only when a report is computed."""
    from kkwarm.analysis.papers import warm_up

    return warm_up.evaluate(study)


@hookimpl
def kkwarm_commands(cli: click.Group) -> None:
    from kkwarm_kk.commands import group

    cli.add_command(group)


@hookimpl
def kkwarm_case_generators() -> list[CaseGenerator]:
    from kkwarm_kk.cases import GENERATORS

    return list(GENERATORS)
