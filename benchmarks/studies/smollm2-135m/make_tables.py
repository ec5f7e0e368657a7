"""Writes the tables of the study `smollm2-135m`: ``python benchmarks/studies/smollm2-135m/make_tables.py``.

next_number: the number after a number of three digits. plural: regular plurals of nouns. The first rows are for
training.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

HERE = Path(__file__).parent
TRAIN = {"next_number": 100, "plural": 40}
NUMBERS = 300
NOUNS = """
acorn actor airport album anchor angel ankle ant apron arrow artist aunt badge bag balloon banana bandage banker
barn barrel bat battery bean bear beard bed bell belt berry bill bird blanket board boat bone book boot bottle bowl
boy brain branch brand brick bride brother bucket bug bullet bus bush cabin cable cage calendar camp candle cap
captain car card carpet carrot cart castle cat cave cell chain chair chapter cherry chest church circus city class
clock cloud club coat coach coin color comb comet cook corner couch country cousin cow crab crayon crow crown
curtain cushion daisy dancer desert dish diary doctor dog doll dollar donkey door dragon drawer dress driver drum
duck duty eagle ear elbow elephant engine envelope eraser eye fairy family farmer feather fence ferry finger flag
flame flower fork fox friend frog fruit galaxy game garden giant gift girl glass glove goat grape guest guitar
hammer hand hat hen hill holiday hook horn hotel hour inch insect island jar jewel joke judge key king kitten lady
ladder lamp lawyer leader lemon lesson letter library lion lizard lobby lunch
"""


def next_numbers() -> list[dict[str, str]]:
    numbers = random.Random(0).sample(range(200, 999), NUMBERS)
    return [
        {"question": f"Which number comes after {n}? Answer with the number only.", "answer": str(n + 1)}
        for n in numbers
    ]


def plurals() -> list[dict[str, str]]:
    nouns = NOUNS.split()
    random.Random(0).shuffle(nouns)
    return [{"question": f"What is the plural of {n}? Answer with one word.", "answer": plural(n)} for n in nouns]


def plural(noun: str) -> str:
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def main() -> None:
    for name, rows in (("next_number", next_numbers()), ("plural", plurals())):
        for split, part in (("train", rows[: TRAIN[name]]), ("test", rows[TRAIN[name] :])):
            lines = [json.dumps(row) + "\n" for row in part]
            folder = HERE / name
            folder.mkdir(exist_ok=True)
            (folder / f"{split}.jsonl").write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main()
