"""Renders and parses the published English of Knights & Knaves puzzles (mem-kk-logic, Logic-RL)."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from kkwarm.errors import KkwarmError
from kkwarm_kk.puzzle import MAX_PEOPLE, And, Iff, Implies, Is, Not, Or, Puzzle, Statement


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# The names of the published puzzles.
NAMES = _split(
    """Abigail Aiden Alexander Amelia Aria Aurora Ava Avery Benjamin Charlotte Chloe Daniel David Elizabeth Ella Emily
    Emma Ethan Evelyn Grace Harper Henry Isabella Jack Jackson Jacob James Joseph Liam Lily Logan Lucas Luke Mason
    Matthew Mia Michael Noah Oliver Olivia Owen Penelope Riley Samuel Scarlett Sebastian Sofia Sophia Victoria
    William Zoey"""
)
STATEMENT_TEMPLATES = (
    '"{content}" - {name}.',
    '{name} commented, "{content}".',
    '{name} was heard saying, "{content}".',
    "{name} expressed that {content}.",
    'In a statement by {name}: "{content}".',
    'According to {name}, "{content}".',
    'In {name}\'s words: "{content}".',
    '"{content}," {name} declared.',
    '{name} said, "{content}."',
    "{name} said that {content}.",
    '{name} asserted: "{content}".',
    'As {name} put it, "{content}".',
    "{name} told you that {content}.",
    '{name} noted, "{content}".',
    '"{content}," {name} claimed.',
    '{name} stated, "{content}".',
    '{name} remarked, "{content}".',
    '"{content}," {name} mentioned.',
)
OPENING = "A very special island"
_HEAD = (
    OPENING + " is inhabited only by knights and knaves. Knights always tell the truth, and knaves always "
    "lie. You meet {people} inhabitants: {names}."
)
QUESTION = "So who is a knight and who is a knave?"


class ParseError(ValueError):
    """The text is not a puzzle in the published English. The message names the place."""


def role_name(knight: bool) -> str:
    return "knight" if knight else "knave"


def join_words(items: Sequence[str], word: str = "and") -> str:
    """["A", "B", "C"] -> "A, B, and C"; two items without a comma."""
    if len(items) < 3:
        return f" {word} ".join(items)
    return f"{', '.join(items[:-1])}, {word} {items[-1]}"


def render_statement(statement: Statement, names: Sequence[str], start: bool = False) -> str:
    """A statement in English. `start` writes "If" with a capital, as the published puzzles do."""

    def unit(part: Statement) -> str:
        simple = isinstance(part, Is) or (isinstance(part, Not) and isinstance(part.part, Is))
        return render_statement(part, names) if simple else f"({render_statement(part, names)})"

    match statement:
        case Is(person, knight):
            return f"{names[person]} is a {role_name(knight)}"
        case Not(Is(person, knight)):
            return f"{names[person]} is not a {role_name(knight)}"
        case Not(part):
            return f"it is not the case that {unit(part)}"
        case And(parts):
            return " and ".join(map(unit, parts))
        case Or(parts):
            return " or ".join(map(unit, parts))
        case Implies(condition, result):
            return f"{'If' if start else 'if'} {unit(condition)} then {unit(result)}"
        case Iff(left, right):
            return f"{unit(left)} if and only if {unit(right)}"


def render(puzzle: Puzzle, names: Sequence[str], rng: random.Random) -> str:
    """The puzzle as a question. `names` are in the people's order; `rng` selects how each statement is introduced."""
    people = f"{', '.join(names[:-1])}, and {names[-1]}"  # the published comma, for two people too
    statements = [
        rng.choice(STATEMENT_TEMPLATES).format(name=name, content=render_statement(statement, names, start=True))
        for name, statement in zip(names, puzzle.statements, strict=True)
    ]
    return " ".join([_HEAD.format(people=len(names), names=people), *statements, QUESTION])


def render_answer(answer: Mapping[str, str]) -> str:
    """The paper's answer format: a line ``(1) Zoey is a knight`` for each person of {"Zoey": "knight", ...}."""
    return "\n".join(f"({i}) {name} is a {role}" for i, (name, role) in enumerate(answer.items(), 1))


def read_answer(text: str) -> dict[str, str]:
    """The answer that `render_answer` wrote."""
    lines = [re.fullmatch(r"\(\d+\) (.+) is a (knight|knave)", line.strip()) for line in text.strip().splitlines()]
    answer = {match[1]: match[2] for match in lines if match is not None}
    if not lines or len(answer) < len(lines):
        raise KkwarmError(
            f"no K&K answer: {text[:80]!r}", hint="a line for each person is needed: (1) Zoey is a knight"
        )
    return answer


# --- parsing ------------------------------------------------------------------------------------------------------

