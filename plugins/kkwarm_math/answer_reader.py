r"""Finds the answer that a text states: in a box, after "the answer is", or in a last line that is only the answer.

What stands next to a box in the same formula is part of the answer. Only the phrases listed here are removed.
"""

from __future__ import annotations

import re

from kkwarm_math.units import split_unit

__all__ = ["last_boxed", "read_answer"]

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_UNBRACED = re.compile(r"-?[0-9]+(?:\.[0-9]+)?|[A-Za-z](?![A-Za-z])")
_LONGEST_BOX = 4_000
_LEAD_WORDS = r"(?:(?:so|thus|therefore|hence|then|finally|and)\b,?\s*)"
_OF_ANSWER = r"(?:(?:the|my|our)\s+)?(?:final\s+|correct\s+|exact\s+)?(?:answers?|results?|solutions?)"
_QUANTITY = (
    r"(?:the|its|their)\s+(?:total\s+|final\s+|desired\s+|required\s+|requested\s+)?(?:cost|price|total|sum|product|difference|"
    r"quotient|remainder|area|perimeter|volume|length|width|height|distance|number|value|values|probability|average|mean|"
    r"median|mode|ratio|units? digit|digit|angle|slope|radius|diameter|roots|maximum|minimum|answer)"
    r"(?:\s+of\s+\$?[A-Za-z]\$?(?=\s))?"
)
_STATED = r"(?:(?:the|my|our)\s+)?(?:final\s+|correct\s+|exact\s+)?(?:answers?|result|solutions?(?=\s+(?:is|are)))"
_IS = r"\s*(?:is|are|=|:|equals|to\s+be)(?:\s+equal\s+to)?\s*:?\s*"
# What may introduce an answer, and carries no meaning.
_INTRODUCTION = re.compile(
    rf"{_LEAD_WORDS}*(?:{_OF_ANSWER}{_IS}|{_QUANTITY}\s+(?:is|are|equals)\s*:?\s*|(?:we|you|i)\s+(?:get|have|obtain|find)\s*:?\s*|"
    r"(?:there|it|this|that)\s+(?:is|are)\s*:?\s*|####\s*)?",
    re.IGNORECASE,
)
_STATEMENT = re.compile(
    rf"(?:(?<![A-Za-z]){_STATED}(?:\s*\*\*)?(?:\s*(?:is|are|equals|to\s+be)(?:\s+equal\s+to)?\s*(?:\*\*)?\s*:?|\s*(?:\*\*)?\s*[:=])\s*(?:\*\*)?|####)\s*",
    re.IGNORECASE,
)
_CORRECTION = re.compile(r"(?:(?<![A-Za-z])(?:it|that)\s+(?:is|should\s+be)\s+(?:actually\s+)?)", re.IGNORECASE)
_RETRACTION = re.compile(
    r"(?<![A-Za-z])(?:wait|actually|nope|wrong|incorrect|mistaken?|instead|correction|sorry|hmm|oops|recheck|reconsider|"
    r"not\s+(?:right|correct|the\s+(?:right|correct)?\s*answer))(?![A-Za-z])",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?:(?<![0-9])[.]|(?<=[0-9])\.(?![0-9])|(?<!\\)!)(?=\s|\*|$)|\n")
_EMPHASIS = ("**", "__", "`", '"', "''", "*")
_EQUALS = re.compile(
    r"(?<![<>!\\])=|&|\\(?:implies|Rightarrow|Longrightarrow|therefore|approx|equiv)(?![A-Za-z])|:(?=\s)"
)
_ENVIRONMENT = re.compile(
    r"\\(?:begin|end)\s*\{(?:align|aligned|equation|gather|gathered|split|displaymath|math|center)\*?\}"
)
_UNIT_BEHIND = re.compile(
    r"(?:\s|\\[ ,;:!]|~)*((?:square |cubic |sq\.? )?[A-Za-z]{1,12}(?:\^\{?[23]\}?)?)(?=[\s.,;!)]|$)"
)
_TRAILING = re.compile(r"(?:\\[ ,;:!]|[\s~*_.,;\"]|\\$)+$")
_MODULUS = re.compile(r"\s*\(?\s*\\p?mod\s*(?:\{[^{}]*\}|\w+)\s*\)?\s*\.?\s*$")
_MAGNITUDES = frozenset(
    [
        "hundred",
        "hundreds",
        "thousand",
        "thousands",
        "million",
        "millions",
        "billion",
        "billions",
        "trillion",
        "dozen",
        "dozens",
        "score",
        "lakh",
        "crore",
        "halves",
        "thirds",
        "quarters",
        "fourths",
        "fifths",
        "sixths",
        "sevenths",
        "eighths",
        "ninths",
        "tenths",
        "hundredths",
        "thousandths",
        "squared",
        "cubed",
        "factorial",
        "minus",
        "plus",
        "over",
        "divided",
        "multiplied",
        "point",
    ]
)
_WORD_BEHIND = re.compile(r"(?:\s|\\[ ,;:!]|~|-)*([A-Za-z]+)")
_FOLLOWERS = frozenset(
    [
        "is",
        "as",
        "and",
        "or",
        "so",
        "which",
        "that",
        "where",
        "when",
        "if",
        "in",
        "for",
        "by",
        "with",
        "from",
        "but",
        "because",
        "since",
        "are",
        "was",
    ]
)
_MARKS = re.compile(r"\$\$|(?<!\\)\$|\\[()\[\]]")
_REMARKS = 400  # characters behind an answer in which it may be taken back


