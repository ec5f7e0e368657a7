r"""Units of answers: a closed list of names, read off the end of an answer (or the beginning, for a currency sign)."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Quantity", "split_unit", "units_agree", "words"]


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Quantity:
    """A unit by its standard name, or the noun that is counted (`noun`)."""

    name: str
    noun: bool = False


_NAMES = {
    "mm": "mm millimeter millimeters millimetre millimetres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "m": "m meter meters metre metres", "km": "km kilometer kilometers kilometre kilometres",
    "in": "in inch inches", "ft": "ft foot feet", "yd": "yd yard yards", "mi": "mi mile miles",
    "s": "s sec secs second seconds", "min": "min mins minute minutes", "h": "h hr hrs hour hours",
    "day": "day days", "week": "week weeks", "month": "month months", "year": "year years",
    "g": "g gm gram grams", "kg": "kg kilogram kilograms", "lb": "lb lbs pound pounds", "oz": "oz ounce ounces",
    "l": "l liter liters litre litres", "ml": "ml milliliter milliliters millilitre millilitres",
    "gal": "gal gallon gallons", "w": "watt watts", "kw": "kw kilowatt kilowatts",
    "cent": "cent cents", "dollar": "dollar dollars usd", "percent": "percent", "degree": "degree degrees deg",
    "radian": "radian radians rad", "mph": "mph", "km/h": "km/h kmh kph kmph", "m/s": "m/s", "unit": "unit units",
}  # fmt: skip
_BY_WORD = {word: name for name, listed in _NAMES.items() for word in listed.split()}
_PER = {("mi", "h"): "mph", ("km", "h"): "km/h", ("m", "s"): "m/s", ("ft", "s"): "ft/s"}
_PREFIXES = (("square ", "2"), ("sq ", "2"), ("sq. ", "2"), ("cubic ", "3"), ("cu ", "3"), ("cu. ", "3"))
# What any answer may count, whether the question names it or not.
_NOUNS = words(
    """ways way points people person students student integers solutions numbers values apples digits sides edges
    possibilities combinations arrangements permutations outcomes elements terms factors divisors games coins marbles
    tiles balls cards books pages boys girls children men women cookies candies oranges pencils cats dogs cars trees
    words letters lines vertices diagonals faces triangles rectangles circles polygons teams committees paths routes
    subsets functions sequences triples plates blocks bricks boxes bags cups bottles tickets questions problems
    votes members players rounds laps trips pieces slices items objects cases choices options handshakes stamps"""
)
# Words that change a number when they stand behind it, in a question or not.
_CHANGING = words(
    """negative positive half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh
    eighth ninth tenth tenths hundredth hundredths thousandth thousandths hundred hundreds thousand thousands million
    millions billion billions dozen dozens pair pairs twice thrice double doubled triple tripled halved squared cubed
    times plus minus over under divided multiplied less more fewer than least most about around above below not and or
    percent base inverse root power factorial point zero one two three four five six seven eight nine ten eleven twelve
    mod modulo square squares cube cubes approximately nearest between either neither wrong undefined larger smaller
    greater further remaining each every per first second last multiple multiples"""
)
_FONT = r"\\(?:text(?:bf|it|rm|normal|sf)?|mbox|mathrm|mathbf|mathit|operatorname|hbox)\s*"
_POWER = r"(?:\^\s*(?:\{\s*(?P<p>[23])\s*\}|(?P<q>[23])))?\s*\.?\s*"
_IN_TEXT = re.compile(
    rf"(?P<body>.*\S)(?:\\[ ,;:!]|~|\s)*{_FONT}\{{(?P<text>(?:[^{{}}\\^]|\\ )*)"
    rf"(?:\^(?:\{{(?P<r>[23])\}}|(?P<s>[23])))?\s*\}}\s*{_POWER}",
    re.DOTALL,
)
_BARE = re.compile(
    rf"(?P<body>.*?[0-9)}}])(?P<gap>(?:\s|\\[ ,;:!]|~)*)(?P<text>[A-Za-z][A-Za-z./ ]*){_POWER}", re.DOTALL
)
_CURRENCY = re.compile(r"(?P<sign>\s*[-+]?)\s*(?:\\?\$)\s*(?P<rest>[-+]?[0-9.].*)", re.DOTALL)
_QUESTION_WORD = re.compile(r"(?<![A-Za-z\\])[A-Z]?[a-z]{2,}(?![A-Za-z])")
_PER_UNIT = re.compile(
    rf"\\frac\s*\{{\s*(?:{_FONT})\{{\s*([A-Za-z]+)\s*\}}\s*\}}\s*\{{\s*(?:{_FONT})\{{\s*([A-Za-z]+)\s*\}}\s*\}}\s*\Z"
)
_DEGREES = re.compile(r"(?P<body>.*\S)\s*(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ|\{o\}|o)|\\degree|°)\s*", re.DOTALL)


def split_unit(text: str, *, gold: bool = False, question: str = "", counted: str = "") -> tuple[str, Quantity | None]:
    """The answer without its unit, and the unit; the whole text where no known unit ends it.

    :param gold: accept any words in a text command behind a number as what is counted.
    :param question: its words may be what is counted, unless they change a number.
    :param counted: words that may always be what is counted.
    """
    text = (
        _PER_UNIT.sub(r"\\text{\1/\2}", text.replace("¢", r"\text{ cents}"))
        if "\\frac" in text or "¢" in text
        else text
    )
    if (found := _CURRENCY.fullmatch(text)) is not None:
        body, inner = split_unit(found["sign"] + found["rest"], gold=gold, question=question, counted=counted)
        return body, inner or Quantity("dollar")
    if (found := _DEGREES.fullmatch(text)) is not None:
        return found["body"], Quantity("degree")
    found = _IN_TEXT.fullmatch(text)
    if found is not None and re.search(r"[0-9\\]", found["body"]):
        power = found["p"] or found["q"] or found["r"] or found["s"]
        unit = _unit(found["text"].replace("\\ ", " ").replace("~", " "), power)
        unit = unit or (_counted(found["text"]) if gold else None) or _of_question(found["text"], question, counted)
        return (found["body"].rstrip("\\ ~"), unit) if unit is not None else (text, None)
    found = _BARE.fullmatch(text)
    if found is None:
        return text, None
    name = found["text"].strip(" .")
    # One letter is a variable, unless white space parts it from a plain number.
    if len(name) == 1 and not (found["gap"] and re.fullmatch(r"[-+]?[0-9.,]+", found["body"].strip())):
        return text, None
    unit = _unit(name, found["p"] or found["q"])
    if unit is None and found["gap"]:
        unit = _of_question(name, question, counted)
    return (found["body"], unit) if unit is not None else (text, None)


def _unit(name: str, power: str | None) -> Quantity | None:
    text = " ".join(name.split()).casefold().strip(" .")
    if name.strip(" .") in ("M", "G", "H", "S"):  # mega, giga, henry and siemens; "L" and "W" are usual
        return None
    for prefix, exponent in _PREFIXES:
        if text.startswith(prefix):
            text, power = text.removeprefix(prefix), exponent
    if (per := re.fullmatch(r"([a-z]+)(?: per |/)([a-z]+)", text)) is not None and text not in _BY_WORD:
        top, bottom = (_BY_WORD.get(part, "") for part in per.groups())
        return Quantity(_PER.get((top, bottom), f"{top}/{bottom}")) if top and bottom else None
    if (standard := _BY_WORD.get(text)) is not None:
        return Quantity(standard + (f"^{power}" if power else ""))
    return Quantity(text, noun=True) if text in _NOUNS and power is None else None


def _counted(text: str) -> Quantity | None:
    """The words behind a gold number."""
    name = " ".join(text.split()).casefold().strip(" .")
    if len(name) < 2 or not re.fullmatch(r"[a-z ,.'-]+", name) or name in ("and", "or", "if", "for"):
        return None
    return Quantity(name, noun=True)


def _of_question(text: str, question: str, counted: str) -> Quantity | None:
    """What is counted, in words of the gold answer, or of the question where they do not change a number."""
    names = text.casefold().strip(" .").split()
    known = words(counted) | {n.casefold() for n in _QUESTION_WORD.findall(question)} - _CHANGING
    if not 0 < len(names) < 4 or (not counted and not question):
        return None
    return Quantity(" ".join(names), noun=True) if all(n in known or n in _BY_WORD for n in names) else None


def units_agree(gold: Quantity | None, answer: Quantity | None) -> bool:
    """Whether the answer's unit agrees with the gold answer's: where both state one, it must be the same."""
    if gold is None or answer is None or gold == answer:
        return True
    if gold.noun and answer.noun:
        return bool(words(gold.name) & words(answer.name)) or gold.name.rstrip("s") == answer.name.rstrip("s")
    if answer.name == "unit":
        return "^" not in gold.name or not gold.name.startswith("unit")
    return gold.name == "unit" and answer.noun
