"""Verdicts on mathematical answers: right answers in any usual notation are accepted, and nothing else is."""

import random
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kkwarm_math import sentences
from kkwarm_math.compare import decide
from kkwarm_math.verifier import check

from kkwarm.types import Example, Response, Status, Verdict


def judged(gold: object, answer: str, question: str = "", *, tagged: bool = True) -> Verdict:
    return check(Example("1", question, gold), Response(answer, "", answer, tagged))


ACCEPT_PROBES = [
    (r"\text{C, F, H}", "H, C and F"),
    (r"\text{ACF}", "A, C, F"),
    (r"\text{1:03 PM}", r"1:03\text{ p.m.}"),
    ("5", "x=5"),
    ("x=5", "5"),
    ("5", r"5\text{ cm}"),
    ("5", "5 cm"),
    ("5", "$5$ apples"),
    (r"\$18.90", "18.90"),
    (r"\$18.90", "18.90 dollars"),
    ("58,500", "58500"),
    ("58500", "58{,}500"),
    ("1,-2", "-2,1"),
    ("1,-2", "$-2$ and $1$"),
    ("-2,1", r"\{1,-2\}"),
    ("3, 5, 7", "3, 5, and 7"),
    (r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"),
    (r"\text{(C)}", "C"),
    (r"\text{Evelyn}", "**Evelyn**"),
    (r"\text{even}", "Even."),
    (r"90^\circ", "90 degrees"),
    ("-3", "−3"),
    (r"\frac{\pi}{2}", "π/2"),
    (r"x \in [-2,7]", "[-2,7]"),
    (r"15\mbox{ cm}^2", "15 square centimeters"),
    (r"137 \frac{1}{2}", "137.5"),
    ("2k+2", "2(k+1)"),
    ("y = 2x + 3", "y=3+2x"),
    ("(8,-2)", "8, -2"),
    (r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}", r"\begin{pmatrix} 0.2 \\ -3.6 \end{pmatrix}"),
    ("6 - 5i", "-5i+6"),
    (r"11\sqrt2", r"\sqrt{242}"),
    (r"\frac{1}{3}", "0.333333"),
    ("4", "Therefore, the answer is 4."),
    ("x^2", "x**2"),
    (r"4:30 \text{ p.m.}", "4:30 PM"),
    ("5", "The value of x is 5"),
    (5, "5"),
    (r"so $\boxed{5}$", "5"),
    ("1000", "10^3"),
    ("5", r"The answer is $\boxed{5}$."),
    ("5", r"$x = \boxed{5}$"),
    ("5", r"2+3 = \boxed{5}"),
    ("5", r"\boxed{5} apples"),
    (r"5\text{ cm}", r"\boxed{5} centimeters"),
    ("1,-2", r"\boxed{1} and \boxed{-2}"),
    ("5", r"\[\boxed{5}\]"),
    ("5", r"\boxed 5"),
    ("5", r"x = \boxed{5} \text{ units}"),
    (r"\frac{1}{3}", r"\frac{1}{3} \approx 0.333"),
    ("2220", r"2\,220"),
    (r"\frac{14}{3}", "4 2/3"),
    (r"-\frac{10}{3}", r"-3\ 1/3"),
    (r"90^\circ", r"90\degree"),
    ("0", "(0)"),
    ("0", r"\mathbf{0}"),
    ("0", r"\text{0}"),
    ("0", "{0}"),
    (r"15\mbox{ cm}^2", "15 cm^2"),
    (r"864 \mbox{ inches}^2", "864 inches^{2}"),
    (r"\$32,\!348", r"32,\!348 dollars"),
    (r"\cos x", r"\cos(x)"),
    (r"r \ln x", r"r\ln{x}"),
    ("5x", "5 x"),
    (r"\emptyset", r"\varnothing"),
    ("5", r"\boxed{x=\boxed{5}}"),
    (r"5 \text{ million}", "5 million dollars"),
    ("(1,-16,-4,43)", "[1,-16,-4,43]"),
    (r"\frac{4}{11}", r"\frac{12}{33}"),
    (r"12\text{ and }13", r"12\mbox{ and }13"),
]


@pytest.mark.parametrize(("gold", "answer"), ACCEPT_PROBES)
def test_correct_answers_are_accepted(gold: object, answer: str) -> None:
    assert judged(gold, answer).correct


DISHONEST = [
    (r"\text{(C)}", "СC"),
    (r"\text{C, F, H}", "A, B, C, D, E, F, G, H"),
    (r"\text{1:03 PM}", "10:3 PM"),
    (r"\text{June 20}", "June 2.0"),
    (r"\text{Evelyn}", "Evelyn?"),
    (r"\text{Evelyn}", r"\text{Evelyn}?"),
    ("5", "5 or 6"),
    ("6", "5 or 6"),
    ("5", r"5\text{ or }6"),
    ("6", r"\boxed{5}\boxed{6}"),
    ("5", r"\boxed{5}\boxed{6}"),
    ("6", "$5$ $6$"),
    ("5", "1, 2, 3, 4, 5, 6, 7, 8, 9"),
    ("5", "1 2 3 4 5"),
    ("5", "The answer is not 5"),
    ("5", "$5$ is wrong"),
    ("6", "I think 5 but it could be 6"),
    ("5", r"x \neq 5"),
    ("5", ">5"),
    ("5", "x>5"),
    ("5", "5?"),
    ("5", "5, 5.0001"),
    ("5", r"\pm 5"),
    ("5", r"\text{5 or 6}"),
    ("6", r"5 \\ 6"),
    ("5", "5}"),
    ("6", r"5}\boxed{6"),
    ("5", "٥"),
    ("5", "5\x006"),
    (r"\text{(C)}", "A B C D"),
    (r"\text{(C)}", "(A)(B)(C)"),
    (r"\text{(C)}", "С"),
    ("(1,2)", "2,1"),
    ("1,2", "1,2,3"),
    ("0", "10^{-9}"),
    ("0.0000001", "0"),
    ("x=9", "a=9"),
    ("1,2", "1"),
    ("5", ""),
    (r"\frac{1}{1000000}", "0.0000014"),
    ("5", "5" * 3000),
    ("5", "five or 5 or 6"),
    ("5", r"The answer is not \boxed{5}"),
    ("5", r"\boxed{5} is wrong, the answer is 6"),
    ("5", r"\boxed{5}. No: 6"),
    ("5", r"either \boxed{5} or 6"),
    ("5", r"\boxed{5} or $6$"),
    ("5", r"6 = \boxed{5}"),
    ("5", r"If lucky, \boxed{5}"),
    (r"5\text{ cm}", r"\boxed{5} m"),
    ("5", "$6$ perhaps $5$"),
    ("5", r"5 } 6 \text{ ["),
    ("5", r"5 } \{ 6 {"),
    ("5", r"5 \approx 6"),
    ("100200", "100, 200"),
    ("5", "5 x"),
    ("5", r"\boxed{\boxed{5}6}"),
    ("6", r"\boxed{\boxed{5}6}"),
    ("(1,200,3)", r"(1\,200,3)"),
    (r"\frac{1}{3}", "0.333"),
    (r"\pi", "3.14"),
    (r"\pi", "22/7"),
]


@pytest.mark.parametrize(("gold", "answer"), DISHONEST)
def test_incorrect_answers_are_rejected(gold: str, answer: str) -> None:
    assert not judged(gold, answer).correct


# (rule, gold, answer, question, right verdict); the first of each rule is one that math-verify 0.9 gets wrong
LISTED = [
    (r"50\%", "0.5", "", False),
    (r"50\%", "50", "", True),
    ("50", r"50\%", "", True),
    ("0.5", r"50\%", "What is the probability?", True),
    ("3", r"300\%", "What percent?", False),
    ("0.5", r"0.5\%", "What is the probability?", False),
    ("2516_8", "2516", "", False),
    ("2516_8", "2516_9", "", False),
    ("2516", "2516_8", "", False),
    ("2516_8", "2516_{8}", "", True),
    ("2516_8", r"2516_{\text{eight}}", "", True),
    ("(1,2)", r"\{1,2\}", "", False),
    (r"\{1,2\}", "(1,2)", "", False),
    ("(8,-2)", "[8,-2]", "", False),
    ("[1,2]", "(1,2)", "", False),
    (r"(2,\infty)", r"(2,\infty]", "", False),
    (r"(-\infty, 2) \cup (3, \infty)", r"[-\infty, 2) \cup (3, \infty)", "", False),
    (r"\text{June 20}", "June 20", "", True),
    (r"\text{June 20}", "20", "", False),
    (r"\text{Evelyn}", "nylevE", "", False),
    (r"\text{June 20}", "20 June 20", "", False),
    (".0000672", ".0000673", "", False),
    (".0000672", "0.0000672", "", True),
    ("5", "6=5", "", False),
    ("5", "4=6=5", "", False),
    ("5", "2+3=5", "", True),
    (r"5\text{ cm}", r"5\text{ m}", "", False),
    ("5", r"5\text{ or more}", "", False),
    (r"5.4 \text{ cents}", "5.4 dollars", "", False),
    (r"5\text{ cm}", "5", "", True),
    ("5", "5 thousand", "", False),
    ("5", r"5\text{ dozen}", "", False),
    ("25", "5 squared", "", False),
    ("7x", r"7x \text{odd} \sqrt{2}", "", False),
    ("3", r"P(\text{heads}) = 3", "", True),
    ("1,2", r"x=1 \text{ or } x=2", "", True),
    ("5", "5 I think", "", False),
    (r"90^\circ", r"90\text{ radians}", "", False),
    (r"90^\circ", r"90\text{ degrees}", "", True),
    ("10{,}000", "10000", "", True),
    ("p - q", "7391 = p - q", "", False),
    ("p - q", "AB = p - q", "", True),
    ("9", "9_{wrong}", "", False),
    ("9", "9_{7391}", "", False),
    ("9", "[9, 9]", "", False),
    ("-50", r"0 \text{ to } -50", "", False),
    ("5", r"5 \text{ (just a guess)}", "", False),
    ("5", r"5\text{, else 7391}", "", False),
    ("5", r"5 \text{ nope}", "", False),
    ("100", "26^2-24^2", "Find $26^2-24^2$.", False),
    ("100", "26^2-24^2 = 100", "Find $26^2-24^2$.", True),
    ("100", "50+50", "", False),
    ("100", r"\sqrt{10000}", "", False),
    ("6", r"\log_2 64", "", False),
    ("9", r"\max(9, 3)", "", False),
    ("9", "|9|", "", False),
    ("2k+2", "(-k + 4) + (-2 + 3k)", "Simplify $(-k+4) + (-2+3k)$.", False),
    ("2k+2", "1 \\cdot ((-k+4)+(-2+3k)) + 0", "Simplify $(-k+4) + (-2+3k)$.", False),
    ("2k+2", "2(k+1)", "Simplify $(-k+4) + (-2+3k)$.", True),
    (r"11\sqrt2", r"\sqrt{242}", r"Simplify $\sqrt{242}$.", False),
    (r"-\frac{\pi}{6}", r"\arcsin(-\frac{1}{2})", "", False),
    (r"\log_2 3", r"\frac{\ln 3}{\ln 2}", "", True),
    ("120000", r"1.2 \times 10^5", "", True),
    ("x+1", "x+1", "Is it $x+1$ or $x-1$?", True),
    ("0.15", r"\frac{3}{20}", r"Write $\frac{3}{20}$ as a decimal.", False),
    ("0.15", "3/20", r"Write $\frac{3}{20}$ as a decimal.", False),
    ("0.15", r"\frac{3}{20}", "What is the probability?", True),
    (r"\frac{4}{11}", "8/22", r"Simplify $\frac{8}{22}$.", False),
    ("0", "a + b = 0", "Let $a + b = 0$. Find the least $|a|$.", False),
    ("8", "ab = 8", "Let $ab = 8$. What is the least integer above $ab - 1$?", False),
    ("5", r"\sum_{i=1}^5 1", "", False),
    ("5", r"\ln e^5", "", False),
    ("5", "25^{1/2}", "", False),
    ("0", "7391 then 0", "", False),
    ("0", r"\phantom{7391} 0", "", False),
    ("0", "x = 0", "", True),
    ("0", r"0 \text{ cm}", "", True),
    ("0", "a + b = 0", "", True),
]


@pytest.mark.parametrize(("gold", "answer", "question", "right"), LISTED)
def test_listed_cases(gold: str, answer: str, question: str, right: bool) -> None:
    assert judged(gold, answer, question).correct is right


NUMBERS = st.one_of(
    st.integers(-999, 999).map(str),
    st.decimals(-99, 99, places=3).map(str),
    st.tuples(st.integers(-50, 50), st.integers(1, 50)).map(lambda f: f"\\frac{{{f[0]}}}{{{f[1]}}}"),
)


@given(NUMBERS, NUMBERS)
def test_numbers_are_compared_exactly(gold: str, answer: str) -> None:
    def value(text: str) -> Fraction:
        found = re.fullmatch(r"\\frac\{(.+)\}\{(.+)\}", text)
        return Fraction(text) if found is None else Fraction(int(found[1]), int(found[2]))

    assert decide(gold, answer).equal == (value(gold) == value(answer))


@given(st.text(max_size=60))
def test_any_text_gets_a_verdict_without_an_exception(answer: str) -> None:
    for tagged in (True, False):
        verdict = check(Example("1", "", "7"), Response(answer, "", answer, tagged))
        assert verdict.status in (Status.CORRECT, Status.WRONG, Status.UNPARSED)


@given(st.text(alphabet="x12+-*/^(){}[]\\\\frac sqrt,.=!<>_|", max_size=40))
def test_any_formula_gets_a_verdict_without_an_exception(answer: str) -> None:
    for gold in ("7", "x^2+1", "(1,2)", "x=3"):
        assert decide(gold, answer).reason


@pytest.mark.parametrize(
    "answer", ["5" * 1_000_000, "{" * 500 + "5" + "}" * 500, "$" * 1_000_000, r"\boxed{" * 100_000, "\ud800"]
)
def test_large_and_deep_answers_are_not_read(answer: str) -> None:
    for tagged in (True, False):
        verdict = check(Example("1", "", "5"), Response(answer, "", answer, tagged))
        assert verdict.status in (Status.UNPARSED, Status.WRONG)


BOMBS = {
    "a tower": "9^{9^{9^9}}",
    "a small tower": "9^{9^9}",
    "factorials of factorials": "(((9!)!)!)!",
    "many powers": "+".join(f"2^{{{n}.5}}" for n in range(900, 1000)),
    "many digits": "+".join(f"\\sqrt{{{n}^{{3000}}+1}}" for n in range(2, 60)),
    "trigonometry of a large number": r"\sin(10^{300})",
    "a factorial": "(10^9)!",
    "a sum": r"\sum_{k=1}^{10^{12}} \frac{1}{k}",
    "an integral": r"\int_0^{10} e^{e^{e^x}} dx",
    "a megabyte of digits": "7" * 1_000_000,
    "a megabyte of terms": "+".join(["x"] * 500_000),
    "brackets": "(" * 5_000 + "5" + ")" * 5_000,
    "fractions in fractions": r"\frac{1}{" * 400 + "5" + "}" * 400,
    "roots in roots": r"\sqrt{" * 400 + "5" + "}" * 400,
}


@pytest.mark.parametrize("name", BOMBS)
def test_expensive_answers_get_a_verdict_in_bounded_time(name: str) -> None:
    for gold in ("x^2+5", r"\sqrt{2}+\pi", "2^{100}"):
        started = time.process_time()
        assert check(Example(name, "", gold), Response(BOMBS[name], "", BOMBS[name], True)).status is not Status.CORRECT
        assert time.process_time() - started < 2.0


def test_free_text_gives_its_last_box_or_final_expression() -> None:
    assert judged("7", r"First \boxed{6}. No: \boxed{7}.", tagged=False).correct
    assert not judged("6", r"First \boxed{6}. No: \boxed{7}.", tagged=False).correct
    assert judged(r"\frac{1}{2}", r"So the answer is $\frac{1}{2}$.", tagged=False).correct
    assert judged("7", "I do not know.", tagged=False).status is Status.UNPARSED
    assert judged("2516_8", "the answer is $2516$", tagged=False).status is Status.WRONG


FREE_TEXT = [
    ("4210_5", r"$\boxed{4210}_5$", True),
    ("3, 5, 7", r"The values are $\boxed{3}$, $\boxed{5}$, and $\boxed{7}$.", True),
    ("1,-2", r"Hence $x=\boxed{1}$ or $x=\boxed{-2}$", True),
    (r"50\%", r"It is $\boxed{50}\%$.", True),
    ("5", r"Put it in \boxed{answer}. The answer is \boxed{5}.", True),
    ("6", "The answer is 5! No, wait, it is 6.", True),
    ("7", "Therefore $x = 7$.", True),
    ("42", r"\begin{align*} x &= \boxed{42} \end{align*}", True),
    (r"15\text{ cm}", r"$\boxed{15}$ m", False),
    ("42", r"\boxed{42}^2", False),
    ("42", r"$-\boxed{42}$", False),
    ("42", r"$\boxed{42}i$", False),
    ("42", r"$\boxed{4}2$", False),
    ("42", r"\boxed{42} thousand", False),
    ("42", "\\boxed{42}\n\nWait, it is actually 43.", False),
    ("3", r"The result is \boxed{3}. Wait, I forgot the sign: \boxed{-3}.", False),
    ("50", "The answer is not 50", False),
    ("7", "I could not finish in 7 minutes", False),
    ("42", "43 or 42", False),
    ("42", "it cannot be that it is 42", False),
]


FREE_TEXT += [  # found by the adversarial search
    ("7", "Adding them up, the answer is 7.", True),
    ("7", "If it rains, the answer is 7.", False),
    ("7", "One wrong answer is $7$.", False),
    ("7", "It is not true that the answer is $\\boxed{7}$.", False),
    ("7", "If $n$ was odd, we would get \\boxed{7}.", False),
    ("7", "The number of ways in which no two are equal is $\\boxed{7}$.", True),
    ("7", "Thus there are $\\boxed{7}$ ways.", True),
    ("7", "at least \\boxed{7}", False),
    ("7", "x > \\boxed{7}", False),
    ("7", "1 - \\boxed{7}", False),
    ("7", "- \\boxed{7}", True),
    ("7", "\\boxed{7} \\cdot 2", False),
    ("7", "\\boxed{7}\\text{ squared}", False),
    ("7", "\\boxed{7} and a half", False),
    ("7", "$\\boxed{7}$ in base 9", False),
    ("7", "$\\boxed{7}$ in total.", True),
    ("7", "\\boxed{7} i", False),
    ("7", "\\boxed{7} is the answer.", True),
    ("7", "\\boxed{7} would be the answer if $n$ was odd.", False),
    ("7", "$\\boxed{7}$ or $8$", False),
    ("7", "\\boxed{7}. No: 8", False),
    ("7", "The answer is $8$ rather than $\\boxed{7}$.", False),
    ("7", "The answer is $7$?", False),
    ("7", "Is it \\boxed{7}?", False),
    ("7", "The answer is $7. No, 8$.", False),
    ("7", "The answer is $7. Or 8$ by symmetry.", False),
    ("7", "The answer is $7$. As $x = 6$, it is right.", True),
    ("36", "The answer is $36. So she pays $36 each.", True),
]


FREE_TEXT += [  # the forms of the data set's own solutions
    ("600", r"This factors into $(31+19)(31-19)$, which equals $50 \cdot 12$, or $\boxed{600}$.", True),
    ("600", r"Its value is $43$, or $\boxed{600}$.", False),
    ("7", r"It is undefined for $x = -2,$ so the only solution is $\boxed{7}.$", True),
    ("7", r"Since $6$ is not possible, the answer is $\boxed{7}$.", True),
    ("7", r"It is not true, that the answer is $\boxed{7}$.", False),
    ("7", r"\end{align*}Therefore our answer is $\boxed{7}$.", True),
    ("7", r"$\boxed{7}$ is the smallest integer which is not a factor.", True),
    ("7", r"$\boxed{7}$ is the least likely answer.", False),
    ("7", r"The minimum of $\boxed{7}$ is achieved when $x = 1$.", True),
    ("7", r"there are $\boxed{7}$ possible triangles.", True),
    ("7", r"$\boxed{7}$ possible triangles, but 8 is right.", False),
    ("7", r"there are $\boxed{7}$ such points on or inside the circle.", True),
    ("7", r"there are $\boxed{7}$ such points or 8.", False),
    ("7", r"\quad \boxed{7}", True),
    ("7", r"$\boxed{7}$ to the third", False),
    ("7", r"\boxed{7}, which is then squared", False),
    ("7", r"\boxed{7} is the answer plus one", False),
    ("7", r"\boxed{7} as the exponent of 2", False),
    (r"\text{A,C,F}", "The answer is A and C and F.", True),
    ("7", r"$\boxed{7}$, to the nearest dollar.", True),
    ("7", r"The minimum is $\boxed{7}$ at $x = 1$.", True),
    ("7", r"\boxed{7} at first, then 18", False),
    ("7", "It lies between $" + "+".join(["a"] * 60) + r"$ and $\boxed{7}$.", False),
    ("7", "The answer is 7. No, it is 8.", False),
    ("8", "The answer is 7. No, it is 8.", True),
    ("7", "~~The answer is 7.~~", False),
    ("7", r"\boxed{6} \boxed{7}", False),
    ("7", r"(3, \boxed{7})", False),
    ("7", r"3 \boxed{7}", False),
    ("7", r"\boxed{7}.5", False),
    ("7", r"\boxed{7},500", False),
    ("2,3", r"$\boxed{2}, \boxed{3}$", True),
    ("2,3", r"\boxed{2}\text{ and }\boxed{3}", True),
    ("2,3", r"$x_1 = \boxed{2}, x_2 = \boxed{3}$", True),
    ("2,3", r"$(\boxed{2},\boxed{3})$", False),
    ("7", "The answer to the problem is 7.", True),
]


@pytest.mark.parametrize(
    ("question", "text", "right"),
    [
        ("What is the number described above?", r"$\boxed{7}$ above", False),
        ("How many degrees above zero is it?", r"It is $\boxed{7}$ degrees above zero.", True),
        ("How many multiples of 5 are there?", r"There are $\boxed{7}$ multiples.", True),
        ("How many apples are there?", r"There are $\boxed{7}$ multiples.", False),
        ("How many more apples has Amy?", r"Amy has $\boxed{7}$ more apples than Ben.", True),
        ("How many apples has Amy?", r"Amy has $\boxed{7}$ more apples than Ben.", False),
        ("How many times do they meet?", r"They meet $\boxed{7}$ times.", True),
        ("How many times do they meet?", r"They meet $\boxed{7}$ times three.", False),
        ("What is the opposite of -7?", r"It is the opposite of $\boxed{7}$.", False),
        ("What is the sum of 3 and 4?", r"They have a sum of $\boxed{7}$.", True),
        ("What is the least angle?", r"$\boxed{7}$ is the least angle.", True),
        ("What is the least angle?", r"$\boxed{7}$ is the wrong angle.", False),
        ("What is the least angle?", r"$\boxed{7}$ is the angle before it.", False),
        ("What number has this square?", r"$\boxed{7}$ is the square of the number.", False),
        ("How many solutions are there?", r"There are $\boxed{7}$ solutions $x$.", True),
        ("How many times is it?", r"It is $\boxed{7}$ times $x$.", False),
        ("How many people can be seated?", r"This gives $\boxed{7}$ seats.", True),
        ("How much should the store charge?", r"Thus, the store should charge $\boxed{7}$ dollars.", True),
        ("How much does the store charge?", r"Thus, the store should charge $\boxed{7}$ dollars.", False),
    ],
)
def test_words_of_the_question_may_stand_next_to_a_box(question: str, text: str, right: bool) -> None:
    assert judged("7", text, question, tagged=False).correct is right


@pytest.mark.parametrize(("gold", "text", "right"), FREE_TEXT)
def test_free_text_has_an_answer_only_where_one_is_stated(gold: str, text: str, right: bool) -> None:
    assert judged(gold, text, tagged=False).correct is right


EXACT = [
    (r"\sin\frac{|x|}{26}", r"\left|\sin\frac{|x|}{26}\right|", False),
    (r"\sin\frac{|x|}{26}", r"\sin\frac{|-x|}{26}", True),
    (r"- \sin(x - |x+1|)", r"|\sin(x - |x+1|)|", False),
    (r"- \sin(x - |x+1|)", r"\sin(|x+1| - x)", True),
    (r"\sqrt{x^2+1}", r"\sqrt{1+|x|^2}", False),
    ("x", r"\sqrt{(x-500)^2}+2x-500", False),
    (r"x\sqrt{x}", r"x^{\frac{3}{2}}", True),
    (r"\frac{1}{2004!}", r"\frac{1}{2003!}", False),
    (r"\frac{1}{2004!}", "(2004!)^{-1}", True),
    ("1-2^{-99}", "1-2^{-100}", False),
    (r"\frac{\pi}{10^{20}}", r"\frac{e}{10^{20}}", False),
    (r"\sqrt{2} + \frac{1}{3^{50}}", r"\sqrt{2}", False),
    ("1", "1^{2^{235423523}}", False),
    ("1", "5^0", False),
    (r"2\sqrt{13}", r"\sqrt{(7-3)^2+(8-2)^2}", False),
    ("(3,3)", r"(\frac{2+4}{2},3)", False),
    ("42", "x+42-x", False),
    ("42", r"\frac{84}{2}", False),
    ("42", "42/1", False),
    (r"\frac{1}{2}", r"\frac{2}{4}", True),
    ("x = 7", r"x = \frac{14}{2}", False),
    ("12", r"x \approx 12", False),
    ("12", r"\approx 12", False),
    ("12.5", r"x \approx 12.5", True),
    (r"2\sqrt{3}", r"x \approx 3.464102", True),
    (r"x^2-4", r"\frac{x^3-4x}{x}", False),
    (r"x^2-4", r"(x^3-4x)x^{-1}", False),
    (r"\frac{x+1}{x}", r"1+\frac{1}{x}", True),
    (r"\frac{x+1}{x}", r"1+x^{-1}", True),
    (r"x^{-2}", r"\frac{1}{x^2}", True),
    (r"e^{-x}", r"\frac{1}{e^x}", True),
    ("42", r"42\sin^2x+42\cos^2x", False),
    ("e^2", r"\exp(2)", True),
    (r"\frac{1}{3}", r"0.\overline{3}", True),
    ("58500", "5.85e4", True),
    (r"\$36", r"36\%", False),
    (r"\$36", r"36^\circ", False),
    (r"15\mbox{ cm}^2", r"15\ cm^2", True),
    (r"f(4) > f(1) > f(2)", "f(2)<f(1)<f(4)", True),
    ("(3,4]", r"3 < x \le 4", True),
    (r"(-\infty,\infty)", r"\mathbb{R}", True),
    (r"(-\infty,\infty)", "all real numbers", True),
    (r"(-\infty,5)", r"\mathbb{R}", False),
    (r"\mathbb{R}", r"(-\infty,\infty)", True),
    ("42", r"42\text{3}", False),
    ("42", "42 divided by two", False),
    ("42", r"42\ldots", False),
    ("42", "42'", False),
    ("42", r"\textcolor{red}{42}", True),
    ("42", r"\underline{42}", True),
]


EXACT += [  # found by the adversarial search
    (r"36\text{ cm}", r"The final answer is $\boxed{36\text{ cm}}$.", True),
    ("1161", r"The answer is $\boxed{1 161}$.", True),
    ("1161", r"\textcolor{red}{1,161}", True),
    ("1161", "= 1 161", True),
    ("1161", r"1\ 161", True),
    ("3,5,7", r"3\text{, }5\text{, and }7", True),
    ("3,5,7", r"3\text{, }5", False),
    ("(3,42)", "(3 or 42)", False),
    ("(3,42)", r"(3 \text{ and } 42)", False),
    ("(3,42)", "3 or 42", False),
    ("(3,4,42)", "3, 4, or 42", False),
    (r"\{3,42\}", r"\{3 \text{ and } 42\}", True),
    ("1000000", r"1 \times 10^6", True),
    ("7", "{seven}", True),
    ("7", r"7\%\cdot 100", False),
    ("7", "~~7~~", False),
    ("[1,4]", "1,4", False),
    ("(1,4)", "(1,4]", False),
    ("y = 2x + 5", "y = |2x + 5|", False),
    ("2x", "|x+40|+x-40", False),
    (r"7\left|x\right|", r"7\lvert x\rvert", True),
    (r"x\left|x+1\right|", r"\left|1+x\right|x", True),
    (r"x\left|x+1\right|", r"x(x+1)", False),
    (r"\text{(B)}", "B'", False),
    (r"\text{(B)}", "-B", False),
    (r"\text{Evelyn}", "Evelyn & Carla", False),
]


EXACT += [
    ("-7", "+-7", False),
    ("4", "-(-4)", False),
    ("4", r"4 \times 10^0", False),
    ("42", "~42", False),
    ("x = 7", "2x = 14", False),
    ("12", "12 M", False),
    ("12", "12 L", True),
    ("12", r"\$12\%", False),
    ("x^2-4", r"x\cdot x-4", False),
    (r"\frac{\pi}{4}", r"\frac{\pi}{4}^\circ", False),
    (r"144\pi\text{ cm}^3", r"144\pi\,\mathrm{cm^3}", True),
    (r"144\pi\text{ cm}^3", r"144\pi\,\mathrm{cm^2}", False),
    (r"30\text{ mph}", r"30\frac{\text{miles}}{\text{hour}}", True),
    (r"30\text{ mph}", r"30\frac{\text{miles}}{\text{minute}}", False),
    (r"75\text{ cents}", "75¢", True),
    (r"\$75", "75¢", False),
    ("2, 5", r"x \in \{2, 5\}", True),
    ("2, 5", r"x \notin \{2, 5\}", False),
    ("x = 7", r"x = \frac{14}{2} = 7", True),
    ("x = 7", r"y = \frac{14}{2} = 7", False),
    ("x = 7", r"\therefore x = 7", True),
    ("(2,5]", r"\{x \mid 2 < x \le 5\}", True),
    ("(2,5]", r"\{x : 2 < x < 5\}", False),
    ("(2,5]", r"\{x \mid 2 < x \le 5, x \ne 3\}", False),
    (r"(-\infty,-1)\cup(1,\infty)", "(-inf,-1) U (1,inf)", True),
    (r"(-\infty,-1)\cup(1,\infty)", "(-inf,-1) U [1,inf)", False),
    (r"\binom{10}{3}", r"{10 \choose 3}", True),
    (r"\lfloor x \rfloor", "floor(x)", True),
    (r"\lfloor x \rfloor", "ceil(x)", False),
    (r"\sqrt[3]{2}", "∛2", True),
    (r"\sqrt[3]{2}", "√2", False),
    (r"\frac{20000}{\pi}", r"\frac{20,000}{\pi}", True),
    (r"\frac{20000}{\pi}", r"\frac{20,00}{\pi}", False),
    ("f(x) = x^2 + 1", "y = x^2 + 1", True),
    ("f(x) = x^2 + 1", "y = y^2 + 1", False),
    (r"\text{ellipse}", "an ellipse", True),
    (r"\text{ellipse}", "not an ellipse", False),
    (r"\text{Evelyn}", "‘Evelyn’", True),
    ("42", r"\textbf{Answer: } 42", True),
    ("42", r"\textbf{Not: } 42", False),
]


@pytest.mark.parametrize(("gold", "answer", "right"), EXACT)
def test_answers_are_equal_exactly_and_finished(gold: str, answer: str, right: bool) -> None:
    assert judged(gold, answer).correct is right


def test_registering_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = "{'sympy', 'math_verify', 'torch', 'datasets'}"
    code = f"import sys, kkwarm_math, kkwarm_mmlu_pro; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_quick_test_misses_no_statement() -> None:
    """It decides whether a statement is looked for at all."""
    rng = random.Random(0)
    words = ["answer", "answers", "result:", "solution", "to", "this", "problem", "is", "equals", "**", "####", "="]
    found = 0
    for _ in range(30_000):
        text = " ".join(rng.choice(words) for _ in range(rng.randrange(8)))
        if sentences.STATEMENT.search(text) is not None:
            found += 1
            assert sentences.may_state(text), text
    assert found > 5_000


IN_FRONT_OF_A_BOX = [
    ("So the answer is", True),
    ("In all, she has", True),
    ("This gives us a total of", True),
    ("Since it is not odd, solving yields", True),
    ("which simplifies to", True),
    ("The value must be", True),
    ("Therefore, we need exactly", True),
    ("Answer:", True),
    ("Emily therefore bakes", True),  # the question's word
    ("La respuesta es", True),
    ("The reciprocal of", False),
    ("It is just shy of", False),
    ("Multiply it by", False),
    ("x differs from", False),
    ("the number after", False),
    ("instead of", False),
    ("I do not believe that it is", False),
    ("It is wrong that x is", False),
    ("One mistakenly gets", False),
    ("A naive count gives", False),
    ("Common mistake:", False),
    ("x is not equal to", False),
    ("qwzvj", False),
]


@pytest.mark.parametrize("box", [r"\boxed{7}", r"$\boxed{7}$", r"\[\boxed{7}\]", r"$5 + 2 = \boxed{7}$"])
@pytest.mark.parametrize(("lead", "right"), IN_FRONT_OF_A_BOX)
def test_only_known_words_introduce_a_box(lead: str, right: bool, box: str) -> None:
    assert judged("7", f"We count. {lead} {box}.", "How many pies does Emily bake?", tagged=False).correct is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (r"We have $2x = 14$ or $x = \boxed{7}$.", True),
        (r"Hence $a = 3$ and $b = \boxed{7}$.", True),
        (r"Hence $-b = -7$ and $b = \boxed{7}$.", True),
        (r"It is 3 or $\boxed{7}$.", False),
        (r"It is between 3 and $\boxed{7}$.", False),
        (r"Hence $x = 3$ or $x = \boxed{7}$.", False),
        (r"Let us rule out $x = \boxed{7}$.", False),
        (r"Since $x > 0,$ $x = \boxed{7}$.", True),
    ],
)
def test_what_is_in_front_of_a_box_may_be_another_equation_but_no_alternative(text: str, right: bool) -> None:
    assert judged("7", text, tagged=False).correct is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (r"She pays $5 for tea.\n\nThe answer is \boxed{7}.", True),
        (r"It costs about $5. So the total is \boxed{7}.", True),
        (r"It costs $5, and then $3, and then $2. So the total is \boxed{7}.", True),
        (r"She pays $5 for tea. Thus $x = \boxed{7}$.", True),
        (r"The roots are $5, 6$. Their sum less 4 is $\boxed{7}$.", True),
        (r"She pays $5 for tea. Thus $x = -\boxed{7}$.", False),
        (r"The product of $10! = 3628800$ and so on is $2\boxed{7}$.", False),
    ],
)
def test_amounts_of_money_do_not_begin_formulas(text: str, right: bool) -> None:
    assert judged("7", text.replace(r"\n", "\n"), tagged=False).correct is right


