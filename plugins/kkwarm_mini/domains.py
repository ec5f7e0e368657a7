"""The four domains: examples, verifiers and how answers are drawn."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from kkwarm.types import Domain, Example, Response, Sampling, Split, Status, Verdict
from kkwarm_mini import arithmetic, kk, programs, quiz
from kkwarm_mini.items import Bucket, distinct
from kkwarm_mini.mixture import DRAWS

__all__ = ["DOMAINS", "N_TEST", "N_TRAIN", "examples"]

N_TEST = 400
N_TRAIN = 200
# T = 1 without truncation: what GRPO optimises, and P(works) is then the model's own probability.
SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=128)


@cache
def _load(name: str) -> tuple[Example, ...]:
    return (*examples(name, "test", N_TEST), *examples(name, "train", N_TRAIN))


def examples(name: str, use: Bucket, n: int, seed: int = 0) -> list[Example]:
    """`n` different examples of one domain and one use (mini_mcq: with different options, but maybe the same chain)."""
    split: Split = "train" if use == "train" else "test"
    items = distinct(DRAWS[name], use, n, f"examples {name} {seed}", by_key=name != "mini_mcq")
    return [
        Example(f"{name}/{use}/{i}", item.question, item.answer, split, {"level": item.level})
        for i, item in enumerate(items)
    ]


def _compare(read: Callable[[str], str | None], example: Example, response: Response) -> Verdict:
    answer = read(response.answer or "")
    if answer is None:
        return Verdict(Status.UNPARSED, None, "no answer of the expected kind")
    right = answer == read(str(example.answer))
    return Verdict(Status.CORRECT if right else Status.WRONG, answer, "" if right else f"expected {example.answer}")


def _read_people(text: str) -> str | None:
    """Everyone's kind, ordered by name; None unless it is one kind for each of the people named."""
    words = text.split()
    names, kinds = words[::2], words[1::2]
    if not words or len(names) != len(kinds) or len(set(names)) != len(names):
        return None
    if not (set(names) <= set(kk.NAMES) and set(kinds) <= set(kk.KINDS)):
        return None
    return " ".join(f"{n} {k}" for n, k in sorted(zip(names, kinds, strict=True)))


def _read_number(text: str) -> str | None:
    words = text.split()
    if len(words) != 1 or not (words[0].isascii() and words[0].isdecimal()) or len(words[0]) > 9:
        return None
    return str(int(words[0]))


def _read_list(text: str) -> str | None:
    numbers = [_read_number(word) for word in text.split()]
    return None if not numbers or None in numbers else " ".join(n for n in numbers if n)


def _read_option(text: str) -> str | None:
    return text.strip() if text.strip() in quiz.OPTIONS else None


def _domain(name: str, read: Callable[[str], str | None], description: str) -> Domain:
    return Domain(
        name=name,
        load=partial(_load, name),
        verifier=partial(_compare, read),
        gold=lambda example: str(example.answer),
        description=description,
        format="mini",
        saved_format="mini",
        sampling=SAMPLING,
        facet="level",
    )


DOMAINS = [
    _domain("mini_kk", _read_people, "Knights & Knaves, 3 or 4 people"),
    _domain("mini_math", _read_number, f"chains of amounts in any order, modulo {arithmetic.CLOCK}"),
    _domain("mini_code", _read_list, f"lists through programs of 1 to {len(programs.LINES)} lines"),
    _domain("mini_mcq", _read_option, "four options; 1 to 3 hops through facts held in the weights"),
]
