r"""Compares two answers without a computer algebra system, as far as possible.

It decides equal strings, plain numbers, and the cases in which math-verify 0.9 is wrong. `RULES` names each of these
cases with its reason; each has a test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from kkwarm_math.latex import equation_sides, normal_form
from kkwarm_math.unevaluated import find_unevaluated

__all__ = ["RULES", "Decision", "decide"]

RULES: dict[str, str] = {
    "percent": "50\\% equals both 50 and 0.5 for math-verify, which are not equal to each other. The sign is a unit "
    "if the gold answer or the question has it, otherwise a hundredth.",
    "base": "2516_8 equals 2516 and 2516_9 for math-verify, which drops the subscript; these are three numbers.",
    "brackets": "(1,2) equals \\{1,2\\} for math-verify, (8,-2) equals [8,-2], (2,\\infty) equals (2,\\infty]; a "
    "point or an interval is not a set, and an open interval is not a closed one.",
    "text": "\\text{June 20} differs from June 20 for math-verify, which multiplies the letters of words (so that a "
    "word equals its anagrams); words are compared as words.",
    "thousands": "10{,}000 differs from 10000 in some versions and stored scores; the separator has no meaning.",
    "decimals": ".0000672 equals .0000673 for math-verify, which rounds to six places; written-out numbers are exact.",
    "chain": "6=5 answers 5 for math-verify, which takes the last side; a false equation has no value.",
    "units": "5 cm equals 5 m, and 5 or more equals 5, for math-verify, which drops words; known units must agree, a "
    "qualifier is not a unit, and 5 thousand is not 5.",
    "unevaluated": "26^2-24^2 equals 100 for math-verify; a formula copied from the question is not an answer, nor is "
    "a sum, a logarithm or a maximum that is not evaluated.",
    "zero": "7391 then 0 equals 0 for math-verify, which multiplies what stands side by side; nothing but 0 is 0.",
}

MAX_CHARS = 2_000  # no gold answer of MATH has 250
MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether two answers are equal, and the rule that decided it."""

    equal: bool
    rule: str


def decide(gold: str, answer: str, question: str = "") -> Decision | None:
    """Whether the expressions `answer` and `gold` are equal, or None if only algebra can tell."""
    if gold == answer:
        return Decision(True, "same text")
    gold_expr, answer_expr = _analyze_cached(gold), _analyze(answer)
    if gold_expr.normal_form == answer_expr.normal_form:
        return Decision(True, "same text")
    if (decision := _compare_kinds(gold_expr, answer_expr)) is not None:
        return decision
    if gold_expr.body == answer_expr.body and gold_expr.percent == answer_expr.percent:
        return Decision(True, "same text")
    if gold_expr.name and answer_expr.name and gold_expr.name != answer_expr.name:
        return Decision(False, "another variable")
    decision = (
        _compare_percent(gold_expr, answer_expr, question)
        if gold_expr.percent or answer_expr.percent
        else _compare_numbers(gold_expr.number, answer_expr.number)
    )
    if decision is not None and not (
        decision.equal and answer_expr.number is not None and not answer_expr.number.exact
    ):
        return decision
    return _check_evaluated(gold_expr, answer_expr, question) or decision


# -- analysis ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """A plain number. `exact` is False for a quotient, which may also be written as a rounded decimal."""

    value: Fraction
    exact: bool = True


@dataclass(frozen=True, slots=True)
class _Expression:
    """An expression, analyzed for comparison.

    `body` is the normal form without unit and percent sign, `name` the assigned variable (``x`` of ``x=5``), `words` a
    text answer, `bracket` the enclosing bracket, `false_equation` whether it equates different numbers, and
    `has_qualifier` whether text inside it qualifies the value ("5 to 6").
    """

    normal_form: str
    body: str
    unit: str
    percent: bool
    name: str
    number: Number | None
    words: str | None
    base: tuple[str, int] | None
    bracket: str
    false_equation: bool
    has_qualifier: bool = False


