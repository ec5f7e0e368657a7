"""HumanEval+ and MBPP+: Python functions, verified by running their base and plus tests in a sandbox."""

from __future__ import annotations

from functools import partial
from typing import Any

from kkwarm.plugins import hookimpl
from kkwarm.types import CaseGenerator, Domain, Example, Probe, Rewards, Sample, Verifier

from .mbpp import MBPP
from .notes import note_failure, note_timeouts
from .protocols import evalplus_protocol
from .tasks import HUMANEVAL, load_examples
from .verifier import check, check_batch, check_mbpp, check_mbpp_batch

__all__ = ["DOMAIN", "MBPP_DOMAIN"]

_REWARDS = Rewards(correct=2.0, wrong=-1.0, unparsed=-1.0, malformed=-2.0)


def _gold(example: Example) -> str:
    """The complete canonical solution."""
    return str(example.answer["solution"])


def _gold_mbpp(example: Example) -> str:
    """The canonical solution without the question, which is a docstring before it."""
    return _gold(example).removeprefix(example.question).strip("\n")


DOMAIN = Domain(
    name="humaneval_plus",
    load=partial(load_examples, HUMANEVAL),
    verifier=Verifier("humaneval_plus", check, check_batch=check_batch, answers="program"),
    gold=_gold,
    description="Python functions from docstrings: HumanEval+ v0.1.10, base and plus tests in a sandbox",
    protocols=[evalplus_protocol("humaneval")],
    pins=HUMANEVAL.pins,
    rewards=_REWARDS,
)
MBPP_DOMAIN = Domain(
    name="mbpp_plus",
    load=partial(load_examples, MBPP),
    verifier=Verifier("mbpp_plus", check_mbpp, check_batch=check_mbpp_batch, answers="program"),
    gold=_gold_mbpp,
    description="Python functions from one sentence and a test: MBPP+ v0.2.0, base and plus tests in a sandbox",
    protocols=[evalplus_protocol("mbpp")],
    pins=MBPP.pins,
    rewards=_REWARDS,
)


@hookimpl
def kkwarm_domains() -> list[Domain]:
    """Both benchmarks."""
    return [DOMAIN, MBPP_DOMAIN]


@hookimpl
def kkwarm_probes() -> list[Probe]:
    """Code that cheats, and correct code in other forms."""
    from .probes import PROBES

    return list(PROBES)


@hookimpl
def kkwarm_case_generators() -> list[CaseGenerator]:
    """The canonical solution in other texts, and with a line that breaks it."""
    from .cases import GENERATORS

    return list(GENERATORS)


@hookimpl
def kkwarm_sample_scored(sample: Sample) -> None:
    """A note about the first program that the sandbox could not run."""
    note_failure(sample)


@hookimpl
def kkwarm_run_finished(run: Any) -> None:
    """A note about programs that ran out of time."""
    note_timeouts(run)
