"""Reads who is said to be what, and nothing but a plain, consistent list of it.

It works by a whitelist: an answer is a sequence of claims ("Zoey is a knight", "Bob: knave", "Knights: Zoey and Kim"),
separators, quotes and brackets (of JSON, say) and a few openings ("The answer is:"). Any other word or sign ("not",
"or", "?", "false", a look-alike letter) makes it unreadable. One pass, without backtracking.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ROLES = {"knight": True, "knights": True, "knave": False, "knaves": False}
_VERBS = frozenset({"is", "are", "be"})
_BEFORE_VERB = frozenset({"must", "has", "have", "to", "therefore", "thus", "then", "both", "all", "indeed"})
_AFTER_VERB = frozenset({"a", "an", "the", "only", "both", "all", "also", "therefore", "thus", "indeed", "definitely"})
_JOINTS = frozenset({",", "and", "&"})
_STOPS = frozenset(
    {".", ";", "\n", "|", "!", "•", "however", "while", "whereas", "but", "so", "hence", "therefore", "thus"}
)
_SEPARATORS = _JOINTS | _STOPS
_LINKS = frozenset({":", "=", "-", "--", "–", "—", "→", "->", "=>", "|"})
BULLETS = frozenset({"-", "+", "•", "–", "—"})
_OPENING_WORDS = words(
    """so thus therefore hence finally in conclusion the final correct only answer answers solution as follows here we
    have get conclude that this gives my our a summary to sum up assignment roles identities json"""
)
OPENING_NOUNS = words("answer answers solution conclusion summary here this assignment roles identities")
_OWNED = frozenset({"role", "identity", "type"})
_OWN = frozenset({"'s", "’s"})
# Only words, numbers and these signs are known; emphasis, quotes, brackets of lists and a box are passed over.
_TOKEN = re.compile(
    r"[^\W\d_]+(?:['’](?!s\b)[^\W\d_]+)*|(?<=\w)['’]s\b|\d{1,3}|->|=>|--|\n|[^\S\n]+|[*_`#]+"
    r"|\\(?:boxed|text|textbf)(?=\{)|.",
    re.DOTALL | re.IGNORECASE,
)
# As programs write it; right behind a word it ends a sentence.
_NOT = re.compile(r"""(?<![\w*_`)\]}!])!(?!\s*\Z)|!(?![\s*_`)\]}"'’”$!]|\Z)""")
_CLAIMED = frozenset({*ROLES, ")", "!"})
_DECORATION = re.compile(r"""(?:[*_`#]+|[^\S\n]+|[\[\]{}"“”'‘’$]|\\[a-z]+)\Z""")
_TABLE_HEAD = re.compile(
    r"\A\s*\|?[*\s]*(?:name|person|people|inhabitant|islander|character)s?[*\s]*\|"
    r"[*\s]*(?:role|type|identity|status)[*\s]*\|?[^\S\n]*\n",
    re.IGNORECASE,
)
_TABLE_RULE = re.compile(r"^[^\S\n]*\|?(?:[^\S\n]*:?-+:?[^\S\n]*\|)+(?:[^\S\n]*:?-+:?)?[^\S\n]*\n", re.MULTILINE)


class Unreadable(Exception):
    """The text is not a plain list of claims; the message says why."""


class Rejected(Exception):
    """The claims can be read and are not an assignment of this puzzle; the message says why."""


@dataclass(frozen=True, slots=True)
class Token:
    text: str  # as written
    word: str  # case folded


def tokenise(text: str) -> list[Token]:
    found = []
    for match in _TOKEN.finditer(text):
        if not _DECORATION.match(match[0]):
            # Look-alike letters must not fold into plain ones (the Kelvin sign into k, the long s into s).
            found.append(Token(match[0], match[0].casefold() if match[0].isascii() else match[0]))
    return found


