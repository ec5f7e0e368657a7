"""Chat templates and reasoning delimiters of model families: prompts, separation of the reasoning, verdicts."""

from typing import Any

import pytest

from kkwarm.backends.text import decode, token_ids
from kkwarm.errors import KkwarmError
from kkwarm.protocols import (
    PAPER,
    PLAIN,
    PromptOptions,
    PromptRenderer,
    ReasoningSplitter,
    detect_think_tags,
    has_reasoning,
    make_renderer,
    parse_think_tags,
    strip_end_tokens,
)
from kkwarm.protocols.built_in import AUTO
from kkwarm.protocols.reasoning import FAMILIES
from kkwarm.scoring.score import Row, score_rows
from kkwarm.train.rollout import completion_from_ids
from kkwarm.types import Benchmark, Completion, Example, Message, Response, Status, Verdict, Verifier
from kkwarm.verify import verify

QUESTION = Example("1", "What is 2+2?", "4")
TURNS = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
# The beginning of the model's turn, as in the chat templates of these models.
QWEN3 = (
    TURNS
    + "{% if add_generation_prompt %}<|assistant|>\n{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
DEEPSEEK_R1 = "{{ bos_token }}" + TURNS + "{% if add_generation_prompt %}{{ '<|assistant|><think>\\n' }}{% endif %}"
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + TURNS
)
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m['role'] != 'system' %}<|{{ m['role'] }}|>{{ m['content'] }}{% endif %}{% endfor %}"
)
GPT_OSS = TURNS + "{# <|channel|>analysis<|message|> #}<|start|>assistant"


