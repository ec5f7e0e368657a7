"""mini_kk: Knights & Knaves puzzles of 3 or 4 people with exactly one solution, and the reasoning steps to it.

A puzzle is kept if assuming that its first speaker is a knight (and after a contradiction: a knave) determines
everyone's kind.
"""

from __future__ import annotations

import random
from functools import cache
from zlib import crc32

from kkwarm_mini.items import Item

__all__ = ["KINDS", "NAMES", "content_key", "generate_kk", "solve"]

NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal")
KINDS = ("knave", "knight")

Literal = tuple[int, bool]  # (person, is a knight)
Statement = tuple[str, tuple[Literal, ...]]  # ("", one literal), or ("and" | "or", two literals)
Event = tuple[int, bool, str | tuple[Literal, ...] | None]  # (person, kind, conclusion); conclusion None: an assumption


def solve(statements: list[Statement]) -> list[tuple[bool, ...]]:
    """Every assignment (True: knight) under which exactly the knights' statements are true."""
    n = len(statements)
    consistent = (1 << (1 << n)) - 1
    for i, statement in enumerate(statements):
        consistent &= _consistent_assignments(n, i, statement)
    return [tuple(bool(a >> i & 1) for i in range(n)) for a in range(1 << n) if consistent >> a & 1]


@cache
def _consistent_assignments(n: int, speaker: int, statement: Statement) -> int:
    """The assignments (a bit for each of the 2^n) in which `statement` is true exactly if its speaker is a knight."""
    op, literals = statement
    bits = []
    for a in range(1 << n):
        holds = [bool(a >> j & 1) == is_knight for j, is_knight in literals]
        bits.append((any if op == "or" else all)(holds) == bool(a >> speaker & 1))
    return sum(1 << a for a, bit in enumerate(bits) if bit)


def content_key(statements: list[Statement]) -> str:
    """The same key for puzzles that differ only in names or in the order of people or of a statement's parts.

    It uses color refinement. A few different puzzles may share a key too, which only makes the split stricter.
    """
    colors = [0] * len(statements)
    for _ in range(3):
        mentions: list[list[tuple[int, bool, str]]] = [[] for _ in statements]
        for i, (op, literals) in enumerate(statements):
            for j, is_knight in literals:
                mentions[j].append((colors[i], is_knight, op))
        colors = [
            crc32(repr((op, sorted((j == i, k, colors[j]) for j, k in literals), sorted(mentions[i]))).encode())
            for i, (op, literals) in enumerate(statements)
        ]
    return f"kk {sorted(colors)}"


def generate_kk(rng: random.Random) -> Item:
    """One puzzle with exactly one solution. The answer lists everyone's kind in the order of the statements."""
    while True:
        n = 3 if rng.random() < 0.3 else 4
        statements, consistent = [], -1
        for table in _statement_tables(n):
            choices = table[rng.random() >= 0.4]
            statement, assignments = choices[int(rng.random() * len(choices))]
            statements.append(statement)
            consistent &= assignments
        if consistent & (consistent - 1) or not consistent:  # not exactly one assignment
            continue
        events = _derive(statements)
        if events is None:
            continue
        solution = consistent.bit_length() - 1
        kinds = [bool(solution >> i & 1) for i in range(n)]
        names = rng.sample(NAMES, n)
        sentences = " ".join(f"{names[i]} says {_render_statement(s, names)} ." for i, s in enumerate(statements))
        answer = " ".join(_render_literal((i, is_knight), names) for i, is_knight in enumerate(kinds))
        steps = " ".join(_render_event(event, statements, names) for event in events)
        return Item(f"puzzle {sentences} who ?", steps, answer, content_key(statements), n)


@cache
def _all_statements(speaker: int, n: int) -> tuple[list[Statement], list[Statement]]:
    """All statements of a speaker: those about one other person, and those about two people (speaker included)."""
    kinds = (False, True)
    single: list[Statement] = [("", ((j, k),)) for j in range(n) if j != speaker for k in kinds]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    double: list[Statement] = [
        (op, ((i, a), (j, b))) for op in ("and", "or") for i, j in pairs for a in kinds for b in kinds
    ]
    return single, double


@cache
def _statement_tables(n: int) -> list[tuple[list[tuple[Statement, int]], ...]]:
    """For each speaker, the groups of `_all_statements`, each statement with its consistent assignments."""
    return [
        tuple([(s, _consistent_assignments(n, speaker, s)) for s in group] for group in _all_statements(speaker, n))
        for speaker in range(n)
    ]


def _render_literal(literal: Literal, names: list[str]) -> str:
    return f"{names[literal[0]]} {KINDS[literal[1]]}"


def _render_statement(statement: Statement, names: list[str]) -> str:
    op, literals = statement
    return f" {op} ".join(_render_literal(x, names) for x in literals)


def _derive(statements: list[Statement]) -> list[Event] | None:
    """The reasoning steps: assume, follow, contradict, back up, conclude. None where one assumption is not enough."""
    events: list[Event] = []
    for guess in (True, False):
        events.append((0, guess, None))
        outcome = _propagate(statements, guess, events)
        if outcome == "solved":
            return events
        if outcome == "stuck":
            return None
    return None


def _propagate(statements: list[Statement], guess: bool, events: list[Event]) -> str:
    """Follows statement after statement from an assumption about person 0. Returns "solved", "clash" or "stuck"."""
    kinds = {0: guess}
    queue = [0]
    n_waiting = 0
    while queue:
        person = queue.pop(0)
        literals = _consequences(statements[person], kinds[person], kinds)
        if literals is None:
            events.append((person, kinds[person], "wait"))
            queue.append(person)
            n_waiting += 1
            if n_waiting >= len(queue):
                return "stuck"
            continue
        n_waiting = 0
        if any(kinds.get(j, k) != k for j, k in literals):
            events.append((person, kinds[person], "clash"))
            return "clash"
        new_literals = tuple(x for x in literals if x[0] not in kinds)
        kinds.update(new_literals)
        queue.extend(j for j, _ in new_literals)
        events.append((person, kinds[person], new_literals or "ok"))
    return "solved" if len(kinds) == len(statements) else "stuck"


def _render_event(event: Event, statements: list[Statement], names: list[str]) -> str:
    person, is_knight, outcome = event
    if outcome is None:
        return f"assume {_render_literal((person, is_knight), names)} ."
    conclusion = outcome if isinstance(outcome, str) else " ".join(_render_literal(x, names) for x in outcome)
    statement = _render_statement(statements[person], names)
    # The statement is repeated so that a small model needs no look-up for its conclusion, and learns it early.
    return f"{names[person]} says {statement} . {'true' if is_knight else 'lie'} : {conclusion} ."


def _consequences(statement: Statement, true: bool, kinds: dict[int, bool]) -> list[Literal] | None:
    """The literals that hold if `statement` is true (or, with `true` off, false); None if nothing follows yet.

    A literal that contradicts `kinds` means a contradiction.
    """
    op, literals = statement
    literals_then = [(j, k == true) for j, k in literals]
    if not op or (op == "and") == true:
        return literals_then
    if any(kinds.get(j) == k for j, k in literals_then):
        return []  # one of the two holds already, and one is enough
    undecided = [x for x in literals_then if x[0] not in kinds]
    if len(undecided) == 2:
        return None
    return undecided or literals_then[:1]
