r"""Reads the option that an answer names: by its letter, or by its own text.

An answer is an optional introduction ("The answer is"), one letter or one option's text, and an optional remark from a
closed list ("is correct", the option's own text, "because ..."). Anything else next to a letter makes it no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from kkwarm_mmlu_pro.extract import LETTERS

__all__ = ["read_choice"]


_WRAPPED = re.compile(r"\\(?:boxed|fbox|text|textbf|textrm|textit|mathrm|mathbf|mbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_BRACES = re.compile(r"\\?\{([^{}]*?)\\?\}")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
_MARKS = re.compile(
    r"\*+|__|`|\$|[“”\"‘’]|\\[()\[\]]|^\s*[>#]+\s*",
    re.MULTILINE,
)
_BULLET = re.compile(r"\A[-•]\s+(?=\(?[A-J]\)?\.?\Z)")
_QUOTED = re.compile(r"(?<![A-Za-z0-9])'([^'\n]+)'(?![A-Za-z0-9])")
_NOUN = (
    r"(?:answer(?:\s+to\s+(?:the|this)\s+(?:question|problem))?|option|choice|letter|response|"
    r"respuesta|r[eé]ponse|antwort|risposta|resposta|ответ|答案|正确答案|選項|选项)"
    r"(?:\s+(?:correct[ae]|corretta|correta|final))?"
)
_IS = r"(?:(?:is|est?|ist|must\s+be|has\s+to\s+be)(?![A-Za-z])|è|é|是|为|為)"
# What may stand between the beginning of a clause and the noun of "the answer is", besides whole words before "the".
_MOST = (
    r"(?:specific|likely|appropriate|accurate|suitable|comprehensive|fitting|direct|relevant|common|plausible|reasonable|logical|"
    r"correct|probable|precise)"
)
_QUALIFIER = (
    r"(?:(?:final|correct|right|best|only|closest|bonne|richtige|korrekte|mejor|"
    rf"most\s+{_MOST}(?:\s+and\s+{_MOST})?)\s+)*"
)
_LEAD = re.compile(
    rf"(?:(?:so|thus|hence|therefore|and|finally)\b,?\s+)*"
    rf"(?:(?:the|my|our|la|el|die|a)\s+)?{_QUALIFIER}"
    rf"(?:{_NOUN}\s*{_IS}?\s*(?:[:：=]|[-–—](?=\s))?\s*|(?:it|this)\s+is\s+|option\s+)"
    r"|(?:(?:so|thus|hence|therefore|finally),\s+)+(?=[(\[]?[A-J][)\]]?\s+is\s)",
    re.IGNORECASE,
)
_LETTER = re.compile(r"(?:[(\[（]\s*([A-Ja-j])\s*[)\]）]|([A-J])(?![A-Za-z0-9])|([a-j])(?=[).:]|\s*\Z))\s*[).:：]?")
_CAPITAL = re.compile(r"[(\[（]?\s*([A-J])\s*[)\]）]?\s*[.:]?")
_CORRECT = re.compile(
    r"\s*(?:is|seems|must\s+be)\s+(?:(?:the\s+)?(?:correct|right|best)(?:\s+(?:answer|option|choice|one))?|the\s+(?:final\s+)?answer)"
    r"\s*[.!]*",
    re.IGNORECASE,
)
_BECAUSE = re.compile(r"\s*[,;]?\s*(?:because|since|as\s+(?:it|the|this)|due\s+to)\b.*", re.IGNORECASE | re.DOTALL)
_DASH = re.compile(r"\A\s*[-–—,]?\s+")
_STATEMENT = re.compile(rf"(?<![A-Za-z])(?:{_NOUN}\s*{_IS}\s*[:：]?|{_NOUN}\s*[:：])\s*", re.IGNORECASE)
_CLAUSE_START = re.compile(
    r"[.!?;:\n]\s+|,\s*(?:but|so|and|then|therefore|thus|hence)\s+|,\s+(?=the\s+(?:final\s+|correct\s+)*answer)",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"(?<![A-Za-z])(?:not|never|no|doubt|doubtful|false|wrong|incorrect|untrue|if|unless|whether|might|may|could|would|suppose|supposing|"
    r"assume|assuming|imagine|pretend|maybe|perhaps|possibly|deny|denies|unlikely|hardly|say|says|said|think|thinks|claim|claims|except|"
    r"cannot|impossible|neither|nor|guess|\w+n['’]t)(?![A-Za-z])",
    re.IGNORECASE,
)
_RETRACTION = re.compile(
    r"[.!\s]*(?:no|not|wait|or|actually|sorry|oops|hmm|correction|rather|just\s+kidding|i\s+mean(?:t)?|scratch\s+that|hold\s+on|"
    r"on\s+second\s+thoughts?|never\s*mind|(?:please\s+)?(?:ignore|disregard)|(?:that|this|it)\s+(?:is|was)\s+(?:a\s+joke|wrong|"
    r"incorrect|not))\b(?!\s+other)",
    re.IGNORECASE,
)
# The last word in front of a box that states an answer, and what may follow in its sentence.
_BEFORE_BOX = re.compile(
    r"(?:is|be|are|est?|ist|chooses?|chose|choosing|selects?|selected|picks?|picked|marks?|options?|answer|choice|letter|"
    r"response|solution|result|therefore|thus|hence|so|finally|conclusion|concludes?|that|to|with|get|have|gives)[:,]?",
    re.IGNORECASE,
)
_BEHIND_BOX = re.compile(r"\s*,?\s*(?:because|since|as|which|where|based|due|in|from|for|among|of)\b", re.IGNORECASE)
_CONCLUSION = re.compile(  # what a reason leads to: "C because D, so D"
    r"(?<![A-Za-z])(?i:so|thus|hence|therefore|no|but)\b([^.!?\n]{0,60}?)"
    r"(?<![A-Za-z0-9])[(\[]?([A-J])[)\]]?\s*(?=[.!,;\n]|\Z)",
)
_FOLLOWS = re.compile(r",\s*(?!but|so|therefore|thus|hence)", re.IGNORECASE)  # goes on with the condition before it
_CONDITION = re.compile(
    r"(?<![A-Za-z])(?:if|unless|suppose|supposing|assume|assuming|imagine|pretend|whether)(?![A-Za-z])", re.IGNORECASE
)
_REASON = re.compile(r"(?<![A-Za-z])(?:because|since|as|which|that)(?![A-Za-z])", re.IGNORECASE)
_ASSERTED = re.compile(
    rf"(?:\A|[^A-Za-z\s-]|-\s|(?<![A-Za-z])(?:the|my|our|la|el|die|a|so|thus|hence|therefore|and|then|is|be))\s*{_QUALIFIER}\Z",
    re.IGNORECASE,
)
# Characters in which the beginning of a clause, the end of a statement, and what takes it back are looked for.
_CLAUSE, _SENTENCE, _REMARK = 300, 600, 60
_END = re.compile(r"[.!](?=\s|\Z)|\n")


def read_choice(answer: str, options: Sequence[str] = (), *, tagged: bool = True) -> tuple[str | None, str]:
    """The letter of the option that an answer names, and why there is none otherwise.

    :param options: the options' texts in order, without letters; empty where they are not known.
    :param tagged: the text is nothing but the answer; otherwise the last statement of an answer in it is read.
    """
    text = answer.replace("。", ". ").strip()
    if not text:
        return None, "the answer is empty"
    allowed = LETTERS[: len(options)] if options else LETTERS
    letter = _read(_BULLET.sub("", text), options, allowed) if tagged else _find(text, options, allowed)
    if letter is None:
        return None, "it names no option" if tagged else "it states no answer"
    if letter not in allowed:
        return None, f"{letter} is not one of the options"
    return letter, ""


def _read(text: str, options: Sequence[str], allowed: str) -> str | None:
    """The letter that the whole text names."""
    if (capital := _CAPITAL.fullmatch(_plain(text))) is not None:
        return capital[1]  # before an option that reads "A"; a small letter comes after one that reads so
    for candidate in dict.fromkeys((text, _plain(text))):
        if (letter := _by_text(candidate, options)) is not None:
            return letter
    boxes = [_plain(b) for b in _BOX.findall(text)]
    if len(set(boxes)) > 1:
        return None
    text = _plain(text)
    for _ in range(4):
        if (letter := _named(text, options, allowed)) is not None:
            return letter
        lead = _LEAD.match(text)
        if (inner := _in_parentheses(text)) is not None:
            text = inner
        elif lead is not None and lead.group():
            text = text[lead.end() :].strip()
        else:
            break
        if (capital := _CAPITAL.fullmatch(text)) is not None:
            return capital[1]
        if (letter := _by_text(text, options)) is not None:
            return letter
    return None


def _named(text: str, options: Sequence[str], allowed: str) -> str | None:
    """A letter with nothing or a known remark behind it, or an option's text with its letter or "is correct"."""
    found = _LETTER.match(text)
    if found is not None:
        letter = (found[1] or found[2] or found[3]).upper()
        rest = text[found.end() :]
        if not rest.strip(" .\n") or _CORRECT.fullmatch(rest) or (found[3] is None and _is_reason(rest, letter)):
            return letter
        if letter in allowed and options:
            own = options[allowed.index(letter)]
            text_behind = rest.lstrip() if found.group()[-1] in ").:：" else _DASH.sub("", rest, count=1)
            without = _BECAUSE.sub("", _CORRECT.sub("", text_behind)) if text_behind else ""
            if _same(text_behind, own) or _same(without, own):
                return letter
    for end in (_CORRECT, re.compile(r"\s*[(\[]([A-J])[)\]]\s*\.?")):
        closing = next((m for m in end.finditer(text) if m.end() == len(text)), None)
        if closing is not None and (letter := _by_text(text[: closing.start()], options)) is not None:
            return letter if not closing.groups() or closing[1] == letter else None
    return None