_NAME = r"[^\W\d_]+(?:['’-][^\W\d_]+)*"
_HEAD_PATTERN = re.compile(
    re.escape(_HEAD).replace(r"\{people\}", r"(?P<people>\d{1,2})").replace(r"\{names\}", r"(?P<names>[^.]{1,400})")
)
_SAYING_PATTERNS = tuple(
    re.compile(
        " "
        + re.escape(saying).replace(r"\{name\}", f"(?P<name>{_NAME})").replace(r"\{content\}", r'(?P<content>[^".]+)')
    )
    for saying in STATEMENT_TEMPLATES
)
_TOKEN = re.compile(
    rf" *(?:(?P<claim>(?P<name>{_NAME}) is (?P<not>not )?an? (?P<role>knight|knave)\b)"
    r"|(?P<word>if and only if|it is not the case that|[iI]f\b|then\b|and\b|or\b|\(|\)))"
)


def _tokens(content: str) -> list[tuple[str, str, bool, bool]]:
    """Tuples (word, name, negated, knight); word is "claim" for a claim about one person."""
    tokens, at = [], 0
    while at < len(content):
        match = _TOKEN.match(content, at)
        if match is None:
            if content[at:].strip():
                raise ParseError(f"cannot read {content[at : at + 40]!r} in the statement {content[:200]!r}")
            break
        word = "claim" if match["claim"] else match["word"].lower()
        tokens.append((word, match["name"] or "", bool(match["not"]), match["role"] == "knight"))
        at = match.end()
    return tokens


class _StatementParser:
    """A recursive descent parser of one statement. Different connectives need brackets, to be unambiguous."""

    def __init__(self, content: str, index: Mapping[str, int]) -> None:
        self.content, self.index = content, index
        self.tokens, self.at = _tokens(content), 0

    def word(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def expect(self, word: str) -> None:
        if self.word() != word:
            raise ParseError(f"expected {word!r} but found {self.word() or 'the end'!r} in {self.content[:200]!r}")
        self.at += 1

    def parse(self) -> Statement:
        statement = self.expression(0)
        if self.word():
            raise ParseError(f"unexpected {self.word()!r} in the statement {self.content[:200]!r}")
        return statement

    def expression(self, depth: int) -> Statement:
        if depth > 20:
            raise ParseError("brackets nest deeper than 20")
        if self.word() == "if":
            self.expect("if")
            condition = self.unit(depth)
            self.expect("then")
            return Implies(condition, self.unit(depth))
        parts, word = [self.unit(depth)], self.word()
        if word == "if and only if":
            self.expect(word)
            return Iff(parts[0], self.unit(depth))
        while word in ("and", "or") and self.word() == word:
            self.expect(word)
            parts.append(self.unit(depth))
        if len(parts) == 1:
            return parts[0]
        return And(tuple(parts)) if word == "and" else Or(tuple(parts))

    def unit(self, depth: int) -> Statement:
        if self.word() == "it is not the case that":
            self.at += 1
            if depth > 20:
                raise ParseError("negations nest deeper than 20")
            return Not(self.unit(depth + 1))
        if self.word() == "(":
            self.expect("(")
            inner = self.expression(depth + 1)
            self.expect(")")
            return inner
        if self.word() != "claim":
            raise ParseError(f"expected a claim but found {self.word() or 'the end'!r} in {self.content[:200]!r}")
        _, name, negated, knight = self.tokens[self.at]
        self.at += 1
        if name not in self.index:
            raise ParseError(f"{name} is mentioned but is not among the inhabitants")
        claim = Is(self.index[name], knight)
        return Not(claim) if negated else claim


@lru_cache(maxsize=8192)  # more than there are published puzzles, which are needed twice
def parse(text: str) -> tuple[Puzzle, tuple[str, ...]]:
    """The puzzle of a question in the published English, and the names in its order.

    :raises ParseError: the text is not such a question.
    """
    head = _HEAD_PATTERN.match(text)
    if head is None:
        raise ParseError("the text does not begin as a published Knights & Knaves puzzle does")
    names = tuple(name for name in re.split(r",? and |, ", head["names"]) if name)
    if len(names) != int(head["people"]) or len(set(names)) != len(names) or not 2 <= len(names) <= MAX_PEOPLE:
        raise ParseError(f"{head['people']} inhabitants are announced, but the names are {', '.join(names)}")
    index = {name: i for i, name in enumerate(names)}
    statements: dict[int, Statement] = {}
    at = head.end()
    while text[at:].strip() != QUESTION:
        for pattern in _SAYING_PATTERNS:
            match = pattern.match(text, at)
            if match is not None:
                break
        else:
            raise ParseError(f"cannot read a statement at {text[at : at + 60].strip()!r}")
        if match["name"] not in index:
            raise ParseError(f"{match['name']} speaks but is not among the inhabitants")
        if index[match["name"]] in statements:
            raise ParseError(f"{match['name']} speaks twice")
        statements[index[match["name"]]] = _StatementParser(match["content"], index).parse()
        at = match.end()
    if len(statements) != len(names):
        raise ParseError(f"only {len(statements)} of {len(names)} inhabitants speak")
    return Puzzle(tuple(statements[i] for i in range(len(names)))), names
