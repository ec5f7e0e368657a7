"""mini_mcq: four options; one to three hops through facts that only the weights hold (who is whose friend)."""

from __future__ import annotations

import random

from kkwarm_mini.items import Item

__all__ = ["ANIMALS", "FACTS", "OPTIONS", "RELATIONS", "draw"]

OPTIONS = ("A", "B", "C", "D")
ANIMALS = (
    *("ant", "bat", "bee", "cat", "cow", "crab", "crow", "deer", "dog", "duck"),
    *("eel", "elk", "fox", "frog", "goat", "hare", "hawk", "hen", "lion", "mole"),
)
RELATIONS = ("friend", "rival", "guide", "twin")


def _facts() -> dict[str, dict[str, str]]:
    """The world: for every relation a permutation of the animals without fixed points. The same in every run."""
    rng = random.Random("the facts of mini_mcq")
    facts = {}
    for relation in RELATIONS:
        others = list(ANIMALS)
        while any(a == b for a, b in zip(ANIMALS, others, strict=True)):
            rng.shuffle(others)
        facts[relation] = dict(zip(ANIMALS, others, strict=True))
    return facts


FACTS = _facts()


def draw(rng: random.Random) -> Item:
    """A chain of 1 to 3 relations from one animal, and four options of which one is where it leads."""
    level = rng.choices((1, 2, 3), (1, 2, 2))[0]
    start = rng.choice(ANIMALS)
    chain = [rng.choice(RELATIONS) for _ in range(level)]
    here = start
    work = []
    for relation in reversed(chain):
        there = FACTS[relation][here]
        work.append(f"{relation} of {here} is {there} .")
        here = there
    options = [here, *rng.sample([a for a in ANIMALS if a != here], 3)]
    rng.shuffle(options)
    letter = OPTIONS[options.index(here)]
    asked = " of ".join([*chain, start])
    listed = " ".join(f"{a} {o}" for o, a in zip(OPTIONS, options, strict=True))
    return Item(
        question=f"choose {asked} ? {listed}",
        steps=f"{' '.join(work)} {here} {letter} .",
        answer=letter,
        key=f"mcq {asked}",
        level=level,
    )
