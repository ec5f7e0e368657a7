"""Boxes, expressions, and the normal form of LaTeX."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kkwarm_math.latex import extract_boxes, extract_expression, last_boxed, normal_form

BALANCED = st.recursive(
    st.text("ab1\\,+ ", max_size=6).map(lambda s: s.replace("\\", "\\alpha ")),
    lambda inner: st.builds(lambda a, b, c: f"{a}{{{b}}}{c}", inner, inner, inner),
    max_leaves=12,
)


@given(BALANCED, st.text("xyz {}$", max_size=20))
def test_last_box_is_found_with_its_braces(content: str, before: str) -> None:
    text = before.replace("{", "").replace("}", "") + "\\boxed{1} so \\boxed{" + content + "}."
    assert last_boxed(text) == content
    assert extract_boxes(text) == ["1", content]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no box", None),
        (r"\boxed{", None),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{x=\boxed{5}}", "5"),
        (r"$\boxed 5$", "5"),
        (r"\boxed{}", ""),
        (r"\fbox{7}", "7"),
        (r"\boxedx{7}", None),
    ],
)
def test_last_boxed(text: str, expected: str | None) -> None:
    assert last_boxed(text) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("5", "5"),
        ("  $5$. ", "5"),
        (r"\(5\)", "5"),
        (r"\[ 5 \]", "5"),
        (r"**$\boxed{5}$**", "5"),
        ("The answer is $x = 5$.", "x = 5"),
        ("Final answer: 1/2", "1/2"),
        (r"\boxed{1} and \boxed{2}", "1, 2"),
        (r"\boxed{5}, that is \boxed{ 5 }", "5"),
        ("$1$ or $2$", "1, 2"),
        ("$5$ cm", r"5\text{ cm}"),
        ("12 apples", r"12\text{ apples}"),
        ("−3", "-3"),
        ("√2", r"\sqrt{2}"),
        ("", None),
        ("...", None),
    ],
)
def test_expression(answer: str, expected: str | None) -> None:
    got = extract_expression(answer)
    assert (got if got is None else got.strip()) == expected


@pytest.mark.parametrize("answer", ["The answer is not 5", "not $5$", "neither $5$"])
def test_a_denied_value_is_not_the_answer(answer: str) -> None:
    assert extract_expression(answer) != "5"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\dfrac{1}{2}", r"\frac12"),
        (r"\frac 59", r"\frac{5}{9}"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        (r"11,\! 111,\! 111,\! 100", "11,111,111,100"),
        ("10{,}000", "10,000"),
        (r"\$18.90", "18.90"),
        (r"90^{\circ}", "90°"),
        (r"11\sqrt2", r"11\sqrt{2}"),
        ("p - q", "p-q"),
    ],
)
def test_one_expression_written_in_two_ways(one: str, other: str) -> None:
    assert normal_form(one) == normal_form(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1 2", "12"), (r"1\ 2", "12"), ("1,2", "12"), ("x_1", "x1"), ("100, 200", "100200")]
)
def test_different_expressions_stay_different(one: str, other: str) -> None:
    assert normal_form(one) != normal_form(other)


def test_separators_of_thousands_are_not_those_of_a_list() -> None:
    assert normal_form(r"10,\!080", number=True) == normal_form("10{,}080", number=True) == "10080"
    assert normal_form("100, 200", number=True) == "100,200"


@pytest.mark.parametrize(
    "piece", ["\\boxed{", "{", "}", "$", "\\(", "\\text{", "**", "1 ", "a ", "The ", "\\", "\\\\", "is "]
)
def test_linear_on_a_megabyte(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    began = time.process_time()
    last_boxed(text)
    extract_boxes(text)
    assert time.process_time() - began < 5
    extract_expression(text[:8_000])
    normal_form(text[:8_000])
    assert time.process_time() - began < 10
