"""MMLU-Pro: splits, one-letter answers, and published outputs row for row."""

import gzip
import json
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kkwarm_mmlu_pro import check, check_officially
from kkwarm_mmlu_pro.choice_reader import read_choice
from kkwarm_mmlu_pro.data import load
from kkwarm_mmlu_pro.extract import first_stated_letter, official_letter

from kkwarm.data.contamination import Item, find_overlaps
from kkwarm.plugins import registry
from kkwarm.types import Completion, Example, Response, Status
from kkwarm.verify import verify

OPTIONS = ["Paris", "London", "5 m", "-5 m", "None of the above", "paris", "Rome.", "Berlin", "I think"]


def test_splits(shared_data: Path) -> None:
    examples = load()
    assert len(examples) == len({e.id for e in examples}) == 12032
    train = Counter(e.meta["category"] for e in examples if e.split == "train")
    assert len(train) == 14 and set(train.values()) == {100}
    first = examples[0]
    assert first.id == "70" and first.answer == "I"
    assert "\nA. Safe practices, Fear, Jealousy, Trivial\n" in first.question
    assert first.meta["options"][8] in first.question and "\nJ. " not in first.question


@pytest.mark.slow
def test_the_split_passes_the_contamination_check(shared_data: Path) -> None:
    """Checks all categories together, because a history question may also be in philosophy."""
    examples = load()
    trained, asked = ([Item("mmlu_pro", e.id, e.question) for e in examples if e.split == s] for s in ("train", "test"))
    assert not [(k.trained.id, k.evaluated.id) for k in find_overlaps(trained, asked)]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("C", "C"),
        ("(C)", "C"),
        ("C.", "C"),
        ("C)", "C"),
        ("**C**", "C"),
        ("c", "C"),
        ("$C$", "C"),
        (r"\boxed{C}", "C"),
        (r"\boxed{\text{C}}", "C"),
        ("Option C", "C"),
        ("The answer is (C).", "C"),
        ("Final answer: C", "C"),
        (" C \n", "C"),
        ("C. 5 m", "C"),
        ("(C) 5 m", "C"),
        ("C: 5 m.", "C"),
        ("5 m", "C"),
        ("-5 m", "D"),
        ("Paris", "A"),
        ("paris", "F"),
        ("LONDON", "B"),
        ("Rome", "G"),
        ("I", "I"),
        ("i", "I"),
        ("I think", "I"),
        ("（C）", "C"),
        (r"\boxed{\text{(C)}}", "C"),
        (r"$\boxed{\textbf{(C)}}$", "C"),
        (r"\boxed{\mathrm{C}}", "C"),
        (r"\(\text{C}\)", "C"),
        ("“C”", "C"),
        ("C - 5 m", "C"),
        ("Option C: 5 m", "C"),
        ("C 5 m", "C"),
        ("Hence, the answer is **C. 5 m**", "C"),
        ("Option C is the correct answer.", "C"),
        ("C is the answer", "C"),
        ("Answer = C", "C"),
        ("'C'", "C"),
        ("- C", "C"),
        ("La réponse est C", "C"),
        ("Die Antwort ist C", "C"),
    ],
)
def test_a_letter_or_its_text_is_accepted(answer: str, letter: str) -> None:
    assert read_choice(answer, OPTIONS) == (letter, "")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "A and C",
        "A, C",
        "A B C D E F G H I J",
        "(A)(C)",
        "A or C",
        "AC",
        "C\nA",
        "not C",
        "J",
        "K",
        "C. -5 m",
        "C. London",
        "I think it is C",
        "I am not sure",
        "C, or maybe D",
        "neither",
        "С",
        "Ⅽ",
        "C\u200b.x",
        "PARIS",
        "A. B. C. D.",
        "C C",
        "A/C",
        "5",
        "m",
        "C" * 1000,
        "answer",
        "the answer is",
        "C?",
        "Option",
        "\\boxed{}",
        "\\boxed{A}\\boxed{C}",
        "\\cancel{C}",
        "\\boxed{\\text{A or C}}",
        "C is not correct",
        "A is correct, C is correct",
        "Option C or A",
        "C - London",
        "C5 m",
        "I choose C",
        "C 5 m or A Paris",
        "C'",
    ],
)
def test_other_answers_are_unparsed(answer: str) -> None:
    letter, reason = read_choice(answer, OPTIONS)
    assert letter is None and reason


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("We compare them. The correct answer is (C) 5 m.", "C"),
        ("**The answer is (C).** I am confident.", "C"),
        ("If the answer is (A), then a contradiction follows. So the answer is (C).", "C"),
        ("One might say the answer is A, but the answer is C.", "C"),
        ("Answer: It is not B, the answer is C", "C"),
        ("The answer is 11 units. The answer is (C).", "C"),
        ("The answer is C because the others are longer.", "C"),
        ("The answer is (C). Question: another one. The answer is (A).", "C"),
        ("So we get \\boxed{C}", "C"),
        ("I doubt that the answer is (A).", None),
        ("I doubt that the answer is: C", None),
        ("If Bauman is right, the answer is C.", None),
        ("Since B is not right, the answer is C.", "C"),
        ("The worst answer is C.", None),
        ("The second best answer is C.", None),
        ("The most comprehensive and accurate answer is (C).", "C"),
        ("The answer to this question is 'C'.", "C"),
        ("The answer is C. elegans.", None),
        ("So we get \\boxed{C}?", None),
        ("\\boxed{C} is wrong", None),
        ("We get \\boxed{C} because the others are not rational.", "C"),
        ("Imagine the answer is C.", None),
        ("So we get \\boxed{C}. No, it is D.", None),
        ("She said the answer is (A).", None),
        ("It is false that the answer is (C)", None),
        ("The answer is Certainly not A.", None),
        ("the answer is Always", None),
        ("the answer is C or D", None),
        ("The answer is C and D.", None),
        ("A solution is not in sight", None),
        ("The answer is (C. London).", None),
        ("The answer is (C. No, A).", None),
        ("The answer is (C. 5 m).", "C"),
        ("The answer is ((C)).", "C"),
        ("The answer is (Paris).", "A"),
        ("The answer is (A)(C).", None),
        ("Thus \\[ \\boxed{C} \\]", "C"),
        ("$\\text{Answer: } \\boxed{C}$", "C"),
        ("I choose $\\boxed{\\text{C) 5 m}}$, since it fits.", "C"),
        ("After eliminating A we select option \\boxed{C}.", "C"),
        ("Hence \\boxed{C} is correct.\n\nA is wrong because it is a city.", "C"),
        ("It cannot be \\boxed{C}.", None),
        ("The reverse of \\boxed{C}.", None),
        ("Let us rule out \\boxed{C}.", None),
        ("B or \\boxed{C}", None),
        ("\\boxed{B}\\boxed{C}", None),
        ("\\boxed{C} is eliminated.", None),
        ("\\boxed{C} D", None),
        ("\\boxed{C}. On second thought, D.", None),
        ("The answer is C. Never mind. D.", None),
        ("The second-best answer is C.", None),
        ("Therefore, the answer must be C.", "C"),
        ("Thus, C is the correct answer.", "C"),
        ("So, A", None),
        ("因此，正确答案是 (C)。", "C"),
        ("La respuesta correcta es C.", "C"),
        ("La bonne réponse est C.", "C"),
    ],
)
def test_free_text_states_one_letter_or_none(text: str, letter: str | None) -> None:
    assert read_choice(text, OPTIONS, tagged=False)[0] == letter


