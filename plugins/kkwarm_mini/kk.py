"""mini_kk: Knights & Knaves for 3 or 4 people, one solution each, with a worked derivation.

A puzzle is kept if assuming its first speaker a knight, and on a clash a knave, settles everyone without a second guess.
"""

from __future__ import annotations

import random
from zlib import crc32

from kkwarm_mini.items import Item

__all__ = ["KINDS", "NAMES", "draw", "key", "solutions"]

NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal")
KINDS = ("knave", "knight")

Literal = tuple[int, bool]  # (person, is a knight)
Statement = tuple[str, tuple[Literal, ...]]  # ("", one literal), or ("and" | "or", two literals)


def solutions(statements: list[Statement]) -> list[tuple[bool, ...]]:
    """Every assignment (True: knight) under which exactly the knights' statements are true."""
    n = len(statements)
    full = (1 << (1 << n)) - 1
    knight = [sum(1 << a for a in range(1 << n) if a >> i & 1) for i in range(n)]
    left = full
    for i, (op, literals) in enumerate(statements):
        masks = [knight[j] if is_knight else full ^ knight[j] for j, is_knight in literals]
        truth = masks[0] if not op else masks[0] & masks[1] if op == "and" else masks[0] | masks[1]
        left &= full ^ knight[i] ^ truth
    return [tuple(bool(a >> i & 1) for i in range(n)) for a in range(1 << n) if left >> a & 1]


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
        statements = [_statement(rng, i, n) for i in range(n)]
        found = solutions(statements)
        if len(found) != 1:
            continue
        names = rng.sample(NAMES, n)
        steps = _work(statements, names)
        if steps is None:
            continue
        said = " ".join(f"{names[i]} says {_say(s, names)} ." for i, s in enumerate(statements))
        answer = " ".join(_literal((i, is_knight), names) for i, is_knight in enumerate(found[0]))
        return Item(f"puzzle {said} who ?", steps, answer, key(statements), n)


def _statement(rng: random.Random, speaker: int, n: int) -> Statement:
    if rng.random() < 0.4:
        other = rng.choice([j for j in range(n) if j != speaker])
        return "", ((other, rng.random() < 0.5),)
    first, second = rng.sample(range(n), 2)
    return rng.choice(("and", "or")), ((first, rng.random() < 0.5), (second, rng.random() < 0.5))


def _literal(literal: Literal, names: list[str]) -> str:
    return f"{names[literal[0]]} {KINDS[literal[1]]}"


def _say(statement: Statement, names: list[str]) -> str:
    op, literals = statement
    return f" {op} ".join(_literal(x, names) for x in literals)


def _work(statements: list[Statement], names: list[str]) -> str | None:
    """Assume, follow, contradict, back up, conclude. None where one guess does not settle the puzzle."""
    text: list[str] = []
    for guess in (True, False):
        text.append(f"assume {_literal((0, guess), names)} .")
        ended = _follow(statements, names, guess, text)
        if ended == "settled":
            return " ".join(text)
        if ended == "stuck":
            return None
    return None


def _follow(statements: list[Statement], names: list[str], guess: bool, text: list[str]) -> str:
    known = {0: guess}
    queue = [0]
    waited = 0
    while queue:
        person = queue.pop(0)
        new = _consequences(statements[person], known[person], known)
        head = f"{_literal((person, known[person]), names)} :"
        if new is None:
            text.append(f"{head} wait .")
            queue.append(person)
            waited += 1
            if waited >= len(queue):
                return "stuck"
            continue
        waited = 0
        if any(known.get(j, k) != k for j, k in new):
            text.append(f"{head} clash .")
            return "clash"
        fresh = [x for x in new if x[0] not in known]
        known.update(fresh)
        queue.extend(j for j, _ in fresh)
        text.append(f"{head} {' '.join(_literal(x, names) for x in fresh) or 'ok'} .")
    return "settled" if len(known) == len(statements) else "stuck"


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
