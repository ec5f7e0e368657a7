"""HumanEval+ and MBPP+: Python functions, judged by running them on the base and plus tests in a sandbox."""

from __future__ import annotations

from functools import partial

from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example, Probe, Rewards, Verifier

from .mbpp import MBPP
from .tasks import HUMANEVAL, examples
from .verifier import check, check_batch, check_mbpp, check_mbpp_batch

__all__ = ["DOMAIN", "MBPP_DOMAIN"]

_REWARDS = Rewards(correct=2.0, wrong=-1.0, unparsed=-1.0, malformed=-2.0)


def gold(example: Example) -> str:
    """The canonical solution, whole."""
    return str(example.answer["solution"])


def gold_mbpp(example: Example) -> str:
    """The canonical solution without the question, which is a string before it."""
    return gold(example).removeprefix(example.question).strip("\n")


DOMAIN = Domain(
    name="humaneval_plus",
    load=partial(examples, HUMANEVAL),
    verifier=Verifier("humaneval_plus", check, check_batch=check_batch),
    gold=gold,
    description="Python functions from docstrings: HumanEval+ v0.1.10, base and plus tests, run in a sandbox",
    rewards=_REWARDS,
)
MBPP_DOMAIN = Domain(
    name="mbpp_plus",
    load=partial(examples, MBPP),
    verifier=Verifier("mbpp_plus", check_mbpp, check_batch=check_mbpp_batch),
    gold=gold_mbpp,
    description="Python functions from one sentence and a test: MBPP+ v0.2.0, base and plus tests, run in a sandbox",
    rewards=_REWARDS,
)


@hookimpl
def kkwarm_domains() -> list[Domain]:
    """Both benchmarks."""
    return [DOMAIN, MBPP_DOMAIN]


@hookimpl
def kkwarm_probes() -> list[Probe]:
    """Cheating code and honest forms of code, for the adversarial probes."""
    from .probes import PROBES

    return list(PROBES)
