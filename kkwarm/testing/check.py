"""Everything that `kkwarm check` does: conformance rules, adversarial probes on the verifier, and a search."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.schema.by_benchmark import check_protocols
from kkwarm.testing.conformance import Finding, check_domain, failed
from kkwarm.verify import Judge
from kkwarm.verify.probes import ProbeFailure, ProbeReport, probe_domain
from kkwarm.verify.search import Budget, Counterexample, SearchResult, search_domain


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What `kkwarm.check` found.

    :param findings: the result of each conformance rule, in order.
    :param probes: what the adversarial probes found. Probes and search run only if all rules are met.
    :param search: the cases of the adversarial search, and its counterexamples.
    :param waivers: the probes and generators that the domain waives, with its reasons.
    :param broken: hooks of plugins that could not be used, as ``plugin NAME: cause``.
    """

    name: str
    seed: int
    findings: tuple[Finding, ...]
    probes: ProbeReport = field(default_factory=lambda: ProbeReport([], {}, {}, {}))
    search: SearchResult = field(default_factory=SearchResult)
    waivers: Mapping[str, str] = field(default_factory=dict)
    broken: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not (failed(self.findings) or self.probes.failures or self.search.counterexamples or self.broken)

    def document(self) -> dict[str, Any]:
        """The result as JSON data, as ``kkwarm check --json`` prints it."""
        outcomes = ("wrongly accepted", "wrongly rejected", "wrongly rewarded")
        rules = [
            {"rule": f.rule, "ok": f.ok, "problem": f.problem, "see": f.where, "note": f.note} for f in self.findings
        ]
        failures = self.probes.failures
        return {
            "domain": self.name,
            "ok": self.ok,
            "rules": rules,
            "prompt": next((f.shown for f in self.findings if f.shown), None),
            "probes": self.probes.counts,
            "not_applicable": self.probes.not_applicable,
            "waived": self.waived_rows(),
            **{o.replace(" ", "_"): [_failure_row(f) for f in failures if f.outcome == o] for o in outcomes},
            "search": _search_rows(self.search, self.seed),
        }

    def waived_rows(self) -> list[dict[str, Any]]:
        """Each waiver with its reason and the number of completions with a wrong verdict that it covers."""
        wrong = Counter(self.probes.waived)
        for example in self.search.waived:
            for name in {example.generator, example.name} & set(self.waivers):
                wrong[name] = max(wrong[name], example.count)
        return [{"probe": name, "reason": reason, "wrong": wrong[name]} for name, reason in self.waivers.items()]

    def to_json(self) -> str:
        """`document` as JSON text."""
        return json.dumps(self.document(), indent=1, ensure_ascii=False, default=str)

    def _repr_html_(self) -> str:
        from kkwarm.reporting.notebook import html

        return html(self)


def run_check(
    name: str,
    *,
    examples: int = 12,
    search: float | None = None,
    seed: int = 0,
    peers: bool = False,
    protocol: str | None = None,
    progress: Callable[[int, float, int], None] | None = None,
) -> CheckResult:
    """See `kkwarm.check`.

    :param progress: called with the number of cases, the used share of the budget, and the number of failed kinds.
    """
    from kkwarm.plugins import registry

    if examples < 1 or (search is not None and not 0 < search < float("inf")):
        raise KkwarmError("a check needs at least 1 example, and more than 0 seconds of search")
    reg = registry()
    check_protocols(protocol, [name])
    result: dict[str, Any] = {}
    with Judge() as judge:
        findings = tuple(check_domain(reg, name, judge, protocol))
        if not failed(findings):
            result["probes"] = probe_domain(reg, name, examples, judge, protocol)
            budget = Budget(seed=seed) if search is None else Budget(None, search, seed)
            options: dict[str, Any] = {"protocol_name": protocol, "peers": peers}
            if progress is not None:
                options["report"] = progress
            result["search"] = search_domain(reg, name, examples, judge, budget, **options)
    hooks = ("kkwarm_probes", "kkwarm_case_generators")
    broken = tuple(f"plugin {f.plugin}: {f.cause}" for f in reg.failures if f.cause.startswith(hooks))
    return CheckResult(name, seed, findings, waivers=reg.domain(name).waivers, broken=broken, **result)


def _failure_row(failure: ProbeFailure) -> dict[str, str]:
    return {
        "probe": failure.probe,
        "example": failure.example,
        "completion": failure.completion[:2_000],
        "verdict": failure.verdict,
    }


def _search_rows(result: SearchResult, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "seconds": round(result.seconds, 1),
        "n_cases": result.n_cases,
        "cases": {name: dict(kinds) for name, kinds in result.cases.items()},
        "counterexamples": [_counterexample_row(c) for c in result.counterexamples],
        "peers": {name: dict(counts) for name, counts in result.peers.items()},
    }


def _counterexample_row(found: Counterexample) -> dict[str, Any]:
    return {
        "generator": found.generator,
        "kind": found.case.kind,
        "outcome": found.outcome,
        "expect": found.case.expect,
        "status": str(found.verdict.status),
        "reason": found.verdict.reason,
        "count": found.count,
        "example": found.example.id,
        "question": found.example.question[:2_000],
        "gold": found.gold,
        "free_text": found.case.free_text,
        "completion": found.case.completion[:2_000],
        "peers": found.peers,
    }
