r"""Decides whether an answer equals the gold answer: words, units, numbers, formulas, lists, intervals, equations.

Numbers are compared exactly where both are rational, and otherwise at 30 digits with a relative tolerance of 1e-12; a
difference that is tiny beside both must also vanish at a precision that resolves every number in the formulas. An
answer that leaves arithmetic or a simplification to the reader is not finished, and is not accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from kkwarm_math.arithmetic import (
    INFINITY,
    approximates,
    equal_everywhere,
    exact_value,
    infinite_sign,
    letters_of,
    proportional,
    written_decimal,
)
from kkwarm_math.expression import Node, Unreadable, parse, walk
from kkwarm_math.finished import is_trivial, unfinished
from kkwarm_math.units import Quantity, split_unit, units_agree

__all__ = ["Decision", "decide", "same_value"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the answer is accepted, and why. `readable` is False where the answer is outside the grammar."""

    equal: bool
    reason: str
    readable: bool = True


# -- entry ------------------------------------------------------------------------------------------------------------


def decide(gold: str, answer: str, question: str = "") -> Decision:
    """Whether `answer` gives `gold`; both are LaTeX, plain text or a formula as a program writes it."""
    if gold == answer:
        return Decision(True, "same text")
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer):
        return Decision(int(gold) == int(answer), "number")
    g = read_gold(gold)
    if g.text is not None:
        return _words(g.text, answer)
    try:
        a = read(answer, question=question, counted=g.unit.name if g.unit is not None and g.unit.noun else "")
    except Unreadable as err:
        return Decision(False, str(err), readable=False)
    if a.text is not None or g.node is None or a.node is None:
        return Decision(_spaceless(gold) == _spaceless(answer), "text")
    in_radians = g.unit is None and any(n == PI for n in walk(g.node))
    if not units_agree(g.unit, a.unit) or (in_radians and a.unit == Quantity("degree")):
        return Decision(False, "units")
    try:
        decision = _decide(g, a, question)
        if decision.equal and _plain(a.node) != _plain(g.node) and _is_copied(a.node, question):
            return Decision(False, "a formula of the question")
        return decision
    except Unreadable as err:
        return Decision(False, str(err), readable=False)
    except (ZeroDivisionError, OverflowError, ValueError) as err:
        return Decision(False, f"it has no value ({type(err).__name__})", readable=False)


