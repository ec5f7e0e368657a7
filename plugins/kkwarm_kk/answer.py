"""The K&K verifier: any honest wording of the whole assignment counts, and nothing else does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kkwarm.types import Example, Response, Status, Verdict
from kkwarm_kk.claims import BULLETS, OPENING_NOUNS, ROLES, People, Rejected, Unreadable, read, tokenise, words

LONGEST = 4000
"""The most characters of an answer that are read: four times what eight people with long names need."""

_SENTENCE_END = re.compile(r"(?<=[^\W\d_][.!?])[*_`]*[^\S\n]+|[^\S\n]*\n\s*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_CLOSING_WORDS = words(
    """this that the is are all every each everything statement statements consistent with satisfies satisfy works
    checks out assignment solution answer only unique final condition conditions constraints given and it fits
    together holds qed people puzzle for of"""
)
_DOUBT = words(
    """not no none never neither nor cannot false wrong incorrect untrue if suppose supposing assume assuming
    assumption unless maybe perhaps might may could would should possible possibly impossible contradiction
    contradictory either or opposite unlikely guess says said say claims claimed claim states stated lie lies lied
    wait except other instead rather hypothesis case whether question reverse swap"""
)
_POINTING_ON = frozenset({"following", "below", "next", "these"})


_CLOSING = re.compile(r"[\w\s.,!*'’]+")


def _closes(segment: str) -> bool:
    """Whether it is a sentence that may follow the claims."""
    said = _WORD.findall(segment.casefold())
    return bool(said) and _CLOSING.fullmatch(segment) is not None and _CLOSING_WORDS.issuperset(said)


def _list_line(segment: str, people: People) -> bool:
    """A line of a list of names ("- Zoey"), or the one above it ("Knaves:")."""
    tokens = tokenise(segment)
    left = [t.word for t in tokens]
    if left[-1:] == [":"] and left[-2:-1] and left[-2] in ROLES:
        return left[:-2] in ([], ["the"])
    while left and (left[0] in BULLETS or left[0].isdigit() or left[0] in (".", ")", "(")):
        left.pop(0)
    here = people.at(tokens, len(tokens) - len(left)) if left else None
    return here is not None and all(w in (".", ",") for w in left[here[1] - len(tokens) + len(left) :])


def _leads_on(segment: str, announced: bool) -> bool:
    """Whether a sentence speaks about what comes after it. `announced`: that begins "The answer is" or so."""
    end = segment.rstrip(" *_`")[-1:]
    said = _WORD.findall(segment.casefold())
    if end in (":", ",") or said[-1:] in (["that"], ["is"], ["are"]) or not _POINTING_ON.isdisjoint(said):
        return True
    return not announced and end not in (".", "!", "?", ")")


def _doubtful(segment: str) -> str:
    """The first word by which a sentence takes back, or only supposes, what comes after it."""
    for word in map(str, _WORD.findall(segment.casefold())):
        if word in _DOUBT or word.endswith(("n't", "n’t")):
            return word
    return ""


def read_end(text: str, people: Mapping[str, Any]) -> dict[str, bool]:
    """The claims with which free text ends: its last unbroken run of sentences and lines that are claims alone.

    Raises as `read`. Only a few closing sentences ("Everything checks out.") may come after the claims, and the
    sentence that leads to them must not take them back ("It is false that:").
    """
    segments = [s for s in _SENTENCE_END.split(text[-LONGEST:]) if s.strip()]
    while segments and _closes(segments[-1]):
        segments.pop()
    start = len(segments)
    names = People(people)
    problem = Unreadable("nobody is said to be a knight or a knave")
    while start:
        try:
            if not _list_line(segments[start - 1], names):
                read(segments[start - 1], people)
        except Unreadable as err:
            problem = err
            break
        start -= 1
    if start == len(segments):
        raise problem
    if start < 2 and len(text) > LONGEST:
        raise Unreadable("what leads to the claims is too far away")
    announced = not OPENING_NOUNS.isdisjoint(_WORD.findall(segments[start].casefold()))
    for before in reversed(segments[:start]):
        if not _leads_on(before, announced):
            break
        if word := _doubtful(before):
            raise Unreadable(f"the claims follow {word!a}")
    return read("\n".join(segments[start:]), people)


# --- the verdict --------------------------------------------------------------------------------------------------


def check(example: Example, response: Response) -> Verdict:
    """Correct where the answer gives every person of `example.answer` ({name: "knight" or "knave"}) the right role."""
    gold: Mapping[str, str] = example.answer
    text = (response.answer or "").strip()
    if not text:
        return Verdict(Status.UNPARSED, None, "The answer is empty.")
    if response.tagged and len(text) > LONGEST:
        return Verdict(Status.UNPARSED, None, f"The answer is longer than {LONGEST} characters.")
    try:
        claims = read(text, gold) if response.tagged else read_end(text, gold)
    except Unreadable as err:
        return Verdict(Status.UNPARSED, None, f"The answer cannot be read: {err}.")
    except Rejected as err:
        return Verdict(Status.WRONG, None, f"The answer is no assignment: {err}.")
    if not claims:
        return Verdict(Status.UNPARSED, None, "Nobody is said to be a knight or a knave.")
    said = ", ".join(f"{name} is a {_role(claims[name])}" for name in gold if name in claims)
    missing = [name for name in gold if name not in claims]
    if missing:
        return Verdict(Status.WRONG, said, f"The answer says nothing about {', '.join(missing)}.")
    wrong = [name for name, role in gold.items() if claims[name] != ROLES[role]]
    if wrong:
        return Verdict(Status.WRONG, said, f"The answer is wrong about {', '.join(wrong)}.")
    return Verdict(Status.CORRECT, said, "Everybody's role is right.")


def _role(knight: bool) -> str:
    return "knight" if knight else "knave"
