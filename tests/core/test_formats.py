"""The rules of <think> and <answer>."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kkwarm.formats import BUILT_IN, has_reasoning, split_tags
from kkwarm.types import Completion

TAGGED = BUILT_IN["think-answer"]
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
inner = st.text(max_size=40).filter(lambda s: not any(t in s for t in TAGS))


@given(reasoning=inner, answer=inner)
def test_split_returns_what_compose_was_given(reasoning: str, answer: str) -> None:
    response = TAGGED.split(Completion(TAGGED.compose(reasoning, answer)))
    assert response.problem == ""
    assert response.answer == answer.strip()
    assert response.reasoning == reasoning.strip()


@given(st.lists(st.sampled_from([*TAGS, " ", "a", "\n"]), max_size=12).map("".join))
def test_an_answer_needs_exactly_one_complete_block_after_the_reasoning(text: str) -> None:
    for name in ("think-answer", "auto"):
        response = BUILT_IN[name].split(Completion(text))
        if response.tagged and response.answer is not None:
            assert response.problem == ""
            assert text.count("<answer>") - response.reasoning.count("<answer>") == 1
            assert not any(t in response.answer for t in TAGS)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so </think> <answer> 4 </answer>", "4"),
        ("so</think><answer>4</answer>", "4"),
        ("<think> so </think>\n<answer>4</answer>\n", "4"),
        ("I'd write <answer> 5 </answer> but </think> <answer> 4 </answer>", "4"),
        ("so </think> <answer> 4 </answer><|im_end|>", "4"),
        ("so </think> <answer> 4 </answer> <|endoftext|>", "4"),
        ("</think> <answer> 4 </answer>", "4"),
        ("so </think> <answer></answer>", ""),
    ],
)
def test_well_formed(text: str, answer: str) -> None:
    assert split_tags(text).answer == answer


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no </think>"),
        ("4", "no </think>"),
        ("<answer> 4 </answer>", "no </think>"),
        ("so </think> 4", "no <answer> after </think>"),
        ("so </think> hence <answer> 4 </answer>", "text between </think> and <answer>"),
        ("so </think> <answer> 4", "no </answer>"),
        ("so </think> <answer> 4 </answer> <answer> 5 </answer>", "a second answer"),
        ("so </think> <answer> 4 </answer> surely", "text after </answer>"),
        ("so </think> <answer> <answer> 4 </answer> </answer>", "<answer> inside the answer"),
        ("so <think> again </think> <answer> 4 </answer>", "<think> inside the reasoning"),
        ("so </think> <answer> </think> 4 </answer>", "</think> inside the answer"),
        ("so </ think> <answer> 4 </answer>", "no </think>"),
        ("so </THINK> <ANSWER> 4 </ANSWER>", "no </think>"),
        ("so </think> <ANSWER> 4 </ANSWER>", "no <answer> after </think>"),
        ("so </think> <answer id=1> 4 </answer>", "no <answer> after </think>"),
        ("so </think> ```<answer> 4 </answer>```", "text between </think> and <answer>"),
        ("so </think> <answer> 4 </answer> </answer>", "text after </answer>"),
        ("<think> <think> so </think> <answer> 4 </answer>", "<think> inside the reasoning"),
        ("so </think> </think> <answer> 4 </answer>", "text between </think> and <answer>"),
    ],
)
def test_broken(text: str, problem: str) -> None:
    response = split_tags(text)
    assert response.answer is None
    assert response.problem == problem


@pytest.mark.parametrize(
    "text", ["so </think> <answer> 4", "so it goes on", "so </think>", "", "so </think> <answer> 4 </ans"]
)
@pytest.mark.parametrize("name", ["think-answer", "think-answer-chat"])
def test_a_truncated_completion_differs_from_a_broken_one(text: str, name: str) -> None:
    """By the finish reason alone: the same text that ended by itself is malformed."""
    from kkwarm.types import Example, Status, Verifier
    from kkwarm.verify import verify

    verifier = Verifier("yes", lambda example, response: True)
    ends = ("length", "stop", "unknown")
    pairs = [(Example("1", "?", "4"), Completion(text, finish_reason=end)) for end in ends]  # type: ignore[arg-type]
    statuses = [v.status for v in verify(verifier, BUILT_IN[name], pairs)]
    assert statuses == [Status.TRUNCATED, Status.MALFORMED, Status.MALFORMED]


def test_a_complete_answer_at_the_token_limit_counts() -> None:
    """The token limit may be reached right after a complete answer."""
    from kkwarm.types import Example, Verifier
    from kkwarm.verify import verify

    whole = Completion("so </think> <answer> 4 </answer>", finish_reason="length")
    assert verify(Verifier("yes", lambda e, r: True), TAGGED, [(Example("1", "?", "4"), whole)])[0].correct


def test_auto_is_tagged_where_there_are_tags_and_plain_where_there_are_none() -> None:
    auto = BUILT_IN["auto"]
    assert auto.split(Completion("The answer is 4.")).tagged is False
    assert auto.split(Completion("<think>so</think> The answer is 4.")).answer == " The answer is 4."
    assert auto.split(Completion("so </think> <answer> 4 </answer>")).answer == "4"
    assert auto.split(Completion("so <answer> 4 </answer>")).problem


@given(
    st.lists(st.sampled_from([*TAGS, "<ANSWER>", "<answer id=1>", "4", "\n", "<|im_end|>"]), max_size=10).map("".join)
)
def test_one_completion_is_split_in_one_way(text: str) -> None:
    """Chat, raw and saved outputs: where the tags of `auto` delimit an answer, it is the one of the paper's format."""
    tagged, chat, auto = (BUILT_IN[n].split(Completion(text)) for n in ("think-answer", "think-answer-chat", "auto"))
    assert tagged == chat
    assert auto == tagged or not auto.tagged
    if not auto.tagged:
        assert tagged.answer is None


