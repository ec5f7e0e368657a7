"""Rules that every domain keeps, checked without a model. Each rule has a fixture under ``tests/`` that breaks it."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError, describe_error
from kkwarm.plugins import Registry
from kkwarm.testing.data_rules import DATA_PARTS, DATA_RULES, unusable
from kkwarm.testing.subject import Finding, Rule, Subject
from kkwarm.testing.verdict_rules import QUICK, VERDICT_PARTS, VERDICT_RULES
from kkwarm.types import Domain, Example
from kkwarm.verify import Judge

__all__ = ["RULES", "Finding", "check_domain", "failed"]

RULES: dict[str, Rule] = DATA_RULES | VERDICT_RULES
_PARTS = DATA_PARTS | VERDICT_PARTS


def check_domain(reg: Registry, name: str, judge: Judge) -> list[Finding]:
    """Every rule's finding for the domain of that name.

    Loading comes first; where it fails, nothing else is tried. Where verdicts are slow, no further ones are.

    :raises KkwarmError: unknown domain, or its data cannot be had (the user's environment, not the domain's fault).
    """
    domain, benchmark = reg.domain(name), reg.benchmark(name)
    examples, problem = _loaded(domain)
    if problem:
        return [Finding("loads", problem, where=_where(name, "load", domain.load))]
    subject = Subject(
        reg, domain, benchmark, reg.verifier(benchmark.verifier), reg.format(domain.format), examples, judge
    )
    counts = {s: sum(e.split == s for e in examples) for s in ("train", "test")}
    findings = [Finding("loads", note=f"{counts['train']:,} train, {counts['test']:,} test")]
    for rule_name, rule in RULES.items():
        findings.append(_finding(rule_name, rule, subject))
        if rule_name == QUICK and findings[-1].problem:
            break
    return findings


def _loaded(domain: Domain) -> tuple[list[Example], str]:
    try:
        found = domain.load()
        if not isinstance(found, Iterable):
            return [], f"load() gave {found!r}; it must give a list of kkwarm.types.Example objects"
        examples = list(found)
    except KkwarmError:
        raise
    except Exception as err:
        return [], f"load() failed: {describe_error(err)}"
    return examples, unusable(examples)


def _finding(name: str, rule: Rule, subject: Subject) -> Finding:
    started = time.perf_counter()
    subject.note = subject.shown = ""
    try:
        problem = next(iter(rule(subject)), "")
    except KkwarmError:
        raise
    except Exception as err:
        problem = describe_error(err)
    note = subject.note or (f"{seconds:.1f} s" if (seconds := time.perf_counter() - started) > 0.1 else "")
    if not problem:
        return Finding(name, "", note, subject.shown)
    domain, part = subject.domain, _PARTS[name]
    functions: dict[str, Any] = {
        "load": domain.load,
        "gold": domain.gold,
        "verifier": subject.verifier.check,
        "format": type(subject.format).split,
    }
    return Finding(name, problem, note, subject.shown, _where(domain.name, part, functions.get(part)))


def _where(name: str, part: str, function: Callable[..., Any] | None) -> str:
    """The part of a domain, and where its function begins: its author's, where it was not made on demand."""
    if ":" in name or name.endswith(".toml"):
        return part
    while isinstance(function, functools.partial):
        function = function.func
    bare: Any = inspect.unwrap(function) if function is not None else None
    code = getattr(bare, "__code__", None) or getattr(vars(type(bare)).get("__call__"), "__code__", None)
    return part if code is None else f"{part} ({Path(code.co_filename).name}, line {code.co_firstlineno})"


def failed(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that are problems."""
    return [f for f in findings if not f.ok]