def same_value(first: str, second: str) -> bool:
    """Whether two formulas have the same value, finished or not."""
    try:
        a, b = read(first), read(second)
        return a.node is not None and b.node is not None and _values(a.node, b.node, finished=False).equal
    except (Unreadable, ZeroDivisionError, OverflowError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer: its formula and unit, or its words."""

    node: Node | None
    unit: Quantity | None = None
    text: str | None = None


@lru_cache(maxsize=8192)
def read_gold(text: str) -> Reading:
    """The reading of a gold answer; one that is no formula is words."""
    try:
        return read(text.rstrip(". ") if not text.endswith("..") else text, gold=True)
    except Unreadable:
        return Reading(None, None, text)


def read(text: str, *, gold: bool = False, question: str = "", counted: str = "") -> Reading:
    """The reading of an answer.

    :param counted: what the gold answer counts.
    :raises Unreadable: it is outside the grammar.
    """
    body, unit = split_unit(_without_thousands(_without_remark(text)), gold=gold, question=question, counted=counted)
    if (clock := _clock(text)) is not None:
        return Reading(clock)
    if _ALL_REALS.fullmatch(text.strip()):
        return Reading(Node("tuple", "()", (MINUS_INFINITY, INFINITY)))
    if gold and _TEXT_ONLY.fullmatch(text.strip()):
        return Reading(None, None, text)
    node = parse(_without_thousands(body))
    if node.kind in ("unit", "percent"):
        if unit is not None:
            raise Unreadable("two units")
        node, unit = node.args[0], Quantity("degree" if node.kind == "unit" else "percent")
    return Reading(node, unit)


PI = Node("constant", "pi")
MINUS_INFINITY = Node("negative", None, (INFINITY,))
_INTEGER = re.compile(r"-?[0-9]{1,60}")
_THOUSANDS = re.compile(r"([-+]?\s*(?:\\?\$)?\s*[0-9]{1,3})((?:,[0-9]{3})+|(?:(?:\\? |~)[0-9]{3})+)(\.[0-9]+)?")
_GROUPED_THOUSANDS = re.compile(r"(?<=\})\{[0-9]{1,3}(?:,[0-9]{3})+\}|(?<=frac)\{[0-9]{1,3}(?:,[0-9]{3})+\}")
_TEXT_ONLY = re.compile(r"\(?\\(?:text(?:bf|it|rm)?|mbox)\s*\{\s*[^{}0-9]*[A-Za-z][^{}0-9]*\}\)?")
_ALL_REALS = re.compile(
    r"\\(?:mathbb|Bbb)\s*(?:R|\{R\})|(?:\\text\s*\{)?\s*all\s+real(?:\s+number)?s\s*\}?", re.IGNORECASE
)
_REMARK = re.compile(
    r",?\s*\\text\s*\{\s*(?:for|where)\s+(?:any|all|some|every|[a-z]\s+is\s+an?y?)\s+(?:(?:real|positive|arbitrary)\s+)?(?:constant|number)s?\s*(?:\}\s*[a-z]?|[a-z]\s*\})\s*"
)
_CLOCK = re.compile(r"([0-9]{1,2})(?::([0-9]{2}))?\s*([ap])\.?\s*m\.?", re.IGNORECASE)


def _without_thousands(text: str) -> str:
    """A text that is one number, or has one in a group of its own, without the separators of thousands."""
    text = _GROUPED_THOUSANDS.sub(lambda m: m.group().replace(",", ""), text)
    found = _THOUSANDS.fullmatch(text.strip())
    return text if found is None else found[1] + re.sub(r"[ ,~\\]", "", found[2]) + (found[3] or "")


def _without_remark(text: str) -> str:
    """A formula without "for any constant c" behind it."""
    if "\\text" not in text:
        return text
    found = _REMARK.search(text)
    return text[: found.start()] if found is not None and found.end() == len(text) else text


def _clock(text: str) -> Node | None:
    """A time of the day, ``9:00 AM`` or ``9\\text{ a.m.}``."""
    plain = _FONT.sub("", text)
    if "m" not in plain.lower():
        return None
    plain = re.sub(r"\\[,;:! ]|[{}]|~", "", plain).strip()
    found = _CLOCK.fullmatch(plain)
    if found is None:
        return None
    return Node("word", f"{int(found[1])}:{found[2] or '00'} {found[3].lower()}m")


def _decide(g: Reading, a: Reading, question: str) -> Decision:
    gold, answer = g.node, a.node
    assert gold is not None and answer is not None
    if gold.kind == "word" or answer.kind == "word":
        return Decision(gold == answer, "text")
    percent = Quantity("percent")
    if a.unit == percent != g.unit and not _asks_percent(question, gold):
        hundredths = Node("quotient", "frac", (answer, Node("number", Fraction(100))))
        return Decision(exact_value(hundredths) is not None and exact_value(hundredths) == exact_value(gold), "percent")
    return equivalent(gold, answer, question)


def _asks_percent(question: str, gold: Node) -> bool:
    """Whether a percent sign behind an answer is only its unit. Without a question, a number above 1 suggests so."""
    if question:
        return re.search(r"%|percent", question, re.IGNORECASE) is not None
    value = exact_value(gold)
    return value is not None and abs(value) > 1


_SEGMENT = re.compile(r"\$\$(.+?)\$\$|\$((?:\\.|[^$\\])+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)


def _is_copied(answer: Node, question: str) -> bool:
    """Whether an answer is a formula of the question: whoever copies one has not worked it out."""
    if not question or answer.kind in ("number", "decimal", "letter", "constant"):
        return False
    sides = answer.args if answer.kind == "relation" else (answer,)
    formulas = _formulas(question)
    return _plain(answer) in formulas or (sides[-1].kind not in ("number", "decimal") and _plain(sides[-1]) in formulas)


def _plain(node: Node) -> Node:
    """An expression without the spelling of its products and fractions: ``8/22`` is ``\\frac{8}{22}``."""
    value = None if node.kind in ("product", "quotient") else node.value
    return node._replace(value=value, args=tuple(_plain(a) for a in node.args))


@lru_cache(maxsize=512)
def _formulas(question: str) -> frozenset[Node]:
    """The formulas of a question and the sides of its equations, without single numbers and names."""
    nodes: set[Node] = set()
    for found in _SEGMENT.finditer(question):
        text = next(group for group in found.groups() if group is not None).strip().rstrip(".,;:?")
        try:
            node = parse(text)
        except Unreadable:
            continue
        node = _plain(node)
        nodes |= {node, *(node.args if node.kind == "relation" else ())}
    simple = ("number", "decimal", "letter", "constant", "subscript", "word", "tuple")
    return frozenset(
        n for n in nodes if n.kind not in simple and not (n.kind == "negative" and n.args[0].kind in simple)
    )


# -- words ------------------------------------------------------------------------------------------------------------

_FONT = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|mbox|mathrm|mathbf|mathit|operatorname|emph|underline)\s*(?=\{)"
)
_ARTICLE = re.compile(r"\A[\s{]*(?:an?|the)\s+(?=(?!and\b|or\b)[A-Za-z]{2})", re.IGNORECASE)
# What carries no meaning in words: white space, brackets, quotes, emphasis, stops, and hyphens between letters.
_WORD_SIGNS = re.compile(r"""[\s(){}$*"“”‘’`~]|\[|\]|(?<![0-9])[./:]|[./:](?![0-9])|(?<=[a-z])[-'](?=[a-z])""")
_FORMULA = re.compile(r"[^\w\s(){}$*\"'`~.,:/\[\]-]|[_'](?![A-Za-z])|(?<![A-Za-z0-9])-|-(?![A-Za-z0-9])")


def _words(gold: str, answer: str) -> Decision:
    ours, theirs = word_key(gold), word_key(answer)
    if ours is None or theirs is None:
        return Decision(_spaceless(gold) == _spaceless(answer), "text")
    return Decision(ours == theirs or ours.replace(",", "") == theirs.replace(",", ""), "text")


def word_key(text: str) -> str | None:
    """An answer in words: its letters and digits in lower case, the parts between commas sorted; None for a formula."""
    text = _ARTICLE.sub("", _FONT.sub("", text).replace("\\ ", " ").replace("\\,", " "))
    if not text.isascii() or _FORMULA.search(text) or not re.search(r"[A-Za-z]", text):
        return None
    parts = re.split(r",(?:\s*and\b)?|\band\b", text.casefold())
    return ",".join(sorted(filter(None, (_WORD_SIGNS.sub("", part) for part in parts))))


def _spaceless(text: str) -> str:
    return re.sub(r"\s|\\[,;:! ]|\\left|\\right", "", text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")


# -- structure --------------------------------------------------------------------------------------------------------


def equivalent(gold: Node, answer: Node, question: str = "") -> Decision:
    """Whether the answer's formula is the gold answer's, and finished."""
    ours, theirs = _items(gold), _items(answer)
    if ours is not None or theirs is not None:
        return _lists(ours or [gold], theirs or [answer], question, gold, answer)
    return _one(gold, answer, question)


def _items(node: Node) -> list[Node] | None:
    """The members of a list or set, each sign of a plus-minus a member of its own; None for a single value."""
    if node.kind == "list" or node.kind == "set":
        if any(_interval_like(part) for part in node.args) and node.value == "or":
            return None
        return [v for part in node.args for v in _signs(part)]
    if node.kind == "relation" and node.value in (("=",), ("∈",)) and _is_name(node.args[0]):
        inner = _items(node.args[1])
        return inner
    if any(part.kind == "plus_minus" for part in walk(node)):
        return _signs(node)
    return None


def _signs(node: Node) -> list[Node]:
    if not any(part.kind == "plus_minus" for part in walk(node)):
        return [node]
    return [_resolved(node, sign) for sign in (1, -1)]


def _resolved(node: Node, sign: int) -> Node:
    if node.kind == "plus_minus":
        inner = _resolved(node.args[0], sign)
        plus = (node.value == "±") == (sign > 0)
        return inner if plus else Node("negative", None, (inner,))
    if not node.args:
        return node
    return node._replace(args=tuple(_resolved(a, sign) for a in node.args))


def _lists(ours: list[Node], theirs: list[Node], question: str, gold: Node, answer: Node) -> Decision:
    if (gold.kind == "list" and answer.kind == "tuple") or (gold.kind == "tuple" and answer.kind == "list"):
        ordered, other = (gold, answer)
        point = gold if gold.kind == "tuple" else answer
        if (
            "or" in (gold.value, answer.value)
            or len(ordered.args) != len(other.args)
            or point.value != "()"
            or (gold.kind == "list" and len(gold.args) < 3)
        ):
            return Decision(False, "brackets")
        return _all(_one(o, t, question) for o, t in zip(ordered.args, other.args, strict=True))
    if gold.kind == "tuple" or answer.kind == "tuple":
        return Decision(False, "brackets")
    if len(ours) > 12 or len(theirs) > 12:
        if len(ours) != len(theirs):
            return Decision(False, "another number of values")
        return _all(_one(o, t, question) for o, t in zip(_sorted(ours), _sorted(theirs), strict=True))
    left = _distinct(theirs, question)
    for value in _distinct(ours, question):
        for i, candidate in enumerate(left):
            found = _one(value, candidate, question)
            if found.equal:
                del left[i]
                break
            if found.reason.startswith("unfinished"):
                return found
        else:
            return Decision(False, "a value is missing")
    return Decision(not left, "same values" if not left else "a further value")


def _sorted(nodes: list[Node]) -> list[Node]:
    return sorted(nodes, key=lambda n: (float(v) if (v := exact_value(n)) is not None else float("inf"), repr(n)))


def _distinct(nodes: list[Node], question: str) -> list[Node]:
    kept: list[Node] = []
    for node in nodes:
        if not any(node == other or _same(other, node) for other in kept):
            kept.append(node)
    return kept


def _same(a: Node, b: Node) -> bool:
    try:
        return _one(a, b, "").equal
    except (Unreadable, ZeroDivisionError, OverflowError, ValueError):
        return False


def _all(decisions: Iterable[Decision]) -> Decision:
    for decision in decisions:
        if not decision.equal:
            return decision
    return Decision(True, "same parts")


def _one(gold: Node, answer: Node, question: str) -> Decision:
    """Whether two single values are the same."""
    if gold == answer and not is_trivial(answer):
        return Decision(True, "same text")
    if gold.kind == "relation" or answer.kind == "relation":
        return _relations(gold, answer, question)
    ours, theirs = _intervals(gold), _intervals(answer)
    if (ours is not None and theirs is not None) and (
        gold.kind == "union" or answer.kind == "union" or gold.kind == "list"
    ):
        return _same_intervals(ours, theirs)
    if gold.kind in ("tuple", "matrix", "ratio") or answer.kind in ("tuple", "matrix", "ratio"):
        return _structures(gold, answer, question)
    if gold.kind == "subscript" or answer.kind == "subscript":
        return Decision(_based(gold) is not None and _based(gold) == _based(answer), "base")
    if gold.kind in ("set", "list", "union") or answer.kind in ("set", "list", "union"):
        ours_, theirs_ = _items(gold), _items(answer)
        if ours_ is None or theirs_ is None:
            return Decision(False, "another kind of answer")
        return _lists(ours_, theirs_, question, gold, answer)
    return _values(gold, answer)


def _structures(gold: Node, answer: Node, question: str) -> Decision:
    gold, answer = _scaled(gold), _scaled(answer)
    if gold.kind != answer.kind or len(gold.args) != len(answer.args):
        return Decision(False, "another kind of answer")
    if gold.kind == "tuple" and gold.value != answer.value:
        long = len(gold.args) > 2 and {gold.value, answer.value} <= {"()", "[]"}
        if not long and "row" not in (gold.value, answer.value):
            return Decision(False, "brackets")
    return _all(_one(g, a, question) for g, a in zip(gold.args, answer.args, strict=True))


def _scaled(node: Node) -> Node:
    """A number times a matrix as a matrix."""
    negative = node.kind == "negative"
    inner = node.args[0] if negative else node
    if inner.kind != "product" and not (negative and inner.kind == "matrix"):
        return node
    parts = inner.args if inner.kind == "product" else (inner,)
    matrices = [p for p in parts if p.kind == "matrix"]
    if len(matrices) != 1:
        return node
    factors = tuple(p for p in parts if p.kind != "matrix")
    if any(p.kind in ("tuple", "set", "list") for p in factors):
        return node

    def entry(value: Node) -> Node:
        exact = [exact_value(p) for p in (*factors, value)]
        if all(e is not None for e in exact):
            total = Fraction(-1 if negative else 1)
            for e in exact:
                total *= e or 0
            return Node("number", total)
        made = Node("product", None, (*factors, value)) if factors else value
        return Node("negative", None, (made,)) if negative else made

    rows = tuple(r._replace(args=tuple(entry(v) for v in r.args)) for r in matrices[0].args)
    return Node("matrix", None, rows)


def _based(node: Node) -> tuple[Fraction, Fraction] | tuple[str, str] | None:
    if node.kind != "subscript":
        return None
    digits, base = node.args
    if digits.kind == "number" and base.kind == "number":
        return digits.value, base.value
    return repr(digits), repr(base)


# -- equations and inequalities ---------------------------------------------------------------------------------------

_FLIPPED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "=": "=", "≈": "≈"}


def _is_name(node: Node) -> bool:
    """Whether a side names a quantity: ``x``, ``x_1``, ``f(x)``, ``\angle ABC``."""
    if node.kind in ("letter", "constant"):
        return node.kind == "letter" or node.value in ("e", "i")
    if node.kind == "subscript":
        return _is_name(node.args[0])
    if node.kind == "product":
        return node.args[0].kind == "letter" and all(
            p.kind == "word" or _is_name(p) or p.kind == "tuple" or p.kind == "number" for p in node.args
        )
    return node.kind == "call" and node.value in ("vec", "bar", "hat") and _is_name(node.args[0])


def _quantity(node: Node, question: str) -> bool:
    """Whether a side is what the question asks for: a formula of letters without numbers, such as ``m+n``."""
    return not any(p.kind in ("number", "decimal", "scientific", "mixed", "percent") for p in walk(node))


def _relations(gold: Node, answer: Node, question: str) -> Decision:
    if _interval_like(gold) or _interval_like(answer):
        return _inequalities(gold, answer, question)
    if gold.kind == "relation" and gold.value == ("∈",):
        return _members(gold, answer, question)
    if answer.kind == "relation" and answer.value == ("∈",) and _is_name(answer.args[0]):
        return equivalent(gold, answer.args[1], question)
    equations = [n for n in (gold, answer) if n.kind == "relation"]
    if any(set(n.value) - {"=", "≈"} for n in equations):
        return Decision(False, "another kind of answer")
    if gold.kind != "relation":
        return _last_side(gold, answer, question)
    if len(gold.args) != 2:
        return Decision(False, "another kind of answer")
    name, value = gold.args
    if _is_name(name) and answer.kind == "relation" and len(answer.args) > 2 and answer.args[0] == name:
        return _last_side(value, answer, question)
    if answer.kind != "relation":
        if _is_name(name):
            return equivalent(value, answer, question)
        return Decision(False, "another kind of answer")
    return _equations(gold, answer, question)


# What a question says that asks for a rounded value.
_ROUNDING = re.compile(r"\b(?:nearest|approximat\w*|estimat\w*|rounded|rounding|round\s+(?:to|your))\b", re.IGNORECASE)


def _last_side(gold: Node, answer: Node, question: str) -> Decision:
    """A chain of equations gives its last side, where its other sides are equal to it or name it."""
    *before, last = answer.args
    if (len(before) > 1 and answer.value[-1] == "≈") or (
        len(before) == 1 and answer.value == ("≈",) and not _is_name(before[0])
    ):
        rounded, last = last, before.pop()  # 1/3 \\approx 0.333: the value before the sign, rounded behind it
        if not _rounds_to(last, rounded):
            return Decision(False, "the sides are not equal")
    if last.kind == "letter" and len(before) == 1 and not _is_name(before[0]) and not _is_name(gold):
        before, last = [last], before[0]  # 5 = x
    for side in before:
        if _is_name(side) or (letters_of(side) and _quantity(side, question)):
            continue
        if letters_of(side) or not _values(last, side, finished=False).equal:
            return Decision(False, "the sides are not equal")
    decision = equivalent(gold, last, question)
    exact = decision.equal and decision.reason != "rounded" and written_decimal(gold) is None
    if exact and "≈" in answer.value and last is answer.args[-1] and not _ROUNDING.search(question):
        return Decision(False, "an approximation")  # x \approx 12
    return decision


def _rounds_to(value: Node, rounded: Node) -> bool:
    """Whether a decimal is a value rounded to the decimal's places."""
    found = written_decimal(rounded)
    if found is None:
        return False
    exact = exact_value(value)
    return approximates(rounded, value if exact is None else exact, places=1)


def _equations(gold: Node, answer: Node, question: str) -> Decision:
    if len(answer.args) != 2 or answer.value != ("=",):
        return Decision(False, "another kind of answer")
    (name, value), (other, theirs) = gold.args, answer.args
    if _is_name(theirs) and not _is_name(other):
        other, theirs = theirs, other
    if _is_name(name) and _is_name(other):
        if (
            name == other
            or (name.kind == other.kind == "product" and len(name.args) == len(other.args))
            or _names_a_function(name, other, value)
        ):
            found = equivalent(value, theirs, question)
            if found.equal or name.kind == "product" or not letters_of(value):
                return found
        elif not letters_of(value):
            return Decision(False, "another variable")
    elif _is_name(name) and not letters_of(value):
        return Decision(False, "unfinished: an equation that is not solved")
    if not letters_of(gold) or letters_of(answer) - letters_of(gold):
        return Decision(False, "another equation")
    left = [Node("sum", None, (a, Node("negative", None, (b,)))) for a, b in (gold.args, answer.args)]
    if is_trivial(answer):
        return Decision(False, "unfinished: arithmetic")
    return Decision(proportional(*left), "equation")


def _names_a_function(name: Node, other: Node, value: Node) -> bool:
    """Whether one side is ``y`` and the other ``f(x)``, with a value in ``x``: they name the same function."""
    letter, function = (name, other) if name.kind == "letter" else (other, name)
    return (
        letter.kind == "letter"
        and function.kind == "product"
        and len(function.args) == 2
        and letters_of(function.args[1]) == letters_of(value)
        and letter.value not in letters_of(value)
    )


def _members(gold: Node, answer: Node, question: str) -> Decision:
    values = gold.args[1]
    if answer.kind == "relation" and answer.value == ("∈",):
        return equivalent(values, answer.args[1], question)
    if answer.kind == "relation":
        return _inequalities(values, answer, "")
    return equivalent(values, answer, question)


Bound = tuple[Node, bool]
Interval = tuple[Bound, Bound]


def _interval_like(node: Node) -> bool:
    return node.kind == "relation" and bool(set(node.value) & {"<", ">", "≤", "≥"})


def _inequalities(gold: Node, answer: Node, question: str) -> Decision:
    ours, theirs = _intervals(gold), _intervals(answer)
    if ours is not None and theirs is not None:
        return _same_intervals(ours, theirs)
    if gold.kind == answer.kind == "relation" and len(gold.args) == len(answer.args):
        for signs, sides in (
            (answer.value, answer.args),
            (tuple(_FLIPPED.get(s, s) for s in reversed(answer.value)), tuple(reversed(answer.args))),
        ):
            if signs == gold.value and all(_same(g, a) for g, a in zip(gold.args, sides, strict=True)):
                return Decision(True, "same chain")
        if len(gold.args) == 2 and letters_of(gold):
            return _same_half_plane(gold, answer)
    return Decision(False, "another inequality")


def _same_half_plane(gold: Node, answer: Node) -> Decision:
    signs = {">": 1, "≥": 1, "<": -1, "≤": -1}
    if len(answer.args) != 2 or gold.value[0] not in signs or answer.value[0] not in signs:
        return Decision(False, "another inequality")
    if (gold.value[0] in "<>") != (answer.value[0] in "<>") or letters_of(gold) != letters_of(answer):
        return Decision(False, "another inequality")
    left = [
        Node(
            "product",
            None,
            (
                Node("number", Fraction(signs[n.value[0]])),
                Node("sum", None, (n.args[0], Node("negative", None, (n.args[1],)))),
            ),
        )
        for n in (gold, answer)
    ]
    return Decision(proportional(*left, positive=True), "inequality")


def _same_intervals(ours: list[Interval], theirs: list[Interval]) -> Decision:
    if len(ours) != len(theirs):
        return Decision(False, "another interval")
    left = list(theirs)
    for one in ours:
        for i, other in enumerate(left):
            if all(b[1] == o[1] and (b[0] == o[0] or _same(b[0], o[0])) for b, o in zip(one, other, strict=True)):
                del left[i]
                break
        else:
            return Decision(False, "another interval")
    return Decision(True, "same interval")


def _intervals(node: Node) -> list[Interval] | None:
    """The intervals that a bracket, a union or inequalities in one variable give; None for anything else."""
    if node.kind == "tuple" and len(node.args) == 2 and node.value != "row":
        low, high = node.args
        return [((low, node.value[0] == "["), (high, node.value[1] == "]"))]
    if node.kind == "union" or (node.kind == "list" and node.value == "or"):
        parts = [_intervals(p) for p in node.args]
        if any(p is None for p in parts):
            return None
        return [i for p in parts for i in p or ()]
    if node.kind == "relation":
        if node.value == ("∈",) and _is_name(node.args[0]):
            return _intervals(node.args[1])
        return _of_relation(node)
    return None


def _of_relation(node: Node) -> list[Interval] | None:
    signs, args = node.value, node.args
    if len(args) == 2 and signs[0] in "<>≤≥":
        if args[1].kind == "letter" and not letters_of(args[0]):
            args, signs = (args[1], args[0]), (_FLIPPED[signs[0]],)
        if args[0].kind != "letter" or letters_of(args[1]):
            return None
        closed = signs[0] in "≤≥"
        if signs[0] in "<≤":
            return [((MINUS_INFINITY, False), (args[1], closed))]
        return [((args[1], closed), (INFINITY, False))]
    if len(args) == 3 and args[1].kind == "letter" and not letters_of(args[0]) and not letters_of(args[2]):
        if set(signs) <= {">", "≥"}:
            signs, args = tuple(_FLIPPED[s] for s in reversed(signs)), tuple(reversed(args))
        if set(signs) <= {"<", "≤"}:
            return [((args[0], signs[0] == "≤"), (args[2], signs[1] == "≤"))]
    return None


# -- values -----------------------------------------------------------------------------------------------------------


def _values(gold: Node, answer: Node, *, finished: bool = True) -> Decision:
    """Whether two expressions are equal for all values of their letters, and the answer's is finished."""
    ours, theirs = exact_value(gold), exact_value(answer)
    if ours is not None and theirs is not None:
        if ours != theirs:
            if written_decimal(answer) is not None and written_decimal(gold) is None and approximates(answer, ours):
                return Decision(True, "rounded")
            return Decision(False, "another number")
    else:
        letters = letters_of(gold)
        if not letters_of(answer) <= letters:
            return Decision(False, "another variable")
        infinite = [infinite_sign(n) for n in (gold, answer)]
        if any(infinite):
            return Decision(bool(infinite[0]) and infinite[0] == infinite[1], "infinity")
        if not letters and written_decimal(answer) is not None and written_decimal(gold) is None and ours is None:
            return Decision(approximates(answer, gold), "rounded")
        if not equal_everywhere(gold, answer, sorted(letters)):
            return Decision(False, "another value")
    if finished and (work := unfinished(gold, answer)):
        return Decision(False, f"unfinished: {work}")
    return Decision(True, "same value")
