"""``reasoning_gym:NAME``: any data set of reasoning-gym (Stojanovski et al., arXiv 2505.24760; Apache-2.0) as a domain.

The questions are generated from a seed. reasoning-gym's scorers give partial credit: by default an answer that contains
the gold answer earns its share of the characters, and some scorers reward the right shape. Here an answer is correct
only if it gets the full score and has no other text.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

from kkwarm.data import holdout, normalise
from kkwarm.errors import KkwarmError, unknown_name
from kkwarm.types import Domain, Example, Response, Status, Verdict, Verifier
from kkwarm_bridges.answers import parse_number
from kkwarm_bridges.eval_guard import evaluates_text, find_extra_text, find_variables, is_plain_formula, without_eval

PREFIX = "reasoning_gym:"
TRAIN, TEST = 100, 200  # fewer if the data set has fewer different questions
SEED = 20250530
_SIZE = TRAIN + TEST
_TIMEOUT_S = 20.0
_MAX_CHARS = 20_000  # a scorer may parse a megabyte of zeros as a number
_ROUNDED_DECIMALS = 6  # with at least so many decimals, reasoning-gym's own number counts as rounded
# Errors on texts that are not answers. Of 101 scorers, 4 raise some of them; the others give such texts a score of 0.
_UNREADABLE_ERRORS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, SyntaxError)


def make_domain(name: str) -> Domain:
    """The domain of that name. Its entries are generated when it is loaded.

    :raises KkwarmError: reasoning-gym is not installed, has no such data set, or cannot make it without settings.
    """
    source = name.removeprefix(PREFIX)
    with silence_stdout():
        has_answers = load_dataset(source, SEED, _SIZE)[0]["answer"] is not None
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
        gold=_gold if has_answers else None,  # some puzzles have many correct answers, and reasoning-gym names none
        description=f"reasoning-gym's {source}, generated from seed {SEED}; only the full score is correct",
        identity=_identity,
    )


def _identity(question: str) -> str:
    """The question itself, because different generated questions of one template are near-duplicates."""
    return f"generated: {normalise(question)}"


def _loaded(source: str) -> list[Example]:
    return list(load_examples(source))


@lru_cache(maxsize=8)
def load_examples(source: str) -> tuple[Example, ...]:
    """Examples with different questions. The answer has the entry's index and reasoning-gym's own answer, or None.

    Entries whose gold answer is the empty text are excluded.
    """
    by_question: dict[str, Example] = {}
    for index, entry in enumerate(load_entries(source, SEED, _SIZE)):
        gold = None if entry["answer"] is None else str(entry["answer"]).strip()
        if gold == "":
            continue  # an empty answer is indistinguishable from no answer
        example = Example(f"{source}/{index}", entry["question"], {"index": index, "gold": gold})
        by_question.setdefault(normalise(example.question), example)
    return tuple(holdout(by_question.values(), train=TRAIN if len(by_question) == _SIZE else len(by_question) // 3))


def precheck(example: Example, response: Response) -> Verdict | None:
    """The verdict if no scorer is needed: for reasoning-gym's own answer, or an empty one."""
    answer = (response.answer or "").strip()
    if not answer:
        return Verdict(Status.UNPARSED, reason="the answer is empty")
    if answer == example.answer["gold"]:
        return Verdict(Status.CORRECT, answer, "equals reasoning-gym's answer", {"score": 1.0})
    return None


def check(source: str, example: Example, response: Response) -> Verdict:
    """Correct if reasoning-gym's scorer gives the full score. The score is the metric ``score``.

    If a scorer raises an error on an answer that it cannot read, the answer is wrong. If it also raises on
    reasoning-gym's own answer, or for another reason, the scorer has failed (status ``error``). The scorer runs in a
    process that is killed when it hangs. Model output is never evaluated as Python.

    :raises Exception: the scorer has failed.
    """
    if (verdict := precheck(example, response)) is not None:
        return verdict
    answer = (response.answer or "").strip()
    if len(answer) > max(_MAX_CHARS, 4 * len(example.answer["gold"] or "")):
        return Verdict(Status.UNPARSED, None, f"the answer has {len(answer):,} characters", {"score": 0.0})
    scorer = load_dataset(source, SEED, _SIZE)
    if evaluates_text(type(scorer).score_answer) and not is_plain_formula(answer):
        return Verdict(
            Status.UNPARSED,
            None,
            "the answer is not a plain formula, and the scorer would run it as Python",
            {"score": 0.0},
        )
    entry = load_entries(source, SEED, _SIZE)[example.answer["index"]]
    try:
        score = _score(scorer, answer, entry)
    except _UNREADABLE_ERRORS as err:
        if (gold := example.answer["gold"]) is not None:
            _score(scorer, gold, entry)
        reason = f"reasoning-gym's scorer cannot read the answer: {type(err).__name__}: {err}"
        return Verdict(Status.WRONG, answer, reason, {"score": 0.0})
    reason = _find_fault(source, example, answer, entry) if score == 1.0 else ""
    status = Status.CORRECT if score == 1.0 and not reason else Status.WRONG
    return Verdict(status, answer, reason or f"reasoning-gym's score is {score:g}", {"score": score})


