"""The miniature's four domains with their verifiers, and its teachers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial

from kkwarm.types import Domain, Example, Response, Sampling, Split, Status, Teacher, Trace, Verdict
from kkwarm_mini import kk
from kkwarm_mini.generators import CLOCK, GENERATORS, LINES, OPTIONS
from kkwarm_mini.items import Bucket, Item, generate_distinct
from kkwarm_mini.protocol import MINI

__all__ = ["DOMAINS", "N_TEST", "N_TRAIN", "TEACHERS", "generate_examples"]

N_TEST = 400
N_TRAIN = 200
# T = 1 without truncation is what GRPO optimizes, so the reasoning rate is the model's own probability of reasoning.
SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=128)


@cache
def _load(name: str) -> tuple[Example, ...]:
    return (*generate_examples(name, "test", N_TEST), *generate_examples(name, "train", N_TRAIN))


def generate_examples(name: str, bucket: Bucket, n: int, seed: int = 0) -> list[Example]:
    """`n` different examples of one domain and one bucket. For mini_mcq two may share a chain with other options."""
    split: Split = "train" if bucket == "train" else "test"
    seed_text = f"examples {name} {seed}"
    items = generate_distinct(GENERATORS[name], bucket, n, seed_text, by_key=name != "mini_mcq")
    return [
        Example(f"{name}/{bucket}/{i}", item.question, item.answer, split, {"level": item.level})
        for i, item in enumerate(items)
    ]


# -- verifiers ---------------------------------------------------------------------------------------------------------


def _verify(parse: Callable[[str], str | None], example: Example, response: Response) -> Verdict:
    answer = parse(response.answer or "")
    if answer is None:
        return Verdict(Status.UNPARSED, None, "no answer of the expected kind")
    correct = answer == parse(str(example.answer))
    return Verdict(Status.CORRECT if correct else Status.WRONG, answer, "" if correct else f"expected {example.answer}")


def _parse_people(text: str) -> str | None:
    """Everyone's kind, ordered by name. None unless it gives exactly one kind for each person that it names."""
    words = text.split()
    names, kinds = words[::2], words[1::2]
    if not words or len(names) != len(kinds) or len(set(names)) != len(names):
        return None
    if not (set(names) <= set(kk.NAMES) and set(kinds) <= set(kk.KINDS)):
        return None
    return " ".join(f"{n} {k}" for n, k in sorted(zip(names, kinds, strict=True)))


def _parse_number(text: str) -> str | None:
    words = text.split()
    if len(words) != 1 or not (words[0].isascii() and words[0].isdecimal()) or len(words[0]) > 9:
        return None
    return str(int(words[0]))


def _parse_list(text: str) -> str | None:
    numbers = [_parse_number(word) for word in text.split()]
    return None if not numbers or None in numbers else " ".join(n for n in numbers if n)


def _parse_option(text: str) -> str | None:
    return text.strip() if text.strip() in OPTIONS else None


def _domain(name: str, parse: Callable[[str], str | None], description: str) -> Domain:
    return Domain(
        name=name,
        load=partial(_load, name),
        verifier=partial(_verify, parse),
        gold=lambda example: str(example.answer),
        description=description,
        protocol="mini",
        protocols=[MINI],
        sampling=SAMPLING,
        facet="level",
    )


DOMAINS = [
    _domain("mini_kk", _parse_people, "Knights & Knaves with 3 or 4 people"),
    _domain("mini_math", _parse_number, f"chains of amounts in any order, modulo {CLOCK}"),
    _domain("mini_code", _parse_list, f"list programs of 1 to {len(LINES)} lines"),
    _domain("mini_mcq", _parse_option, "four options; 1 to 3 hops through facts held in the weights"),
]

# -- teachers ----------------------------------------------------------------------------------------------------------

Reasoning = Callable[[Item, random.Random], str | None]


def _teacher(name: str, domain: str, reasoning: Reasoning, description: str) -> Teacher:
    def traces(n: int, seed: int) -> Iterator[Trace]:
        rng = random.Random(f"{name} {seed}")
        # One seed gives all teachers of a domain the same questions, so that only the reasoning differs.
        for i, item in enumerate(generate_distinct(GENERATORS[domain], "train", n, f"traces {domain} {seed}")):
            yield Trace(
                id=f"{domain}/{name}/{seed}/{i}",
                domain=domain,
                question=item.question,
                reasoning=reasoning(item, rng),
                answer=item.answer,
                teacher=name,
                meta={"level": item.level},
            )

    make: Callable[[int, int], Iterable[Trace]] = traces
    return Teacher(name, domain, make, description)


def _full_steps(item: Item, rng: random.Random) -> str:
    return item.steps


def _no_steps(item: Item, rng: random.Random) -> None:
    return None


def _shuffled_steps(item: Item, rng: random.Random) -> str:
    words = item.steps.split()
    rng.shuffle(words)
    return " ".join(words)


TEACHERS = [
    _teacher("symbolic", "mini_kk", _full_steps, "assume, follow, contradict, back up, conclude"),
    _teacher("direct", "mini_kk", _no_steps, "control: the same puzzles with the answer only"),
    _teacher("shuffled", "mini_kk", _shuffled_steps, "control: the same traces with the reasoning's words shuffled"),
    _teacher("worked", "mini_math", _full_steps, "control: coherent reasoning that is not Knights & Knaves"),
]
