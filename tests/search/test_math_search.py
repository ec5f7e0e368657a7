"""The adversarial search of `math` finds each planted fault, and nothing on the verifier itself."""

import math
import random
import re
from collections.abc import Callable

import pytest
from kkwarm_math.answer_reader import last_boxed
from kkwarm_math.arithmetic import numeric_value
from kkwarm_math.cases import GENERATORS, contexts, values
from kkwarm_math.compare import Decision, read
from kkwarm_math.verifier import check, gold_text
from planted import Check, kinds, reads, refuses, run

from kkwarm.types import Example, Response, Status, Verdict


def compares_floats(example: Example, response: Response) -> Verdict:
    verdict = check(example, response)
    try:
        nodes = [read(text).node for text in (gold_text(example.answer), response.answer or "")]
        gold, answer = (float(numeric_value(node, {})) for node in nodes)  # type: ignore[arg-type]
    except Exception:
        return verdict
    return Verdict(Status.CORRECT) if response.tagged and math.isclose(gold, answer, rel_tol=1e-9) else verdict


def last_number(text: str) -> str:
    return (re.findall(r"-?[0-9]+", text) or [""])[-1]


# Each reads an answer too leniently, by what it does to the text. The kinds are those of public bug reports.
LENIENT: dict[str, Callable[[str], str]] = {
    "words behind a number are dropped": lambda a: re.sub(r"[\s$~]*(?:\\text)?\{?[A-Za-z ]{2,}\}?\$?$", "", a),
    "words before a number are dropped": lambda a: re.sub(r"^(?:\\text\{)?[A-Za-z ,]{2,}\}?\s*", "", a),
    "dots are dropped": lambda a: re.sub(r"\\[lc]dots|\.\.\.", "", a),
    "what is next to a box is dropped": lambda a: last_boxed(a) or a,
    "the last of two answers counts": lambda a: a.split(" or ")[-1],
    "the last number counts": last_number,
    "unknown commands are dropped": lambda a: re.sub(r"\\(?:phantom|cancel|sout|smash|label|ref)", "", a),
    "marks behind a number are dropped": lambda a: a.rstrip("!'?"),
    "letters behind a number are dropped": lambda a: re.sub(r"([0-9])[iex]$", r"\1", a),
    "plus-minus is dropped": lambda a: a.replace("\\pm", ""),
    "the sign is dropped": lambda a: a.replace("-", ""),
    "powers are dropped": lambda a: re.sub(r"\^\{?[0-9]\}?", "", a),
    "comparisons are dropped": lambda a: re.sub(r"\\(?:neq|geq|leq)|[<>]", "", a),
    "a subscript is dropped": lambda a: re.sub(r"_\{?[0-9]\}?", "", a),
    "closed brackets are open": lambda a: a.replace("[", "(").replace("]", ")").replace("\\le ", "<"),
    "sets are tuples": lambda a: a.replace("\\{", "(").replace("\\}", ")"),
    "invisible characters are dropped": lambda a: re.sub("[\u200b\u202e\x00\u0336]", "", a),
    "a text in braces is dropped": lambda a: re.sub(r"\\(?:text|mathrm|mathit)\{[^{}]*\}", "", a),
    "negations are dropped": lambda a: a.replace("not ", "").replace("\\lnot ", ""),
    "the first line counts": lambda a: a.split("\n")[0],
    "a list is a sum": lambda a: a.replace(" - ", ", "),
    "intersections are unions": lambda a: a.replace("\\cap", "\\cup"),
    "strike-through is dropped": lambda a: a.replace("~~", ""),
}  # fmt: skip
# Each refuses a notation that must be accepted.
STRICT: dict[str, Callable[[str], bool]] = {
    "upright letters": lambda a: "\\mathrm{e}" in a or "\\mathrm{i}" in a,
    "spaces between thousands": lambda a: re.search(r"[0-9] [0-9]{3}", a) is not None,
    "a color": lambda a: "\\textcolor" in a,
    "an exponent of ten": lambda a: re.search(r"[0-9](?:e[0-9]| \\times 10)", a) is not None,
    "a leading equals sign": lambda a: "= " in a[:4],
    "row distances": lambda a: "[4pt]" in a,
    "inequalities for an interval": lambda a: re.search(r"[0-9] *(?:<|\\le) +x", a) is not None,
    "repeating decimals": lambda a: "\\overline{" in a and "0." in a,
    "plain words for functions": lambda a: "ln(" in a and "\\" not in a,
    "number words": lambda a: "seven" in a.casefold(),
    "units in a sentence": lambda a: a.startswith("The") and "\\text{ " in a,
    "another order of a list": lambda a: re.search(r"(?:7|9|12)(?:,| and )", a) is not None,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fault", LENIENT)
def test_it_finds_a_lenient_reader(fault: str) -> None:
    assert kinds(reads(check, LENIENT[fault]), GENERATORS, "42", "")


@pytest.mark.slow
@pytest.mark.parametrize("fault", STRICT)
def test_it_finds_a_strict_reader(fault: str) -> None:
    assert kinds(refuses(check, STRICT[fault]), GENERATORS, "42", "", outcome="wrongly rejected")


def _drop_base(text: str) -> str:
    return re.sub(r"_\{?[0-9]+\}?", "", text)


@pytest.mark.parametrize(
    ("planted", "kind"),
    [(compares_floats, "nearly the same value"), (reads(check, _drop_base, gold=_drop_base), "number base")],
    ids=["floating point", "base dropped"],
)
def test_it_finds_a_lenient_comparison(planted: Check, kind: str) -> None:
    assert kind in kinds(planted, GENERATORS, "42", kind)


@pytest.mark.parametrize(
    ("place", "replacement", "kind"),
    [
        ("compare.unfinished", lambda gold, answer: "", "unfinished"),
        ("compare.unfinished", lambda gold, answer: "", "unfinished tuple"),
        ("compare.unfinished", lambda gold, answer: "", "unreduced fraction"),
        ("compare.units_agree", lambda gold, answer: True, "unit"),
        ("answer_reader.is_asserted", lambda text, at: True, "not stated in free text"),
        ("answer_reader.box_is_asserted", lambda text, start, inside, stop, question: True, "changed in free text"),
        ("sentences._is_introduced", lambda sentence, formula, inside, question: True, "changed in free text"),
        ("sentences._is_doubted", lambda sentence, lead, question: False, "not stated in free text"),
        ("answer_reader.takes_back", lambda rest: False, "not stated in free text"),
        ("compare._same_intervals", lambda ours, theirs: Decision(True, ""), "interval"),
    ],
)
def test_it_finds_a_missing_part_of_the_reader(
    place: str, replacement: Callable[..., object], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"kkwarm_math.{place}", replacement)
    assert kind in kinds(check, GENERATORS, "42", kind)


@pytest.mark.parametrize("seed", [1, 2])
def test_it_finds_nothing_on_the_verifier(seed: int) -> None:
    assert [c.case.completion for c in run(check, GENERATORS, "42", cases=960, seed=seed)] == []


def test_counterexamples_are_small() -> None:
    planted = reads(check, lambda a: a.replace("\\pm", ""))
    shown = [c.case.completion for seed in (0, 1) for c in run(planted, GENERATORS, "42", cases=640, seed=seed)]
    assert " some reasoning </think> <answer> \\pm 42 </answer>" in shown


def test_labels_are_independent_of_the_verifier() -> None:
    """sympy decides which numbers are equal, also where floating point cannot."""
    rng = random.Random(0)
    pairs = [values.near(rng) for _ in range(300)]
    equal = [values.equal(a, b) for a, b in pairs]
    assert 0.2 < sum(equal) / len(equal) < 0.8
    assert all((a.latex == b.latex) <= same for (a, b), same in zip(pairs, equal, strict=True))


def test_no_context_leaves_the_answer_alone() -> None:
    rng = random.Random(0)
    for _ in range(2_000):
        text = contexts.changed(rng, "42")
        assert "42" in text and text != "42" and "§" not in text and "@" not in text
