"""HumanEval+: Python functions, judged by running them on HumanEval's and evalplus's tests in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example, Rewards, Verifier

from .tasks import examples
from .verifier import check, check_batch

if TYPE_CHECKING:
    from kkwarm.verify.audit import Attack

__all__ = ["DOMAIN"]


def gold(example: Example) -> str:
    """The canonical solution, whole."""
    return str(example.answer["solution"])


DOMAIN = Domain(
    name="humaneval_plus",
    load=examples,
    verifier=Verifier("humaneval_plus", check, check_batch=check_batch),
    gold=gold,
    description="Python functions from docstrings: HumanEval+ v0.1.10, base and plus tests, run in a sandbox",
    rewards=Rewards(correct=2.0, wrong=-1.0, unparsed=-1.0, malformed=-2.0),
)


@hookimpl
def kkwarm_domains() -> list[Domain]:
    """The one domain of this plugin."""
    return [DOMAIN]


@hookimpl
def kkwarm_attacks() -> list[Attack]:
    """Cheating code and honest forms of code, for the red team."""
    from .attacks import ATTACKS

    return list(ATTACKS)
