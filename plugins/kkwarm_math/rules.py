r"""What can be decided about two answers without a computer algebra system: equal strings, plain numbers, and the cases
in which math-verify 0.9 is wrong (each is named in `RULES`, with its reason, and has a test).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from kkwarm_math.latex import key, sides
from kkwarm_math.unfinished import unfinished

__all__ = ["RULES", "Ruling", "decide"]

RULES: dict[str, str] = {
    "percent": "50\\% equals both 50 and 0.5 for math-verify; they are not equal to each other. The sign is a unit "
    "where the gold answer or the question has it, else a hundredth.",
    "base": "2516_8 equals 2516 and 2516_9 for math-verify, which drops the subscript; these are three numbers.",
    "brackets": "(1,2) equals \\{1,2\\} for math-verify, (8,-2) equals [8,-2], (2,\\infty) equals (2,\\infty]; a "
    "point or an interval is no set, an open interval no closed one.",
    "text": "\\text{June 20} differs from June 20 for math-verify, which multiplies the letters of words (so that a "
    "word equals its anagrams); words are compared as words.",
    "thousands": "10{,}000 differs from 10000 in some versions and stored scores; the separator is no content.",
    "decimals": ".0000672 equals .0000673 for math-verify, which rounds to six places; written-out numbers are exact.",
    "chain": "6=5 answers 5 for math-verify, which takes the last side; an equation of unequal numbers has no value.",
    "units": "5 cm equals 5 m, and 5 or more equals 5, for math-verify, which drops words; known units must agree, a "
    "qualifier is no unit, and 5 thousand is not 5.",
    "unfinished": "26^2-24^2 equals 100 for math-verify; a formula copied from the question, or a sum, a logarithm or "
    "a maximum that nobody has worked out, answers nothing.",
    "zero": "7391 then 0 equals 0 for math-verify, which multiplies what stands side by side; nothing but 0 is 0.",
}

MAX_CHARS = 2_000  # no gold answer of MATH has 250
MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision, and the rule that made it."""

    equal: bool
    rule: str


def decide(gold: str, answer: str, question: str = "") -> Ruling | None:
    """Whether the expression `answer` gives the expression `gold`, or None where only algebra can tell."""
    if gold == answer:
        return Ruling(True, "same text")
    g, a = _read(gold), _read_now(answer)
    if g.key == a.key:
        return Ruling(True, "same text")
    if (ruling := _by_kind(g, a)) is not None:
        return ruling
    if g.body == a.body and g.percent == a.percent:
        return Ruling(True, "same text")
    if g.name and a.name and g.name != a.name:
        return Ruling(False, "another variable")
    ruling = _percent(g, a, question) if g.percent or a.percent else _numbers(g.number, a.number)
    if ruling is not None and not (ruling.equal and a.number is not None and not a.number.exact):
        return ruling
    return _by_work(g, a, question) or ruling


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """A plain number. `exact` is False for a quotient, which a rounded decimal may stand for."""

    value: Fraction
    exact: bool = True


@dataclass(frozen=True, slots=True)
class _Reading:
    """An expression read for comparison: `body` is the key without unit and percent sign, `name` what is assigned to
    (``x`` of ``x=5``), `words` a text answer, `clash` an equation of unequal numbers, `between` whether text inside it
    sets one thing against another."""

    key: str
    body: str
    unit: str
    percent: bool
    name: str
    number: Number | None
    words: str | None
    base: tuple[str, int] | None
    bracket: str
    clash: bool
    between: bool = False


