"""mini_kk: Knights & Knaves for 3 or 4 people, one solution each, with a worked derivation.

A puzzle is kept if taking its first speaker for a knight, and on a clash for a knave, settles everyone.
"""

from __future__ import annotations

import random
from functools import cache
from zlib import crc32

from kkwarm_mini.items import Item

__all__ = ["KINDS", "NAMES", "draw", "key", "solutions"]

NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal")
KINDS = ("knave", "knight")

Literal = tuple[int, bool]  # (person, is a knight)
Statement = tuple[str, tuple[Literal, ...]]  # ("", one literal), or ("and" | "or", two literals)
Event = tuple[int, bool, str | tuple[Literal, ...] | None]  # (person, assumed kind, what follows; None: a guess)


def solutions(statements: list[Statement]) -> list[tuple[bool, ...]]:
    """Every assignment (True: knight) under which exactly the knights' statements are true."""
    n = len(statements)
    left = (1 << (1 << n)) - 1
    for i, statement in enumerate(statements):
        left &= _agrees(n, i, statement)
    return [tuple(bool(a >> i & 1) for i in range(n)) for a in range(1 << n) if left >> a & 1]


@cache
def _agrees(n: int, speaker: int, statement: Statement) -> int:
    """The assignments (a bit for each of the 2^n) in which `statement` is true exactly if its speaker is a knight."""
    op, literals = statement
    truths = []
    for a in range(1 << n):
        holds = [bool(a >> j & 1) == is_knight for j, is_knight in literals]
        truths.append((any if op == "or" else all)(holds) == bool(a >> speaker & 1))
    return sum(1 << a for a, truth in enumerate(truths) if truth)


def key(statements: list[Statement]) -> str:
    """The same for puzzles that differ only in names or in the order of people or of a statement's parts.

    Colour refinement: it may also be the same for a few puzzles that differ, which only makes the split stricter.
    """
    colours = [0] * len(statements)
    for _ in range(3):
        heard: list[list[tuple[int, bool, str]]] = [[] for _ in statements]
        for i, (op, literals) in enumerate(statements):
            for j, is_knight in literals:
                heard[j].append((colours[i], is_knight, op))
        colours = [
            crc32(repr((op, sorted((j == i, k, colours[j]) for j, k in literals), sorted(heard[i]))).encode())
            for i, (op, literals) in enumerate(statements)
        ]
    return f"kk {sorted(colours)}"


def draw(rng: random.Random) -> Item:
    """One puzzle with exactly one solution. The answer gives everyone's kind in the order of the statements."""
    while True:
        n = 3 if rng.random() < 0.3 else 4
        statements, left = [], -1
        for table in _tables(n):
            choices = table[rng.random() >= 0.4]
            statement, agreeing = choices[int(rng.random() * len(choices))]
            statements.append(statement)
            left &= agreeing
        if left & (left - 1) or not left:  # not exactly one assignment
            continue
        events = _work(statements)
        if events is None:
            continue
        solution = left.bit_length() - 1
        kinds = [bool(solution >> i & 1) for i in range(n)]
        names = rng.sample(NAMES, n)
        said = " ".join(f"{names[i]} says {_say(s, names)} ." for i, s in enumerate(statements))
        answer = " ".join(_literal((i, is_knight), names) for i, is_knight in enumerate(kinds))
        steps = " ".join(_tell(event, statements, names) for event in events)
        return Item(f"puzzle {said} who ?", steps, answer, key(statements), n)


@cache
def _all_statements(speaker: int, n: int) -> tuple[list[Statement], list[Statement]]:
    """What a speaker may say: about one other person, or about two people (maybe the speaker)."""
    kinds = (False, True)
    one: list[Statement] = [("", ((j, k),)) for j in range(n) if j != speaker for k in kinds]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    two: list[Statement] = [
        (op, ((i, a), (j, b))) for op in ("and", "or") for i, j in pairs for a in kinds for b in kinds
    ]
    return one, two


@cache
def _tables(n: int) -> list[tuple[list[tuple[Statement, int]], ...]]:
    """By speaker, `_all_statements`, each with the assignments that agree with it."""
    return [
        tuple([(s, _agrees(n, speaker, s)) for s in said] for said in _all_statements(speaker, n))
        for speaker in range(n)
    ]


def _literal(literal: Literal, names: list[str]) -> str:
    return f"{names[literal[0]]} {KINDS[literal[1]]}"


def _say(statement: Statement, names: list[str]) -> str:
    op, literals = statement
    return f" {op} ".join(_literal(x, names) for x in literals)


def _work(statements: list[Statement]) -> list[Event] | None:
    """Assume, follow, contradict, back up, conclude. None where one guess does not settle the puzzle."""
    events: list[Event] = []
    for guess in (True, False):
        events.append((0, guess, None))
        ended = _follow(statements, guess, events)
        if ended == "settled":
            return events
        if ended == "stuck":
            return None
    return None


def _follow(statements: list[Statement], guess: bool, events: list[Event]) -> str:
    known = {0: guess}
    queue = [0]
    waited = 0
    while queue:
        person = queue.pop(0)
        new = _consequences(statements[person], known[person], known)
        if new is None:
            events.append((person, known[person], "wait"))
            queue.append(person)
            waited += 1
            if waited >= len(queue):
                return "stuck"
            continue
        waited = 0
        if any(known.get(j, k) != k for j, k in new):
            events.append((person, known[person], "clash"))
            return "clash"
        fresh = tuple(x for x in new if x[0] not in known)
        known.update(fresh)
        queue.extend(j for j, _ in fresh)
        events.append((person, known[person], fresh or "ok"))
    return "settled" if len(known) == len(statements) else "stuck"


def _tell(event: Event, statements: list[Statement], names: list[str]) -> str:
    person, is_knight, outcome = event
    if outcome is None:
        return f"assume {_literal((person, is_knight), names)} ."
    found = outcome if isinstance(outcome, str) else " ".join(_literal(x, names) for x in outcome)
    # Saying it again makes it near: the judgement then needs no look-up and a small model learns it early.
    return f"{names[person]} says {_say(statements[person], names)} . {'true' if is_knight else 'lie'} : {found} ."


def _consequences(statement: Statement, true: bool, known: dict[int, bool]) -> list[Literal] | None:
    """The literals that hold if `statement` is true (or, with `true` off, false). None: nothing can be said yet.

    A literal that contradicts `known` means a clash.
    """
    op, literals = statement
    wanted = [(j, k == true) for j, k in literals]
    if not op or (op == "and") == true:
        return wanted
    if any(known.get(j) == k for j, k in wanted):
        return []  # one of the two holds, and one is enough
    left = [x for x in wanted if x[0] not in known]
    if len(left) == 2:
        return None
    return left or wanted[:1]
