"""Prompt formats: they render prompts and split completions into reasoning and answer.

This module alone implements the rules of the ``<think>`` and ``<answer>`` tags. Training, evaluation, rescoring and
distillation all split with it, so they cannot disagree about a completion. Splitting takes linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.types import Completion, Format, Response

__all__ = ["BUILT_IN", "AutoFormat", "PlainFormat", "ThinkAnswer", "has_reasoning", "split_tags", "strip_end_tokens"]

SYSTEM = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant "
    "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., "
    "<think> reasoning process here </think> <answer> answer here </answer>."
)
STEP_BY_STEP = "Let's think step by step."  # Kojima et al. 2022, arXiv 2205.11916
_TAG = re.compile(r"</?(?:think|answer)>")
# End-of-turn and padding tokens of model families, which remain in the text where a tool does not skip special tokens.
END_TOKENS = (
    *("</s>", "<eos>", "<pad>", "[EOS]", "<|endoftext|>", "<|end_of_text|>", "<|pad|>"),
    *("<|im_end|>", "<|eot_id|>", "<|eot|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<turn|>", "<|return|>"),
    *("<|END_OF_TURN_TOKEN|>", "<｜end▁of▁sentence｜>", "<|end_of_sentence|>", "<|assistant_end|>", "<|role_end|>"),
    *("<|fim_pad|>", "<|file_sep|>", "<|file_separator|>", "<|repo_name|>", "<|endofprompt|>"),
)


def strip_end_tokens(text: str) -> str:
    """The text without the end-of-turn and padding tokens at its end."""
    while (shorter := text.rstrip()).endswith(END_TOKENS):
        text = next(shorter.removesuffix(token) for token in END_TOKENS if shorter.endswith(token))
    return text


def split_tags(text: str, *, truncated: bool = False) -> Response:
    """Splits the completion of a prompt that ends in ``<think>``: ``reasoning </think> <answer> answer </answer>``.

    A leading ``<think>`` is skipped, because models repeat it. Tags inside the reasoning belong to it, except another
    ``<think>``. After ``</think>`` only one answer block may follow.
    """

    def broken(problem: str, reasoning: str = "") -> Response:
        return Response(text, reasoning, None, True, problem, truncated)

    body = strip_end_tokens(text).lstrip()
    if body.startswith("<think>"):
        body = body[len("<think>") :]
    reasoning, closed, rest = body.partition("</think>")
    reasoning = reasoning.strip()
    if not closed:  # a model that never closes its reasoning did not separate it from the answer
        return broken("no </think>")
    if "<think>" in reasoning:
        return broken("<think> inside the reasoning", reasoning)
    after = rest.lstrip()
    if not after.startswith("<answer>"):
        if "<answer>" in after:
            return broken("text between </think> and <answer>", reasoning)
        return broken("no <answer> after </think>", reasoning)
    answer, closed, tail = after[len("<answer>") :].partition("</answer>")
    if not closed:
        return broken("no </answer>", reasoning)
    if (tag := _TAG.search(answer)) is not None:
        return broken(f"{tag.group()} inside the answer", reasoning)
    if tail.strip():
        return broken("a second answer" if "<answer>" in tail else "text after </answer>", reasoning)
    return Response(text, reasoning, strip_end_tokens(answer).strip(), True, "", truncated)


def has_reasoning(fmt: Format, completion: Completion) -> bool | None:
    """Whether the model reasoned before its answer; None where no tags separate the two. Forced text does not count."""
    text: object = completion.text  # scored files may hold null, or values of other types
    if not isinstance(text, str):
        return None
    try:
        response = fmt.split(completion)
    except Exception:  # such a sample has the verdict `error`, which names the format and the cause
        return None
    return bool(response.reasoning.strip().removeprefix(fmt.force.strip()).strip()) if response.tagged else None


def _truncated(completion: Completion) -> bool:
    return completion.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class ThinkAnswer:
    """The paper's format. With `chat` the prompt follows the tokenizer's chat template; otherwise it is raw text."""

    name: str = "think-answer"
    chat: bool = False
    stop: tuple[str, ...] = ("</answer>",)
    force: str = f" {STEP_BY_STEP}"  # the prompt ends in an open <think>

    def render(self, question: str, tokenizer: Any = None) -> str:
        if not self.chat:
            return f"{SYSTEM}\nUser: {question}\nAssistant: <think>"
        if getattr(tokenizer, "chat_template", None) is None:
            raise KkwarmError("this checkpoint has no chat template", hint="use --format think-answer")
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        prompt = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        return prompt if prompt.rstrip().endswith("<think>") else prompt + "<think>"

    def compose(self, reasoning: str | None, answer: str) -> str:
        return f"{'' if reasoning is None else f' {reasoning}'} </think> <answer> {answer} </answer>"

    def split(self, completion: Completion) -> Response:
        return split_tags(completion.text, truncated=_truncated(completion))


@dataclass(frozen=True, slots=True)
class PlainFormat:
    """No tags. The whole completion is the answer, and the verifier extracts what it needs."""

    name: str = "plain"
    stop: tuple[str, ...] = ()
    chat: bool = False
    force: str = f"\n{STEP_BY_STEP}"

    def render(self, question: str, tokenizer: Any = None) -> str:
        return question

    def compose(self, reasoning: str | None, answer: str) -> str:
        return answer if reasoning is None else f"{reasoning}\n\n{answer}"

    def split(self, completion: Completion) -> Response:
        return Response(completion.text, "", strip_end_tokens(completion.text), False, "", _truncated(completion))


@dataclass(frozen=True, slots=True)
class AutoFormat:
    """For outputs saved by other tools: `think-answer` where a completion has tags, `plain` where it has none.

    Where ``</think>`` is there without answer tags, as reasoning models write it, the text after it is the answer.
    """

    name: str = "auto"
    stop: tuple[str, ...] = ()
    chat: bool = False
    force: str = f"\n{STEP_BY_STEP}"

    def render(self, question: str, tokenizer: Any = None) -> str:
        return question

    def compose(self, reasoning: str | None, answer: str) -> str:
        return f"<think> {reasoning or ''} </think> <answer> {answer} </answer>"

    def split(self, completion: Completion) -> Response:
        text = completion.text
        if not _TAG.search(text):
            return PlainFormat().split(completion)
        body = text.removeprefix(self.force)
        if "<answer>" not in body and "</answer>" not in body and body.count("</think>") == 1:
            reasoning, _, answer = body.partition("</think>")
            reasoning = reasoning.replace("<think>", "", 1).strip()
            return Response(text, reasoning, strip_end_tokens(answer), False, "", _truncated(completion))
        return replace(split_tags(body, truncated=_truncated(completion)), text=text)


BUILT_IN: dict[str, Format] = {
    f.name: f for f in (ThinkAnswer(), ThinkAnswer("think-answer-chat", chat=True), PlainFormat(), AutoFormat())
}