def _is_reason(rest: str, letter: str) -> bool:
    """Whether "because ..." follows, and the reason does not end with another letter."""
    return _BECAUSE.fullmatch(rest) is not None and all(
        other == letter or _DOUBT.search(between) for between, other in _CONCLUSION.findall(rest)
    )


def _find(text: str, options: Sequence[str], allowed: str) -> str | None:
    """The letter of the first statement that is neither doubted nor taken back; else of the last box, or last line."""
    for found in _STATEMENT.finditer(text):
        sentence = begin = max(0, found.start() - _CLAUSE)
        for start in _CLAUSE_START.finditer(text, begin, found.end()):
            if start.end() > found.start():
                break
            begin = start.end()
            if not _FOLLOWS.match(start.group()):
                sentence = begin
        lead = text[begin : found.start()]
        if _DOUBT.search(lead) or _CONDITION.search(text, sentence, begin) or not _ASSERTED.search(lead):
            continue
        if (letter := _stated(text[found.end() : found.end() + _SENTENCE], options, allowed)) is not None:
            return letter
    boxes = list(_BOX.finditer(text)) if "\\boxed" in text or "\\fbox" in text else []
    if boxes:
        letter = _read(_plain(boxes[-1][1]), options, allowed)
        return letter if letter is not None and _is_stated(text, boxes[-1], letter, options, allowed) else None
    last = text.rstrip().rpartition("\n")[2].strip()
    return _read(last, options, allowed) if last and len(last) < _SENTENCE else None


