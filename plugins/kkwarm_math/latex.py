"""Extracts answers from LaTeX (boxes, the expression of an answer), and normalizes them for string comparison.

All functions are linear in the length of the text and need only the standard library.
"""

from __future__ import annotations

import re

__all__ = [
    "MATH_SEGMENT",
    "ascii_math",
    "equation_sides",
    "extract_boxes",
    "extract_expression",
    "last_boxed",
    "normal_form",
]

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TOKEN = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)
_UNBRACED = re.compile(r"[^\s{}$\\]+|\\[A-Za-z]+")


def last_boxed(text: str) -> str | None:
    r"""The content of the last closed ``\boxed{...}`` (or ``\boxed x``) with matched braces, None if there is none."""
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if start < 0:
        return None
    found = _BOX.match(text, start)
    if found is not None:
        position = found.end()
        if text[position : position + 1] == "{":
            end = _closing_brace(text, position)
            if end is not None:
                return text[position + 1 : end]
        elif (bare := _UNBRACED.match(text, position)) is not None:
            return bare.group().rstrip(".,;")
    closed = extract_boxes(text)  # the last one is cut off or damaged
    return closed[-1] if closed else None


def extract_boxes(text: str) -> list[str]:
    r"""The contents of all closed, outermost ``\boxed{...}`` in one pass. Unclosed ones are ignored."""
    return [text[begin:end] for _, begin, end in _box_spans(text)]


def _box_spans(text: str) -> list[tuple[int, int, int]]:
    """(start of the box, start of its content, end of its content) of each such box."""
    stack: list[tuple[int, int]] = []  # (start, content start) of each open box; -1: a plain brace
    spans: list[tuple[int, int, int]] = []
    for token in _TOKEN.finditer(text):
        if token["box"]:
            stack.append((token.start(), token.end()))
        elif token["open"]:
            stack.append((-1, -1))
        elif token["close"] and stack:
            start, begin = stack.pop()
            if start >= 0:
                while spans and spans[-1][0] >= start:
                    spans.pop()
                spans.append((start, begin, token.start()))
    return spans


def _closing_brace(text: str, position: int) -> int | None:
    depth = 0
    for token in _BRACE.finditer(text, position):
        brace = token.group()
        if brace == "{":
            depth += 1
        elif brace == "}":
            depth -= 1
            if depth == 0:
                return token.start()
    return None


# -- the expression of an answer --------------------------------------------------------------------------------------

MATH_SEGMENT = re.compile(r"\$\$(.+?)\$\$|\$((?:\\.|[^$\\])+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_LEAD = re.compile(
    r"(?:so,?\s+|thus,?\s+|therefore,?\s+|hence,?\s+)?(?:(?:my|the|our)\s+)?(?:final\s+|correct\s+)?(?:answer|result|solution)"
    r"\s*(?:is|=|:|to be|equals)+\s*:?\s*",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"(?:the|there|it|this|that|we|so|thus|hence|therefore)\b[A-Za-z ,']{0,200}?\s"
    r"(?:is|are|equals|get|has|have)\s*:?\s+",
    re.IGNORECASE,
)
_WORDS_ONLY = re.compile(r"[A-Za-z\s.,:;'!*&-]*\Z")
_DENIAL = re.compile(
    r"\b(?:not|no|nope|neither|nor|never|isn't|except|either|maybe|possibly|probably|perhaps|if|unless|else|wrong|"
    r"incorrect|false|guess|guessing|lucky|versus|vs)\b",
    re.IGNORECASE,
)
_FRAME = re.compile(r"\$|\\[()\[\]]|=\s*\Z")  # dollars around a box, and an equals sign before it
_BOXES_IN_BOXES = 3
_BARE = re.compile(r"\W*\\(?:boxed|fbox)\s*(?:[^\s{}$\\]+|\\[A-Za-z]+)\W*")
# A number and what it counts. A single letter is a variable, unless it is a unit symbol.
_COUNTED = re.compile(
    r"(-?\$?[0-9.,/:]+(?:(?:\\!|\{,\})[0-9.,]+)*)\s+([A-Za-z][A-Za-z .]+|[mghsL])(\^(?:[23]|\{[23]\}))?\Z"
)


