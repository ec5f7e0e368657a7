r"""Finds the answer that a text states: in a box, after "the answer is", or in a last line that is only the answer.

What stands next to a box in the same formula is part of the answer. Only the phrases listed here are removed.
"""

from __future__ import annotations

import re
from functools import lru_cache

from kkwarm_math.sentences import (
    EQUALS,
    MARKS,
    PLAIN_WORD,
    REMARKS,
    STATEMENT,
    box_is_asserted,
    is_asserted,
    last_dollar,
    may_state,
    takes_back,
)
from kkwarm_math.units import split_unit, words

__all__ = ["boxed_spans", "last_boxed", "read_answer"]

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
_IS = r"\s*(?:is|are|=|:|equals|to\s+be)(?:\s+equal\s+to)?\s*:?\s*"
# What may introduce an answer, and carries no meaning.
_INTRODUCTION = re.compile(
    rf"{_LEAD_WORDS}*(?:{_OF_ANSWER}{_IS}|{_QUANTITY}\s+(?:is|are|equals)\s*:?\s*|(?:we|you|i)\s+(?:get|have|obtain|find)\s*:?\s*|"
    r"(?:there|it|this|that)\s+(?:is|are)\s*:?\s*|####\s*)?",
    re.IGNORECASE,
)
_THEREFORE = re.compile(r"\A(?:\\(?:therefore|implies|Rightarrow|Longrightarrow)(?![A-Za-z])|∴|⇒|=>)\s*")
_CORRECTION = re.compile(r"(?:(?<![A-Za-z])(?:it|that)\s+(?:is|should\s+be)\s+(?:actually\s+)?)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?:(?<![0-9])[.]|(?<=[0-9])\.(?![0-9])|(?<!\\)!)(?=\s|\*|$)|\n")
_DOLLAR = re.compile(r"(?<!\\)\$")
_DOUBLE_DOLLAR = re.compile(r"(?<!\\)\$\$")
# An amount of money, where the next dollar opens something, too: "$5 for tea and $7", but not "$5, 6$".
_AMOUNT = re.compile(
    r"\$(?=[0-9][0-9,]*(?:\.[0-9]+)?(?:(?:[^\S\n]+|/)[A-Za-z]{2}|[.,;:?)]*(?:\n(?!\\)|\Z)|[.,;:?)]+\s))"
)
_OPENING_DOLLAR = re.compile(r"(?<=[\s(])\$(?=[\w\\(+-])")
_CLOSING_DOLLAR = re.compile(r"(?<!\\)\$(?![0-9])")  # "$36. So she pays $36" has two amounts, and no formula
_QUOTES = str.maketrans("“”‘’", "\"\"''")
_EMPHASIS = ("**", "__", "`", '"', "''", "*", "'")
_ENVIRONMENT = re.compile(
    r"\\(?:begin|end)\s*\{(?:align|aligned|equation|gather|gathered|split|displaymath|math|center)\*?\}"
)
_CHINESE_TEXT = re.compile(r"\A.*[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]", re.DOTALL)
_UNIT_BEHIND = re.compile(
    r"(?:\s|\\[ ,;:!]|~)*((?:square |cubic |sq\.? )?[A-Za-z]{1,12}(?:\^\{?[23]\}?)?)(?=[\s.,;!)]|$)"
)
_STRUCK = re.compile(r"~~\s*[^~\s][^~]*~~")
_ABOUT = re.compile(r"~\s*[-+$0-9]")
_SIZE = re.compile(r"\A\s*\\(?:displaystyle|textstyle)(?![A-Za-z])\s*")
_GROUP = re.compile(
    r"(?:\\(?:text(?:bf|it|rm|normal)?|math(?:bf|rm|it)|bold|underline|mbox|emph)\s*|\\textcolor\s*\{\w+\}\s*)?\{"
)
_DIGITS = re.compile(r"[0-9]")
_TRAILING = re.compile(r"(?:\\[ ,;:!]|[\s~*_.,;\"]|\\$)+$")
_MODULUS = re.compile(r"\s*\(?\s*\\p?mod\s*(?:\{[^{}]*\}|\w+)\s*\)?\s*\.?\s*$")
_MAGNITUDES = words(
    """hundred hundreds thousand thousands million millions billion billions trillion dozen dozens score lakh crore
    halves thirds quarters fourths fifths sixths sevenths eighths ninths tenths hundredths thousandths squared
    cubed factorial minus plus over divided multiplied point"""
)
_WORD_BEHIND = re.compile(r"(?:\s|\\[ ,;:!]|~|-)*([A-Za-z]+)")
_FOLLOWERS = words("""is as and or so which that where when if in for by with from but because since are was""")
_SEPARATOR_WORD = re.compile(r"\\(?:text|textrm|mbox)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\(?:q?quad(?![A-Za-z])|[,;: ])|~")
_BETWEEN_BOXES = re.compile(r"\s*[,;]?\s*(?:\b(?:and|or)\b)?\s*(?:[A-Za-z](?:_\{?\w\}?)?\s*=\s*)?\s*")
_OPEN_BRACKET = re.compile(r"[(\[](?=[^()\[\]]*[^\s()\[\]])[^()\[\]A-Za-z=$*\\]*\Z")
_OPERATORS = frozenset("+*/^<>≠≤≥±∓×·÷√|_=≈∈¬")
_HARMLESS_COMMANDS = words(
    """quad qquad therefore implies Rightarrow rightarrow Longrightarrow to boxed fbox left big Big displaystyle
    hfill par noindent bf square blacksquare"""
)


