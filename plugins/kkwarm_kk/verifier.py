"""The K&K verifier accepts every correct wording of the whole assignment, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kkwarm.types import Example, Response, Status, Verdict
from kkwarm_kk.answer_parser import (
    BULLETS,
    OPENING_NOUNS,
    ROLES,
    InvalidAssignment,
    NameMatcher,
    UnreadableAnswer,
    parse_assignment,
    tokenize,
    without_name_row,
    word_set,
)
from kkwarm_kk.english import read_answer, role_name

MAX_CHARS = 4000
"""The longest answer that is read, in characters: four times what eight people with long names need."""

_SENTENCE_END = re.compile(r"(?<=[^\W\d_][.!?])[*_`]*[^\S\n]+|[^\S\n]*\n\s*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_CLOSING_WORDS = word_set(
    """this that the is are all every each everything statement statements consistent with satisfies satisfy works
    checks out assignment solution answer only unique final condition conditions constraints given and it fits
    together holds qed people puzzle for of verification check fits correctly"""
)
# The words of a sentence that may introduce the claims after it. Any other word might deny them, or only suppose them.
_INTRODUCTION_WORDS = word_set(
    """a about above after all an analysis and answer answers are as assign assigned assignment assignments based be
    below by can case character characters check checking complete conclude concluded conclusion consistent correct
    deduce deduced deduction deductions determine determined each every everyone final finally find follow
    following follows for from get gives have hence her here his i identities identity in inhabitant inhabitants is
    islander islanders it know leads let list logic logically means must my name names next now of on one only our
    people person persons put putting puzzle reason reasoned reasoning result results role roles satisfies satisfy
    so solution solutions statement statements status step steps sum summarize summarizing summary that the their
    then therefore these they this thus to together truth type types unique up us using we what which who with work
    working yields you"""
)
_ONE_OF = re.compile(r"(?<![a-z])one\s+of", re.IGNORECASE)  # "only one of these is correct"
_FORWARD_WORDS = frozenset({"following", "below", "next", "these"})
_GROUP = re.compile(r"\bkn(?:ight|ave)s?\s*:", re.IGNORECASE)
_FAREWELL = re.compile(
    r"I hope (?:this|that|it) helps[.!]*|"
    r"(?:Please )?let me know if you (?:have|need) (?:any |more |further )*(?:questions|help|explanations?)[.!]*",
    re.IGNORECASE,
)
_CLOSING = re.compile(r"[\w\s.,:!*'’]+")


def _is_closing(segment: str) -> bool:
    """Whether the segment is a sentence that may follow the claims."""
    if _FAREWELL.fullmatch(segment.strip()):
        return True
    words = _WORD.findall(segment.casefold())
    return bool(words) and _CLOSING.fullmatch(segment) is not None and _CLOSING_WORDS.issuperset(words)


def _is_list_line(segment: str, people: NameMatcher) -> bool:
    """Whether the segment is a line of a list of names ("- Zoey"), or its heading ("Knaves:")."""
    tokens = tokenize(segment)
    words = [t.word for t in tokens]
    if words[-1:] == [":"] and words[-2:-1] and words[-2] in ROLES:
        return words[:-2] in ([], ["the"])
    start = 0
    while start < len(words) and (words[start] in BULLETS or words[start].isdigit() or words[start] in (".", ")", "(")):
        start += 1
    match = people.match(tokens, start)
    return match is not None and all(w in (".", ",") for w in words[match[1] :])


def _refers_forward(segment: str, has_opening: bool) -> bool:
    """Whether a sentence is about what follows it. `has_opening`: that begins with "The answer is" or similar."""
    end = segment.rstrip(" *_`")[-1:]
    words = _WORD.findall(segment.casefold())
    if end in (":", ",") or words[-1:] in (["that"], ["is"], ["are"]) or not _FORWARD_WORDS.isdisjoint(words):
        return True
    return not has_opening and end not in (".", "!", "?", ")")


def _find_other_word(segment: str) -> str:
    """The first word of a sentence that is no word of an introduction, "" if there is none."""
    words = (str(w).removesuffix("'s").removesuffix("’s") for w in _WORD.findall(segment.casefold()))
    if _ONE_OF.search(segment):
        return "one of"
    return next((w for w in words if w not in _INTRODUCTION_WORDS), "")


def parse_end(text: str, people: Mapping[str, Any]) -> dict[str, bool]:
    """The claims at the end of free text: its last unbroken run of sentences and lines that are only claims.

    Only a few closing sentences ("Everything checks out.") may follow the claims, and a sentence that introduces them
    must be made of known words ("So the answer is:", but not "An invalid solution:").

    Raises the same errors as `parse_assignment`.
    """
    lines = text[-MAX_CHARS:].rstrip().split("\n")
    end = "\n".join([*lines[:-3], without_name_row("\n".join(lines[-3:]))])
    segments = [s for s in _SENTENCE_END.split(end) if s.strip()]
    while segments and _is_closing(segments[-1]):
        segments.pop()
    start = len(segments)
    names = NameMatcher(people)
    error = UnreadableAnswer("it does not say who is a knight or a knave")
    while start:
        try:
            if not _is_list_line(segments[start - 1], names):
                parse_assignment(segments[start - 1], people)
        except UnreadableAnswer as err:
            error = err
            break
        start -= 1
    if start == len(segments):
        raise error
    if start < 2 and len(text) > MAX_CHARS:
        raise UnreadableAnswer(f"the claims begin more than {MAX_CHARS} characters before its end")
    if start and _GROUP.search(segments[start - 1]):  # "It is not the case that Knights: (none)"
        raise UnreadableAnswer("a line before the claims names a group and is no claim itself")
    has_opening = not OPENING_NOUNS.isdisjoint(_WORD.findall(segments[start].casefold()))
    for segment in reversed(segments[:start]):
        if not _refers_forward(segment, has_opening):
            break
        if word := _find_other_word(segment):
            raise UnreadableAnswer(f"the claims follow {word!a}")
    return parse_assignment("\n".join(segments[start:]), people)


# --- the verdict --------------------------------------------------------------------------------------------------


def check(example: Example, response: Response) -> Verdict:
    """Correct if the answer gives every person the right role.

    `example.answer` is {name: "knight" or "knave"}, or the same as `render_answer` writes it.
    """
    gold: Mapping[str, str] = example.answer if isinstance(example.answer, dict) else read_answer(str(example.answer))
    text = (response.answer or "").strip()
    if not text:
        return Verdict(Status.UNPARSED, None, "The answer is empty.")
    if response.tagged and len(text) > MAX_CHARS:
        return Verdict(Status.UNPARSED, None, f"The answer is longer than {MAX_CHARS} characters.")
    try:
        claims = parse_assignment(text, gold) if response.tagged else parse_end(text, gold)
    except UnreadableAnswer as err:
        return Verdict(Status.UNPARSED, None, f"The answer cannot be read: {err}.")
    except InvalidAssignment as err:
        return Verdict(Status.WRONG, None, f"The answer is not a valid assignment: {err}.")
    if not claims:
        return Verdict(Status.UNPARSED, None, "The answer does not say who is a knight or a knave.")
    answer = ", ".join(f"{name} is a {role_name(claims[name])}" for name in gold if name in claims)
    missing = [name for name in gold if name not in claims]
    if missing:
        return Verdict(Status.WRONG, answer, f"The answer says nothing about {', '.join(missing)}.")
    wrong = [name for name, role in gold.items() if claims[name] != ROLES[role]]
    if wrong:
        return Verdict(Status.WRONG, answer, f"The answer is wrong about {', '.join(wrong)}.")
    return Verdict(Status.CORRECT, answer, "Every role is correct.")
