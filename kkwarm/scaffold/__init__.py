"""The files of a new domain plugin, as `kkwarm new` writes them: an installable package that passes `kkwarm check`."""

from __future__ import annotations

__all__ = ["KINDS", "render_plugin"]

# In all templates, NAME stands for the domain's name and PACKAGE for the module's.

_TEXT = '''"""The domain NAME: spelling words backwards."""

from kkwarm.data import holdout
from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example, Response

WORDS = ("warm", "knight", "knave", "reward", "verdict", "rollout", "sample", "trace")


def load() -> list[Example]:
    """Returns all examples: 4 for training, the others for evaluation."""
    examples = [Example(f"NAME/{w}", question=f"Spell {w!r} backwards.", answer=w[::-1]) for w in WORDS]
    return holdout(examples, train=4)


def check(example: Example, response: Response) -> bool:
    """Returns whether the response gives the correct answer."""
    return (response.answer or "").strip() == example.answer


def gold(example: Example) -> str:
    """Returns a correct answer as text. `kkwarm check` uses it to test the verifier."""
    return example.answer


@hookimpl
def kkwarm_domains() -> list[Domain]:
    return [Domain("NAME", load=load, verifier=check, gold=gold, description="Spelling words backwards.")]
'''

_MATH = '''"""The domain NAME: sums of two numbers."""

from kkwarm.data import holdout
from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example, Response


def load() -> list[Example]:
    """Returns all examples: 8 for training, the others for evaluation."""
    examples = [
        Example(f"NAME/{a}+{b}", question=f"What is {a} + {b}?", answer=a + b)
        for a in range(5, 9)
        for b in range(2, 6)
    ]
    return holdout(examples, train=8)


def check(example: Example, response: Response) -> bool:
    """Returns whether the response gives the correct number and nothing else."""
    answer = (response.answer or "").strip()
    return answer.isascii() and answer.isdigit() and len(answer) < 20 and int(answer) == example.answer


def gold(example: Example) -> str:
    """Returns a correct answer as text. `kkwarm check` uses it to test the verifier."""
    return str(example.answer)


@hookimpl
def kkwarm_domains() -> list[Domain]:
    return [Domain("NAME", load=load, verifier=check, gold=gold, description="Sums of two numbers.")]
'''

_CHOICE = '''"""The domain NAME: multiple-choice questions."""

from kkwarm.data import holdout
from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example, Response

ASK = "\\nGive only the letter of the correct option as the answer."
QUESTIONS = (  # id, question with its options, letter of the correct option
    ("largest", "Which is the largest?\\nA. one\\nB. two\\nC. three", "C"),
    ("smallest", "Which is the smallest?\\nA. one\\nB. two\\nC. three", "A"),
    ("even", "Which is even?\\nA. one\\nB. two\\nC. three", "B"),
    ("longest", "Which is the longest word?\\nA. one\\nB. two\\nC. three", "C"),
)


def load() -> list[Example]:
    """Returns all examples: 2 for training, the others for evaluation."""
    return holdout([Example(f"NAME/{id_}", question + ASK, letter) for id_, question, letter in QUESTIONS], train=2)


def check(example: Example, response: Response) -> bool:
    """Returns whether the response gives the correct letter, which may be written as (C)."""
    return (response.answer or "").strip() in (example.answer, f"({example.answer})")


def gold(example: Example) -> str:
    """Returns a correct answer as text. `kkwarm check` uses it to test the verifier."""
    return example.answer


@hookimpl
def kkwarm_domains() -> list[Domain]:
    return [Domain("NAME", load=load, verifier=check, gold=gold, description="Multiple-choice questions.")]
'''

