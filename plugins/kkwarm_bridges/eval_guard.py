"""Prevents scorers from running model output as Python.

Some of reasoning-gym's scorers call ``eval(answer)`` or sympy's ``parse_expr(answer)``, which is `eval` behind a
tokenizer: the answer ``__import__("os").system(...)`` would be executed. `is_plain_formula` allows formulas only.
`without_eval` gives a module, while it scores, an `eval` that only parses literals, and no `exec`. `find_extra_text`
detects hedged answers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, ModuleType
from typing import Any, NoReturn

from kkwarm.data import normalise

_EVALUATORS = frozenset({"parse_expr", "sympify", "S", "parse_latex"})
_TOKEN = re.compile(r"\s+|([A-Za-z]\w*)|(\d+(?:\.\d+)?)|\*\*|[-+*/^(),=]", re.ASCII)
_CIRCULAR = ("sin", "cos", "tan", "sec", "csc", "cot")
_NAMES = frozenset({*_CIRCULAR, *(f"a{f}" for f in _CIRCULAR), *(f"{f}h" for f in _CIRCULAR)})
_NAMES |= {"asinh", "acosh", "atanh", "exp", "log", "ln", "sqrt", "Abs", "pi"}
_COMMAND = re.compile(r"\\[A-Za-z]+")
_MAX_CHARS, _MAX_DIGITS = 2_000, 12


def evaluates_text(function: Callable[..., Any]) -> bool:
    """Whether the function, or one defined inside it, calls a function that evaluates text as a formula."""
    return bool(_EVALUATORS & set(_global_names(function.__code__)))


def is_plain_formula(text: str) -> bool:
    """Whether text is a formula of numbers, one-letter variables and known functions.

    It may not have attributes, strings or other calls, nor numbers or powers that take forever to evaluate.
    """
    if not text.strip() or len(text) > _MAX_CHARS:
        return False
    position = 0
    powers = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
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
        position = token.end()
    return True


def find_extra_text(answer: str, gold: str) -> str:
    """Describes text beside the answer, "" if there is none. LaTeX commands and punctuation do not count.

    Many scorers find the gold answer in any text, such as "not 7" or a list of all candidates.
    """
    answer_text, gold_text = (normalise(_COMMAND.sub(" ", text)) for text in (answer, gold))
    match = re.search(rf"(?<![\w.,/-]){re.escape(gold_text)}(?![.,/-]?\w)", answer_text) if gold_text else None
    if match is not None and re.search(r"\w", answer_text[: match.start()] + answer_text[match.end() :]):
        return "the answer contains more than the gold answer"
    if not any(map(str.isalpha, gold_text)) and any(map(str.isalpha, answer_text)):
        return "the answer contains words besides numbers"
    return ""


def find_variables(formula: str) -> set[str]:
    """The one-letter names in a formula."""
    return set(re.findall(r"(?<![A-Za-z0-9_])[A-Za-z](?![A-Za-z0-9_(])", formula))


@contextmanager
def without_eval(*modules: ModuleType) -> Iterator[None]:
    """Within the context, `eval` in these modules only parses literals (such as lists of numbers).

    It raises ValueError for anything else, as `exec` does for everything.
    """
    changed = [m for m in dict.fromkeys(modules) if not {"eval", "exec"} & set(vars(m))]
    for module in changed:
        vars(module).update(eval=ast.literal_eval, exec=_refuse)
    try:
        yield
    finally:
        for module in changed:
            del vars(module)["eval"], vars(module)["exec"]


def _refuse(*_: Any) -> NoReturn:
    raise ValueError("model output is not run as Python")


def _global_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)