def boxed_spans(text: str) -> list[tuple[int, int, int, int]]:
    """The outermost closed boxes that hold something: begin of box, begin and end of its content, end of box."""
    spans: list[tuple[int, int, int, int]] = []
    for found in _BOX.finditer(text):
        start, begin = found.span()
        if spans and start < spans[-1][3]:
            continue
        if text[begin : begin + 1] == "{":
            end = _closing(text, begin)
            if end is not None and text[begin + 1 : end].strip():
                spans.append((start, begin + 1, end, end + 1))
        elif (bare := _UNBRACED.match(text, begin)) is not None:
            spans.append((start, begin, bare.end(), bare.end()))
    return spans


def _closing(text: str, at: int) -> int | None:
    """The place of the brace that closes the one at `at`; None where another box opens first, or none closes it."""
    depth = 0
    for token in _BRACE.finditer(text, at, at + _LONGEST_BOX):
        brace = token.group()
        if brace == "{":
            depth += 1
        elif brace == "}":
            depth -= 1
            if depth == 0:
                return token.start()
    return None


def last_boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{...}`` that holds something; None where there is none."""
    spans = boxed_spans(text)
    return text[spans[-1][1] : spans[-1][2]] if spans else None


def read_answer(text: str, *, tagged: bool) -> str | None:
    """The answer as one expression, or None where the text states none.

    :param tagged: the text is nothing but the answer (the format's tags delimit it).
    """
    if tagged:
        return clean(text)
    text = text.replace("$$", "$")
    spans = boxed_spans(text)
    statement = _last_statement(text, spans[-1][3] if spans else 0)
    if statement is not None and (not spans or _readable(statement)):
        return statement
    if spans:
        return _from_boxes(text, spans)
    lines = [line for line in text.strip().split("\n") if line.strip(" *_-#$\\[]()")]
    if not lines:
        return None
    line = lines[-1].strip()
    if line.startswith(("$$", "\\[")) or "$" in line or "\\" in line or len(line) < 200:
        return clean(line)
    return None


def _readable(text: str) -> bool:
    from kkwarm_math.compare import read
    from kkwarm_math.expression import Unreadable

    try:
        return bool(text) and read(text) is not None
    except Unreadable:
        return False


def _last_statement(text: str, after: int) -> str | None:
    """What the last "the answer is" states, behind the last box."""
    statements = list(_STATEMENT.finditer(text, after))
    if not statements:
        return None
    found = statements[-1]
    begin = found.end()
    end = _statement_end(text, begin)
    answer, rest = text[begin:end], text[end:]
    corrections = list(_CORRECTION.finditer(rest))
    if corrections and _RETRACTION.search(rest[: corrections[-1].start()]):
        begin = corrections[-1].end()
        answer, rest = rest[begin : _statement_end(rest, begin)], rest[_statement_end(rest, begin) :]
    if _RETRACTION.search(rest):
        return ""
    return clean(answer)


def _statement_end(text: str, begin: int) -> int:
    if text.startswith(("$$", "\\["), begin):
        close = text.find("$$" if text[begin] == "$" else "\\]", begin + 2)
        if close >= 0:
            begin = close + 2
    found = _SENTENCE_END.search(text, begin)
    return len(text) if found is None else found.start()


def _from_boxes(text: str, spans: list[tuple[int, int, int, int]]) -> str | None:
    """The last box, with the boxes that only separators or names part from it, and what is next to it."""
    group = [spans[-1]]
    for span in reversed(spans[:-1]):
        between = _MARKS.sub(" ", text[span[3] : group[0][0]])
        if (
            not re.fullmatch(r"\s*(?:,|;|\band\b|\bor\b|,?\s*and\b|,?\s*or\b)?\s*(?:[A-Za-z]\s*=\s*)?\s*", between)
            or not between.strip()
        ):
            break
        group.insert(0, span)
    rest = text[group[-1][3] :]
    if _contradicted(rest):
        return ""
    return ", ".join(filter(None, (_with_context(text, span) for span in group)))


def _contradicted(rest: str) -> bool:
    """Whether the text behind a box takes it back."""
    return bool(_RETRACTION.search(rest[:_REMARKS]))


def _with_context(text: str, span: tuple[int, int, int, int]) -> str:
    """A box with what stands next to it in its formula, and with the unit behind it."""
    start, begin, end, stop = span
    inside = text[begin:end]
    left, right = text[:start], text[stop:]
    in_dollars = (left.count("$") - left.count("\\$")) % 2 == 1
    if in_dollars:
        left = left[left.rfind("$") + 1 :]
        right, _, behind = right.partition("$")
    else:
        opened = max(left.rfind("\\["), left.rfind("\\("))
        closed = max(left.rfind("\\]"), left.rfind("\\)"))
        if opened > closed:
            left = left[opened + 2 :]
            close = re.search(r"\\[\])]", right)
            right, behind = (right[: close.start()], right[close.end() :]) if close else (right, "")
        else:
            left = re.search(r"\S*$", left.split("\n")[-1]).group()  # type: ignore[union-attr]
            adjacent = re.match(r"[^\s.,;!?)]*(?:[!](?=\s|$))?", right)
            assert adjacent is not None
            right, behind = adjacent.group(), right[adjacent.end() :]
    if "\\" in left or "\\" in right:
        left, right = _ENVIRONMENT.sub(" ", left), _ENVIRONMENT.sub(" ", right)
    left = _EQUALS.split(left)[-1].strip().strip('*_("')
    if right.strip(" *_.,;\n"):
        right = _MODULUS.sub("", right.replace("\\\\", " "))
        right = _TRAILING.sub("", right)
    right = right.strip().rstrip("*_.,;")
    if (right and right[0] in "=≈") or right.startswith(("\\approx", "\\quad", "\\qquad")):
        right = ""
    if (word := _WORD_BEHIND.match(behind)) is not None and word[1].casefold() in _MAGNITUDES:
        return f"{left}{{{inside}}} {word[1]} {word[1]}"  # "42 thousand" is not 42, and is not read
    if not right and (unit := _UNIT_BEHIND.match(behind)) is not None:
        name, caret, power = unit[1].partition("^")
        if name.casefold() not in _FOLLOWERS and split_unit(f"0 {unit[1]}")[1] is not None:
            right = f" \\text{{ {name}}}{caret}{power}"
    if not left and not right:
        return clean(inside) or inside
    return f"{left}{{{inside}}}{right}"


# -- cleaning ---------------------------------------------------------------------------------------------------------


def clean(text: str) -> str | None:
    """An answer block without emphasis, dollars, boxes and introductions; None where nothing is left."""
    text = text.strip()
    if "\\" in text:
        text = _ENVIRONMENT.sub(" ", text)
    for _ in range(4):
        before = text
        text = _unwrapped(text)
        text = _without_boxes(text)
        text = _without_dollars(text)
        text = _without_introduction(text)
        if text == before:
            break
    return text if any(c.isalnum() for c in text) or "\\" in text else None


def _without_boxes(text: str) -> str:
    spans = boxed_spans(text)
    if not spans:
        return text
    if len(spans) == 1 and not text[: spans[0][0]].strip(" $") and not text[spans[0][3] :].strip(" $.\n"):
        return text[spans[0][1] : spans[0][2]].strip()
    parts, at = [], 0
    for start, begin, end, stop in spans:
        parts += [text[at:start], "{", text[begin:end], "}"]
        at = stop
    return "".join(parts) + text[at:]


def _without_dollars(text: str) -> str:
    if "$" not in text and "\\(" not in text and "\\[" not in text:
        return text
    text = re.sub(r"\\[()]|(?<!\\)\\\[(?![0-9.]+(?:pt|em|ex))|(?<!\\)\\\]", " ", text)
    if text.count("$") - text.count("\\$") >= 2:
        text = re.sub(r"\$\$|(?<!\\)\$", " ", text)
    return text.strip()


def _without_introduction(text: str) -> str:
    if text.startswith("\\text{") and (found := re.match(r"\\text\{([^{}]*)\}\s*", text)) is not None:
        lead = _INTRODUCTION.match(found[1])
        if lead is not None and lead.end() == len(found[1]) and found[1].strip():
            return text[found.end() :].strip()
    found = _INTRODUCTION.match(text)
    if found is None or not found.group():
        return text
    return text[found.end() :].strip()


def _unwrapped(text: str) -> str:
    text = text.strip()
    for mark in _EMPHASIS:
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.rstrip(".").endswith(mark):
            inner = text.rstrip(".")[len(mark) : -len(mark)]
            if mark not in inner:
                text = inner.strip()
    if text.startswith("**"):
        text = re.sub(r"^\*\*([A-Za-z ]+:)\*\*", r"\1", text)
    if text.count("**") == 1 and text.rstrip(".").endswith("**"):
        text = text.rstrip(".")[:-2].rstrip()
    if text.endswith("\\") and not text.endswith("\\\\"):
        text = text[:-1].rstrip()
    if text.endswith((".", ",", ";")) and not text.endswith(".."):
        text = text[:-1].rstrip()
    return text