class People:
    """Finds names. A name equal to one of the grammar's words ("A") must be written with its own capitals."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.starts: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for name in names:
            words = tuple(t.word for t in tokenise(unicodedata.normalize("NFC", name)))
            if words:
                self.starts.setdefault(words[0], []).append((words, name))
        for same in self.starts.values():
            same.sort(key=lambda pair: -len(pair[0]))

    def at(self, tokens: list[Token], place: int) -> tuple[str, int] | None:
        """The name at `place` and where it ends."""
        if place >= len(tokens):
            return None
        for words, name in self.starts.get(tokens[place].word, ()):
            if tuple(t.word for t in tokens[place : place + len(words)]) == words:
                end = place + len(words)
                reserved = len(words) == 1 and words[0] in _RESERVED
                if not reserved or tokens[place].text == name:
                    return name, end
        return None


_RESERVED = _VERBS | _BEFORE_VERB | _AFTER_VERB | _SEPARATORS | _OPENING_WORDS | frozenset(ROLES)


class _Reader:
    """Reads claims from left to right."""

    def __init__(self, text: str, people: People) -> None:
        self.tokens, self.people = tokenise(text), people
        self.place = 0
        self.claims: dict[str, bool] = {}
        self.conflict = ""
        self.only: dict[bool, set[str]] = {}  # who alone is a knight, or a knave

    def word(self, ahead: int = 0) -> str:
        place = self.place + ahead
        return self.tokens[place].word if place < len(self.tokens) else ""

    def skip(self, words: frozenset[str]) -> bool:
        start = self.place
        while self.word() in words and not self.name():
            self.place += 1
        return self.place > start

    def name(self) -> tuple[str, int] | None:
        return self.people.at(self.tokens, self.place)

    def unreadable(self) -> Unreadable:
        if self.place >= len(self.tokens):
            return Unreadable("the answer breaks off in the middle of a claim")
        shown = "".join(self.tokens[self.place].text.split("\n"))[:30] or "line break"
        return Unreadable(f"{shown!a} has no place in a plain list of who is a knight and who is a knave")

    def claim(self, name: str, knight: bool) -> None:
        if self.claims.setdefault(name, knight) is not knight:
            self.conflict = self.conflict or f"{name} is called both a knight and a knave"

    def alone(self, names: list[str], knight: bool) -> None:
        """Nobody else is one: "only Bob is a knave", "knaves: none"."""
        self.only[knight] = self.only.get(knight, set(names)) & set(names)

    def end(self) -> None:
        """Finds what contradicts an "only"."""
        for knight, names in self.only.items():
            more = [name for name, role in self.claims.items() if role is knight and name not in names]
            if more:
                self.conflict = self.conflict or f"{more[0]} is one of those who are said to be others only"

    def read(self) -> dict[str, bool]:
        """Every claim of the text. Raises Unreadable."""
        while self.place < len(self.tokens):
            self.skip(_SEPARATORS)
            only = self.opening()
            self.numbering()
            if self.place < len(self.tokens):
                self.clause(only)
                if self.place < len(self.tokens) and not self.skip(_SEPARATORS) and not self.begins():
                    raise self.unreadable()
        self.end()
        return self.claims

    def begins(self) -> bool:
        """Whether a claim begins here: by a number, or a name that is said to be something."""
        here = self.name()
        return self.word() == "(" or self.word().isdigit() or (here is not None and self.claims_next(here[1]))

    def opening(self) -> bool:
        """ "So the final answer is:" and the like, and line breaks. Returns whether the claim is about "only" some."""
        before, only = "", False
        while (word := self.word()) in _OPENING_WORDS or word in (":", ",", "\n") or word in _VERBS:
            if self.name() is not None or (word == "the" and self.word(1) in ROLES):
                break
            if word == "a" and self.word(1) in (")", "."):
                break  # it numbers what follows
            if word in _VERBS and before not in OPENING_NOUNS:
                break  # "Is Zoey a knight" claims nothing
            only = word == "only" or (only and word not in OPENING_NOUNS)
            before = word
            self.place += 1
        return only

    def numbering(self) -> None:
        """ "(1)", "1.", "(a)", "- " and other starts of a line."""
        self.skip(_SEPARATORS)
        self.skip(BULLETS)
        start = self.place
        if self.word() == "(" and self.counts(1) and self.word(2) == ")":
            self.place += 3
        elif self.counts() and (self.word(1) in (".", ")") or (self.word().isdigit() and self.word(1) == ":")):
            self.place += 2
        elif self.word().isdigit():
            raise self.unreadable()
        if self.place > start:
            self.skip(BULLETS)

    def counts(self, ahead: int = 0) -> bool:
        """Whether a number or a letter stands there that is nobody's name."""
        word = self.word(ahead)
        letter = len(word) == 1 and "a" <= word <= "z" and self.people.at(self.tokens, self.place + ahead) is None
        return word.isdigit() or letter

    def clause(self, only: bool) -> None:
        """One claim about one or several people; `only`: and about nobody else."""
        both = self.word() == "both" and self.name() is None
        self.place += both
        if self.name() is not None:
            names = self.names(listing=False)
            if both and len(names) != 2:
                raise self.unreadable()
            self.described(names, only)
        elif both:
            raise self.unreadable()
        elif self.stranger():
            raise Rejected(f"{self.tokens[self.place].text!a} is not among the people of the puzzle")
        else:
            self.group(only)

    def stranger(self) -> bool:
        """Whether an unknown name is said to be a knight or knave here."""
        if not self.tokens[self.place].text[:1].isupper() or self.word() in _RESERVED:
            return False
        after = [self.word(i) for i in (1, 2, 3)]
        return after[0] in _VERBS | _LINKS and (after[1] in ROLES or after[2] in ROLES)

    def described(self, names: list[str], only: bool) -> None:
        """ "… is a knight", "…: knight", "… (knight)", "… knight", "…'s a knight", "…'s role: knight"."""
        if self.skip(_OWN) and self.word() not in ("a", "the") and (len(names) > 1 or not self.skip(_OWNED)):
            raise self.unreadable()
        start = self.place
        self.skip(_BEFORE_VERB)
        said = {t.word for t in self.tokens[start : self.place]}
        if ("to" in said) is not bool(said & {"has", "have"}):
            raise self.unreadable()
        bracket = self.word() == "("
        if bracket:
            self.place += 1
        elif self.word() in _VERBS:
            self.place += 1
            self.skip(frozenset({":"}))
        elif self.word() in _LINKS:
            self.place += 1
        start = self.place
        self.skip(_AFTER_VERB)
        only = only or "only" in {t.word for t in self.tokens[start : self.place]}
        knight = ROLES.get(self.word())
        if knight is None:
            raise self.unreadable()
        self.place += 1
        if bracket:
            if self.word() != ")":
                raise self.unreadable()
            self.place += 1
        for name in names:
            self.claim(name, knight)
        if only:
            self.alone(names, knight)

    def group(self, only: bool) -> None:
        """ "Knights: Zoey, Kim", "Knights (Zoey, Kim)", "The knaves are: Bob and Ann", "Knaves: none"."""
        if self.word() == "the":
            self.place += 1
        knight = ROLES.get(self.word())
        if knight is None:
            raise self.unreadable()
        self.place += 1
        bracket = self.word() == "("
        verb = self.word() in _VERBS
        if not bracket and not verb and self.word() not in _LINKS - {"|"}:
            raise self.unreadable()
        self.place += 1
        if verb:
            self.skip(frozenset({":"}))
        names = []
        if self.word() in ("none", "nobody"):
            self.place += 1
            only = True
        else:
            names = self.names(listing=not bracket)
        if bracket:
            if self.word() != ")":
                raise self.unreadable()
            self.place += 1
        for name in names:
            self.claim(name, knight)
        if only:
            self.alone(names, knight)

    def names(self, listing: bool) -> list[str]:
        """ "Zoey, Kim and Bob". In a listing names may stand on lines of their own."""
        found: list[str] = []
        while True:
            before = self.place
            if found:
                if not (self.skip(_JOINTS | {"\n"}) if listing else self.skip(_JOINTS)):
                    return found
            elif listing:
                self.skip(frozenset({"\n"}))
            if listing:
                own_line = "\n" in {t.word for t in self.tokens[before : self.place]}
                self.numbering_of_names()
            here = self.name()
            if here is None or (listing and found and own_line and self.claims_next(here[1])):
                if not found:
                    raise self.unreadable()
                self.place = before
                return found
            found.append(here[0])
            self.place = here[1]

    def numbering_of_names(self) -> None:
        if self.word() in BULLETS or self.word() == "(" or self.counts():
            self.numbering()

    def claims_next(self, place: int) -> bool:
        """Whether a name that ends at `place` begins a claim of its own."""
        following = _VERBS | _LINKS | _BEFORE_VERB | _OWN | ROLES.keys()
        return place < len(self.tokens) and self.tokens[place].word in following


def _composed(text: str) -> str:
    """Canonically composed text. Raises Unreadable for signs that only composing would turn into plain ones."""
    if text.isascii():
        return text
    for sign in set(text):
        if not sign.isascii() and unicodedata.normalize("NFC", sign).isascii():
            raise Unreadable(f"{sign!a} looks like another sign")
    return unicodedata.normalize("NFC", text)


def read(text: str, people: Mapping[str, Any]) -> dict[str, bool]:
    """The whole text as claims: name -> True for a knight.

    Raises Unreadable where it is not a plain list of claims, Rejected where it names strangers or contradicts itself.
    """
    if _NOT.search(text):
        raise Unreadable("'!' before a claim denies it")
    text = _TABLE_RULE.sub("", _TABLE_HEAD.sub("", _composed(text)))
    reader = _Reader(text, People(people))
    before = ""
    for token in reader.tokens:
        if token.word == "!" and before not in _CLAIMED:
            raise Unreadable("'!' before a claim denies it")
        before = token.word
    claims = reader.read()
    if reader.conflict:
        raise Rejected(reader.conflict)
    return claims