_INTEGER = re.compile(r"[+-]?[0-9]{1,60}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,60}\.[0-9]{0,60}|\.[0-9]{1,60})")
_QUOTIENT = re.compile(r"([+-]?)(?:\\frac\{([+-]?[0-9]{1,60})\}\{([+-]?[0-9]{1,60})\}|([0-9]{1,60})/([0-9]{1,60}))")
_MIXED = re.compile(r"(-?)([0-9]{1,20})(?:\\frac\{([0-9]{1,20})\}\{([0-9]{1,20})\}| ([0-9]{1,20})/([0-9]{1,20}))")
_FRAMED = re.compile(r"(?:\\(?:text|mbox|mathrm|mathbf|mathit|bf|textbf)\s*)?\{([^{}]*)\}|\(([^()]*)\)")
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
_NO_WORD = re.compile(r"[^a-z0-9:/.-]|(?<![0-9])[./:-]|[./:-](?![0-9])")
_WORDS = re.compile(rf"(?:{_TEXT}\{{([^{{}}]*)\}}\s*)+")
_TAIL = re.compile(rf"(.*\S)\s*{_TEXT}\{{([^{{}}]*)\}}(\^\{{?\d\}}?)?\s*", re.DOTALL)
_QUALIFIER = re.compile(
    r"\b(?:or|and|not|no|none|to|more|less|fewer|any|about|than|at|least|most|except|minus|plus|either|only|if|for|mod|is|are|was|wrong|"
    r"incorrect|false|but|however|else|perhaps|maybe|probably|possibly|nope|never|guess|think|believe|suppose|roughly|"
    r"approximately|vs|versus)\b",
    re.IGNORECASE,
)
_TEXTS = re.compile(rf"{_TEXT}\{{([^{{}}]*)\}}")
_BETWEEN = re.compile(
    r"\b(?:to|through|vs|versus|not|never|no|else|than|either|maybe|perhaps|possibly|wrong|incorrect|false|guess|but)\b",
    re.IGNORECASE,
)
_JOINTS = frozenset({"and", "or", ",", ", and", "for", "if", "when", "where", "in", "is", "units", "cis"})
_INNER_TEXT = re.compile(r"\\(?:text|mbox|textrm|textbf|textit)\s*\{([^{}]*[A-Za-z][^{}]*)\}")
_UNIT = re.compile(r"[A-Za-z ./^'23-]*")
_SCALE = re.compile(r"\s*(hundred|thousand|million|billion|trillion|dozen|squared|cubed)s?\b", re.IGNORECASE)
_PERCENT = re.compile(r"\\?%|\\text\{\s*percent\s*\}|\bpercent\b", re.IGNORECASE)


@lru_cache(maxsize=8192)
def _read(text: str) -> _Reading:
    """`_read_now`, remembered: for gold answers, which come again."""
    return _read_now(text)


def _read_now(text: str) -> _Reading:
    whole = key(text)
    if _INTEGER.fullmatch(whole):
        return _Reading(whole, whole, "", False, "", Number(Fraction(int(whole))), None, None, "", False)
    percent = "%" in text or "percent" in text
    body, unit = (text, "") if "\\" not in text else _unit(text)
    stripped = key(_PERCENT.sub("", body) if percent else body, number=True)
    if stripped.endswith("^\\circ"):
        stripped, unit = stripped.removesuffix("^\\circ"), unit or "degrees"
    assigned = _ASSIGNED.match(stripped)
    name = stripped[0] if assigned else ""
    number = number_of(stripped[2:] if assigned else stripped)
    base, bracket, clash = _base(whole), _bracket(whole), _clash(stripped)
    between = "\\" in text and (any(map(_BETWEEN.search, _TEXTS.findall(text))) or _wordy(sides(body)[-1]))
    return _Reading(whole, stripped, unit, percent, name, number, _words(text), base, bracket, clash, between)


def number_of(text: str) -> Number | None:
    """The plain number (integer, decimal, quotient, mixed number) that a key is, or None."""
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
    if (found := _FRAMED.fullmatch(text)) is not None:
        return number_of(found[1] if found[2] is None else found[2])
    return None


def _unit(text: str) -> tuple[str, str]:
    r"""The expression before a trailing ``\text{...}``, and that text; a text alone is no unit."""
    tail = _TAIL.fullmatch(text)
    if tail is None:
        return text, ""
    return tail[1], " ".join(tail[2].split()) + (tail[3] or "").replace("{", "").replace("}", "")


def _wordy(text: str) -> bool:
    """Whether other words than joints and units stand inside a formula: math-verify drops them and what follows."""
    found = map(str.strip, _INNER_TEXT.findall(text) if not _INNER_TEXT.fullmatch(text) else ())
    return any(len(w) > 1 and w not in _JOINTS and _unit_name(w) not in _UNITS for w in found)


def _words(text: str) -> str | None:
    r"""An answer in words, casefolded: its letters and digits, parts between commas in order; None for a formula."""
    text = _TEXT_COMMAND.sub("", text)
    if "\\" in text or not text.isascii() or not re.search(r"[A-Za-z]", text) or re.search(r"[=+^_<>|?]", text):
        return None
    parts = re.split(r",(?:\s*and\b)?|\band\b", text.casefold())
    return ",".join(sorted(filter(None, (_NO_WORD.sub("", part) for part in parts))))


