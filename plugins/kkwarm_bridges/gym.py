"""``reasoning_gym:NAME``: any data set of reasoning-gym (Stojanovski et al., arXiv 2505.24760; Apache-2.0) as a domain.

Its questions are generated from a seed. Its scorers give partial credit: by default an answer that contains the right
one earns its share of the characters, others pay for the right shape. Here only the full score is correct.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from kkwarm.data import holdout, normalise
from kkwarm.errors import KkwarmError, unknown
from kkwarm.types import Domain, Example, Response, Status, Verdict, Verifier
from kkwarm_bridges.guard import evaluates, plain_formula, without_eval

__all__ = ["PREFIX", "TEST", "TRAIN", "check", "domain", "examples", "quick"]

PREFIX = "reasoning_gym:"
TRAIN, TEST = 100, 200  # fewer where the data set has fewer different questions
SEED = 20250530
_TIMEOUT_S = 20.0


def domain(name: str) -> Domain:
    """The domain of that name.

    :raises KkwarmError: reasoning-gym is not installed, has no such data set, or cannot make it without settings.
    """
    dataset = name.removeprefix(PREFIX)
    first = _entry(_dataset(dataset, SEED), dataset, 0)
    return Domain(
        name,
        partial(_loaded, dataset),
        Verifier(name, partial(check, dataset), isolation="process", timeout_s=_TIMEOUT_S, quick=quick),
        gold=None if first["answer"] is None else _gold,  # some puzzles have many answers, and none is named
        description=f"reasoning-gym's {dataset}, generated from seed {SEED}; only its full score is correct",
    )


def _loaded(dataset: str) -> list[Example]:
    return list(examples(dataset))


@lru_cache(maxsize=8)
def examples(dataset: str, train: int = TRAIN, test: int = TEST, seed: int = SEED) -> tuple[Example, ...]:
    """`train` + `test` examples of different questions; the answer holds the entry's index and reasoning-gym's answer.

    :raises KkwarmError: the data set cannot be generated.
    """
    made: dict[str, Example] = {}
    source = _dataset(dataset, seed)
    for index in range(train + test):
        entry = _entry(source, dataset, index)
        answer = {"index": index, "seed": seed, "gold": None if entry["answer"] is None else entry["answer"].strip()}
        made.setdefault(normalise(entry["question"]), Example(f"{dataset}/{index}", entry["question"], answer))
    few = len(made) < train + test
    return tuple(holdout(made.values(), train=len(made) // 3 if few else train))


def quick(example: Example, response: Response) -> Verdict | None:
    """The verdict where no scorer is needed: reasoning-gym's own answer, or none."""
    answer = (response.answer or "").strip()
    if not answer:
        return Verdict(Status.UNPARSED, reason="an empty answer")
    if answer == example.answer["gold"]:
        return Verdict(Status.CORRECT, answer, "equals reasoning-gym's answer", {"score": 1.0})
    return None


def check(dataset: str, example: Example, response: Response) -> Verdict:
    """Correct where reasoning-gym's scorer gives the full score; less is wrong, and kept as the metric ``score``.

    Runs in a process that is killed when it hangs. What the model wrote is never evaluated as Python.
    """
    if (verdict := quick(example, response)) is not None:
        return verdict
    answer = (response.answer or "").strip()
    source = _dataset(dataset, int(example.answer["seed"]))
    if evaluates(type(source).score_answer) and not plain_formula(answer):
        return Verdict(Status.UNPARSED, None, "no plain formula, and the scorer would run it as Python", {"score": 0.0})
    entry = _entry(source, dataset, int(example.answer["index"]))
    if entry["question"] != example.question:
        return Verdict(Status.ERROR, answer, f"reasoning-gym now generates another question for {example.id}")
    modules = [
        sys.modules[cls.__module__] for cls in type(source).__mro__ if cls.__module__.startswith("reasoning_gym")
    ]
    with without_eval(*modules), _silent():
        score = float(source.score_answer(answer, entry))
    status = Status.CORRECT if score == 1.0 else Status.WRONG
    return Verdict(status, answer, f"reasoning-gym's score is {score:g}", {"score": score})


def _gold(example: Example) -> str:
    return str(example.answer["gold"])


@lru_cache(maxsize=4)
def _dataset(dataset: str, seed: int) -> Any:
    create = _library(dataset)
    try:
        with _silent():
            return create(dataset, seed=seed, size=TRAIN + TEST)
    except Exception as err:  # it needs settings, or files that are not there
        raise KkwarmError(f"reasoning-gym cannot make {dataset}: {type(err).__name__}: {err}") from err


def _entry(source: Any, dataset: str, index: int) -> Mapping[str, Any]:
    try:
        with _silent():
            entry: Mapping[str, Any] = source[index]
            return entry
    except Exception as err:
        raise KkwarmError(f"reasoning-gym cannot make item {index} of {dataset}: {type(err).__name__}: {err}") from err


def _library(dataset: str) -> Any:
    """reasoning-gym's `create_dataset`, once `dataset` is known to be one of its names."""
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ModuleNotFoundError as err:
        raise KkwarmError(
            f"{PREFIX}{dataset} needs reasoning-gym ({err.name} is missing)", hint="pip install 'kkwarm[bridges]'"
        ) from None
    if dataset not in DATASETS:
        raise unknown("data set of reasoning-gym", dataset, DATASETS)
    return create_dataset


def _silent() -> contextlib.AbstractContextManager[Any]:
    return contextlib.redirect_stdout(io.StringIO())  # some of its modules print