def test_equal_options_need_a_letter() -> None:
    assert read_choice("same", ["same", "same", "other"]) == (None, "it names no option")
    assert read_choice("B. same", ["same", "same", "other"]) == ("B", "")


def test_a_capital_letter_is_a_letter_and_a_small_one_may_be_an_options_text() -> None:
    options = ["x", "b", "A", "$14,000"]
    assert read_choice("A", options)[0] == "A" and read_choice("b", options)[0] == "B"
    assert read_choice("a", ["b", "a", "c"])[0] == "B"
    assert read_choice("D. $14,000", options)[0] == "D"


def test_the_order_of_options_does_not_matter_to_a_text() -> None:
    for shift in range(len(OPTIONS)):
        turned = OPTIONS[shift:] + OPTIONS[:shift]
        letter, _ = read_choice("Berlin", turned)
        assert letter is not None and turned["ABCDEFGHIJ".index(letter)] == "Berlin"


@given(st.text(alphabet="ABCJIx .,()\n", max_size=12))
def test_two_letters_are_unparsed(answer: str) -> None:
    letter, _ = read_choice(answer, ["first", "second", "third"])
    if letter is not None:
        assert set(re.findall("[A-Z]", answer)) == {letter} and letter in "ABC"


def test_the_verdict_uses_the_letter_in_this_order_of_options() -> None:
    """The same options in another order have another correct letter."""
    turned = ["x", "y", "Berlin"]
    for options, right in ((["Berlin", "x", "y"], "A"), (turned, "C")):
        example = Example("1", "", right, meta={"options": options})
        for answer in (right, f"({right})", "Berlin", f"{right}. Berlin"):
            assert check(example, Response(answer, "", answer, True)).status is Status.CORRECT
        stale = "A. Berlin" if right == "C" else "C. Berlin"
        assert check(example, Response(stale, "", stale, True)).status is Status.UNPARSED


