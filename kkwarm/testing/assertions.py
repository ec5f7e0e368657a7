"""Assertions for the tests of plugins."""

from __future__ import annotations

from collections.abc import Iterable

from kkwarm.plugins import registry
from kkwarm.types import Completion, Example, Verdict
from kkwarm.verify import Judge, verify


def verdict_on(domain: str, answer: str | None = None, *, example: str | None = None) -> Verdict:
    """The verdict on `answer`, composed by the domain's protocol, for an example (the first test example by default).

    :param answer: the text inside the answer tags; None: the gold answer.
    :param example: the id of any example of the domain.
    :raises AssertionError: there is no such example, or no gold answer.
    """
    reg = registry()
    benchmark = reg.benchmark(domain)
    protocol = reg.protocol(benchmark)
    chosen = _find_example(benchmark.load_all() if example else benchmark.load(), example)
    if answer is None:
        gold = reg.domain(domain).gold
        assert gold is not None, f"{domain} has no gold(example)"
        answer = gold(chosen)
    completion = Completion(protocol.compose("some reasoning", answer), finish_reason="stop")
    return verify(reg.verifier(benchmark.verifier), protocol, [(chosen, completion)])[0]


def assert_accepts(domain: str, answer: str | None = None, *, example: str | None = None) -> None:
    """Asserts that the answer (by default the gold answer) is correct. Parameters as in `verdict_on`."""
    verdict = verdict_on(domain, answer, example=example)
    assert verdict.correct, f"{domain} rejected {answer!r} ({verdict.status}): {verdict.reason}"


def assert_rejects(domain: str, answer: str, *, example: str | None = None) -> None:
    """Asserts that the answer is not correct. Parameters as in `verdict_on`."""
    verdict = verdict_on(domain, answer, example=example)
    assert not verdict.correct, f"{domain} accepted {answer!r}"


def assert_conforms(domain: str, *, examples: int = 12) -> None:
    """Asserts what `kkwarm check` checks: the domain follows every rule, and no adversarial probe fails, except those
    that the domain waives.

    :param examples: number of examples on which the adversarial probes are run.
    """
    from kkwarm.testing.conformance import check_domain, failed
    from kkwarm.verify.probes import probe_domain

    with Judge() as judge:
        problems = failed(check_domain(registry(), domain, judge))
        assert not problems, "\n".join(f"{p.rule}: {p.problem}; see {p.where}" for p in problems)
        failures = probe_domain(registry(), domain, examples, judge).failures
    lines = [f"{f.outcome} for {f.example} ({f.probe}): {f.completion[:200]!r}; {f.verdict}" for f in failures]
    assert not lines, "\n".join(lines)


def _find_example(examples: Iterable[Example], id_: str | None) -> Example:
    for e in examples:
        if id_ is None or e.id == id_:
            return e
    raise AssertionError(f"no example {id_!r}")
