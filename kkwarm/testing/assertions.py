"""Assertions for plugin authors' tests."""

from __future__ import annotations

from kkwarm.plugins import registry
from kkwarm.types import Completion, Example, Verdict
from kkwarm.verify import Judge, judge

__all__ = ["assert_accepts", "assert_conforms", "assert_rejects", "verdict_on"]


def verdict_on(domain: str, answer: str | None = None, *, example: str | None = None) -> Verdict:
    """The verdict on `answer`, composed by the domain's format, for an example (the first test example by default).

    :param answer: the inside of the answer tags; None: the gold answer.
    """
    reg = registry()
    benchmark = reg.benchmark(domain)
    fmt = reg.format(benchmark.format)
    chosen = _example(benchmark.load_all() if example else benchmark.load(), example)
    if answer is None:
        gold = reg.domain(domain).gold
        assert gold is not None, f"{domain} has no gold(example)"
        answer = gold(chosen)
    completion = Completion(fmt.compose("some reasoning", answer), finish_reason="stop")
    return judge(reg.verifier(benchmark.verifier), fmt, [(chosen, completion)])[0]


def assert_accepts(domain: str, answer: str | None = None, *, example: str | None = None) -> None:
    """The answer (by default the gold one) is judged correct."""
    verdict = verdict_on(domain, answer, example=example)
    assert verdict.correct, f"{domain} judged {answer!r} {verdict.status}: {verdict.reason}"


def assert_rejects(domain: str, answer: str, *, example: str | None = None) -> None:
    """The answer is not judged correct."""
    verdict = verdict_on(domain, answer, example=example)
    assert not verdict.correct, f"{domain} accepted {answer!r}"


def assert_conforms(domain: str) -> None:
    """Every rule of `kkwarm check` is kept."""
    from kkwarm.testing.conformance import check_domain, failed

    with Judge() as court:
        problems = failed(check_domain(registry(), domain, court))
    assert not problems, "\n".join(f"{p.rule}: {p.problem}" for p in problems)


def _example(examples: object, wanted: str | None) -> Example:
    for e in examples:  # type: ignore[attr-defined]
        if wanted is None or e.id == wanted:
            assert isinstance(e, Example)
            return e
    raise AssertionError(f"no example {wanted!r}")