@pytest.mark.parametrize(
    "text", ["I", "I.", "(I)", "I: think", "I do not know", "I think I would say so", "As I said, I"]
)
def test_the_letter_i_is_an_answer_only_if_it_stands_alone(text: str) -> None:
    example = Example("1", "", "I", meta={"options": list("abcdefghij")})
    alone = text.strip("().") == "I"
    assert check(example, Response(text, "", text, True)).correct is alone
    assert check(example, Response(text, "", text, False)).correct is alone


def test_untagged_statuses() -> None:
    """(text, strict status, status by the official reading)"""
    example = Example("1", "", "C", meta={"options": OPTIONS})
    for text, strict, official in (
        ("The answer is (C).", Status.CORRECT, Status.CORRECT),
        ("The answer is (A). The answer is (C).", Status.WRONG, Status.WRONG),
        ("I choose C", Status.UNPARSED, Status.UNPARSED),
        ("Answer: C", Status.CORRECT, Status.UNPARSED),
        ("Nobody says that the answer is C, I hope", Status.UNPARSED, Status.CORRECT),
        ("", Status.UNPARSED, Status.UNPARSED),
    ):
        response = Response(text, "", text, False)
        assert (check(example, response).status, check_officially(example, response).status) == (strict, official), text


OFFICIAL = (r"answer is \(?([A-J])\)?", r".*[aA]nswer:\s*([A-J])", r"\b[A-J]\b(?!.*\b[A-J]\b)")


def official(text: str) -> str | None:
    """The official scorer's three patterns, unchanged."""
    for pattern, flags in zip(OFFICIAL, (0, 0, re.DOTALL), strict=True):
        if (match := re.search(pattern, text, flags)) is not None:
            return match[match.re.groups]
    return None


PIECES = ["answer is ", "Answer:", "answer:", "(", ")", "A", "J", "I ", "x", " ", "\n", "K", "\r"]


@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_linear_patterns_extract_what_the_official_ones_do(parts: list[str]) -> None:
    text = "".join(parts)
    assert official_letter(text) == official(text)


@pytest.mark.parametrize("piece", ["answer: ", "A ", "answer is ", "x", "\n", "Answer:"])
def test_extraction_takes_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    began = time.process_time()
    official_letter(text)
    first_stated_letter(text)
    read_choice(text, OPTIONS)
    assert time.process_time() - began < 8


@pytest.mark.parametrize(
    ("name", "correct", "unparsed", "same"),
    [("Qwen1.5-72B-Chat_5shots", 5673, 2211, 12032), ("Meta-Llama-3_1-8B_5shots", 4327, 775, 12032 - 775)],
)
def test_published_outputs(shared_data: Path, name: str, correct: int, unparsed: int, same: int) -> None:
    reg = registry()
    protocol = reg.protocol(reg.benchmark("mmlu_pro"), "official")
    with gzip.open(shared_data / f"model_outputs/mmlu_pro/{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    pairs = [(Example(str(r["question_id"]), "", r["answer"]), Completion(r["output"])) for r in rows]
    verdicts = verify(reg.verifier_of(reg.benchmark("mmlu_pro"), protocol), protocol, pairs)
    assert sum(v.correct for v in verdicts) == correct
    assert sum(v.status is Status.UNPARSED for v in verdicts) == unparsed
    assert sum(v.answer == r["published_pred"] for v, r in zip(verdicts, rows, strict=True)) == same


def test_a_capital_letter_behind_a_letter_is_another_answer() -> None:
    options = ["red", "a", "A"]
    assert read_choice("\\boxed{B} A", options, tagged=False)[0] is None
    assert read_choice("\\boxed{B} a", options, tagged=False)[0] == "B"
    assert read_choice("C. A", options)[0] == "C"
    assert read_choice("The answer is (A) F.", ["F", "red"])[0] == "A"