def _score(scorer: Any, answer: str, entry: Mapping[str, Any]) -> float:
    modules = [sys.modules[cls.__module__] for cls in type(scorer).__mro__]
    with without_eval(*(m for m in modules if m.__name__.startswith("reasoning_gym"))), silence_stdout():
        return float(scorer.score_answer(answer, entry))


def _find_fault(source: str, example: Example, answer: str, entry: Mapping[str, Any]) -> str:
    """Why an answer with the full score is not accepted; empty if it is."""
    if (
        source == "game_of_life_halting"
    ):  # its scorer compares the truth values of texts, and every non-empty text is true
        return "" if answer.casefold() == str(example.answer["gold"]).casefold() else "it is not the gold answer"
    if source == "puzzle24":  # its scorer checks the result 24, but not the numbers
        used = sorted(map(int, re.findall(r"\d+", answer)))
        return "" if used == sorted(entry["metadata"]["numbers"]) else "it does not use the question's numbers"
    gold = example.answer["gold"]
    if gold is None:
        return ""  # nothing to compare with
    if evaluates_text(
        type(load_dataset(source, SEED, _SIZE)).score_answer
    ):  # a formula could add anything in another variable
        extra = find_variables(answer) - find_variables(gold) - {"C", "E", "I"}
        return f"it has the variable {min(extra)}" if extra else ""
    return find_extra_text(answer, gold) or _compare_numbers(answer, gold)


def _compare_numbers(answer: str, gold: str) -> str:
    """Why a number differs from the gold answer, "" if it equals it or a rounding of it.

    Some scorers accept any number that is close, or begins with the same digits.
    """
    value, gold_value = parse_number(answer), parse_number(gold)
    if value is None or gold_value is None or value == gold_value:
        return ""
    decimals, gold_decimals = (max(-int(n.as_tuple().exponent), 0) for n in (value, gold_value))
    rounded = abs(value - gold_value) * 2 <= Decimal(1).scaleb(-min(decimals, gold_decimals))
    return (
        "" if rounded and (decimals <= gold_decimals or gold_decimals >= _ROUNDED_DECIMALS) else "it is another number"
    )


def _gold(example: Example) -> str:
    return str(example.answer["gold"])


# -- data sets and entries ---------------------------------------------------------------------------------------------
# Several data sets iterate over sets, so that the same seed gives other questions under another hash seed. Entries are
# therefore generated in a process with a fixed hash seed, once for all processes, and cached as pickles.

Entry = Mapping[str, Any]
_HASH_SEED = "0"


@lru_cache(maxsize=4)
def load_dataset(name: str, seed: int, size: int) -> Any:
    """reasoning-gym's data set of that name."""
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ModuleNotFoundError as err:
        raise KkwarmError(
            f"reasoning_gym:{name} needs reasoning-gym (module {err.name} is missing)",
            hint="pip install 'kkwarm[bridges]'",
        ) from None
    if name not in DATASETS:
        raise unknown_name("data set of reasoning-gym", name, DATASETS)
    try:
        with silence_stdout():
            return create_dataset(name, seed=seed, size=size)
    except Exception as err:
        raise KkwarmError(f"reasoning-gym cannot create {name}: {type(err).__name__}: {err}") from err


@lru_cache(maxsize=4)
def load_entries(name: str, seed: int, size: int) -> tuple[Entry, ...]:
    """All entries of a data set, the same ones in every process."""
    path = _folder() / f"{name}-{seed}-{size}.pickle"
    if path.exists():
        with contextlib.suppress(Exception), open(path, "rb") as file:  # a damaged file is written again
            return tuple(pickle.load(file))
    load_dataset(name, seed, size)  # reports errors here rather than in the other process
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / "entries"
        process = subprocess.run(
            [sys.executable, "-m", "kkwarm_bridges.gym", name, str(seed), str(size), str(temporary)],
            env={**os.environ, "PYTHONHASHSEED": _HASH_SEED, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            capture_output=True,
            text=True,
        )
        if process.returncode != 0:
            cause = (process.stderr.strip().splitlines() or ["no error message"])[-1]
            raise KkwarmError(f"reasoning-gym cannot generate {name}: {cause}")
        temporary.replace(path)
    with open(path, "rb") as file:
        return tuple(pickle.load(file))


@contextlib.contextmanager
def silence_stdout() -> Any:
    """Discards what reasoning-gym prints, because standard output may be a JSON document."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    root = Path(base) if base else Path.home() / ".cache"
    return root / "kkwarm" / f"reasoning-gym-{metadata.version('reasoning-gym')}"


def _write_entries(name: str, seed: int, size: int, out: Path) -> None:
    source = load_dataset(name, seed, size)
    with silence_stdout():
        generated = [source[i] for i in range(size)]
    out.write_bytes(pickle.dumps(generated))


if __name__ == "__main__":
    _write_entries(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
