"""Readers (the rules of <think> and <answer>), prompts and the choice of protocols."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kkwarm.cli import cli
from kkwarm.errors import KkwarmError
from kkwarm.plugins import hookimpl, load
from kkwarm.protocols import (
    BUILT_IN,
    PAPER,
    PLAIN,
    PromptOptions,
    StatedReader,
    TextReader,
    has_reasoning,
    make_renderer,
    split_tags,
)
from kkwarm.protocols.prompts import requested_protocol
from kkwarm.types import Completion, Domain, Example, Protocol, Task

TAGGED = PAPER
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
    for name in ("paper", "auto"):
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
def test_a_truncated_completion_differs_from_a_broken_one(text: str) -> None:
    """By the finish reason alone: the same text that ended by itself is malformed."""
    from kkwarm.types import Status, Verifier
    from kkwarm.verify import verify

    verifier = Verifier("yes", lambda example, response: True)
    ends = ("length", "stop", "unknown")
    pairs = [(Example("1", "?", "4"), Completion(text, finish_reason=end)) for end in ends]  # type: ignore[arg-type]
    statuses = [v.status for v in verify(verifier, PAPER, pairs)]
    assert statuses == [Status.TRUNCATED, Status.MALFORMED, Status.MALFORMED]


def test_a_complete_answer_at_the_token_limit_counts() -> None:
    """The token limit may be reached right after a complete answer."""
    from kkwarm.types import Verifier
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
    """Where the tags of `auto` delimit an answer, it is the one of the paper's protocol."""
    tagged, auto = (BUILT_IN[n].split(Completion(text)) for n in ("paper", "auto"))
    assert auto == tagged or not auto.tagged
    if not auto.tagged:
        assert tagged.answer is None