def extract_expression(answer: str) -> str | None:
    r"""The expression in an answer block: the content of its box or between its dollars, or all of it.

    Several boxes or formulas become one comma-separated list, so that an answer with several values is never taken for
    one of them. Words beside a box other than an introduction or a unit are part of the answer. None if there is
    nothing to compare.
    """
    text = ascii_math(answer.strip())
    for _ in range(_BOXES_IN_BOXES):
        if "\\boxed" in text or "\\fbox" in text:
            text = _from_boxes(text)
    text = _strip(text)
    if "$" in text or "\\(" in text or "\\[" in text:
        text = _from_segments(text)
    if text[:1].isalpha():
        for pattern in (_LEAD, _SENTENCE):
            lead = pattern.match(text)
            if lead is not None and not _DENIAL.search(lead.group()):
                text = text[lead.end() :]
    text = _strip(text)
    if "**" in text:
        text = text.replace("**", "^")  # a power in program notation
    if (counted := _COUNTED.match(text)) is not None and not _DENIAL.search(counted[2]):
        text = f"{counted[1]}\\text{{ {counted[2]}}}{counted[3] or ''}"
    return text if any(c.isalnum() for c in text) or "\\" in text else None


def _from_boxes(text: str) -> str:
    r"""The contents of the boxes as a list, or the text without boxes if it has more than words beside them."""
    inside, outside, plain, position = [], [], "", 0
    for start, begin, end in _box_spans(text):
        inside.append(text[begin:end])
        outside.append(text[position:start])
        plain += text[position:start] + text[begin:end]
        position = end + 1
    if not inside:
        bare = last_boxed(text)
        return bare if bare and _BARE.fullmatch(text) else text
    outside.append(text[position:])
    found = _join_formulas(inside, [_FRAME.sub(" ", part) for part in outside])
    return plain + text[position:] if found is None else found


def _from_segments(text: str) -> str:
    r"""The formulas of a text of formulas and words as a list; otherwise the text without dollars."""
    inside, outside, position = [], [], 0
    for match in MATH_SEGMENT.finditer(text):
        outside.append(text[position : match.start()])
        inside.append(next(g for g in match.groups() if g is not None))
        position = match.end()
    outside.append(text[position:])
    found = _join_formulas(inside, outside) if inside else None
    return re.sub(r"(?<!\\)\$|\\[()\[\]]", "", text) if found is None else found


def _join_formulas(inside: list[str], outside: list[str]) -> str | None:
    """The formulas as a list, a single one with its unit; None if there is more than words around them."""
    around = " ".join(outside)
    if not _WORDS_ONLY.match(around) or _DENIAL.search(around):
        return None
    # `$5$ cm`: words after a single formula are its unit; words before it are not.
    unit = outside[-1].strip(" .*")
    if len(inside) == 1 and unit and unit.isascii() and unit.replace(" ", "").isalpha():
        return f"{inside[0]}\\text{{ {unit}}}"
    return ", ".join(_distinct(inside))


def _distinct(parts: list[str]) -> list[str]:
    seen: dict[str, str] = {}
    for part in parts:
        seen.setdefault(normal_form(part), part)
    return list(seen.values())


def _strip(text: str) -> str:
    """Strips surrounding white space and emphasis, and a final full stop."""
    text = text.strip()
    for mark in ("**", "__", "`", "*"):
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith((mark, mark + ".")):
            text = text.rstrip(".").removeprefix(mark).removesuffix(mark).strip()
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip()
    return text


# -- normal form ------------------------------------------------------------------------------------------------------

