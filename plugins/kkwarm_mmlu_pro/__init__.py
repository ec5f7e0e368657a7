"""The domain `mmlu_pro`: multiple choice with up to ten options, verified without random guesses."""

from __future__ import annotations

from kkwarm.plugins import hookimpl
from kkwarm.types import CaseGenerator, Domain, Example, Probe, Response, Status, Verdict, Verifier
from kkwarm_mmlu_pro.choice_reader import read_choice
from kkwarm_mmlu_pro.data import PINS, load
from kkwarm_mmlu_pro.extract import first_stated_letter
from kkwarm_mmlu_pro.protocols import PROTOCOLS


def check(example: Example, response: Response) -> Verdict:
    """The verdict on the response's letter. No letter, several letters or one out of range give ``unparsed``."""
    options = example.meta.get("options", ())
    letter, reason = read_choice(response.answer or "", options, tagged=response.tagged)
    return _verdict(example, letter, reason)


def check_officially(example: Example, response: Response) -> Verdict:
    """The verdict on the first ``answer is (X)``, as lm-eval and the official scorer's first pattern read it."""
    text = response.answer or ""
    return _verdict(example, first_stated_letter(text), 'the text has no "answer is (X)"')


def _verdict(example: Example, letter: str | None, reason: str) -> Verdict:
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
            Verifier("mmlu_pro", check, precheck=check),  # fast enough to decide everything without a worker
            gold=_gold,
            description="MMLU-Pro, 14 categories with 100 training questions each; one letter, no random guess",
            facet="category",
            pins=PINS,
            protocols=PROTOCOLS,
        )
    ]


@hookimpl
def kkwarm_verifiers() -> list[Verifier]:
    """The official reading of free text, to reproduce published scores."""
    return [Verifier("mmlu_pro_official", check_officially, precheck=check_officially)]


@hookimpl
def kkwarm_probes() -> list[Probe]:
    """Correct ways to name an option, and answers that do not name it."""
    from kkwarm_mmlu_pro.probes import PROBES

    return list(PROBES)


@hookimpl
def kkwarm_case_generators() -> list[CaseGenerator]:
    """Letters and texts of options that are easy to confuse."""
    from kkwarm_mmlu_pro.cases import GENERATORS

    return list(GENERATORS)