_INTEGER = re.compile(r"[+-]?[0-9]{1,60}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,60}\.[0-9]{0,60}|\.[0-9]{1,60})")
_QUOTIENT = re.compile(r"([+-]?)(?:\\frac\{([+-]?[0-9]{1,60})\}\{([+-]?[0-9]{1,60})\}|([0-9]{1,60})/([0-9]{1,60}))")
_MIXED = re.compile(r"(-?)([0-9]{1,20})(?:\\frac\{([0-9]{1,20})\}\{([0-9]{1,20})\}| ([0-9]{1,20})/([0-9]{1,20}))")
_ENCLOSED = re.compile(r"(?:\\(?:text|mbox|mathrm|mathbf|mathit|bf|textbf)\s*)?\{([^{}]*)\}|\(([^()]*)\)")
_CLOSED_AT_INFINITY = re.compile(r"\\infty[)}]*\]|\[[+-]?\\infty")
_ASSIGNED = re.compile(r"[A-Za-z]=(?=[^=]*\Z)")
_BASE = re.compile(r"([0-9A-Za-z]+)_(?:\{(?:\\text\{)?([0-9A-Za-z]+)\}{1,2}|(\d))")
_SUBSCRIPT = re.compile(r"[0-9]_")
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
}  # fmt: skip
_TEXT = r"\\(?:text|mbox|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|operatorname)\s*"
_TEXT_COMMAND = re.compile(rf"{_TEXT}(?=\{{)")
_NON_WORD = re.compile(r"[^a-z0-9:/.-]|(?<![0-9])[./:-]|[./:-](?![0-9])")
_TEXT_ONLY = re.compile(rf"(?:{_TEXT}\{{([^{{}}]*)\}}\s*)+")
_TRAILING_TEXT = re.compile(rf"(.*\S)\s*{_TEXT}\{{([^{{}}]*)\}}(\^\{{?\d\}}?)?\s*", re.DOTALL)
_QUALIFIER = re.compile(
    r"\b(?:or|and|not|no|none|to|more|less|fewer|any|about|than|at|least|most|except|minus|plus|either|only|if|for|mod|is|are|was|wrong|"
    r"incorrect|false|but|however|else|perhaps|maybe|probably|possibly|nope|never|guess|think|believe|suppose|roughly|"
    r"approximately|vs|versus)\b",
    re.IGNORECASE,
)
_TEXTS = re.compile(rf"{_TEXT}\{{([^{{}}]*)\}}")
_INNER_QUALIFIER = re.compile(
    r"\b(?:to|through|vs|versus|not|never|no|else|than|either|maybe|perhaps|possibly|wrong|incorrect|false|guess|but)\b",
    re.IGNORECASE,
)
_CONNECTIVES = frozenset({"and", "or", ",", ", and", "for", "if", "when", "where", "in", "is", "units", "cis"})
_INNER_TEXT = re.compile(r"\\(?:text|mbox|textrm|textbf|textit)\s*\{([^{}]*[A-Za-z][^{}]*)\}")
_UNIT = re.compile(r"[A-Za-z ./^'23-]*")
_SCALE = re.compile(r"\s*(hundred|thousand|million|billion|trillion|dozen|squared|cubed)s?\b", re.IGNORECASE)
_PERCENT = re.compile(r"\\?%|\\text\{\s*percent\s*\}|\bpercent\b", re.IGNORECASE)


@lru_cache(maxsize=8192)
def _analyze_cached(text: str) -> _Expression:
    """`_analyze` with a cache, for gold answers, which recur."""
    return _analyze(text)


def _analyze(text: str) -> _Expression:
    whole = normal_form(text)
    if _INTEGER.fullmatch(whole):
        return _Expression(whole, whole, "", False, "", Number(Fraction(int(whole))), None, None, "", False)
    percent = "%" in text or "percent" in text
    body, unit = (text, "") if "\\" not in text else _split_unit(text)
    stripped = normal_form(_PERCENT.sub("", body) if percent else body, number=True)
    if stripped.endswith("^\\circ"):
        stripped, unit = stripped.removesuffix("^\\circ"), unit or "degrees"
    assigned = _ASSIGNED.match(stripped)
    name = stripped[0] if assigned else ""
    number = parse_number(stripped[2:] if assigned else stripped)
    base, bracket, false_equation = _parse_base(whole), _enclosing_bracket(whole), _is_false_equation(stripped)
    has_qualifier = "\\" in text and (
        any(map(_INNER_QUALIFIER.search, _TEXTS.findall(text))) or _has_words(equation_sides(body)[-1])
    )
    return _Expression(
        whole, stripped, unit, percent, name, number, _parse_words(text), base, bracket, false_equation, has_qualifier
    )


