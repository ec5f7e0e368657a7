"""Generators of mini_math, mini_code and mini_mcq, and the table of all four generators."""

from __future__ import annotations

import random
from itertools import pairwise

from kkwarm_mini.items import Generator, Item
from kkwarm_mini.kk import generate_kk

__all__ = [
    "ANIMALS", "CLOCK", "COMMANDS", "FACTS", "GENERATORS", "LINES", "LIST_MODULUS", "OPERATORS", "OPTIONS", "RELATIONS",
    "THINGS", "apply_operator", "generate_code", "generate_math", "generate_mcq", "run_program",
]  # fmt: skip

# -- mini_math: amounts in terms of each other, in any order, modulo 12; some facts are irrelevant ---------------------

CLOCK = 12
OPERATORS = ("+", "-", "*")
THINGS = ("hats", "cups", "pens", "bags", "keys", "maps", "pots", "rugs")


def generate_math(rng: random.Random) -> Item:
    """A chain of 1 to 4 operations, and up to 2 amounts that the question does not need."""
    level = rng.choice((1, 2, 3, 4))
    things = rng.sample(THINGS, level + 1 + rng.choice((0, 1, 2)))
    chain = things[: level + 1]
    value = rng.randrange(CLOCK)
    facts = [f"{chain[0]} is {value} ."]
    steps = [f"{chain[0]} is {value} ."]
    content = [str(value)]
    for previous, thing in pairwise(chain):
        operator = rng.choice(OPERATORS)
        operand = rng.randrange(2, 10) if operator == "*" else rng.randrange(1, CLOCK)
        result = apply_operator(value, operator, operand)
        facts.append(f"{thing} is {previous} {operator} {operand} .")
        steps.append(f"{thing} is {previous} {operator} {operand} = {value} {operator} {operand} = {result} .")
        content.append(f"{operator}{operand}")
        value = result
    for i in range(level + 1, len(things)):
        facts.append(f"{things[i]} is {rng.choice(things[:i])} {rng.choice(OPERATORS)} {rng.randrange(2, 10)} .")
    rng.shuffle(facts)
    plan = " ".join(reversed(chain))
    return Item(
        question=f"problem {' '.join(facts)} {chain[-1]} ?",
        steps=f"{plan} . {' '.join(steps)}",
        answer=str(value),
        key=f"math {' '.join(content)}",
        level=level,
    )


def apply_operator(value: int, operator: str, operand: int) -> int:
    """The result of `value operator operand`, modulo 12."""
    if operator == "+":
        return (value + operand) % CLOCK
    return (value - operand if operator == "-" else value * operand) % CLOCK


# -- mini_code: the list that a program of numbered lines returns ------------------------------------------------------

LIST_MODULUS = 12  # the numbers in a list are 0 to 11
LINES = ("L1", "L2", "L3", "L4")
COMMANDS = ("reverse", "rotate", "sort", "swap", "drop", "push", "add")


def generate_code(rng: random.Random) -> Item:
    """A list of 3 or 4 numbers and a program of 1 to 4 lines. The answer is the resulting list."""
    values = rng.sample(range(LIST_MODULUS), rng.choice((3, 4)))
    level = rng.choice((1, 2, 3, 4))
    program = []
    steps = []
    state = values
    for line in LINES[:level]:
        choices = [c for c in COMMANDS if (c != "drop" or len(state) > 2) and (c != "push" or len(state) < 5)]
        command = rng.choice(choices)
        if command in ("push", "add"):
            command += f" {rng.randrange(1, 10)}"
        state = run_program(state, [command])
        program.append(f"{line} {command}")
        steps.append(f"{line} {command} : {_format_list(state)} .")
    question = f"run [ {_format_list(values)} ] {' '.join(program)} ?"
    return Item(question, " ".join(steps), _format_list(state), f"code {question}", level)


def run_program(values: list[int], program: list[str]) -> list[int]:
    """The list after every command of `program`."""
    state = list(values)
    for command in program:
        name, _, argument = command.partition(" ")
        if name == "reverse":
            state.reverse()
        elif name == "rotate":  # moves the first number to the end
            state = state[1:] + state[:1]
        elif name == "sort":
            state.sort()
        elif name == "swap":  # exchanges the first two numbers
            state[:2] = state[1::-1]
        elif name == "drop":
            state.pop()
        elif name == "push":
            state.append(int(argument))
        elif name == "add":
            state = [(v + int(argument)) % LIST_MODULUS for v in state]
        else:
            raise ValueError(f"unknown command {name!r}")
    return state


def _format_list(values: list[int]) -> str:
    return " ".join(map(str, values))


# -- mini_mcq: four options, one to three hops through facts that only the weights hold --------------------------------

OPTIONS = ("A", "B", "C", "D")
ANIMALS = (
    *("ant", "bat", "bee", "cat", "cow", "crab", "crow", "deer", "dog", "duck"),
    *("eel", "elk", "fox", "frog", "goat", "hare", "hawk", "hen", "lion", "mole"),
)
RELATIONS = ("friend", "rival", "guide", "twin")


def _generate_facts() -> dict[str, dict[str, str]]:
    """For every relation, a permutation of the animals without fixed points. It is the same in every run."""
    rng = random.Random("the facts of mini_mcq")
    facts = {}
    for relation in RELATIONS:
        others = list(ANIMALS)
        while any(a == b for a, b in zip(ANIMALS, others, strict=True)):
            rng.shuffle(others)
        facts[relation] = dict(zip(ANIMALS, others, strict=True))
    return facts


FACTS = _generate_facts()


def generate_mcq(rng: random.Random) -> Item:
    """A chain of 1 to 3 relations from one animal, and four options, one of which is where the chain ends."""
    level = rng.choices((1, 2, 3), (1, 2, 2))[0]
    start = rng.choice(ANIMALS)
    chain = [rng.choice(RELATIONS) for _ in range(level)]
    animal = start
    steps = []
    for relation in reversed(chain):
        related = FACTS[relation][animal]
        steps.append(f"{relation} of {animal} is {related} .")
        animal = related
    options = [animal, *rng.sample([a for a in ANIMALS if a != animal], 3)]
    rng.shuffle(options)
    letter = OPTIONS[options.index(animal)]
    chain_text = " of ".join([*chain, start])
    options_text = " ".join(f"{a} {o}" for o, a in zip(OPTIONS, options, strict=True))
    return Item(
        question=f"choose {chain_text} ? {options_text}",
        steps=f"{' '.join(steps)} {animal} {letter} .",
        answer=letter,
        key=f"mcq {chain_text}",
        level=level,
    )


GENERATORS: dict[str, Generator] = {
    "mini_kk": generate_kk,
    "mini_math": generate_math,
    "mini_code": generate_code,
    "mini_mcq": generate_mcq,
}