SURROUNDINGS = [
    (r"Each person will receive $\boxed{7}$.", True),
    (r"It takes her $\boxed{7}$ hours.", True),
    (r"She sold $\boxed{7}$ in April and May.", True),
    (r"It may be $\boxed{7}$.", False),
    (r"I DON'T THINK THAT X EQUALS $\boxed{7}$", False),
    (r"I don’t think that x equals $\boxed{7}$", False),
    (r"May be $\boxed{7}$.", False),
    (r"$\text{Answer: } \boxed{7}$", True),
    (r"$\text{Not: } \boxed{7}$", False),
    (r"Let's box the answer: $\boxed{7}$", True),
    (r"The total is \$\boxed{7}.", True),
    (r"The total is \$$\boxed{7}$.", True),
    (r"The total is $2\cdot\$\boxed{7}$.", False),
    (r"> \boxed{7}", True),
    (r"x > \boxed{7}", False),
    ("答案是 \\boxed{7}。", True),
    ("因此，答案为\\boxed{7}", True),
    ("答案不是\\boxed{7}。", False),
    ("大于 $\\boxed{7}$", False),
]


@pytest.mark.parametrize(("text", "right"), SURROUNDINGS)
def test_what_stands_around_a_box(text: str, right: bool) -> None:
    assert judged("7", text, tagged=False).correct is right


def test_the_reason_shows_the_words_around_a_box_that_is_not_read() -> None:
    verdict = judged("7", r"Some work. It is the reciprocal of $\boxed{7}$.", tagged=False)
    assert verdict.reason is not None and r"the reciprocal of $\boxed{7}$." in verdict.reason
    assert judged("7", "Nothing.", tagged=False).reason != verdict.reason