@lru_cache(maxsize=8)
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


def read_answer(text: str, *, tagged: bool, question: str = "") -> str | None:
    """The answer as one expression, or None where the text states none.

    :param tagged: the text is nothing but the answer (the format's tags delimit it).
    :param question: its words may stand behind a boxed answer.
    """
    if tagged:
        return clean(text)
    if "~~" in text:
        text = _STRUCK.sub(" ", text)
    if "$$" in text:
        text = _DOUBLE_DOLLAR.sub("$", text) if "\\$$" in text else text.replace("$$", "$")
    text = _escape_amounts(text)
    spans = boxed_spans(text)
    statement = _last_statement(text, spans[-1][3] if spans else 0)
    if statement is not None and (not spans or not statement or _readable(statement)):
        return statement
    if spans:
        return _from_boxes(text, spans, question)
    lines = [line for line in text.strip().split("\n") if line.strip(" *_-#$\\[]()")]
    if not lines:
        return None
    line = lines[-1].strip()
    if line.startswith(("$$", "\\[")) or "$" in line or "\\" in line or len(line) < 200:
        return clean(line)
    return None


def _escape_amounts(text: str) -> str:
    r"""The text with ``\$5`` for amounts of money, so that their dollars do not count as marks of formulas."""
    if _AMOUNT.search(text) is None:
        return text
    dollars = [found.start() for found in _DOLLAR.finditer(text)]
    amounts, number = [], 0
    while number < len(dollars):
        begin, *end = dollars[number : number + 2]
        amount = _AMOUNT.match(text, begin) is not None and (not end or _OPENING_DOLLAR.match(text, end[0]) is not None)
        if amount:
            amounts.append(begin)
        number += 1 if amount else 2
    parts = [text[a:b] for a, b in zip([0, *amounts], [*amounts, len(text)], strict=True)]
    return "\\".join(parts)


def _readable(text: str) -> bool:
    from kkwarm_math.compare import read
    from kkwarm_math.expression import Unreadable

    try:
        return bool(text) and read(text) is not None
    except Unreadable:
        return False


def _last_statement(text: str, after: int) -> str | None:
    """What the last "the answer is" states, behind the last box."""
    statements = list(STATEMENT.finditer(text, after)) if may_state(text[after:]) else None
    if not statements:
        return None
    found = statements[-1]
    begin = found.end()
    if not is_asserted(text, found.start()):
        return ""
    end = _statement_end(text, begin)
    answer, rest = text[begin:end], text[end:]
    if rest.startswith("?") or answer.rstrip(" *$").endswith("?"):
        return ""
    corrections = list(_CORRECTION.finditer(rest))
    taken_back = rest[: corrections[-1].start()] if corrections else ""
    if takes_back(taken_back):
        begin = corrections[-1].end()
        answer, rest = rest[begin : _statement_end(rest, begin)], rest[_statement_end(rest, begin) :]
    if takes_back(rest):
        return ""
    return clean(answer)