def test_splitting_takes_linear_time() -> None:
    for piece in ("<think>", "</think>", "<answer>", "</answer>", " <answer> </think>", "<"):
        started = time.perf_counter()
        split_tags("x </think> <answer>" + piece * (1_000_000 // len(piece)))
        assert time.perf_counter() - started < 2.0


class Tokenizer:
    chat_template = "x"

    def apply_chat_template(self, messages: list[dict[str, str]], **kwargs: object) -> str:
        return "".join(f"[{m['role']}] {m['content']}" for m in messages) + "[assistant]"


QUESTION = Example("1", "2+2?", "4")


def test_a_chat_prompt_ends_in_an_open_think() -> None:
    prompt = make_renderer(PAPER, Tokenizer(), PromptOptions("on"))(QUESTION)
    assert prompt.endswith("[user] 2+2?[assistant]<think>")
    assert prompt.startswith("[system] A conversation")


def test_auto_follows_the_protocol_and_the_checkpoint() -> None:
    assert make_renderer(PAPER, Tokenizer())(QUESTION).startswith("A conversation")
    assert make_renderer(PLAIN, Tokenizer())(QUESTION) == "[user] 2+2?[assistant]"
    without = make_renderer(PLAIN, SimpleNamespace(chat_template=None))
    assert without(QUESTION) == "2+2?" and "no chat template" in without.notes[0]
    with pytest.raises(KkwarmError, match="no chat template"):
        make_renderer(PLAIN, SimpleNamespace(chat_template=None), PromptOptions("on"))


def task(n: int) -> Task:
    return Task("sums", lambda: [Example(f"{i}", f"{i}+1?", i + 1, "train") for i in range(n)], "sums")


def test_shots_are_training_examples_with_their_answers() -> None:
    options = PromptOptions(shots=2)
    prompt = make_renderer(PLAIN, None, options, task(9))(QUESTION)
    question, answer, *rest = prompt.split("\n\n")
    assert rest[2:] == ["2+2?", ""]  # the answer follows the blank line
    assert int(question.split("+")[0]) + 1 == int(answer)
    chat = make_renderer(PAPER, Tokenizer(), PromptOptions("on", shots=1), task(9))(QUESTION)
    assert "[assistant] <think> </think> <answer>" in chat
    assert make_renderer(PLAIN, None, PromptOptions(shots=2, seed=1), task(9))(QUESTION) != prompt


def test_a_blank_line_ends_a_text_after_shots() -> None:
    stop = [make_renderer(PLAIN, None, PromptOptions(shots=n), task(9)).protocol.stop for n in (0, 1)]
    assert stop == [(), ("\n\n",)]
    assert make_renderer(PAPER, None, PromptOptions(shots=1), task(9)).protocol.stop == PAPER.stop
    assert make_renderer(PLAIN, Tokenizer(), PromptOptions(shots=1), task(9)).protocol.stop == ()


def test_a_question_is_not_among_its_own_shots() -> None:
    render = make_renderer(PLAIN, None, PromptOptions(shots=3), task(4))
    for example in task(4).load():
        assert render(example).count(example.question) == 1


def test_shots_need_training_examples() -> None:
    with pytest.raises(KkwarmError, match="3 training examples, too few for --shots 3"):
        make_renderer(PLAIN, None, PromptOptions(shots=3), task(3))
    with pytest.raises(KkwarmError, match="no training examples"):
        make_renderer(PLAIN, None, PromptOptions(shots=3))


def test_a_system_prompt_replaces_the_protocols() -> None:
    renderer = make_renderer(PAPER, None, PromptOptions(system="Be brief."))
    assert renderer(QUESTION) == "Be brief.\nUser: 2+2?\nAssistant: <think>"
    assert renderer.settings() == {"system": "Be brief."} and make_renderer(PAPER).settings() == {}


@pytest.mark.parametrize(
    ("option", "benchmark", "name"),
    [
        (None, "math", None),
        ("boxed", "math", "boxed"),
        ("boxed,kk=logic-rl", "kk:3", "logic-rl"),
        ("boxed,kk=logic-rl,kk:3=paper", "kk:3", "paper"),
        ("kk=logic-rl", "math", None),
    ],
)
def test_the_option_names_a_protocol_for_all_or_some(option: str | None, benchmark: str, name: str | None) -> None:
    assert requested_protocol(option, benchmark) == name


@pytest.mark.parametrize("option", ["", "math=", "=x", "a,b", "math=a,math=b", "a,"])
def test_an_option_that_names_nothing_or_too_much_is_refused(option: str) -> None:
    with pytest.raises(KkwarmError, match="--protocol"):
        requested_protocol(option, "math")


def test_official_selects_the_protocol_that_is_marked_so() -> None:
    own = Protocol("own", TextReader(), official=True)
    domain = Domain("d", lambda: [QUESTION], lambda e, r: True, protocols=[own])
    registry = load([("p", SimpleNamespace(kkwarm_domains=hookimpl(lambda: [domain])))])
    benchmark = registry.benchmark("d")
    assert registry.protocol(benchmark).name == "paper"
    assert registry.protocol(benchmark, "official").name == registry.protocol(benchmark, "d=own").name == "own"
    assert registry.protocol(benchmark, "none", fall_back=True).name == "paper"
    with pytest.raises(KkwarmError, match=r"unknown protocol of d 'pane' .did you mean plain"):
        registry.protocol(benchmark, "pane")


@pytest.mark.parametrize(
    ("name", "text", "works"),
    [
        ("paper", "so </think> <answer> 4 </answer>", True),
        ("paper", " </think> <answer> 4 </answer>", False),
        ("paper", "so it goes on", False),
        ("paper", "4 </answer>", False),
        ("paper", "so </think> 4", True),
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
    protocol = BUILT_IN[name]
    assert protocol.force.strip()
    response = protocol.split(Completion(protocol.force + protocol.compose("so", "4")))
    assert response.problem == "" and "4" in (response.answer or "")


def test_forced_text_is_not_counted_as_the_models_reasoning() -> None:
    assert has_reasoning(TAGGED, Completion(TAGGED.force + TAGGED.compose("so", "4"))) is True
    assert has_reasoning(TAGGED, Completion(TAGGED.force + TAGGED.compose(None, "4"))) is False


@given(
    answer=st.text(alphabet="ab3.$ {}", min_size=1, max_size=8).map(str.strip).filter(bool), end=st.sampled_from("?!")
)
def test_a_stated_answer_is_read_back(answer: str, end: str) -> None:
    reader = StatedReader("The answer: {answer}" + end)
    for reasoning in (None, "The answer: no?"):
        response = reader.split(Completion(reader.compose(reasoning, answer)))
        assert (response.answer, response.problem) == (answer, "")
    assert reader.split(Completion("nothing")).answer == ""
    assert reader.split(Completion("The answ", finish_reason="length")).problem


@pytest.mark.parametrize(
    "command",
    [
        "bench kkwarm_mini:BASE --on mini_math",
        "distill --domain mini_math --teacher kkwarm_mini:BASE -n 2 -o run",
        "rlvr kkwarm_mini:BASE --domain mini_math -o run",
        "warmup kkwarm_mini:BASE --traces traces.jsonl -o run",
        "score outputs.jsonl --benchmark mini_math",
        "try mini_math 5",
        "check mini_math",
        "domains mini_math",
    ],
)
def test_a_protocol_for_a_benchmark_that_is_not_used_is_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trace = {"domain": "mini_math", "id": "1", "question": "1 + 1 =", "reasoning": "", "answer": "2"}
    Path("traces.jsonl").write_text(json.dumps(trace))
    Path("outputs.jsonl").write_text(json.dumps({"id": "1", "completion": "2"}))
    result = CliRunner().invoke(cli, [*command.split(), "--protocol", "mini_mth=mini"])
    assert isinstance(result.exception, KkwarmError)
    assert result.exception.message == "unknown benchmark in --protocol 'mini_mth'"
    assert result.exception.hint == "did you mean mini_math?"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outputs.jsonl", "traces.jsonl"]


def test_token_limits_of_a_benchmark_that_is_not_evaluated_are_refused(tmp_path: Path) -> None:
    options = ["--domain", "mini_math", "--eval-on", "mini_code", "--eval-max-tokens", "mini_math=4"]
    result = CliRunner().invoke(cli, ["rlvr", "kkwarm_mini:BASE", *options, "-o", str(tmp_path / "run")])
    assert str(result.exception).startswith("unknown benchmark in --eval-max-tokens 'mini_math'")
