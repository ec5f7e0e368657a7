"""Runs a domain's case generator on a verifier with a planted fault."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from kkwarm.protocols import PAPER
from kkwarm.types import CaseGenerator, Example, Response, Status, Target, Verdict, Verifier
from kkwarm.verify import Judge
from kkwarm.verify.search import Budget, Counterexample, make_scorer, search

Check = Callable[[Example, Response], Verdict]


def run(
    check: Check, generators: Sequence[CaseGenerator], gold: object, *, cases: int, seed: int = 0, shrunk: int = 8
) -> list[Counterexample]:
    """The counterexamples of a search, on one target of which the generators make little use."""
    example = Example("x/0", "What is it?", gold)
    targets = [Target(example, str(gold), (), PAPER)]
    with Judge(1) as judge:
        scorer = make_scorer(Verifier("planted", check), judge)
        return search(scorer, targets, generators, Budget(cases, seed=seed, shrunk=shrunk)).counterexamples


def kinds(
    check: Check, generators: Sequence[CaseGenerator], gold: object, wanted: str, *, outcome: str = "wrongly accepted"
) -> set[str]:
    """The kinds of case that a fault was found by. Small searches with seeds 0, 1, … are made until `wanted` is one."""
    found: set[str] = set()
    for seed in range(12):
        found |= {
            c.case.kind for c in run(check, generators, gold, cases=320, seed=seed, shrunk=1) if c.outcome == outcome
        }
        if wanted in found or (not wanted and found):
            break
    return found


def reads(check: Check, rewrite: Callable[[str], str], *, gold: Callable[[str], str] | None = None) -> Check:
    """The check, which also accepts an answer whose rewritten text it accepts."""

    def planted(example: Example, response: Response) -> Verdict:
        verdict = check(example, response)
        if verdict.correct or response.answer is None:
            return verdict
        if gold is not None:
            example = replace(example, answer=gold(str(example.answer)))
        again = check(example, replace(response, answer=rewrite(response.answer)))
        return again if again.correct else verdict

    return planted


def refuses(check: Check, refused: Callable[[str], bool]) -> Check:
    """The check, which refuses some answers that it should accept."""

    def planted(example: Example, response: Response) -> Verdict:
        return Verdict(Status.WRONG) if refused(response.answer or "") else check(example, response)

    return planted