def _statement_end(text: str, begin: int) -> int:
    if text.startswith(("$$", "\\["), begin):
        closed = text.find("$$" if text[begin] == "$" else "\\]", begin + 2)
        if closed >= 0:
            begin = closed + 2
    found = _SENTENCE_END.search(text, begin)
    while found is not None and len(_DOLLAR.findall(text, begin, found.start())) % 2:  # an end inside a formula
        line = text.find("\n", found.start())
        close = _CLOSING_DOLLAR.search(text, found.start(), line if line >= 0 else len(text))
        if close is None:
            break
        found = _SENTENCE_END.search(text, close.end())
    return len(text) if found is None else found.start()


def _from_boxes(text: str, spans: list[tuple[int, int, int, int]], question: str) -> str | None:
    """The last box, with the boxes that only separators or names part from it, and what is next to it."""
    group = [spans[-1]]
    for span in reversed(spans[:-1]):
        between = _SPACING.sub(" ", _SEPARATOR_WORD.sub(r"\1", MARKS.sub(" ", text[span[3] : group[0][0]])))
        if not between.strip():
            if "\n" not in between and text[span[1] : span[2]] != text[group[0][1] : group[0][2]]:
                return ""  # two boxes side by side are neither one answer nor a list
            break
        if not _BETWEEN_BOXES.fullmatch(between):
            break
        group.insert(0, span)
    start, stop = group[0][0], group[-1][3]
    inside = ", ".join(text[begin:end] for _, begin, end, _ in group)
    if takes_back(text[stop : stop + REMARKS]) or not box_is_asserted(text, start, inside, stop, question):
        return ""
    return _with_context(text, start, inside, stop)


def _with_context(text: str, start: int, inside: str, stop: int) -> str:
    """What is in a box, with what stands next to the box in its formula, and with the unit behind it."""
    left, right = text[:start], text[stop:]
    in_dollars = (left.count("$") - left.count("\\$")) % 2 == 1
    if in_dollars:
        left = left[last_dollar(left, len(left)) + 1 :]
        right, _, behind = right.partition("$")
    else:
        opened = max(left.rfind("\\["), left.rfind("\\("))
        closed = max(left.rfind("\\]"), left.rfind("\\)"))
        if opened > closed:
            left = left[opened + 2 :]
            close = re.search(r"\\[\])]", right)
            right, behind = (right[: close.start()], right[close.end() :]) if close else (right, "")
        else:
            left = _formula_before(left.rpartition("\n")[2])
            size = _formula_size(right.partition("\n")[0])
            right, behind = right[:size], right[size:]
    if "\\" in left or "\\" in right:
        left, right = _ENVIRONMENT.sub(" ", left), _ENVIRONMENT.sub(" ", right)
    if "\\text" in left:
        left = _without_introduction(left.lstrip())
    left = EQUALS.split(left)[-1].strip().strip('*_("')
    if right.strip(" *_.,;\n"):
        right = _MODULUS.sub("", right.replace("\\\\", " "))
        right = _TRAILING.sub("", right)
    right = right.strip().rstrip("*_.,;。，；")
    if (right and right[0] in "=≈") or right.startswith(("\\approx", "\\quad", "\\qquad")):
        right = ""
    if (word := _WORD_BEHIND.match(behind)) is not None and word[1].casefold() in _MAGNITUDES:
        return f"{left}{{{inside}}} {word[1]} {word[1]}"  # "42 thousand" is not 42, and is not read
    if not right and (unit := _UNIT_BEHIND.match(behind)) is not None:
        name, caret, power = unit[1].partition("^")
        if name.casefold() not in _FOLLOWERS and split_unit(f"0 {unit[1]}")[1] is not None:
            right = f" \\text{{ {name}}}{caret}{power}"
    if left in ("", "\\$") and not right:
        return left + (clean(inside) or inside)
    return f"{left}{{{inside}}}{right}"


