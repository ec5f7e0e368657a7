"""mini_math: amounts given in terms of each other, in any order, counted on a clock of 12; some are of no use."""

from __future__ import annotations

import random
from itertools import pairwise

from kkwarm_mini.items import Item

__all__ = ["CLOCK", "OPS", "THINGS", "draw"]

CLOCK = 12
OPS = ("+", "-", "*")
THINGS = ("hats", "cups", "pens", "bags", "keys", "maps", "pots", "rugs")


def draw(rng: random.Random) -> Item:
    """A chain of 1 to 4 operations and up to 2 amounts that the question does not need."""
    level = rng.choice((1, 2, 3, 4))
    things = rng.sample(THINGS, level + 1 + rng.choice((0, 1, 2)))
    chain = things[: level + 1]
    value = rng.randrange(CLOCK)
    facts = [f"{chain[0]} is {value} ."]
    work = [f"{chain[0]} is {value} ."]
    content = [str(value)]
    for before, thing in pairwise(chain):
        op = rng.choice(OPS)
        by = rng.randrange(2, 10) if op == "*" else rng.randrange(1, CLOCK)
        after = apply(value, op, by)
        facts.append(f"{thing} is {before} {op} {by} .")
        work.append(f"{thing} is {before} {op} {by} = {value} {op} {by} = {after} .")
        content.append(f"{op}{by}")
        value = after
    for i in range(level + 1, len(things)):
        facts.append(f"{things[i]} is {rng.choice(things[:i])} {rng.choice(OPS)} {rng.randrange(2, 10)} .")
    rng.shuffle(facts)
    plan = " ".join(reversed(chain))
    return Item(
        question=f"problem {' '.join(facts)} {chain[-1]} ?",
        steps=f"{plan} . {' '.join(work)}",
        answer=str(value),
        key=f"math {' '.join(content)}",
        level=level,
    )


def apply(value: int, op: str, by: int) -> int:
    """`value op by` on the clock."""
    return (value + by if op == "+" else value - by if op == "-" else value * by) % CLOCK