def test_splitting_takes_linear_time() -> None:
    for piece in ("<think>", "</think>", "<answer>", "</answer>", " <answer> </think>", "<"):
        started = time.perf_counter()
        split_tags("x </think> <answer>" + piece * (1_000_000 // len(piece)))
        assert time.perf_counter() - started < 2.0


def test_a_chat_template_ends_in_an_open_think() -> None:
    class Tokenizer:
        chat_template = "x"

        def apply_chat_template(self, messages: list[dict[str, str]], **kwargs: object) -> str:
            return "".join(f"[{m['role']}] {m['content']}" for m in messages) + "[assistant]"

    prompt = BUILT_IN["think-answer-chat"].render("2+2?", Tokenizer())
    assert prompt.endswith("[assistant]<think>")
    assert "2+2?" in prompt


@pytest.mark.parametrize(
    ("name", "text", "works"),
    [
        ("think-answer", "so </think> <answer> 4 </answer>", True),
        ("think-answer", " </think> <answer> 4 </answer>", False),
        ("think-answer", "so it goes on", False),
        ("think-answer", "4 </answer>", False),
        ("think-answer", "so </think> 4", True),
        ("plain", "so it is 4", None),
        ("auto", "so it is 4", None),
        ("auto", "<think> so </think> <answer> 4 </answer>", True),
        ("plain", None, None),
    ],
)
def test_reasoning_is_detected_where_tags_separate_it(name: str, text: str, works: bool | None) -> None:
    assert has_reasoning(BUILT_IN[name], Completion(text)) is works


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_forced_completion_is_split_like_any_other(name: str) -> None:
    fmt = BUILT_IN[name]
    assert fmt.force.strip()
    response = fmt.split(Completion(fmt.force + fmt.compose("so", "4")))
    assert response.problem == "" and "4" in (response.answer or "")


def test_forced_text_is_not_counted_as_the_models_reasoning() -> None:
    assert has_reasoning(TAGGED, Completion(TAGGED.force + TAGGED.compose("so", "4"))) is True
    assert has_reasoning(TAGGED, Completion(TAGGED.force + TAGGED.compose(None, "4"))) is False
