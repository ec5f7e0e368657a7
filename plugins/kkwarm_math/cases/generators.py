"""The case generators of `math`. Labels come from sympy and from how a case is made, never from the verifier."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

from kkwarm.types import Case, CaseGenerator, Example, Target
from kkwarm.verify.mutations import change_digits
from kkwarm_math.cases import contexts, formulas, structures, values
from kkwarm_math.cases.peers import SYMPY
from kkwarm_math.verifier import LENIENT_VERIFIER

__all__ = ["GENERATORS"]

_QUESTION = "What is the value of the number that is described above?"


def _example(gold: str, question: str = "") -> Example:
    return Example("generated", question or _QUESTION, gold)


def _case(t: Target, gold: str, answer: str, *, accept: bool, kind: str, question: str = "") -> Case | None:
    if accept and not contexts.fits(t, answer):
        return None
    expect = "accept" if accept else "reject"
    return Case(t.compose(answer), expect, kind, _example(gold, question))  # type: ignore[arg-type]


def _notation(t: Target, rng: random.Random) -> Case | None:
    gold = values.number(rng)
    answer = contexts.accepted_context(rng, values.notation(rng, gold))
    return _case(t, gold.latex, answer, accept=True, kind=f"notation of a {gold.kind}")


def _another_value(t: Target, rng: random.Random) -> Case | None:
    gold = values.number(rng)
    other = values.choose_other(rng, gold, [values.number(rng) for _ in range(2)])
    if other is None:
        return None
    return _case(t, gold.latex, values.notation(rng, other), accept=False, kind="another value")


def _near_value(t: Target, rng: random.Random) -> Case | None:
    gold, other = values.near(rng)
    return _case(t, gold.latex, other.latex, accept=values.equal(gold, other), kind="nearly the same value")


def _another_formula(t: Target, rng: random.Random) -> Case | None:
    pair = formulas.different_formulas(rng)
    return None if pair is None else _case(t, *pair, accept=False, kind="another formula")


def _unreduced(t: Target, rng: random.Random) -> Case | None:
    return _case(t, *formulas.unreduced_fraction(rng), accept=False, kind="unreduced fraction")


def _digits(t: Target, rng: random.Random) -> Case | None:
    gold = values.number(rng)
    text = change_digits(rng, values.notation(rng, gold))
    # A changed digit in a font command or in the base of a logarithm changes the number as well.
    return (
        None
        if text is None or re.search("x = |n = |color", text)
        else _case(t, gold.latex, text, accept=False, kind="another digit")
    )


def _plain_gold(rng: random.Random) -> str:
    return rng.choice(("42", "7", "36", "1024", "5")) if rng.randrange(4) else values.number(rng).latex


def _words(t: Target, rng: random.Random) -> Case | None:
    gold = _plain_gold(rng)
    text = contexts.changed(rng, gold)
    if text.casefold().count("pi") > gold.count("pi") > 0:
        return None  # "\\pi, pi" states it twice
    return _case(t, gold, text, accept=False, kind="words at the answer")


def _signs(t: Target, rng: random.Random) -> Case | None:
    gold = rng.choice(("42", "7", "36", "1024", "5"))
    text, kind = contexts.signed(rng, gold)
    return _case(t, gold, text, accept=False, kind=kind)


def _hidden(t: Target, rng: random.Random) -> Case | None:
    gold = rng.choice(("42", "7", "36"))
    return _case(t, gold, contexts.hidden(rng, gold), accept=False, kind="hidden text")


def _unfinished(t: Target, rng: random.Random) -> Case | None:
    case, equal = structures.unfinished_part(rng, rng.choice((42, 9, 36, 1024, 720, 7)))
    return _case(t, case.gold, case.answer, accept=False, kind=case.kind) if equal else None


def _structured(t: Target, rng: random.Random) -> Case | None:
    made = structures.structured(rng)
    plain = "$" in made.answer or made.kind in ("word", "choice")
    answer = contexts.accepted_context(rng, made.answer) if made.accept and not plain else made.answer
    return _case(t, made.gold, answer, accept=made.accept, kind=made.kind, question=made.question)


def _free_text(t: Target, rng: random.Random) -> Case:
    accept = not rng.randrange(2)
    gold = rng.choice(("42", "7", "36", "\\frac{3}{4}", "2\\sqrt{3}"))
    text = contexts.stated_text(rng, gold) if accept else contexts.doubted_text(rng, gold)
    kind = "stated in free text" if accept else "not stated in free text"
    return Case(text, "accept" if accept else "reject", kind, _example(gold), free_text=True)


def _context_in_free_text(t: Target, rng: random.Random) -> Case:
    gold = rng.choice(("42", "7", "36"))
    text = contexts.signed(rng, gold)[0] if rng.randrange(2) else contexts.changed(rng, gold, unknown=False)
    leads = ("", "Some work.\n\n", "Some work.\nThe answer is ")
    lead = rng.choice(leads[:2] if text.rstrip("$").endswith("!") else leads)  # "The answer is 42!" ends a sentence
    return Case(lead + text, "reject", "changed in free text", _example(gold), free_text=True)


def _gold_digits(t: Target, rng: random.Random) -> Case | None:
    """A gold answer of the data with one digit changed. It may not be the same number in another place of a set."""
    text = change_digits(rng, t.gold)
    if text is None or "," in t.gold or re.search(r"_|\\(?:text|begin)|\^\{?\\circ", t.gold):
        return None
    return Case(t.compose(text), "reject", "gold answer with another digit")


_MAKERS: tuple[Callable[[Target, random.Random], Case | None], ...] = (
    _words, _words, _signs, _signs, _notation, _notation, _notation, _structured, _structured, _structured, _structured,
    _unfinished, _unfinished, _free_text, _free_text, _another_value, _near_value, _another_formula, _unreduced,
    _digits, _hidden, _context_in_free_text, _gold_digits,
)  # fmt: skip


def _generate(target: Target, rng: random.Random) -> Case | None:
    return rng.choice(_MAKERS)(target, rng)


_MATH_VERIFY = replace(LENIENT_VERIFIER, name="math-verify", timeout_s=60.0)  # its import takes seconds

GENERATORS = (CaseGenerator("math", _generate, domain="math", peers=(_MATH_VERIFY, SYMPY)),)
