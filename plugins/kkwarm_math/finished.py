"""Whether an answer is worked out: ``2+4``, ``5^0`` or ``\\sqrt{(7-3)^2+(8-2)^2}`` leave work to the reader.

For a computer algebra system ``26^2-24^2`` is as good an answer as 100. A model that copies formulas out of questions
would then be right now and then, and RLVR would find that out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from kkwarm_math.arithmetic import exact_value, letters_of
from kkwarm_math.expression import Node, walk

__all__ = ["is_trivial", "unfinished"]

_LITERALS = ("number", "decimal", "mixed", "scientific")
_FUNCTIONS_OF_KIND = {
    "trigonometry": "sin cos tan cot sec csc",
    "inverse trigonometry": "arcsin arccos arctan arccot",
    "hyperbolic functions": "sinh cosh tanh",
    "a logarithm": "ln log",
    "an absolute value": "abs",
    "rounding": "floor ceil",
    "counting": "binom",
    "a root": "sqrt root",
}
_KINDS = {name: kind for kind, names in _FUNCTIONS_OF_KIND.items() for name in names.split()}


def unfinished(gold: Node, answer: Node) -> str:
    """What the answer leaves to be done: work of a kind that the gold answer has none of; "" where it is finished."""
    if gold == answer:
        return ""
    rational = exact_value(gold) is not None
    allowed, work = set(_work(gold)), _work(answer)
    if not rational:
        allowed.add("a root")
        if any(p.kind == "constant" and p.value == "e" for p in walk(gold)):
            allowed.add("an exponential")
    for kind in work:
        if kind not in allowed or kind == "trivial arithmetic":
            return kind
    return ""


def is_trivial(node: Node) -> bool:
    return "trivial arithmetic" in _work(node)


def _work(node: Node) -> set[str]:
    found = {_work_of(node)}
    if node.kind == "product" and _scientific(node.args):
        found.discard("arithmetic")
    else:
        for child in node.args:
            found |= _work(child)
    return found - {""}


def _work_of(node: Node) -> str:
    kind, args = node.kind, node.args
    if kind in ("product", "sum", "power", "quotient") and any(a.kind in ("percent", "unit") for a in args):
        return "arithmetic"
    if kind == "call":
        return _KINDS.get(node.value, "")
    if kind == "factorial":
        return "counting"
    if kind == "negative" and args[0].kind == "negative":
        return "arithmetic"
    if kind == "power":
        return _work_of_power(*args)
    if kind == "quotient" and all(a.kind == "number" for a in args):
        value = exact_value(node)
        reduced = value is not None and value.denominator == args[1].value != 1
        return "" if reduced or (node.value != "÷" and value is not None and value.denominator != 1) else "arithmetic"
    if kind == "quotient" and args[1] == Node("number", Fraction(1)) and not is_literal(args[0]):
        return "trivial arithmetic"
    if kind == "quotient" and _is_polynomial(args[1]) and letters_of(args[1]):
        return "a division"
    if kind == "sum":
        return _work_of_sum(args)
    if kind == "product":
        return _work_of_product(node)
    return ""


def _work_of_power(base: Node, exponent: Node) -> str:
    power = exact_value(exponent)
    value = exact_value(base)
    if power is not None and power < 0 and _is_polynomial(base) and letters_of(base):
        return "a division"
    if power in (0, 1) or value in (0, 1):
        return "trivial arithmetic"
    if base == Node("constant", "e"):
        return "an exponential"
    if base.kind == "constant" and base.value == "i":
        return "a power"
    if power is not None and power.denominator != 1:
        return "a root"
    if (power == -1 and not is_literal(base)) or (value == 10 and is_literal(base) and is_literal(exponent)):
        return ""
    if value is not None:
        return "a power"
    return ""


def _work_of_sum(terms: Sequence[Node]) -> str:
    seen: set[Any] = set()
    for term in terms:
        if exact_value(term) == 0:
            return "trivial arithmetic"
        key = _without_coefficient(term)
        if key in seen:
            return "arithmetic"
        seen.add(key)
    return ""


def _is_polynomial(node: Node) -> bool:
    """Whether a formula is made of numbers and letters by addition, multiplication and whole powers."""
    if node.kind == "power":
        return _is_polynomial(node.args[0]) and node.args[1].kind == "number"
    return node.kind in ("letter", *_LITERALS) or (
        node.kind in ("sum", "product", "negative") and all(map(_is_polynomial, node.args))
    )


def _without_coefficient(term: Node) -> Any:
    """A term of a sum without its rational factor: terms with the same rest can be added up."""
    while term.kind == "negative":
        term = term.args[0]
    if is_literal(term):
        return ()
    if term.kind == "product":
        rest = tuple(sorted((repr(p) for p in term.args if not is_literal(p)), key=str))
        return rest
    if term.kind == "quotient":
        top, bottom = (_without_coefficient(a) for a in term.args)
        return top if bottom == () else (top, bottom)
    return (repr(term),)


def is_literal(node: Node) -> bool:
    """A number as it is written out: no arithmetic but a sign and one fraction line."""
    while node.kind == "negative":
        node = node.args[0]
    if node.kind in _LITERALS:
        return True
    return node.kind == "quotient" and all(
        a.kind in _LITERALS or (a.kind == "negative" and a.args[0].kind in _LITERALS) for a in node.args
    )


_TEN = Node("number", Fraction(10))


def _work_of_product(node: Node) -> str:
    numbers = [p for p in node.args if exact_value(p) is not None]
    if any(exact_value(p) == 0 for p in numbers):
        return "trivial arithmetic"
    if _scientific(node.args):
        return ""
    if node.value == "*" and any(p == Node("number", Fraction(1)) for p in numbers):
        return "trivial arithmetic"
    literal = [p for p in numbers if is_literal(p)]
    if len(literal) > 1:
        return "arithmetic"
    powers = Counter(repr(p.args[0]) for p in numbers if p.kind == "power")
    powers.update(repr(p) for p in node.args if p.kind == "letter")
    if any(n > 1 for n in powers.values()):
        return "arithmetic"
    return ""


def _scientific(factors: Sequence[Node]) -> bool:
    """Whether a product is a number in scientific notation: ``5.85 \\times 10^4``."""
    if len(factors) != 2 or factors[1].kind != "power" or factors[1].args[0] != _TEN:
        return False
    return is_literal(factors[0]) and is_literal(factors[1].args[1]) and exact_value(factors[1].args[1]) != 0