def _formula_before(line: str) -> str:
    """What a formula outside of dollars has before a box: what is attached to it, and more before an operator."""
    if (opened := _OPEN_BRACKET.search(line)) is not None:
        return opened.group()
    if line.strip() == ">":  # a quotation
        return ""
    if not line.isascii():
        line = _CHINESE_TEXT.sub("", line)
    tokens = re.findall(r"\S+|\s+", line)
    if len(tokens) > 1 and tokens[-1].isspace() and _UNBRACED.fullmatch(tokens[-2]) and tokens[-2][-1].isdigit():
        return f"{tokens[-2]}{tokens[-1]}"
    kept = "" if not tokens or tokens[-1].isspace() else tokens.pop()
    if kept:
        return kept
    while len(tokens) > 1 and (_is_operator(tokens[-2]) or _is_minus(tokens)):
        kept = tokens[-2] + tokens[-1] + kept
        del tokens[-2:]
        if tokens and tokens[-1].isspace():
            kept = tokens.pop() + kept
        if tokens and not PLAIN_WORD.fullmatch(tokens[-1]):
            kept = tokens.pop() + kept
    return kept


def _is_minus(tokens: list[str]) -> bool:
    """Whether a sign between spaces at the end is a minus, not a dash or a bullet: a formula stands before it."""
    before = tokens[-4] if len(tokens) > 3 and tokens[-2] in ("-", "−") else ""
    return bool(before) and (len(before) == 1 or before[-1] in ")}]" or before[-1].isdigit())


def _is_operator(token: str) -> bool:
    if token.startswith("\\"):
        name = re.search(r"\\([A-Za-z]+)\Z", token)
        return name is not None and name[1] not in _HARMLESS_COMMANDS
    return token[-1] in _OPERATORS and not re.fullmatch(r"=>|#+|\*+|_+|>>+|->", token)


def _formula_size(line: str) -> int:
    """How many characters behind a box outside of dollars belong to its formula."""
    adjacent = re.match(r"(?:[^\s.,;!?)]|[.,](?=[0-9]))*(?:[!](?=\s|$))?", line)
    assert adjacent is not None
    rest = line[adjacent.end() :]
    token = re.match(r"\s+(\S+)", rest)
    if token is None:
        return adjacent.end()
    first = token[1]
    command = re.match(r"\\([A-Za-z]+)", first)
    goes_on = (
        (command is not None and command[1] not in _HARMLESS_COMMANDS)
        or (first[0] in _OPERATORS - {"|"} and not re.fullmatch(r"=>|\*+\S*|_+\S*|->", first))
        or first[0].isdigit()
        or re.match(r"-(?:[0-9\\]|\s+[0-9\\])", rest.lstrip()) is not None
    )
    return len(line) if goes_on else adjacent.end()


# -- cleaning ---------------------------------------------------------------------------------------------------------


def clean(text: str) -> str | None:
    """An answer block without emphasis, dollars, boxes and introductions; None where nothing is left."""
    text = text.strip()
    if "\\" in text:
        text = _ENVIRONMENT.sub(" ", text)
    if _STRUCK.search(text) or _ABOUT.match(text):
        return None
    for _ in range(4):
        before = text
        text = _unwrapped(text)
        text = _ungrouped(text).removeprefix("=").lstrip()
        text = _without_boxes(text)
        text = _without_dollars(text)
        text = _without_introduction(text)
        if text == before:
            break
    return text if any(c.isalnum() for c in text) or "\\" in text else None


def _ungrouped(text: str) -> str:
    """The text without braces, a font or a color around all of it."""
    text = _SIZE.sub("", text)
    found = _GROUP.match(text)
    if found is None or _closing(text, found.end() - 1) != len(text) - 1:
        return text
    inner = text[found.end() : -1].strip()
    if "\\over" in inner or "\\choose" in inner:
        return text
    return inner if found.group() == "{" or _DIGITS.search(inner) else text


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
    if text.startswith("\\text") and (found := re.match(r"\\text(?:bf|it|rm)?\{([^{}]*)\}\s*", text)) is not None:
        lead = _INTRODUCTION.match(found[1])
        if lead is not None and lead.end() == len(found[1]) and found[1].strip():
            return text[found.end() :].strip()
    text = _THEREFORE.sub("", text)
    found = _INTRODUCTION.match(text)
    if found is None or not found.group():
        return text
    return text[found.end() :].strip()


def _unwrapped(text: str) -> str:
    text = text.strip().removesuffix("\\text{.}").translate(_QUOTES)
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