def parse_number(text: str) -> Number | None:
    """The plain number (integer, decimal, quotient, mixed number) that a normal form is, or None."""
    if _INTEGER.fullmatch(text):
        return Number(Fraction(int(text)))
    if _DECIMAL.fullmatch(text):
        return Number(Fraction(text + "0" if text.endswith(".") else text))
    if (found := _QUOTIENT.fullmatch(text)) is not None:
        top, bottom = int(found[2] or found[4]), int(found[3] or found[5])
        sign = -1 if found[1] == "-" else 1
        return Number(sign * Fraction(top, bottom), exact=False) if bottom else None
    if (found := _MIXED.fullmatch(text)) is not None and (bottom := int(found[4] or found[6])):
        value = int(found[2]) + Fraction(int(found[3] or found[5]), bottom)
        return Number(-value if found[1] else value, exact=False)
    if (found := _ENCLOSED.fullmatch(text)) is not None:
        return parse_number(found[1] if found[2] is None else found[2])
    return None


def _split_unit(text: str) -> tuple[str, str]:
    r"""The expression before a trailing ``\text{...}``, and that text. A text alone is not a unit."""
    tail = _TRAILING_TEXT.fullmatch(text)
    if tail is None:
        return text, ""
    return tail[1], " ".join(tail[2].split()) + (tail[3] or "").replace("{", "").replace("}", "")


def _has_words(text: str) -> bool:
    """Whether a formula contains words other than connectives and units. math-verify drops them and what follows."""
    found = map(str.strip, _INNER_TEXT.findall(text) if not _INNER_TEXT.fullmatch(text) else ())
    return any(len(w) > 1 and w not in _CONNECTIVES and _unit_name(w) not in _UNITS for w in found)


def _parse_words(text: str) -> str | None:
    r"""The letters and digits of an answer in words, casefolded, with sorted parts; None for a formula."""
    text = _TEXT_COMMAND.sub("", text)
    if "\\" in text or not text.isascii() or not re.search(r"[A-Za-z]", text) or re.search(r"[=+^_<>|?]", text):
        return None
    parts = re.split(r",(?:\s*and\b)?|\band\b", text.casefold())
    return ",".join(sorted(filter(None, (_NON_WORD.sub("", part) for part in parts))))


def _parse_base(whole: str) -> tuple[str, int] | None:
    found = _BASE.fullmatch(whole)
    if found is None or not re.search(r"\d", found[1]):
        return None
    name = found[2] or found[3]
    base = int(name) if name.isdigit() and len(name) < 4 else _BASES.get(name.lower())
    return None if base is None else (found[1].upper().lstrip("0") or "0", base)


def _enclosing_bracket(whole: str) -> str:
    r"""``(``, ``[`` or ``{`` if one bracket encloses a list, otherwise ""."""
    for begin, end, name in (("(", ")", "("), ("[", "]", "["), ("\\{", "\\}", "{")):
        if whole.startswith(begin) and whole.endswith(end) and "," in whole:
            inner = whole[len(begin) : -len(end)]
            return name if begin not in inner and end not in inner else ""
    return ""


def _is_false_equation(body: str) -> bool:
    """Whether it is an equation of different plain numbers, or an approximation that is off by more than 1%."""
    if "=" not in body and "\\approx" not in body:
        return False
    values = {n.value for n in map(parse_number, equation_sides(body)) if n is not None}
    near = [n.value for n in map(parse_number, body.split("\\approx")) if n is not None]
    return len(values) > 1 or bool(near and max(near) - min(near) > max(map(abs, near)) / 100)


# -- deciding ---------------------------------------------------------------------------------------------------------


