"""The adversarial search of `mmlu_pro` finds each planted fault, and nothing on the verifier itself."""

import re
from collections.abc import Callable

import pytest
from kkwarm_mmlu_pro import check
from kkwarm_mmlu_pro.cases import GENERATORS
from kkwarm_mmlu_pro.extract import first_stated_letter, official_letter
from planted import kinds, reads, refuses, run

from kkwarm.types import Example, Response, Status, Verdict


def _verdict(example: Example, letter: str | None) -> Verdict:
    if letter is None:
        return Verdict(Status.UNPARSED)
    return Verdict(Status.CORRECT if letter == example.answer else Status.WRONG, letter)


LENIENT: dict[str, Callable[[str], str]] = {
    "the first letter of a word": lambda a: re.sub(r"(answer is )([A-J])[a-z' ]+\.?", r"\1\2", a),
    "the first letter of the answer": lambda a: a[:1],
    "the last letter": lambda a: (re.findall(r"\b[A-J]\b", a) or [""])[-1],
    "the first of several letters": lambda a: re.split(r" or |, | and |/", a)[0],
    "negations are dropped": lambda a: a.replace("not ", "").replace("n't", ""),
    "conditions are dropped": lambda a: re.sub(r"^If |^Unless I am wrong |^Suppose ", "", a),
    "hedges are dropped": lambda a: re.sub(r"[Mm]aybe |[Pp]erhaps | maybe|\?", "", a),
    "a letter with another option's text": lambda a: re.sub(r"^(\(?[A-J]\)?)[.:)].*", r"\1", a, flags=re.DOTALL),
    "remarks are dropped": lambda a: re.sub(r" is (?:wrong|false|incorrect|not correct)", "", a),
    "signs are dropped": lambda a: re.sub(r"[^\w() ]", "", a),
}  # fmt: skip
STRICT: dict[str, Callable[[str], bool]] = {
    "bold letters": lambda a: a.startswith("**") and a.endswith("**"),
    "boxes": lambda a: "\\boxed" in a,
    "letters after a colon": lambda a: "Answer: " in a,
    "small words": lambda a: "option (" in a,
    "headings": lambda a: a.startswith("## "),
    "reasons": lambda a: "because" in a,
    "remarks": lambda a: "is correct" in a,
    "texts": lambda a: re.fullmatch(r"[A-Z][a-z]{3,}", a) is not None,
}  # fmt: skip


@pytest.mark.parametrize("fault", LENIENT)
def test_it_finds_a_lenient_reader(fault: str) -> None:
    assert kinds(reads(check, LENIENT[fault]), GENERATORS, "A", "")


@pytest.mark.parametrize("fault", STRICT)
def test_it_finds_a_strict_reader(fault: str) -> None:
    assert kinds(refuses(check, STRICT[fault]), GENERATORS, "A", "", outcome="wrongly rejected")


def test_it_finds_that_small_letters_come_before_options() -> None:
    def planted(example: Example, response: Response) -> Verdict:
        text = (response.answer or "").strip()
        return _verdict(example, text.upper()) if re.fullmatch("[a-j]", text) else check(example, response)

    assert "small letter" in kinds(planted, GENERATORS, "A", "small letter")


@pytest.mark.parametrize("extract", [first_stated_letter, official_letter])
def test_it_finds_the_faults_of_the_official_patterns(extract: Callable[[str], str | None]) -> None:
    def planted(example: Example, response: Response) -> Verdict:
        return _verdict(example, extract(response.answer or "")) if not response.tagged else check(example, response)

    assert kinds(planted, GENERATORS, "A", "free text") == {"free text"}


def test_it_finds_nothing_on_the_verifier() -> None:
    assert [c.case.completion for c in run(check, GENERATORS, "A", cases=1_280, seed=1)] == []