_CODE = '''"""The domain NAME: Python functions, verified by running them on test cases in a sandbox."""

from kkwarm.data import holdout
from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example
from kkwarm.verify import function_verifier

FUNCTIONS = (  # name, parameter, task, a correct body, test cases: [[arguments], expected result]
    ("double", "x", "twice x", "2 * x", [[[3], 6], [[-1], -2], [[0], 0]]),
    ("last", "xs", "the last item of xs", "xs[-1]", [[[[1, 2]], 2], [[["a"]], "a"]]),
    ("shout", "s", "s in upper case, followed by !", "s.upper() + '!'", [[["hey"], "HEY!"], [[""], "!"]]),
    ("total", "xs", "the sum of xs", "sum(xs)", [[[[1, 2, 3]], 6], [[[]], 0], [[[-5, 5]], 0]]),
)


def load() -> list[Example]:
    """Returns all examples: 2 for training, the others for evaluation."""
    examples = []
    for name, parameter, task, body, cases in FUNCTIONS:
        question = f"Write a Python function `{name}({parameter})` that returns {task}."
        solution = f"def {name}({parameter}):\\n    return {body}"
        examples.append(Example(f"NAME/{name}", question, {"entry": name, "cases": cases, "gold": solution}))
    return holdout(examples, train=2)


def gold(example: Example) -> str:
    """Returns a correct answer as text. `kkwarm check` uses it to test the verifier."""
    return example.answer["gold"]


@hookimpl
def kkwarm_domains() -> list[Domain]:
    return [Domain("NAME", load=load, verifier=function_verifier("NAME"), gold=gold, description="Python functions.")]
'''

_PROGRAM = '''"""The domain NAME: Python programs that read stdin and write stdout, run on tests in a sandbox."""

from kkwarm.data import holdout
from kkwarm.plugins import hookimpl
from kkwarm.types import Domain, Example
from kkwarm.verify import program_verifier

PROGRAMS = (  # id, what to print, a right program, tests: (input, output)
    ("sum", "the sum of a line of integers", "print(sum(map(int, input().split())))", [("3 4", "7"), ("-5", "-5")]),
    ("last", "the last line", "import sys\\nprint(sys.stdin.readlines()[-1])", [("a\\nb", "b"), ("one", "one")]),
    ("count", "the number of words", "print(len(open(0).read().split()))", [("to be or not", "4"), ("\\n", "0")]),
    ("shout", "a line in upper case", "print(input().upper())", [("hey you", "HEY YOU"), ("x", "X")]),
)


def load() -> list[Example]:
    """Returns all examples: 2 for training, the others for evaluation."""
    examples = []
    for id_, task, program, tests in PROGRAMS:
        question = f"Write a Python program that reads stdin and prints {task}."
        answer = {"tests": [{"input": given, "output": right} for given, right in tests], "gold": program}
        examples.append(Example(f"NAME/{id_}", question, answer))
    return holdout(examples, train=2)


def gold(example: Example) -> str:
    """Returns a correct answer as text. `kkwarm check` uses it to test the verifier."""
    return example.answer["gold"]


@hookimpl
def kkwarm_domains() -> list[Domain]:
    return [Domain("NAME", load=load, verifier=program_verifier("NAME"), gold=gold, description="Python programs.")]
'''

_MODULES = {"text": _TEXT, "math": _MATH, "choice": _CHOICE, "code": _CODE, "program": _PROGRAM}
KINDS = tuple(_MODULES)

_PYPROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "PACKAGE"
version = "0.1.0"
dependencies = ["kkwarm"]

[project.entry-points.kkwarm]
NAME = "PACKAGE"
"""

_TEST = '''"""Tests of the domain NAME."""

from kkwarm.testing import assert_accepts, assert_conforms, assert_rejects


def test_domain_conforms() -> None:
    """The domain passes `kkwarm check`, including the adversarial probes."""
    assert_conforms("NAME")


def test_verdicts() -> None:
    assert_accepts("NAME")  # the gold answer of the first test example
    assert_rejects("NAME", "")
'''

_README = """# NAME

A domain for kkwarm. `PACKAGE.py` holds its data, its verifier and its registration.

1. Replace the examples, `check` and `gold` in `PACKAGE.py` with your own.
2. Install and check the domain:

       pip install -e .
       kkwarm check NAME

3. Evaluate and train on it:

       kkwarm bench MODEL --on NAME
       kkwarm rlvr MODEL --domain NAME --examples 100 -o runs/NAME
"""


def render_plugin(name: str, kind: str) -> dict[str, str]:
    """The files of a plugin with one domain: relative path -> content.

    :param name: the domain's name.
    :param kind: one of `KINDS`: the kind of answer that the example verifier checks.
    """
    package = f"kkwarm_{name}"
    files = {
        "pyproject.toml": _PYPROJECT,
        f"{package}.py": _MODULES[kind],
        f"tests/test_{name}.py": _TEST,
        "README.md": _README,
    }
    return {path: text.replace("PACKAGE", package).replace("NAME", name) for path, text in files.items()}
