"""Readers: they split completions into reasoning and answer.

This module alone implements the rules of the ``<think>`` and ``<answer>`` tags. Training, evaluation, rescoring and
distillation all split with it, so they cannot disagree about a completion. Splitting takes linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar

from kkwarm.types import Completion, Protocol, Response

__all__ = ["AutoReader", "StatedReader", "TagReader", "TextReader", "has_reasoning", "split_tags", "strip_end_tokens"]

_TAG = re.compile(r"</?(?:think|answer)>")
_CLOSING = 100  # characters that may follow the statement of an answer at the end of a text
# End-of-turn and padding tokens of model families, which remain in the text where a tool does not skip special tokens.
END_TOKENS = (
    *("</s>", "<eos>", "<pad>", "[EOS]", "[PAD]", "<|endoftext|>", "<|end_of_text|>", "<|pad|>"),
    *("<|im_end|>", "<|eot_id|>", "<|eot|>", "<|eom_id|>", "<|eom|>", "<|EOT|>", "<|eos|>", "[EOT]"),
    *("<|finetune_right_pad_id|>", "<|finetune_right_pad|>"),  # Llama
    *("<end_of_turn>", "<turn|>"),  # Gemma
    *("<|end|>", "<|return|>", "<|call|>"),  # Phi, gpt-oss
    *("<｜end▁of▁sentence｜>", "<｜▁pad▁｜>", "<|end_of_sentence|>"),  # DeepSeek
    *("<|END_OF_TURN_TOKEN|>", "<|END_RESPONSE|>", "<PAD>"),  # Command
    *("<|user|>", "<|observation|>"),  # GLM ends a turn with the next speaker's token
    *("<|im_user|>", "[|endofturn|]", "<eoa>", "<seed:eos>", "[e~["),  # Kimi, EXAONE, InternLM, Seed, MiniMax
    *("<|assistant_end|>", "<|role_end|>", "<|end_of_role|>", "<|endofprompt|>"),
    *("<|fim_pad|>", "<|file_sep|>", "<|file_separator|>", "<|repo_name|>"),
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


def reads_tags(protocol: Protocol) -> bool:
    """Whether the protocol's reader needs the tags around the reasoning: see `kkwarm.types.Reader`."""
    return bool(getattr(protocol.reader, "reads_tags", False))


def has_reasoning(protocol: Protocol, completion: Completion) -> bool | None:
    """Whether the model reasoned before its answer; None where no tags separate the two. Forced text does not count."""
    if completion.reasoning is not None:
        return bool(completion.reasoning.strip().removeprefix(protocol.force.strip()).strip())
    text: object = completion.text  # scored files may hold null, or values of other types
    if not isinstance(text, str):
        return None
    try:
        response = protocol.split(completion)
    except Exception:  # such a sample has the verdict `error`, which names the protocol and the cause
        return None
    return bool(response.reasoning.strip().removeprefix(protocol.force.strip()).strip()) if response.tagged else None


def _truncated(completion: Completion) -> bool:
    return completion.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class TagReader:
    """Reasoning and answer in the paper's tags: the continuation of a prompt that ends in ``<think>``."""

    reads_tags: ClassVar = True

    def compose(self, reasoning: str | None, answer: str) -> str:
        return f"{'' if reasoning is None else f' {reasoning}'} </think> <answer> {answer} </answer>"

    def split(self, completion: Completion) -> Response:
        return split_tags(completion.text, truncated=_truncated(completion))


@dataclass(frozen=True, slots=True)
class TextReader:
    """No tags. The whole completion is the answer, and the verifier extracts what it needs.

    :param answer: how a composed completion states an answer, such as ``The answer is ({answer}).``.
    :param stop: the protocol's stop strings; one at the end of a completion is not part of the answer.
    """

    answer: str = "{answer}"
    stop: tuple[str, ...] = ()

    def compose(self, reasoning: str | None, answer: str) -> str:
        """The reasoning, then the answer's statement, unless the reasoning ends in that statement already."""
        one_line = answer if self.answer == "{answer}" else " ".join(answer.splitlines())
        stated = self.answer.replace("{answer}", one_line)
        if reasoning is None:
            return stated
        if self.answer != "{answer}" and stated.strip() in reasoning[-2 * len(stated) - _CLOSING :]:
            return reasoning
        return f"{reasoning}\n\n{stated}"

    def split(self, completion: Completion) -> Response:
        text = strip_end_tokens(completion.text)
        ending = max((s for s in self.stop if text.endswith(s)), key=len, default="")
        return Response(completion.text, "", text.removesuffix(ending), False, "", _truncated(completion))


@dataclass(frozen=True, slots=True)
class StatedReader:
    """Free text that states its answer in a fixed form, such as ``#### {answer}``; the last statement counts.

    What stands before it is the reasoning. The answer ends at the text behind ``{answer}``, or at the end of the line;
    a punctuation mark behind ``{answer}`` may be missing. A completion without a statement has no answer.

    :param form: the statement, with ``{answer}`` once.
    :param stop: the protocol's stop strings; one at the end of a completion is not part of the answer.
    """

    form: str
    stop: tuple[str, ...] = ()

    def compose(self, reasoning: str | None, answer: str) -> str:
        stated = self.form.replace("{answer}", " ".join(answer.splitlines()))
        return stated if reasoning is None else f"{reasoning}\n\n{stated}"

    def split(self, completion: Completion) -> Response:
        text = TextReader(stop=self.stop).split(completion).answer or ""
        before, _, after = self.form.partition("{answer}")
        start, (before, after) = -1, (before.strip(), after.strip())
        if before in text:
            start = text.rindex(before)
        reasoning = text[:start].strip() if start >= 0 else text.strip()
        answer = text[start + len(before) :].lstrip(" ").partition("\n")[0].rstrip() if start >= 0 else ""
        if after in (".", "!", ";", ","):
            answer = answer.removesuffix(after)
        elif after:
            answer = answer[: answer.rfind(after)] if after in answer else ""
        if not answer and _truncated(completion):
            return Response(completion.text, reasoning, None, True, "no answer is stated", True)
        return Response(completion.text, reasoning, answer.strip(), True, "", _truncated(completion))


@dataclass(frozen=True, slots=True)
class AutoReader:
    """For outputs of other tools: `TagReader` where a completion has tags, `TextReader` where it has none.

    Where ``</think>`` is there without answer tags, as reasoning models write it, the text after it is the answer.

    :param force: text at the beginning of a completion that is not the model's.
    """

    force: str = ""

    def compose(self, reasoning: str | None, answer: str) -> str:
        return f"<think> {reasoning or ''} </think> <answer> {answer} </answer>"

    def split(self, completion: Completion) -> Response:
        text = completion.text
        if completion.reasoning and _TAG.search(text):  # the answer tags that follow the reasoning
            text = f"{completion.reasoning}</think>{text}"
        if not _TAG.search(text):
            return TextReader().split(completion)
        body = text.removeprefix(self.force)
        if "<answer>" not in body and "</answer>" not in body and body.count("</think>") == 1:
            reasoning, _, answer = body.partition("</think>")
            reasoning = reasoning.replace("<think>", "", 1).strip()
            return Response(text, reasoning, strip_end_tokens(answer), False, "", _truncated(completion))
        return replace(split_tags(body, truncated=_truncated(completion)), text=text)
