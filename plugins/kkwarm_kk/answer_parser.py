"""Parses the assignment that an answer gives: a plain, consistent list of who is a knight and who is a knave.

The parser works by a whitelist. An answer is a sequence of claims ("Zoey is a knight", "Bob: knave", "Knights: Zoey and
Kim"), separators, quotes and brackets (of JSON, say) and a few openings ("The answer is:"). Any other word or sign
("not", "or", "?", "false", a look-alike letter) makes it unreadable. It takes one pass without backtracking.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def word_set(text: str) -> frozenset[str]:
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
_OPENING_WORDS = word_set(
    """so thus therefore hence finally in conclusion the final correct only answer answers solution as follows here we
    have get conclude that this gives my our a summary to sum up summarize assignment roles identities json of each
    people person persons characters inhabitants islanders"""
)
_PEOPLE = word_set("people person persons characters inhabitants islanders")
OPENING_NOUNS = word_set("answer answers solution conclusion summary here this assignment roles identities")
_POSSESSIVE_NOUNS = frozenset({"role", "identity", "type"})
_POSSESSIVE = frozenset({"'s", "’s"})
# Only words, numbers and these signs are tokens; emphasis, quotes, brackets of lists and a box are ignored.
_TOKEN = re.compile(
    r"[^\W\d_]+(?:['’](?!s\b)[^\W\d_]+)*|(?<=\w)['’]s\b|\d{1,3}|->|=>|--|\n|[^\S\n]+|[*_`#]+"
    r"|\\(?:boxed|text|textbf)(?=\{)|.",
    re.DOTALL | re.IGNORECASE,
)
# The negation of programming languages. Directly after a word the sign ends a sentence instead.
_NEGATION = re.compile(r"""(?<![\w*_`)\]}!])!(?!\s*\Z)|!(?![\s*_`)\]}"'’”$!]|\Z)""")
_CLAIM_ENDS = frozenset({*ROLES, ")", "!"})
_DECORATION = re.compile(r"""(?:[*_`#]+|[^\S\n]+|[\[\]{}"“”'‘’$]|\\[a-z]+)\Z""")
_TABLE_HEAD = re.compile(
    r"\A\s*\|?(?:[*\s]*(?:#|no\.?|number)[*\s]*\|)?[*\s]*(?:name|person|people|inhabitant|islander|character)s?[*\s]*\|"
    r"[*\s]*(?:role|type|identity|status)[*\s]*\|?[^\S\n]*\n",
    re.IGNORECASE,
)
_TABLE_RULE = re.compile(r"^[^\S\n]*\|?(?:[^\S\n]*:?-+:?[^\S\n]*\|)+(?:[^\S\n]*:?-+:?)?[^\S\n]*\n", re.MULTILINE)


# What the roles mean, behind them: "knight (truth-teller)".
_MEANING = re.compile(
    r"\b(?:(?P<knight>knights?[*_]*)\s*\((?:an?\s+)?(?:truth[- ]?tellers?|(?:always\s+)?tells?\s+the\s+truth)\)"
    r"|(?P<knave>knaves?[*_]*)\s*\((?:an?\s+)?(?:liars?|(?:always\s+)?(?:lies|tells?\s+lies))\))",
    re.IGNORECASE,
)
_EMPTY_LIST = re.compile(r"\[\s*\]|\{\s*\}|(?<=:)\s*(?:-|–|—|N/A)(?=[^\S\n]*(?:\n|;|\Z))")
_RECORD = re.compile(
    r"""["']?\b(?:name|person|character|inhabitant)["']?\s*:\s*["']?(?P<name>[^"'\n:,{}\[\]]+)["']?\s*,\s*"""
    r"""["']?(?:role|type|identity)["']?\s*:""",
    re.IGNORECASE,
)


class UnreadableAnswer(Exception):
    """The text is not a plain list of claims. The message names the cause."""


class InvalidAssignment(Exception):
    """The claims can be parsed, but are not an assignment of this puzzle. The message names the cause."""


@dataclass(frozen=True, slots=True)
class Token:
    text: str  # as written
    word: str  # case folded


