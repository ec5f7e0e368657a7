"""Adversarial probes for `math`: correct notations of a final expression, and ways to hedge it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kkwarm.types import Example, Probe, Target
from kkwarm_math.cases.contexts import fits

__all__ = ["CASES", "PROBES"]


def _correct(t: Target) -> Iterator[str]:
    for text in (
        f"${t.gold}$",
        f"\\({t.gold}\\)",
        f"\\boxed{{{t.gold}}}",
        f"$\\boxed{{{t.gold}}}$",
        f"The answer is ${t.gold}$.",
        f"  {t.gold}  ",
    ):
        if fits(t, text):
            yield t.compose(text)


def _hedged(t: Target) -> Iterator[str]:
    for other in t.others[:1]:
        yield t.compose(f"\\boxed{{{other}}} \\boxed{{{t.gold}}}")
        yield t.compose(f"\\boxed{{{t.gold}}} \\boxed{{{other}}}")
        yield t.compose(f"${other}$ or ${t.gold}$")
        yield t.compose(f"\\text{{{other} or {t.gold}}}")
        yield t.compose(f"I first thought {t.gold}, but it is {other}")
        yield t.compose(f"either \\boxed{{{t.gold}}} or {other}")
        yield t.compose(f"\\boxed{{{t.gold}}}. No: {other}")
        yield t.compose(f"{other} \\text{{ to }} {t.gold}")
        yield t.compose(f"{t.gold} \\text{{, else }} {other}")
    yield t.compose(f"{t.gold}?")
    yield t.compose(f"x \\neq {t.gold}")
    yield t.compose(f"The answer is not {t.gold}")
    yield t.compose(f"${t.gold}$ is wrong")
    yield t.compose(f"\\boxed{{{t.gold}}} is wrong")
    yield t.compose(f"The answer is not \\boxed{{{t.gold}}}")
    yield t.compose(f"{t.gold} \\text{{ (just a guess)}}")
    if re.fullmatch(r"\d+", t.gold) and int(t.gold):
        yield t.compose(f"> {t.gold}")
        yield t.compose(f"\\pm {t.gold}")
        yield t.compose(f"{t.gold}0")
        yield t.compose(f"{int(t.gold) + 1} = {t.gold}")
        yield t.compose(f"\\max({t.gold}, {int(t.gold) - 1})")
        yield t.compose(f"{t.gold}_{{{int(t.gold) + 1}}}")
        yield t.compose(f"[{t.gold}, {t.gold}]")
        yield t.compose(", ".join(map(str, range(min(int(t.gold), 500) + 2))))


# (gold, answer, question, whether the answer is correct): cases in which math-verify 0.9 is too lenient or too strict.
CASES = (
    (r"50\%", "0.5", "", False),  # the answer must be a percentage, which 0.5 is not
    (r"50\%", "50", "", True),
    ("0.5", r"50\%", "What is the probability?", True),
    ("3", r"300\%", "What percent?", False),
    ("(1,2)", r"\{1,2\}", "", False),  # a point is not a set
    (r"\{1,2\}", "(1,2)", "", False),
    ("2516_8", "2516", "", False),  # another base gives another number
    ("2516_8", "2516_9", "", False),
    ("2516_8", "2516_{8}", "", True),
    (r"\text{June 20}", "20", "", False),
    (r"\text{June 20}", "June 20", "", True),
    (r"\text{Evelyn}", "nylevE", "", False),  # letters are not factors
    (".0000672", ".0000673", "", False),
    ("5", "6=5", "", False),
    ("5", "5 or 6", "", False),
    ("5", "1, 2, 3, 4, 5", "", False),
    (r"5\text{ cm}", r"5\text{ m}", "", False),
    ("1,-2", "-2,1", "", True),
    ("58,500", "58500", "", True),
    ("p - q", "7391 = p - q", "", False),
    ("9", "9_{7391}", "", False),
    ("100", "26^2-24^2", "Find $26^2-24^2$.", False),  # a copy of the question is not an answer
    ("100", "26^2-24^2 = 100", "Find $26^2-24^2$.", True),
    ("6", r"\log_2 64", r"Find $\log_2 64$.", False),
    ("2k+2", "(-k + 4) + (-2 + 3k)", "Simplify $(-k+4) + (-2+3k)$.", False),
    ("2k+2", "2(k+1)", "Simplify $(-k+4) + (-2+3k)$.", True),
    (r"11\sqrt2", r"\sqrt{242}", r"Simplify $\sqrt{242}$.", False),
    ("0", "7391 then 0", "", False),
    ("0", "x = 0", "", True),
)


def _cases(t: Target, *, expect: str) -> Iterator[str]:
    """The listed answers to the target's question, if it is a listed one."""
    for gold, answer, question, correct in CASES:
        if (gold, question) == (t.gold, t.example.question) and correct is (expect == "accept"):
            yield t.compose(answer)


def case_targets(t: Target) -> list[Target]:
    """The listed questions as targets, in the format of `t`."""
    questions = dict.fromkeys((gold, question) for gold, _, question, _ in CASES)
    return [Target(Example(f"case/{g}", q, g), g, (), t.protocol) for g, q in questions]


PROBES = (
    Probe("math: correct notations", _correct, expect="accept", domain="math"),
    Probe("math: hedged answers", _hedged, domain="math"),
)
LISTED = (
    Probe("math: listed right answers", lambda t: _cases(t, expect="accept"), expect="accept", domain="math"),
    Probe("math: listed wrong answers", lambda t: _cases(t, expect="reject"), domain="math"),
)
