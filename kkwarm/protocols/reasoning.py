"""Reasoning of chat models: its delimiters in each model family, and its separation from the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kkwarm.errors import KkwarmError, shorten
from kkwarm.protocols.readers import AutoReader, reads_tags, strip_end_tokens
from kkwarm.types import Completion, Protocol

__all__ = ["FAMILIES", "ReasoningSplitter", "ThinkTags", "detect_think_tags", "parse_think_tags"]


@dataclass(frozen=True, slots=True)
class ThinkTags:
    """The delimiters of a model's reasoning.

    :param wrappers: tokens around the answer, which do not belong to it.
    :param before_close: what a model writes before `close`, where that begins another message.
    """

    open: str
    close: str
    wrappers: tuple[str, ...] = ()
    before_close: str = ""

    def is_open(self, prompt: str) -> bool:
        """Whether the prompt opens the reasoning, so that a completion begins inside it."""
        return prompt.rstrip().endswith(self.open)

    def split(self, text: str, *, opened: bool = False) -> tuple[str, str]:
        """The reasoning and the answer of a completion. The answer is empty where reasoning is not closed.

        A closing tag without an opening one closes the reasoning too: some templates open it in the prompt.

        :param opened: the prompt has opened the reasoning.
        """
        first_open, first_close = text.find(self.open), text.find(self.close)
        inside = opened or (first_close >= 0 and not 0 <= first_open < first_close)
        if inside and text.lstrip().startswith(self.open):  # repeated by the model
            text = text.lstrip()[len(self.open) :]
        reasoning: list[str] = []
        answer: list[str] = []
        rest = text
        while True:
            part, tag, rest = rest.partition(self.close if inside else self.open)
            (reasoning if inside else answer).append(part)
            if not tag:
                break
            inside = not inside
        thought = "\n".join(self._clean(part) for part in reasoning).strip()
        return thought, "" if inside else self._unwrap("".join(answer))

    def _clean(self, reasoning: str) -> str:
        # gpt-oss ends the message of the analysis, and begins another one, before the final channel.
        text = strip_end_tokens(reasoning.strip().removesuffix("<|start|>assistant"))
        return text.strip()

    def _unwrap(self, answer: str) -> str:
        if not any(w in answer for w in self.wrappers):
            return answer
        text = strip_end_tokens(answer).strip()
        for wrapper in self.wrappers:
            text = text.removeprefix(wrapper).removesuffix(wrapper).strip()
        return text


THINK = ThinkTags("<think>", "</think>")
# From the chat templates and tokenizers of the named models.
FAMILIES = (
    THINK,  # DeepSeek-R1, Qwen3, QwQ, GLM-4.5, SmolLM3, Nemotron, MiniMax, Kimi K2 Thinking
    ThinkTags("[THINK]", "[/THINK]"),  # Magistral
    ThinkTags(
        "<|channel|>analysis<|message|>", "<|channel|>final<|message|>", before_close="<|end|><|start|>assistant"
    ),  # gpt-oss
    ThinkTags(
        "<|begin_of_thought|>", "<|end_of_thought|>", ("<|begin_of_solution|>", "<|end_of_solution|>")
    ),  # OpenThinker, Sky-T1
    ThinkTags(
        "<|START_THINKING|>", "<|END_THINKING|>", ("<|START_RESPONSE|>", "<|END_RESPONSE|>")
    ),  # Command A Reasoning
    ThinkTags("<seed:think>", "</seed:think>"),  # Seed-OSS
    ThinkTags("◁think▷", "◁/think▷"),  # Kimi-VL Thinking
    ThinkTags("<|channel>thought", "<channel|>"),  # Gemma 4
    ThinkTags("<thought>", "</thought>"),  # EXAONE Deep
    ThinkTags("<reasoning>", "</reasoning>"),
)


def detect_think_tags(tokenizer: Any) -> ThinkTags | None:
    """The delimiters that a tokenizer's chat template contains, or that are among its added tokens; None: neither."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    for tags in FAMILIES:
        if tags.open in template or tags.close in template:
            return tags
    added: Mapping[str, int] = getattr(tokenizer, "get_added_vocab", dict)()
    return next((tags for tags in FAMILIES if tags.open in added and tags.close in added), None)