def _compare_kinds(gold: _Expression, answer: _Expression) -> Decision | None:
    if gold.words is not None and not gold.number and _TEXT_ONLY.fullmatch(gold.normal_form):
        # Several letters are a set, written ACF or A, C, F.
        same = answer.words is not None and (
            answer.words == gold.words or answer.words.replace(",", "") == gold.words.replace(",", "")
        )
        return Decision(same, "text")
    if gold.base is not None or answer.base is not None:
        return Decision(gold.base == answer.base, "base")
    if _SUBSCRIPT.search(answer.normal_form) and not _SUBSCRIPT.search(gold.normal_form):
        return Decision(False, "base")
    kinds = {gold.bracket, answer.bracket}
    if kinds == {"(", "{"} or (gold.number is not None and answer.bracket in ("(", "[")):
        return Decision(False, "brackets")
    if kinds == {"(", "["} and gold.normal_form.count(",") == 1:
        return Decision(False, "brackets")  # in an interval; around more than two numbers they are only style
    if _CLOSED_AT_INFINITY.search(answer.normal_form) and not _CLOSED_AT_INFINITY.search(gold.normal_form):
        return Decision(False, "brackets")
    if answer.false_equation and not gold.false_equation:
        return Decision(False, "chain")
    if (answer.unit != gold.unit and _units_differ(gold.unit, answer.unit)) or (
        answer.has_qualifier and not gold.has_qualifier
    ):
        return Decision(False, "units")
    return None


def _check_evaluated(gold: _Expression, answer: _Expression, question: str) -> Decision | None:
    """Rejects answers that are not evaluated."""
    if gold.number is not None and gold.number.value == 0 and parse_number(equation_sides(answer.body)[-1]) is None:
        return Decision(False, "zero")
    missing_step = find_unevaluated(gold.body, answer.body, question, number=gold.number is not None)
    return Decision(False, f"unevaluated: {missing_step}") if missing_step else None


def _units_differ(gold: str, answer: str) -> bool:
    if _QUALIFIER.search(answer) or not _UNIT.fullmatch(answer) or _scale(gold) != _scale(answer):
        return True
    ours, theirs = _UNITS.get(_unit_name(gold)), _UNITS.get(_unit_name(answer))
    return ours is not None and theirs is not None and ours != theirs


def _scale(unit: str) -> str:
    """The word that multiplies a unit: 5 thousand is not 5."""
    found = _SCALE.match(unit)
    return found[1].casefold() if found else ""


def _unit_name(unit: str) -> str:
    name = unit.casefold().strip(" .")
    for word, power in (("square ", "^2"), ("sq ", "^2"), ("sq. ", "^2"), ("cubic ", "^3"), ("cu ", "^3")):
        if name.startswith(word):
            return name.removeprefix(word) + power
    return name


def _units(names: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {s + p: (unit, p) for unit, spelt in names.items() for s in spelt.split() for p in ("", "^2", "^3")}


_UNITS = _units(
    {
        "mm": "mm millimeter millimeters millimetre millimetres",
        "cm": "cm centimeter centimeters centimetre centimetres",
        "m": "m meter meters metre metres", "km": "km kilometer kilometers kilometre kilometres",
        "in": "in inch inches", "ft": "ft foot feet", "yd": "yd yard yards", "mi": "mi mile miles",
        "s": "s sec second seconds", "min": "min minute minutes", "h": "h hr hrs hour hours",
        "day": "day days", "am": "am a.m", "pm": "pm p.m",
        "week": "week weeks", "month": "month months", "year": "year years",
        "g": "g gram grams", "kg": "kg kilogram kilograms", "lb": "lb lbs pound pounds", "oz": "oz ounce ounces",
        "cent": "cent cents", "dollar": "dollar dollars", "mph": "mph",
        "degree": "degree degrees", "radian": "radian radians",
    }
)  # fmt: skip


def _compare_percent(gold: _Expression, answer: _Expression, question: str) -> Decision | None:
    if gold.number is None or answer.number is None:
        return None
    unit = gold.percent or bool(_PERCENT.search(question)) or (not question and abs(gold.number.value) > 1)
    value = answer.number.value if unit or not answer.percent else answer.number.value / 100
    return Decision(gold.number.value == value, "percent")


def _compare_numbers(gold: Number | None, answer: Number | None) -> Decision | None:
    if gold is None or answer is None:
        return None
    if gold.value == answer.value:
        return Decision(True, "same number")
    if gold.exact == answer.exact:  # both written out, or both quotients
        return Decision(False, "another number")
    # A decimal may be a rounded quotient (0.333333 for 1/3), so only clear differences are decided here.
    if abs(gold.value - answer.value) > abs(gold.value) / 1000:
        return Decision(False, "another number")
    return None
