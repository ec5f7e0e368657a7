"""Keeps what a model wrote from being run as Python by a scorer.

Some of reasoning-gym's scorers call ``eval(answer)`` or sympy's ``parse_expr(answer)``, which is `eval` behind a
tokenizer: ``__import__("os").system(...)`` as an answer would be executed. `plain_formula` lets formulas through and
nothing else; `without_eval` leaves a module, while it scores, an `eval` that reads literals and no `exec`. `more_than`
finds answers that hedge.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, ModuleType
from typing import Any, NoReturn

from kkwarm.data import normalise

__all__ = ["evaluates", "more_than", "plain_formula", "variables", "without_eval"]

_EVALUATORS = frozenset({"parse_expr", "sympify", "S", "parse_latex"})
_TOKEN = re.compile(r"\s+|([A-Za-z]\w*)|(\d+(?:\.\d+)?)|\*\*|[-+*/^(),=]", re.ASCII)
_CIRCULAR = ("sin", "cos", "tan", "sec", "csc", "cot")
_NAMES = frozenset({*_CIRCULAR, *(f"a{f}" for f in _CIRCULAR), *(f"{f}h" for f in _CIRCULAR)})
_NAMES |= {"asinh", "acosh", "atanh", "exp", "log", "ln", "sqrt", "Abs", "pi"}
_COMMAND = re.compile(r"\\[A-Za-z]+")
_MAX_CHARS, _MAX_DIGITS = 2_000, 12


def evaluates(function: Callable[..., Any]) -> bool:
    """Whether the function, or one inside it, calls a name that evaluates text as a formula."""
    return bool(_EVALUATORS & set(_names(function.__code__)))


def plain_formula(text: str) -> bool:
    """Whether text is a formula of numbers, one-letter variables and known functions: no attribute, string or call
    of anything else, and no number or power that takes for ever."""
    if not text.strip() or len(text) > _MAX_CHARS:
        return False
    at = 0
    powers = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            return False
        name, number = token[1], token[2]
        if name is not None and len(name) > 1 and name not in _NAMES:
            return False
        if number is not None and len(number) > _MAX_DIGITS:
            return False
        powers = powers + 1 if token[0] in ("**", "^") else 0 if token[0] in "+-,=" else powers
        if powers > 4:
            return False
        at = token.end()
    return True


def more_than(answer: str, gold: str) -> str:
    """Why the answer says more than an answer, "" where it does not. LaTeX commands and punctuation are no words.

    Many scorers pick what they look for out of any text: "not 7", or every candidate in a row.
    """
    said, right = (normalise(_COMMAND.sub(" ", text)) for text in (answer, gold))
    found = re.search(rf"(?<![\w.,/-]){re.escape(right)}(?![.,/-]?\w)", said) if right else None
    if found is not None and re.search(r"\w", said[: found.start()] + said[found.end() :]):
        return "more than the answer stands there"
    if not any(map(str.isalpha, right)) and any(map(str.isalpha, said)):
        return "words stand beside the figures"
    return ""


def variables(formula: str) -> set[str]:
    """Names of one letter in a formula."""
    return set(re.findall(r"(?<![A-Za-z0-9_])[A-Za-z](?![A-Za-z0-9_(])", formula))


@contextmanager
def without_eval(*modules: ModuleType) -> Iterator[None]:
    """Inside, these modules' own calls of `eval` read literals (lists of numbers, say), and raise as `exec` does for
    anything that would have to be run."""
    changed = [m for m in dict.fromkeys(modules) if not {"eval", "exec"} & set(vars(m))]
    for module in changed:
        vars(module).update(eval=ast.literal_eval, exec=_refused)
    try:
        yield
    finally:
        for module in changed:
            del vars(module)["eval"], vars(module)["exec"]


def _refused(*_: Any) -> NoReturn:
    raise ValueError("what a model wrote is not run as Python")


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
