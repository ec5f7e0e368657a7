"""``reasoning_gym:NAME``: any data set of reasoning-gym (Stojanovski et al., arXiv 2505.24760; Apache-2.0) as a domain.

Its questions are generated from a seed. Its scorers give partial credit: by default an answer that contains the right
one earns its share of the characters, others pay for the right shape. Here only the full score is correct, and only of
an answer that says nothing else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

from kkwarm.data import holdout, normalise
from kkwarm.types import Domain, Example, Response, Status, Verdict, Verifier
from kkwarm_bridges.answers import read_number
from kkwarm_bridges.entries import dataset, entries, silent
from kkwarm_bridges.eval_guard import evaluates, more_than, plain_formula, variables, without_eval

__all__ = ["PREFIX", "SEED", "TEST", "TRAIN", "check", "domain", "examples", "precheck"]

PREFIX = "reasoning_gym:"
TRAIN, TEST = 100, 200  # fewer where the data set has fewer different questions
SEED = 20250530
_SIZE = TRAIN + TEST
_TIMEOUT_S = 20.0
_MAX_CHARS = 20_000  # to a scorer that reads numbers, a megabyte of zeros is one
_ROUNDED = 6  # decimals from which on reasoning-gym's own number is taken to be a rounded one
# What reading a text that is no answer raises (4 of 101 scorers let some of it out; the others give 0 for such texts).
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, SyntaxError)


def domain(name: str) -> Domain:
    """The domain of that name; its entries are generated when it is loaded.

    :raises KkwarmError: reasoning-gym is not installed, has no such data set, or cannot make it without settings.
    """
    source = name.removeprefix(PREFIX)
    with silent():
        answered = dataset(source, SEED, _SIZE)[0]["answer"] is not None
    return Domain(
        name,
        partial(_loaded, source),
        Verifier(
            name,
            partial(check, source),
            isolation="process",
            timeout_s=_TIMEOUT_S,
            timeout_status=Status.TIMEOUT,
            precheck=precheck,
        ),
        gold=_gold if answered else None,  # some puzzles have many right answers, and none is named
        description=f"reasoning-gym's {source}, generated from seed {SEED}; only its full score is correct",
        identity=_named,
    )


def _named(question: str) -> str:
    """The question itself: generated ones are of one template, and near each other where they ask something else."""
    return f"generated: {normalise(question)}"


def _loaded(source: str) -> list[Example]:
    return list(examples(source))


@lru_cache(maxsize=8)
def examples(source: str) -> tuple[Example, ...]:
    """Examples of different questions; the answer holds the entry's index and reasoning-gym's own answer, or None.

    Entries whose right answer is the empty text are left out.
    :raises KkwarmError: they cannot be generated.
    """
    made: dict[str, Example] = {}
    for index, entry in enumerate(entries(source, SEED, _SIZE)):
        gold = None if entry["answer"] is None else str(entry["answer"]).strip()
        if gold == "":
            continue  # such an answer cannot be told from none
        example = Example(f"{source}/{index}", entry["question"], {"index": index, "gold": gold})
        made.setdefault(normalise(example.question), example)
    return tuple(holdout(made.values(), train=TRAIN if len(made) == _SIZE else len(made) // 3))


def precheck(example: Example, response: Response) -> Verdict | None:
    """The verdict where no scorer is needed: reasoning-gym's own answer, or none."""
    answer = (response.answer or "").strip()
    if not answer:
        return Verdict(Status.UNPARSED, reason="an empty answer")
    if answer == example.answer["gold"]:
        return Verdict(Status.CORRECT, answer, "equals reasoning-gym's answer", {"score": 1.0})
    return None


def check(source: str, example: Example, response: Response) -> Verdict:
    """Correct where reasoning-gym's scorer gives the full score; less is wrong, and kept as the metric ``score``.

    Most scorers give 0 to what they cannot read; where one raises instead, the answer is wrong too. But a scorer that
    also raises on reasoning-gym's own answer, or for a cause that lies in no answer, has failed: status ``error``.
    Runs in a process that is killed when it hangs. What the model wrote is never evaluated as Python.

    :raises Exception: the scorer has failed.
    """
    if (verdict := precheck(example, response)) is not None:
        return verdict
    answer = (response.answer or "").strip()
    if len(answer) > max(_MAX_CHARS, 4 * len(example.answer["gold"] or "")):
        return Verdict(Status.UNPARSED, None, f"{len(answer):,} characters are no answer", {"score": 0.0})
    scorer = dataset(source, SEED, _SIZE)
    if evaluates(type(scorer).score_answer) and not plain_formula(answer):
        return Verdict(Status.UNPARSED, None, "no plain formula, and the scorer would run it as Python", {"score": 0.0})
    entry = entries(source, SEED, _SIZE)[example.answer["index"]]
    try:
        score = _score(scorer, answer, entry)
    except _UNREADABLE as err:
        if (gold := example.answer["gold"]) is not None:
            _score(scorer, gold, entry)
        reason = f"reasoning-gym's scorer cannot read it: {type(err).__name__}: {err}"
        return Verdict(Status.WRONG, answer, reason, {"score": 0.0})
    reason = _doubt(source, example, answer, entry) if score == 1.0 else ""
    status = Status.CORRECT if score == 1.0 and not reason else Status.WRONG
    return Verdict(status, answer, reason or f"reasoning-gym's score is {score:g}", {"score": score})


def _score(scorer: Any, answer: str, entry: Mapping[str, Any]) -> float:
    modules = [sys.modules[cls.__module__] for cls in type(scorer).__mro__]
    with without_eval(*(m for m in modules if m.__name__.startswith("reasoning_gym"))), silent():
        return float(scorer.score_answer(answer, entry))


def _doubt(source: str, example: Example, answer: str, entry: Mapping[str, Any]) -> str:
    """Why the full score is not believed; empty: it is."""
    if source == "game_of_life_halting":  # its scorer compares the truth of texts, and any text is true
        return "" if answer.casefold() == str(example.answer["gold"]).casefold() else "not the answer"
    if source == "puzzle24":  # its scorer asks for 24, not for the question's numbers
        used = sorted(map(int, re.findall(r"\d+", answer)))
        return "" if used == sorted(entry["metadata"]["numbers"]) else "it uses other numbers than the question's"
    gold = example.answer["gold"]
    if gold is None:
        return ""  # nothing to compare with
    if evaluates(type(dataset(source, SEED, _SIZE)).score_answer):  # in another variable, anything can be added
        more = variables(answer) - variables(gold) - {"C", "E", "I"}
        return f"it has the variable {min(more)}" if more else ""
    return more_than(answer, gold) or _another_number(answer, gold)


def _another_number(answer: str, gold: str) -> str:
    """Why a number is not the gold one, "" where it is, or a rounding of it: some scorers take whatever is near, or
    begins with the right figures."""
    said, right = read_number(answer), read_number(gold)
    if said is None or right is None or said == right:
        return ""
    said_to, right_to = (max(-int(n.as_tuple().exponent), 0) for n in (said, right))
    rounded = abs(said - right) * 2 <= Decimal(1).scaleb(-min(said_to, right_to))
    return "" if rounded and (said_to <= right_to or right_to >= _ROUNDED) else "another number"


def _gold(example: Example) -> str:
    return str(example.answer["gold"])
