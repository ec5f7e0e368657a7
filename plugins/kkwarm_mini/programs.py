"""mini_code: what a small program of numbered lines leaves in its list."""

from __future__ import annotations

import random

from kkwarm_mini.items import Item

__all__ = ["COMMANDS", "LINES", "SIZE", "draw", "execute"]

SIZE = 12  # numbers are 0..11 and wrap round
LINES = ("L1", "L2", "L3", "L4")
COMMANDS = ("reverse", "rotate", "sort", "swap", "drop", "push", "add")


def draw(rng: random.Random) -> Item:
    """A list of 3 or 4 numbers and a program of 1 to 4 lines. The answer is the list that is left."""
    values = rng.sample(range(SIZE), rng.choice((3, 4)))
    level = rng.choice((1, 2, 3, 4))
    program = []
    work = []
    state = values
    for line in LINES[:level]:
        choices = [c for c in COMMANDS if (c != "drop" or len(state) > 2) and (c != "push" or len(state) < 5)]
        command = rng.choice(choices)
        if command in ("push", "add"):
            command += f" {rng.randrange(1, 10)}"
        state = execute(state, [command])
        program.append(f"{line} {command}")
        work.append(f"{line} {command} : {_text(state)} .")
    question = f"run [ {_text(values)} ] {' '.join(program)} ?"
    return Item(question, " ".join(work), _text(state), f"code {question}", level)


def execute(values: list[int], program: list[str]) -> list[int]:
    """The list after every command of `program`. Raises `ValueError` on an unknown command."""
    state = list(values)
    for command in program:
        name, _, argument = command.partition(" ")
        if name == "reverse":
            state.reverse()
        elif name == "rotate":  # the first number goes to the end
            state = state[1:] + state[:1]
        elif name == "sort":
            state.sort()
        elif name == "swap":  # the first two numbers change places
            state[:2] = state[1::-1]
        elif name == "drop":
            state.pop()
        elif name == "push":
            state.append(int(argument))
        elif name == "add":
            state = [(v + int(argument)) % SIZE for v in state]
        else:
            raise ValueError(f"unknown command {name!r}")
    return state


def _text(values: list[int]) -> str:
    return " ".join(map(str, values))