_SPACES = re.compile(r"(?<!\\)\\(?:[,;:> ]|(?:quad|qquad)(?![A-Za-z]))|~|\s+")
_SIZES = re.compile(r"\\(?:left|right|displaystyle|textstyle|[bB]ig{1,2}[lr]?)(?![A-Za-z])")
_FRAC = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_SHORT_FRAC = re.compile(r"\\frac\s*(?:\{([^{}]*)\}|(\d|[A-Za-z](?![A-Za-z])))\s*(?:\{([^{}]*)\}|(\d|[A-Za-z]))")
_SHORT_SQRT = re.compile(r"\\sqrt\s*(\d|[A-Za-z])")
_THIN_THOUSANDS = re.compile(r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))")
_EMPTY_SET = re.compile(r"\\varnothing(?![A-Za-z])")
_PLAIN_TEXT = re.compile(r"\\(?:mbox|textrm|textnormal|mathrm)(?=\s*\{)")
_DEGREE = re.compile(r"\\degree(?![A-Za-z])")
_COMMAND_END = re.compile(r"(\\[A-Za-z]+)\s+(?=[A-Za-z])")
_EQUALS_OR_BRACE = re.compile(r"(?<![\\<>!])=|(?<!\\)[{}]")
_THOUSANDS = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_WHITE_SPACE = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|([0-9]+|[A-Za-z]))")
_SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "°": r"^\circ", "π": r"\pi ", "∞": r"\infty ", "×": r"\times ", "·": r"\cdot ",
        "∈": r"\in ", "≤": r"\le ", "≥": r"\ge ", "∪": r"\cup ", "±": r"\pm ", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "²": "^2", "³": "^3",
    }
)  # fmt: skip


def ascii_math(text: str) -> str:
    """Writes non-ASCII mathematical signs as LaTeX. Digits and letters of other scripts are kept."""
    if text.isascii():
        return text
    return _ROOT.sub(lambda m: f"\\sqrt{{{m[1] or m[2]}}}", text).translate(_SIGNS)


def normal_form(text: str, *, number: bool = False) -> str:
    r"""Normalizes LaTeX for string comparison: spacing, `\left`, notation of fractions and roots, `\$`.

    Answers with equal normal forms are the same expression; different normal forms decide nothing. With `number`,
    thousands separators are removed too: ``10,080``, but not the list ``10, 080``.
    """
    text = ascii_math(text)
    if "\\" in text or "{,}" in text:
        text = text.replace("\\!", "\0").replace("{,}", ",").replace("\\$", "").replace("^{\\circ}", "^\\circ")
        text = re.sub("\0 *", "", text)
        text = _THIN_THOUSANDS.sub("", text)
        text = _PLAIN_TEXT.sub(r"\\text", text)
        text = _EMPTY_SET.sub(r"\\emptyset", _DEGREE.sub(r"^\\circ", text))
        text = _SIZES.sub("", text)
        text = _FRAC.sub(r"\\frac", text)
        text = _SHORT_FRAC.sub(_complete_fraction, text)
        text = _SHORT_SQRT.sub(r"\\sqrt{\1}", text)
        text = _SPACES.sub(" ", text)
        text = _COMMAND_END.sub("\\1\0", text)  # `\ln e` is no `\lne`
    text = text.replace("$", "").strip()
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1]
    if number and _THOUSANDS.fullmatch(text):
        return text.replace(",", "")
    return _WHITE_SPACE.sub("", text).replace("\0", " ")


def equation_sides(text: str) -> list[str]:
    r"""The sides of a chain of equations. An ``=`` in braces (``\sum_{i=1}``) does not count."""
    if "=" not in text:
        return [text]
    parts, depth, start = [], 0, 0
    for sign in _EQUALS_OR_BRACE.finditer(text):
        if sign[0] == "=" and depth == 0:
            parts.append(text[start : sign.start()])
            start = sign.end()
        depth += {"{": 1, "}": -1}.get(sign[0], 0)
    return [*parts, text[start:]]


def _complete_fraction(match: re.Match[str]) -> str:
    top, short_top, bottom, short_bottom = match.groups()
    return f"\\frac{{{short_top if top is None else top}}}{{{short_bottom if bottom is None else bottom}}}"