def tokenizer(template: str | None, special: tuple[str, ...] = ()) -> Any:
    """A byte-level tokenizer that has <s> at the beginning of a text, as Llama's has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {char: i for i, char in enumerate(["<s>", "</s>", *sorted(alphabet)])}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    inner.add_special_tokens(["<s>", "</s>", *special])
    inner.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    made.chat_template = template
    return made


def renderer(template: str | None, protocol: Any = PLAIN, **options: Any) -> PromptRenderer:
    return make_renderer(protocol, tokenizer(template), PromptOptions(**options))


# -- templates ---------------------------------------------------------------------------------------------------------


def test_a_template_that_opens_the_reasoning_is_not_doubled() -> None:
    prompt = renderer(DEEPSEEK_R1, PAPER, chat="on")(QUESTION)
    assert prompt.endswith("<|assistant|><think>\n") and prompt.count("<|assistant|>") == 1
    assert renderer(QWEN3, PAPER, chat="on")(QUESTION).endswith("<|assistant|>\n<think>")


def test_arguments_reach_the_template() -> None:
    off = renderer(QWEN3, template_args={"enable_thinking": False})
    assert off(QUESTION).endswith("<|assistant|>\n<think>\n\n</think>\n\n") and off.notes == ()
    assert renderer(QWEN3)(QUESTION).endswith("<|assistant|>\n")
    assert off.settings()["chat_template_args"] == {"enable_thinking": False}


def test_arguments_that_change_nothing_are_reported() -> None:
    assert renderer(QWEN3, template_args={"enable_thinkin": False}).notes == (
        "the chat template does not use enable_thinkin",
    )
    text = renderer(QWEN3, PAPER, template_args={"enable_thinking": False})
    assert "no effect" in text.notes[0] and "chat_template_args" not in text.settings()


@pytest.mark.parametrize(("template", "does"), [(GEMMA, "rejects"), (DROPS_SYSTEM, "drops")])
def test_a_system_prompt_that_the_template_lacks_begins_the_users_turn(template: str, does: str) -> None:
    render = renderer(template, system="Be brief.", shots=0)
    assert "<|user|>Be brief.\n\nWhat is 2+2?" in render(QUESTION)
    assert render.notes == (f"the chat template {does} a system prompt, so it is put before the question",)
    assert render.messages(QUESTION) == [Message("user", "Be brief.\n\nWhat is 2+2?")]
    assert renderer(template).notes == ()


def test_a_template_that_fails_is_one_clear_line() -> None:
    with pytest.raises(KkwarmError, match="its chat template fails: 'no tools'") as caught:
        renderer("{{ raise_exception('no tools') }}")(QUESTION)
    assert caught.value.hint == "use --chat off"
    with pytest.raises(KkwarmError, match="its chat template fails"):
        renderer("{% for m in messages %}", system="Be brief.")


@pytest.mark.parametrize("template", ["{{ bos_token }}" + TURNS, "\n  {{ bos_token }}" + TURNS, TURNS])
def test_the_first_token_is_not_doubled(template: str) -> None:
    made = tokenizer(template)
    (ids,) = token_ids(made, [make_renderer(PLAIN, made)(QUESTION)])
    assert ids.count(made.bos_token_id) == 1


# -- delimiters --------------------------------------------------------------------------------------------------------

WRITTEN = {
    "<think>": "<think>\nIs it 5? No.\n</think>\n\nThe answer is 4.",
    "[THINK]": "[THINK]Is it 5? No.[/THINK]The answer is 4.",
    "<|channel|>analysis<|message|>": "<|channel|>analysis<|message|>Is it 5? No.<|end|><|start|>assistant"
    "<|channel|>final<|message|>The answer is 4.<|return|>",
    "<|begin_of_thought|>": "<|begin_of_thought|>\n\nIs it 5? No.\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n"
    "The answer is 4.\n\n<|end_of_solution|>",
    "<|START_THINKING|>": "<|START_THINKING|>Is it 5? No.<|END_THINKING|><|START_RESPONSE|>"
    "The answer is 4.<|END_RESPONSE|>",
    "<seed:think>": "<seed:think>Is it 5? No.</seed:think>The answer is 4.<seed:eos>",
    "◁think▷": "◁think▷Is it 5? No.◁/think▷The answer is 4.<|im_end|>",
    "<|channel>thought": "<|channel>thought\nIs it 5? No.<channel|>The answer is 4.<turn|>",
    "<thought>": "<thought>\nIs it 5? No.\n</thought>\n\nThe answer is 4.[|endofturn|]",
    "<reasoning>": "<reasoning>Is it 5? No.</reasoning>The answer is 4.",
}


def check(example: Example, response: Response) -> Verdict:
    text = response.answer or ""
    assert "Is it 5" not in text, "the reasoning was read as the answer"
    return Verdict(Status.CORRECT if "4" in text else Status.UNPARSED)


def judge(completion: Completion, protocol: Any = PLAIN) -> Verdict:
    return verify(Verifier("sum", check), protocol, [(QUESTION, completion)])[0]


@pytest.mark.parametrize("tags", FAMILIES, ids=lambda t: t.open)
def test_reasoning_is_separated_and_counted(tags: Any) -> None:
    made = tokenizer(TURNS, (tags.open, tags.close))
    assert detect_think_tags(made) is tags
    assert detect_think_tags(tokenizer(TURNS + "{# " + tags.open + " #}")) is tags
    split = ReasoningSplitter(tags, made)
    text = WRITTEN[tags.open]
    ids = tuple(made(text, add_special_tokens=False)["input_ids"])
    done = split(Completion(text, len(ids), "stop", ids), "a prompt")
    assert done.reasoning == "Is it 5? No." and strip_end_tokens(done.text).strip() == "The answer is 4."
    assert done.reasoning_tokens == ids.index(made.convert_tokens_to_ids(tags.close)) + 1 and done.n_tokens == len(ids)
    assert judge(done).status is Status.CORRECT
    assert PLAIN.split(done).reasoning == "Is it 5? No." and has_reasoning(PLAIN, done) is True


@pytest.mark.parametrize("tags", FAMILIES, ids=lambda t: t.open)
def test_delimiters_that_are_special_tokens_survive_in_bench_and_in_training(tags: Any) -> None:
    made = tokenizer(TURNS, (tags.open, tags.close))
    text = WRITTEN[tags.open]
    ids = made(f"{text}</s>", add_special_tokens=False)["input_ids"]
    assert decode(made, ids[:-1]) == text
    end = frozenset([made.eos_token_id])
    rollout = completion_from_ids(ids, made, stop=("no",), end_ids=end, max_tokens=999)
    done = make_renderer(PLAIN, made).split_reasoning(rollout, "prompt")
    assert done.reasoning == "Is it 5? No." and done.token_ids == tuple(ids) and judge(done).correct


@pytest.mark.parametrize("tags", FAMILIES, ids=lambda t: t.open)
@pytest.mark.parametrize(("finish", "status"), [("length", Status.TRUNCATED), ("stop", Status.MALFORMED)])
def test_reasoning_that_is_never_closed_gives_no_answer(tags: Any, finish: Any, status: Status) -> None:
    split = ReasoningSplitter(tags, tokenizer(TURNS))
    for text, prompt in ((f"{tags.open}Is it 5? 4", "prompt"), ("Is it 5? 4", f"prompt{tags.open}\n")):
        done = split(Completion(text, 9, finish), prompt)
        assert (done.text, done.reasoning) == ("", "Is it 5? 4")
        assert judge(done).status is status


def test_a_model_that_gives_no_reasoning_is_read_whole() -> None:
    split = ReasoningSplitter(FAMILIES[0], tokenizer(TURNS))
    done = split(Completion("The answer is 4.", 5, "stop"), "prompt <think>\n\n</think>\n\n")
    assert (done.text, done.reasoning, done.reasoning_tokens) == ("The answer is 4.", "", 0)
    assert judge(done).status is Status.CORRECT and has_reasoning(PLAIN, done) is False


def test_a_second_reasoning_is_no_answer() -> None:
    split = ReasoningSplitter(FAMILIES[0], tokenizer(TURNS))
    done = split(Completion("<think>a</think>It is 4. <think>Is it 5?</think> Yes.", 9, "stop"), "prompt")
    assert (done.text, done.reasoning) == ("It is 4.  Yes.", "a\nIs it 5?")
    assert split(Completion("<think>a</think>It is 4. <think>Is it 5?", 9, "stop"), "prompt").text == ""


def test_protocols_with_tags_of_their_own_keep_the_text() -> None:
    render = renderer(QWEN3, PAPER, chat="on")
    text = "2 and 2 </think> <answer> 4 </answer>"
    assert render.split_reasoning(Completion(text, 9, "stop"), "") == Completion(text, 9, "stop")
    assert "think_tags" not in render.settings() and renderer(QWEN3).settings()["think_tags"] == "<think>,</think>"
    served = Completion("<answer> 4 </answer>", 9, "stop", reasoning="2 and 2 ")  # the server has taken the tags out
    joined = render.split_reasoning(served, "")
    assert joined.text == "2 and 2 </think><answer> 4 </answer>" and judge(joined, PAPER).status is Status.CORRECT


def test_what_a_server_separated_is_kept() -> None:
    split = make_renderer(PLAIN).split_reasoning
    served = Completion("It is 4.", 9, "stop", reasoning="Is it 5?", reasoning_tokens=5)
    assert split(served, "") == served
    assert split(Completion("[THINK]Is it 5?[/THINK]It is 4."), "").text == "It is 4."
    assert split(Completion("It is 4."), "") == Completion("It is 4.")


@pytest.mark.parametrize("tags", FAMILIES, ids=lambda t: t.open)
@pytest.mark.parametrize("protocol", [PLAIN, AUTO], ids=lambda p: p.name)
def test_saved_outputs_of_reasoning_models(tags: Any, protocol: Any) -> None:
    def status(text: Any) -> Status:
        saved = Row(1, "1", Completion(text, finish_reason="stop"))
        verifier = Verifier("sum", check)
        benchmark = Benchmark("sums", lambda: [QUESTION], lambda: [QUESTION], "sum")
        return score_rows([saved], [QUESTION], benchmark, verifier, protocol).samples[0].verdict.status

    assert status(WRITTEN[tags.open]) is Status.CORRECT
    assert status(f"{tags.open}Is it 5? 4") is Status.MALFORMED
    assert status("The answer is 4.") is Status.CORRECT and status(None) is Status.UNPARSED


def test_delimiters_can_be_given() -> None:
    tags = parse_think_tags("<a>, </a>")
    assert tags is not None and (tags.open, tags.close) == ("<a>", "</a>")
    assert parse_think_tags("<|begin_of_thought|>,<|end_of_thought|>") in FAMILIES and parse_think_tags("none") is None
    assert renderer(QWEN3, think_tags="none").split_reasoning.tags is None
    for bad in ("<a>", "<a>,", ",", "<a>,<a>", "<a>,</a>,<b>"):
        with pytest.raises(KkwarmError, match="not OPEN,CLOSE"):
            parse_think_tags(bad)


def test_a_tokenizer_that_loses_the_delimiters_is_reported() -> None:
    from transformers import PreTrainedTokenizerFast

    made = tokenizer(QWEN3)
    lowercase: Any = PreTrainedTokenizerFast(tokenizer_object=made.backend_tokenizer, bos_token="<s>", eos_token="</s>")
    assert make_renderer(PLAIN, made).lost_tags_warning() == ""
    from tokenizers import normalizers

    lowercase.backend_tokenizer.normalizer = normalizers.Lowercase()
    warning = make_renderer(PLAIN, lowercase, PromptOptions(think_tags="[THINK],[/THINK]")).lost_tags_warning()
    assert warning.startswith("the tokenizer loses '[THINK]', so reasoning cannot be recognized")


def test_training_writes_reasoning_in_the_models_delimiters() -> None:
    render = renderer(QWEN3)
    completion = render.compose(render(QUESTION), "2 and 2", "4")
    assert completion == "<think>\n2 and 2\n</think>\n\n4"
    done = render.split_reasoning(Completion(completion), render(QUESTION))
    assert (done.reasoning, done.text.strip()) == ("2 and 2", "4")
    opened = renderer(DEEPSEEK_R1)
    assert opened.compose(opened(QUESTION), "2 and 2", "4") == "2 and 2\n</think>\n\n4"
    assert renderer(QWEN3, PAPER).compose("", "2 and 2", "4") == PAPER.compose("2 and 2", "4")


@pytest.mark.parametrize(
    "token",
    [
        *(
            "<end_of_turn>",
            "<turn|>",
            "<|end|>",
            "<|eot|>",
            "<|eom|>",
            "<|eot_id|>",
            "<｜end▁of▁sentence｜>",
            "<|return|>",
        ),
        *("</s>", "<|END_OF_TURN_TOKEN|>", "<|END_RESPONSE|>", "<|user|>", "<|observation|>", "<|im_end|>", "[EOS]"),
        *("<|endoftext|>", "<|end_of_text|>", "<seed:eos>", "[|endofturn|]", "<|end_of_role|>"),
    ],
)
def test_end_tokens_of_all_families_are_removed(token: str) -> None:
    assert strip_end_tokens(f"The answer is 4.{token}\n{token}").strip() == "The answer is 4."
