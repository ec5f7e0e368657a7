"""Checks without a model that a domain follows every rule. Each rule has a test with a domain that breaks it."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError, describe_error
from kkwarm.plugins import Registry
from kkwarm.testing.rules import RULE_PARTS, RULES, SPEED_RULE, Rule, Subject, find_unusable_example
from kkwarm.types import Domain, Example
from kkwarm.verify import Judge
from kkwarm.verify.rewards import RewardError


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one rule.

    :param problem: what is wrong; empty where the rule is met.
    :param note: a measurement.
    :param shown: text to display, such as a rendered prompt.
    :param where: the part of the domain to fix, with file and line of a function: ``load (units.py, line 9)``.
    """

    rule: str
    problem: str = ""
    note: str = ""
    shown: str = ""
    where: str = ""

    @property
    def ok(self) -> bool:
        """Whether the rule is met."""
        return not self.problem


def check_domain(reg: Registry, name: str, judge: Judge, protocol_name: str | None = None) -> list[Finding]:
    """Applies every rule to the domain of that name, under its default protocol or another one.

    If loading fails, no other rule is applied. If verdicts are slow, no rule that needs further verdicts is.

    :raises KkwarmError: unknown domain, or its data is not available, which is not the domain's fault.
    """
    domain, benchmark = reg.domain(name), reg.benchmark(name)
    examples, problem = _load_examples(domain)
    if problem:
        return [Finding("loads", problem, where=_location(name, "load", domain.load))]
    protocol = reg.protocol(domain, protocol_name)
    verifier = reg.verifier_of(benchmark, protocol)
    protocol = protocol.text_form or protocol  # rules render prompts as text
    subject = Subject(reg, domain, benchmark, verifier, protocol, examples, judge, reg.reward_of(benchmark))
    counts = {split: sum(e.split == split for e in examples) for split in ("train", "test")}
    findings = [Finding("loads", note=f"{counts['train']:,} train, {counts['test']:,} test")]
    for rule_name, rule in RULES.items():
        findings.append(_apply(rule_name, rule, subject))
        if rule_name == SPEED_RULE and findings[-1].problem:
            break
    return findings


def failed(findings: Iterable[Finding]) -> list[Finding]:
    """The findings with a problem."""
    return [f for f in findings if not f.ok]


def _load_examples(domain: Domain) -> tuple[list[Example], str]:
    """The examples, and the problem with them, if there is one."""
    try:
        returned = domain.load()
        if not isinstance(returned, Iterable):
            return [], f"load() returned {returned!r}; it must return a list of kkwarm.types.Example objects"
        examples = list(returned)
    except KkwarmError:
        raise
    except Exception as err:
        return [], f"load() failed: {describe_error(err)}"
    return examples, find_unusable_example(examples)


def _apply(name: str, rule: Rule, subject: Subject) -> Finding:
    started = time.perf_counter()
    subject.note = subject.shown = ""
    try:
        problem = next(iter(rule(subject)), "")
    except RewardError as err:
        problem = err.message
    except KkwarmError:
        raise
    except Exception as err:
        problem = describe_error(err)
    note = subject.note or (f"{seconds:.1f} s" if (seconds := time.perf_counter() - started) > 0.1 else "")
    if not problem:
        return Finding(name, "", note, subject.shown)
    domain, part = subject.domain, RULE_PARTS[name]
    functions: dict[str, Any] = {
        "load": domain.load,
        "gold": domain.gold,
        "verifier": subject.verifier.check,
        "reward": domain.reward,
        "protocol": type(subject.protocol.reader).split,
    }
    return Finding(name, problem, note, subject.shown, _location(domain.name, part, functions.get(part)))


def _location(name: str, part: str, function: Callable[..., Any] | None) -> str:
    """The part of a domain, with file and line of its function, unless the domain was created on demand."""
    if ":" in name or name.endswith(".toml"):
        return part
    while isinstance(function, functools.partial):
        function = function.func
    unwrapped: Any = inspect.unwrap(function) if function is not None else None
    code = getattr(unwrapped, "__code__", None) or getattr(vars(type(unwrapped)).get("__call__"), "__code__", None)
    return part if code is None else f"{part} ({Path(code.co_filename).name}, line {code.co_firstlineno})"
