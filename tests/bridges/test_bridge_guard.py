"""What scorers that evaluate text may see."""

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kkwarm_bridges.eval_guard import evaluates_text, find_extra_text, find_variables, is_plain_formula, without_eval


@pytest.mark.parametrize(
    "text", ["1 + 2", "(3*x**2)/2 + C", "sin(x) - log(2*y)", "x^2 + 2.5", "6 * 4 = 24", "x**2**2", "-7"]
)
def test_formulas_pass(text: str) -> None:
    assert is_plain_formula(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "__import__('os')",
        "x.__class__",
        "().__class__",
        "lambda: 0",
        "exec(x)",
        "eval(x)",
        "open(x)",
        "'a'*9",
        "[1]",
        "{1}",
        "x; y",
        "x if x else y",
        "9999999999999999",
        "9**9**9**9**9**9",
        "factorial(x)",
        "x!",
        "x\\y",
        "ｅval(x)",
        "1" * 3_000,
    ],
)
def test_everything_else_does_not(text: str) -> None:
    assert not is_plain_formula(text)


@given(st.text(alphabet="xyz_.'\"()[]{}=:;,+-*/^ 0123456789abcdefghij", max_size=40))
def test_no_name_of_python_comes_through(text: str) -> None:
    if is_plain_formula(text):
        assert not set("'\"[]{}:;_") & set(text)
        compiled = text.replace("^", "**")
        try:
            names = compile(compiled, "answer", "eval").co_names
        except (SyntaxError, ValueError, OverflowError):
            return
        assert all(len(n) == 1 or n in ("exp", "log", "sin", "pi") for n in names), names


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("7", "7"),
        ("(7)", "7"),
        ("$7$", "7"),
        ("\\boxed{7}", "7"),
        ("7.0", "7"),
        ("-7", "7"),
        ("Cat.", "cat"),
        ("b a", "a b"),
    ]
    + [("\\frac{1}{2}", "1/2"), ("1/2", "\\frac{1}{2}"), ("1,000", "1"), ("[[1, 0], [0, 1]]", "[[1,0],[0,1]]")],
)
def test_an_answer_alone(answer: str, gold: str) -> None:
    assert find_extra_text(answer, gold) == ""


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("not 7", "7"), ("5, 7", "7"), ("7\n8", "7"), ("5 or 7", "7"), ("seven", "7"), ("not 1 0\n0 1", "1 0\n0 1")]
    + [("anything but a cat", "cat"), ("it is Cat", "cat"), ("7 apples", "7")],
)
def test_an_answer_among_others(answer: str, gold: str) -> None:
    assert find_extra_text(answer, gold)


def test_variables_of_a_formula() -> None:
    assert find_variables("3*x**2 + sin(y) - C/2 + f(z)*log(2)") == {"x", "y", "z", "C"}


def test_eval_reads_literals_only_and_is_given_back() -> None:
    module = ModuleType("scorer")
    exec("def score(text):\n    return eval(text)", module.__dict__)
    module.__dict__.pop("__builtins__")
    assert module.score("1 + 1") == 2
    with without_eval(module, module):
        assert module.score("['a', -1.5]") == ["a", -1.5]
        with pytest.raises(ValueError, match="malformed"):
            module.score("1 + 1")
    assert module.score("1 + 1") == 2


def test_nested_functions_are_looked_into() -> None:
    def hidden() -> object:
        return [parse_expr(text) for text in ()]  # type: ignore[name-defined]  # noqa: F821

    def harmless() -> object:
        return len("parse_expr")

    assert evaluates_text(hidden)
    assert not evaluates_text(harmless)
