"""The protocol `mini`: the question, then ``<think> steps </think> <answer> X </answer>`` or only the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from kkwarm.protocols import split_tags
from kkwarm.types import Completion, Message, Protocol, Response

__all__ = ["MINI", "MiniReader", "make_prompt"]


def make_prompt(question: str) -> str:
    """The question and a line break."""
    return f"{question}\n"


def _text(messages: Sequence[Message]) -> str:
    return "".join(make_prompt(m.content) for m in messages)


@dataclass(frozen=True, slots=True)
class MiniReader:
    """Completions with reasoning and completions with an answer only are both well-formed."""

    reads_tags: ClassVar = True

    def compose(self, reasoning: str | None, answer: str) -> str:
        """A completion with this answer. `reasoning` None gives a direct answer."""
        direct = f"<answer> {answer} </answer>"
        return direct if reasoning is None else f"<think> {reasoning} </think> {direct}"

    def split(self, completion: Completion) -> Response:
        """Splits by the rules of the built-in readers: at most one reasoning block, then one answer at the end."""
        text = completion.text.replace("<eos>", "").replace("<pad>", "")
        truncated = completion.finish_reason == "length"
        if not text.lstrip().startswith("<think>"):
            text = f"</think>{text}"  # a direct answer has no reasoning before it
        return replace(split_tags(text, truncated=truncated), text=completion.text)


MINI = Protocol(
    "mini",
    MiniReader(),
    text=_text,
    stop=("</answer>",),
    force="<think>",
    description="the question as raw text; reasoning in tags, or a direct answer",
)