def _is_stated(text: str, box: re.Match[str], letter: str, options: Sequence[str], allowed: str) -> bool:
    """Whether the words in front of a box introduce an answer, and nothing behind it changes it or takes it back."""
    lead = re.split(r"[.!?;:,]\s|\n", text[max(0, box.start() - _CLAUSE) : box.start()])[-1].rstrip("$*([{}\\ \t")
    word = re.search(r"[^\s*$]*\Z", lead)
    if word is None or _DOUBT.search(lead) or (word[0] and not _BEFORE_BOX.fullmatch(word[0])):
        return False
    behind = re.sub(r"\A(?:\s*(?:\$|\*|\\[\])]|\)))+", "", text[box.end() : box.end() + _SENTENCE])
    end = _END.search(behind)
    sentence = behind if end is None else behind[: end.start()]
    if behind.lstrip().startswith("?") or _RETRACTION.match(behind) or _DOUBT.search(_REASON.split(sentence)[0]):
        return False
    return (
        not sentence.strip(" .*$")
        or _BEHIND_BOX.match(sentence) is not None
        or _named(f"{letter}){sentence}", options, allowed) == letter
    )


def _stated(rest: str, options: Sequence[str], allowed: str) -> str | None:
    """The letter at the beginning of what follows "the answer is": up to the end of its sentence, or of its line."""
    ends = [m.start() for m in _END.finditer(rest)][:4] + [len(rest)]
    for end in ends:
        part = rest[:end].split("**")[0] if rest[:end].count("**") == 1 else rest[:end]
        if part.count("(") > part.count(")"):  # "(C. 0.3)" does not end at its first point
            continue
        if part.strip() and len(part) < 2_000 and (letter := _read(part, options, allowed)) is not None:
            behind = rest[end : end + _REMARK]
            if part[-1].isalnum() and re.match(r"\.\s+[a-z]", behind):  # "C. elegans"
                continue
            return None if _RETRACTION.match(behind) else letter
    return None


def _by_text(text: str, options: Sequence[str]) -> str | None:
    """The letter of the only option that reads exactly so, or else the only one that does but for case."""
    if not options or len(text) > 2 * max(map(len, options)) + 100:
        return None
    readings: tuple[Callable[[str], str], ...] = (_bare, lambda t: _bare(t).casefold(), _bare_plain)
    for reading in readings:
        hits = [letter for letter, option in zip(LETTERS, options, strict=False) if reading(option) == reading(text)]
        if len(hits) == 1:
            return hits[0]
    return None


def _in_parentheses(text: str) -> str | None:
    """What is in the parentheses around all of the text; None where there are none."""
    text = text.removesuffix(".")
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return text[1:at].strip() or None if at and at == len(text) - 1 else None
    return None


def _same(text: str, option: str) -> bool:
    """Whether a text is an option's, but for case. A capital letter that names an option is not the option "a"."""
    if _CAPITAL.fullmatch(text) is not None and _bare(text) != _bare(option):
        return False
    return bool(text) and _bare_plain(text) == _bare_plain(option)


def _bare_plain(text: str) -> str:
    """The text without emphasis, dollars and boxes, in lower case."""
    return _bare(_plain(text)).casefold()


def _bare(text: str) -> str:
    text = " ".join(text.split()).strip("*")
    return text[:-1].rstrip() if text.endswith(".") else text


def _plain(text: str) -> str:
    """The text without emphasis, dollars and boxes."""
    text = _QUOTED.sub(r"\1", _MARKS.sub("", text.strip()))
    for _ in range(4):
        before = text
        text = _WRAPPED.sub(r"\1", text)
        if (braces := _BRACES.fullmatch(text.strip().rstrip("."))) is not None:
            text = braces[1]
        if text == before:
            break
    return text.strip()
