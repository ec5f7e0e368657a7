"""The templates of `kkwarm new`: an installable package that passes `kkwarm check` as written."""

from __future__ import annotations

__all__ = ["KINDS", "render"]

_HEAD = '''"""The domain {name}: replace the examples with yours, then run `kkwarm check {name}`."""

from kkwarm.data import holdout
from kkwarm.plugins import hookimpl
from kkwarm.types import {imports}
'''

_TAIL = """

@hookimpl
def kkwarm_domains() -> list[Domain]:
    return [Domain("{name}", load, {verifier}, gold, "One line about {name}.")]
"""

_TEXT = """

def load() -> list[Example]:
    rows = [Example(f"{name}/{{i}}", f"Spell {{word!r}} backwards.", word[::-1]) for i, word in enumerate(WORDS)]
    return holdout(rows, train=4)  # the rest is for evaluation


def check(example: Example, response: Response) -> bool:
    return (response.answer or "").strip() == example.answer


def gold(example: Example) -> str:
    return example.answer
"""

_MATH = """

def load() -> list[Example]:
    rows = [Example(f"{name}/{{a}}+{{b}}", f"What is {{a}} + {{b}}?", a + b) for a in range(5, 9) for b in range(2, 6)]
    return holdout(rows, train=8)  # the rest is for evaluation


def check(example: Example, response: Response) -> bool:
    answer = (response.answer or "").strip()
    return answer.isascii() and answer.isdigit() and len(answer) < 20 and int(answer) == example.answer


def gold(example: Example) -> str:
    return str(example.answer)
"""

_CHOICE = """

def load() -> list[Example]:
    rows = [
        Example(f"{name}/{{i}}", f"Which is the {{what}}?\\n" + "\\n".join(map(". ".join, zip("ABC", options))), right)
        for i, (what, options, right) in enumerate(QUESTIONS)
    ]
    return holdout(rows, train=2)  # the rest is for evaluation


def check(example: Example, response: Response) -> bool:
    return (response.answer or "").strip().strip("().") == example.answer


def gold(example: Example) -> str:
    return example.answer
"""

_CODE = """

def load() -> list[Example]:
    rows = []
    for i, (name, body, argument, returns, cases) in enumerate(FUNCTIONS):
        question = f"Write a Python function `{{name}}({{argument}})` that returns {{returns}}."
        gold = f"def {{name}}({{argument}}):\\n    return {{body}}"
        rows.append(Example(f"{name}/{{i}}", question, {{"entry": name, "cases": cases, "gold": gold}}))
    return holdout(rows, train=2)  # the rest is for evaluation


def gold(example: Example) -> str:
    return example.answer["gold"]
"""

_DATA = {
    "code": """
FUNCTIONS = (  # name, body, argument, what it returns, [[arguments], result] of each test
    ("double", "2 * x", "x", "twice x", [[[3], 6], [[-1], -2], [[0], 0]]),
    ("last", "xs[-1]", "xs", "the last item of xs", [[[[1, 2]], 2], [[["a"]], "a"]]),
    ("shout", "s.upper() + '!'", "s", "s in upper case with ! behind it", [[["hey"], "HEY!"], [[""], "!"]]),
    ("total", "sum(xs)", "xs", "the sum of xs", [[[[1, 2, 3]], 6], [[[]], 0], [[[-5, 5]], 0]]),
)
""",
    "text": '\nWORDS = ("warm", "knight", "knave", "reward", "verdict", "rollout", "sample", "trace")\n',
    "math": "",
    "choice": """
QUESTIONS = (
    ("largest", ("one", "two", "three"), "C"),
    ("smallest", ("one", "two", "three"), "A"),
    ("even number", ("one", "two", "three"), "B"),
    ("longest word", ("one", "two", "three"), "C"),
)
""",
}
_BODY = {"text": _TEXT, "math": _MATH, "choice": _CHOICE, "code": _CODE}
KINDS = tuple(_BODY)

_PYPROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{package}"
version = "0.1.0"
dependencies = ["kkwarm"]

[project.entry-points.kkwarm]
{name} = "{package}"
"""

_TEST = '''"""The domain keeps every rule of `kkwarm check`, and its verifier stands the adversarial probes."""

from kkwarm.testing import assert_accepts, assert_conforms, assert_rejects


def test_conforms() -> None:
    assert_conforms("{name}")


def test_verdicts() -> None:
    assert_accepts("{name}")  # the gold answer
    assert_rejects("{name}", "")
'''

_README = """# {name}

A domain for kkwarm: data, verifier, rewards and benchmark in `{package}.py`.

    pip install -e .
    kkwarm check {name}
    kkwarm bench MODEL --on {name}
    kkwarm rlvr MODEL --domain {name} --examples 100 -o runs/{name}
"""


def render(name: str, kind: str) -> dict[str, str]:
    """Relative path -> content of the package for a domain `name`.

    :param kind: one of `KINDS`: what kind of answer the starting verifier reads.
    """
    package = f"kkwarm_{name}"
    module = _HEAD + _DATA[kind] + _BODY[kind] + _TAIL
    imports, verifier = "Domain, Example, Response", "check"
    if kind == "code":  # judged by running it: a verifier that is there takes the place of a check
        imports, verifier = (
            "Domain, Example\nfrom kkwarm.verify import function_verifier",
            f'function_verifier("{name}")',
        )
    return {
        "pyproject.toml": _PYPROJECT.format(name=name, package=package),
        f"{package}.py": module.format(name=name, imports=imports, verifier=verifier),
        f"tests/test_{name}.py": _TEST.format(name=name),
        "README.md": _README.format(name=name, package=package),
    }