def tokenize(text: str) -> list[Token]:
    tokens = []
    for match in _TOKEN.finditer(text):
        if not _DECORATION.match(match[0]):
            # Look-alike letters must not fold into plain ones (the Kelvin sign into k, the long s into s).
            tokens.append(Token(match[0], match[0].casefold() if match[0].isascii() else match[0]))
    return tokens


class NameMatcher:
    """Finds names in tokens. A name equal to a word of the grammar ("A") must be written with its own capitals."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.by_first_word: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for name in names:
            words = tuple(t.word for t in tokenize(unicodedata.normalize("NFC", name)))
            if words:
                self.by_first_word.setdefault(words[0], []).append((words, name))
        for candidates in self.by_first_word.values():
            candidates.sort(key=lambda pair: -len(pair[0]))

    def match(self, tokens: list[Token], start: int) -> tuple[str, int] | None:
        """The name that begins at token `start`, and the index after its last token."""
        if start >= len(tokens):
            return None
        for words, name in self.by_first_word.get(tokens[start].word, ()):
            if tuple(t.word for t in tokens[start : start + len(words)]) == words:
                reserved = len(words) == 1 and words[0] in _RESERVED
                if not reserved or tokens[start].text == name:
                    return name, start + len(words)
        return None


_RESERVED = _VERBS | _BEFORE_VERB | _AFTER_VERB | _SEPARATORS | _OPENING_WORDS | frozenset(ROLES)


class _AnswerParser:
    """Parses claims from left to right."""

    def __init__(self, text: str, people: NameMatcher) -> None:
        self.tokens, self.people = tokenize(text), people
        self.position = 0
        self.claims: dict[str, bool] = {}
        self.conflict = ""
        self.exclusive: dict[bool, set[str]] = {}  # the people who are the only knights, or the only knaves

    def word(self, ahead: int = 0) -> str:
        index = self.position + ahead
        return self.tokens[index].word if index < len(self.tokens) else ""

    def words_since(self, start: int) -> set[str]:
        return {t.word for t in self.tokens[start : self.position]}

    def skip(self, words: frozenset[str]) -> bool:
        start = self.position
        while self.word() in words and not self.match_name():
            self.position += 1
        return self.position > start

    def match_name(self) -> tuple[str, int] | None:
        return self.people.match(self.tokens, self.position)

    def error(self) -> UnreadableAnswer:
        if self.position >= len(self.tokens):
            return UnreadableAnswer("the answer ends in the middle of a claim")
        text = "".join(self.tokens[self.position].text.split("\n"))[:30] or "line break"
        return UnreadableAnswer(f"{text!a} is not allowed in a plain list of who is a knight and who is a knave")

    def add_claims(self, names: list[str], knight: bool, only: bool) -> None:
        """Records a claim. `only`: it says that nobody else has the role ("only Bob is a knave", "knaves: none")."""
        for name in names:
            if self.claims.setdefault(name, knight) is not knight:
                self.conflict = self.conflict or f"{name} is called both a knight and a knave"
        if only:
            self.exclusive[knight] = self.exclusive.get(knight, set(names)) & set(names)

    def check_exclusive(self) -> None:
        """Looks for claims that contradict an "only"."""
        for knight, names in self.exclusive.items():
            more = [name for name, role in self.claims.items() if role is knight and name not in names]
            if more:
                role = "knight" if knight else "knave"
                self.conflict = self.conflict or f"{more[0]} is called a {role}, although only others are said to be"

    def parse(self) -> dict[str, bool]:
        """All claims of the text."""
        while self.position < len(self.tokens):
            self.skip(_SEPARATORS)
            only = self.skip_opening()
            self.skip_numbering()
            if self.position < len(self.tokens):
                self.parse_claim(only)
                if self.position < len(self.tokens) and not self.skip(_SEPARATORS) and not self.starts_claim():
                    raise self.error()
        self.check_exclusive()
        return self.claims

    def starts_claim(self) -> bool:
        """Whether a claim starts here, with a number or with a name that a verb or link follows."""
        match = self.match_name()
        return self.word() == "(" or self.word().isdigit() or (match is not None and self.continues_claim(match[1]))

    def skip_opening(self) -> bool:
        """Skips line breaks and openings such as "So the final answer is:". Returns whether it contains "only"."""
        previous, only = "", False
        while (word := self.word()) in _OPENING_WORDS or word in (":", ",", "\n") or word in _VERBS:
            if self.match_name() is not None or (word == "the" and self.word(1) in ROLES):
                break
            if word == "a" and self.word(1) in (")", "."):
                break  # a list letter
            if word in _VERBS and previous not in OPENING_NOUNS | _PEOPLE:
                break  # "Is Zoey a knight" claims nothing
            only = word == "only" or (only and word not in OPENING_NOUNS)
            previous = word
            self.position += 1
        return only

    def skip_numbering(self) -> None:
        """Skips "(1)", "1.", "(a)", "- " and other starts of a line."""
        self.skip(_SEPARATORS)
        self.skip(BULLETS)
        start = self.position
        if self.word() == "(" and self.is_list_number(1) and self.word(2) == ")":
            self.position += 3
        elif self.is_list_number() and (
            self.word(1) in (".", ")") or (self.word().isdigit() and self.word(1) in (":", "|"))
        ):
            self.position += 2
        elif self.word().isdigit():
            raise self.error()
        if self.position > start:
            self.skip(BULLETS)

    def is_list_number(self, ahead: int = 0) -> bool:
        """Whether the token is a number, or a letter that is not a name."""
        word = self.word(ahead)
        letter = len(word) == 1 and "a" <= word <= "z" and self.people.match(self.tokens, self.position + ahead) is None
        return word.isdigit() or letter

    def parse_claim(self, only: bool) -> None:
        """One claim about one or several people. `only`: an opening said "only"."""
        both = self.word() == "both" and self.match_name() is None
        self.position += both
        if self.match_name() is not None:
            names = self.parse_names(multiline=False)
            if both and len(names) != 2:
                raise self.error()
            self.parse_role_of(names, only)
        elif both:
            raise self.error()
        elif self.is_unknown_name():
            raise InvalidAssignment(f"{self.tokens[self.position].text!a} is not among the people of the puzzle")
        else:
            self.parse_group(only)

    def is_unknown_name(self) -> bool:
        """Whether an unknown name is called a knight or knave here."""
        if not self.tokens[self.position].text[:1].isupper() or self.word() in _RESERVED:
            return False
        after = [self.word(i) for i in (1, 2, 3)]
        return after[0] in _VERBS | _LINKS and (after[1] in ROLES or after[2] in ROLES)

    def parse_role_of(self, names: list[str], only: bool) -> None:
        """ "… is a knight", "…: knight", "… (knight)", "… knight", "…'s a knight", "…'s role: knight"."""
        needs_noun = self.skip(_POSSESSIVE) and self.word() not in ("a", "the")
        if needs_noun and (len(names) > 1 or not self.skip(_POSSESSIVE_NOUNS)):
            raise self.error()
        start = self.position
        self.skip(_BEFORE_VERB)
        words = self.words_since(start)
        if ("to" in words) is not bool(words & {"has", "have"}):
            raise self.error()
        bracket = self.word() == "("
        if bracket:
            self.position += 1
        elif self.word() in _VERBS:
            self.position += 1
            self.skip(frozenset({":"}))
        elif self.word() in _LINKS:
            self.position += 1
        start = self.position
        self.skip(_AFTER_VERB)
        only = only or "only" in self.words_since(start)
        self.skip(frozenset({":"}))
        knight = self.parse_role()
        if bracket:
            self.parse_closing_bracket()
        self.add_claims(names, knight, only)

    def parse_group(self, only: bool) -> None:
        """ "Knights: Zoey, Kim", "Knights (Zoey, Kim)", "The knaves are: Bob and Ann", "Knaves: none"."""
        if self.word() == "the":
            self.position += 1
        knight = self.parse_role()
        bracket = self.word() == "("
        verb = self.word() in _VERBS
        if not bracket and not verb and self.word() not in _LINKS - {"|"}:
            raise self.error()
        self.position += 1
        if verb:
            self.skip(frozenset({":"}))
        names = []
        if self.skip_nobody():
            only = True
        else:
            names = self.parse_names(multiline=not bracket)
        if bracket:
            self.parse_closing_bracket()
        self.add_claims(names, knight, only)

    def skip_nobody(self) -> bool:
        """Skips "none", "nobody" or "no one", in brackets or not."""
        for words in (("none",), ("nobody",), ("no", "one"), ("(", "none", ")"), ("(", "nobody", ")")):
            if tuple(self.word(i) for i in range(len(words))) == words:
                self.position += len(words)
                return True
        return False

    def parse_role(self) -> bool:
        knight = ROLES.get(self.word())
        if knight is None:
            raise self.error()
        self.position += 1
        return knight

    def parse_closing_bracket(self) -> None:
        if self.word() != ")":
            raise self.error()
        self.position += 1

    def parse_names(self, multiline: bool) -> list[str]:
        """ "Zoey, Kim and Bob". With `multiline`, names may be on lines of their own."""
        names: list[str] = []
        while True:
            start = self.position
            if names:
                if not (self.skip(_JOINTS | {"\n"}) if multiline else self.skip(_JOINTS)):
                    return names
            elif multiline:
                self.skip(frozenset({"\n"}))
            if multiline:
                own_line = "\n" in self.words_since(start)
                if self.word() in BULLETS or self.word() == "(" or self.is_list_number():
                    self.skip_numbering()
            match = self.match_name()
            if match is None or (multiline and names and own_line and self.continues_claim(match[1])):
                if not names:
                    raise self.error()
                self.position = start
                return names
            name, self.position = match
            names.append(name)

    def continues_claim(self, index: int) -> bool:
        """Whether the token at `index`, after a name, makes the name the start of a claim."""
        following = _VERBS | _LINKS | _BEFORE_VERB | _POSSESSIVE | ROLES.keys()
        return index < len(self.tokens) and self.tokens[index].word in following


def _normalize_unicode(text: str) -> str:
    """Canonically composed text.

    :raises UnreadableAnswer: the text has a sign that composition would turn into a plain ASCII sign.
    """
    if text.isascii():
        return text
    for sign in set(text):
        if not sign.isascii() and unicodedata.normalize("NFC", sign).isascii():
            raise UnreadableAnswer(f"{sign!a} looks like another sign")
    return unicodedata.normalize("NFC", text)


def without_name_row(text: str) -> str:
    """A table with a row of names above a row of roles, as a line for each name; other texts as they are."""
    lines = [line.strip().strip("|") for line in text.strip().split("\n")]
    if len(lines) != 3 or not re.fullmatch(r"[\s:|-]+", lines[1]):
        return text
    names, roles = ([cell.strip() for cell in lines[i].split("|")] for i in (0, 2))
    if len(names) != len(roles) or len(names) < 2 or not all(role.casefold() in ROLES for role in roles):
        return text
    return "\n".join(f"{name}: {role}" for name, role in zip(names, roles, strict=True))


def parse_assignment(text: str, people: Mapping[str, Any]) -> dict[str, bool]:
    """Parses the whole text as claims: a dictionary from name to True for a knight.

    :raises UnreadableAnswer: the text is not a plain list of claims.
    :raises InvalidAssignment: the claims contradict each other, or name people who are not in the puzzle.
    """
    if _NEGATION.search(text):
        raise UnreadableAnswer("'!' before a claim negates it")
    text = _MEANING.sub(lambda found: found["knight"] or found["knave"], text)
    text = _TABLE_RULE.sub("", _TABLE_HEAD.sub("", without_name_row(_normalize_unicode(text))))
    text = _RECORD.sub(r"\g<name>:", _EMPTY_LIST.sub(" none ", text))
    parser = _AnswerParser(text, NameMatcher(people))
    previous = ""
    for token in parser.tokens:
        if token.word == "!" and previous not in _CLAIM_ENDS:
            raise UnreadableAnswer("'!' before a claim negates it")
        previous = token.word
    claims = parser.parse()
    if parser.conflict:
        raise InvalidAssignment(parser.conflict)
    return claims
