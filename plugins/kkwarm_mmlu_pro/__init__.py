"""The domain `mmlu_pro`: multiple choice with up to ten options, judged without any guess."""

from __future__ import annotations

from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example, Probe, Response, Status, Verdict, Verifier
from kkwarm_mmlu_pro.data import load
from kkwarm_mmlu_pro.extract import choice, first_stated


def check(example: Example, response: Response) -> Verdict:
    """The verdict on the letter that the response gives; no letter, several, or one out of range: ``unparsed``."""
    text = response.answer or ""
    if response.tagged:
        letter, reason = choice(text, example.meta.get("options", ()))
    else:
        letter, reason = first_stated(text), 'no "answer is (X)"'
    if letter is None:
        return Verdict(Status.UNPARSED, reason=reason)
    return Verdict(Status.CORRECT if letter == str(example.answer).strip() else Status.WRONG, letter)


def _gold(example: Example) -> str:
    return str(example.answer)


@hookimpl
def kkwarm_domains() -> list[Domain]:
    """The domain `mmlu_pro`."""
    return [
        Domain(
            "mmlu_pro",
            load,
            Verifier("mmlu_pro", check, precheck=check),  # it decides everything at once
            gold=_gold,
            description="MMLU-Pro, 14 categories; 100 questions of each to train on; one letter, no guess",
            facet="category",
        )
    ]


@hookimpl
def kkwarm_probes() -> list[Probe]:
    """Honest and dishonest ways to name an option."""
    from kkwarm_mmlu_pro.probes import PROBES

    return list(PROBES)