def _base(whole: str) -> tuple[str, int] | None:
    found = _BASE.fullmatch(whole)
    if found is None or not re.search(r"\d", found[1]):
        return None
    name = found[2] or found[3]
    base = int(name) if name.isdigit() and len(name) < 4 else _BASES.get(name.lower())
    return None if base is None else (found[1].upper().lstrip("0") or "0", base)


def _bracket(whole: str) -> str:
    r"""``(``, ``[`` or ``{`` where the whole is one bracket around a list; "" otherwise."""
    for begin, end, name in (("(", ")", "("), ("[", "]", "["), ("\\{", "\\}", "{")):
        if whole.startswith(begin) and whole.endswith(end) and "," in whole:
            inner = whole[len(begin) : -len(end)]
            return name if begin not in inner and end not in inner else ""
    return ""


def _clash(body: str) -> bool:
    """An equation between plain numbers that are not equal, or an approximation that is more than 1% off."""
    if "=" not in body and "\\approx" not in body:
        return False
    values = {n.value for n in map(number_of, sides(body)) if n is not None}
    near = [n.value for n in map(number_of, body.split("\\approx")) if n is not None]
    return len(values) > 1 or bool(near and max(near) - min(near) > max(map(abs, near)) / 100)


# -- deciding ---------------------------------------------------------------------------------------------------------


def _by_kind(g: _Reading, a: _Reading) -> Ruling | None:
    if g.words is not None and not g.number and _WORDS.fullmatch(g.key):
        # Several letters are a set, spelt ACF or A, C, F.
        same = a.words is not None and (a.words == g.words or a.words.replace(",", "") == g.words.replace(",", ""))
        return Ruling(same, "text")
    if g.base is not None or a.base is not None:
        return Ruling(g.base == a.base, "base")
    if _SUBSCRIPT.search(a.key) and not _SUBSCRIPT.search(g.key):
        return Ruling(False, "base")
    kinds = {g.bracket, a.bracket}
    if kinds == {"(", "{"} or (g.number is not None and a.bracket in ("(", "[")):
        return Ruling(False, "brackets")
    if kinds == {"(", "["} and g.key.count(",") == 1:
        return Ruling(False, "brackets")  # of an interval; of more than two numbers they are only style
    if _CLOSED_AT_INFINITY.search(a.key) and not _CLOSED_AT_INFINITY.search(g.key):
        return Ruling(False, "brackets")
    if a.clash and not g.clash:
        return Ruling(False, "chain")
    if (a.unit != g.unit and _units_differ(g.unit, a.unit)) or (a.between and not g.between):
        return Ruling(False, "units")
    return None


def _by_work(g: _Reading, a: _Reading, question: str) -> Ruling | None:
    """Wrong where the answer leaves the work to others."""
    if g.number is not None and g.number.value == 0 and number_of(sides(a.body)[-1]) is None:
        return Ruling(False, "zero")
    left = unfinished(g.body, a.body, question, number=g.number is not None)
    return Ruling(False, f"unfinished: {left}") if left else None


def _units_differ(gold: str, answer: str) -> bool:
    if _QUALIFIER.search(answer) or not _UNIT.fullmatch(answer) or _scale(gold) != _scale(answer):
        return True
    ours, theirs = _UNITS.get(_unit_name(gold)), _UNITS.get(_unit_name(answer))
    return ours is not None and theirs is not None and ours != theirs


def _scale(unit: str) -> str:
    """The word by which a unit multiplies: 5 thousand is not 5."""
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


def _percent(g: _Reading, a: _Reading, question: str) -> Ruling | None:
    if g.number is None or a.number is None:
        return None
    unit = g.percent or bool(_PERCENT.search(question)) or (not question and abs(g.number.value) > 1)
    value = a.number.value if unit or not a.percent else a.number.value / 100
    return Ruling(g.number.value == value, "percent")


def _numbers(g: Number | None, a: Number | None) -> Ruling | None:
    if g is None or a is None:
        return None
    if g.value == a.value:
        return Ruling(True, "same number")
    if g.exact == a.exact:  # both written out, or both quotients
        return Ruling(False, "another number")
    # A decimal may stand for a quotient: 0.333333 for 1/3. Only where that is out of the question is it decided here.
    if abs(g.value - a.value) > abs(g.value) / 1000:
        return Ruling(False, "another number")
    return None