def parse_think_tags(option: str) -> ThinkTags | None:
    """The delimiters that ``--think-tags`` gives: ``OPEN,CLOSE``; None for ``none``.

    :raises KkwarmError: the option has another form.
    """
    if option.strip() == "none":
        return None
    opening, comma, closing = (part.strip() for part in option.partition(","))
    if not comma or not opening or not closing or "," in closing or opening == closing:
        raise KkwarmError(
            f"--think-tags {shorten(option)}: not OPEN,CLOSE", hint="for example '<think>,</think>', or none"
        )
    known = (tags for tags in FAMILIES if (tags.open, tags.close) == (opening, closing))
    return next(known, ThinkTags(opening, closing))


@dataclass(frozen=True, slots=True)
class ReasoningSplitter:
    """Separates the reasoning of completions from their answers, once, before they are verified and stored.

    :param tags: the model's delimiters; None: it has none.
    :param tokenizer: the model's; None: a server has it, and delimiters are recognized in each completion.
    :param has_own_tags: the protocol reads the reasoning by itself, so it stays in the text.
    :param detect: the families whose delimiters are recognized in a completion where `tags` is None.
    """

    tags: ThinkTags | None = None
    tokenizer: Any = None
    has_own_tags: bool = False
    detect: tuple[ThinkTags, ...] = ()

    @classmethod
    def for_saved_outputs(cls, protocol: Protocol) -> ReasoningSplitter:
        """For completions of an unknown model. The protocol ``auto`` reads ``<think>`` itself."""
        is_auto = isinstance(protocol.reader, AutoReader)
        return cls(has_own_tags=reads_tags(protocol), detect=FAMILIES[1:] if is_auto else FAMILIES)

    @property
    def active(self) -> bool:
        """Whether completions may change."""
        return self.tags is not None and not self.has_own_tags

    def __call__(self, completion: Completion, prompt: str) -> Completion:
        """The completion with its reasoning in a field of its own, and tokens counted.

        :param prompt: the text that the completion continues, without a forced beginning of the completion.
        """
        if self.has_own_tags:
            return _join_reasoning(completion)
        if completion.reasoning:  # the server has separated it
            return completion
        tags = self.tags or _recognize(completion.text, self.detect)
        if tags is None:
            return completion
        reasoning, answer = tags.split(completion.text, opened=tags.is_open(prompt))
        tokens = self._count(completion, tags, reasoning)
        return replace(completion, text=answer, reasoning=reasoning, reasoning_tokens=tokens)

    def _count(self, completion: Completion, tags: ThinkTags, reasoning: str) -> int | None:
        """The number of tokens of the reasoning, with its closing tag where that is one token."""
        if not reasoning:
            return 0
        if self.tokenizer is None:
            return None
        ids: Sequence[int] = completion.token_ids or ()
        close = self.tokenizer.convert_tokens_to_ids(tags.close)
        if close is not None and close in ids:
            return len(ids) - list(reversed(ids)).index(close)
        count = len(self.tokenizer(reasoning, add_special_tokens=False)["input_ids"])
        return count if completion.n_tokens is None else min(count, completion.n_tokens)


def _recognize(text: object, families: Sequence[ThinkTags]) -> ThinkTags | None:
    """The delimiters that a completion begins with, or closes. Saved outputs may hold values that are no text."""
    if not isinstance(text, str):
        return None
    start = text.lstrip()
    return next((tags for tags in families if start.startswith(tags.open) or tags.close in text), None)


def _join_reasoning(completion: Completion) -> Completion:
    """The completion as the model wrote it, for protocols that read the tags: a server has separated the reasoning."""
    if not completion.reasoning:
        return completion
    closing = THINK.close if completion.text.strip() else ""
    text = f"{completion.reasoning}{closing}{completion.text}"
    return replace(completion, text=text, reasoning=None, reasoning_tokens=None)
