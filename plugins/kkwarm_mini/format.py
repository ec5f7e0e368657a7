"""The format `mini`: the question, then ``<think> steps </think> <answer> X </answer>`` or only the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kkwarm.formats import split_tags
from kkwarm.types import Completion, Response

__all__ = ["MINI", "MiniFormat"]


@dataclass(frozen=True, slots=True)
class MiniFormat:
    """Both kinds of completion are whole. `force`, appended to a prompt, makes the model work step by step."""

    name: str = "mini"
    stop: tuple[str, ...] = ("</answer>",)
    chat: bool = False
    force: str = "<think>"

    def render(self, question: str, tokenizer: Any = None) -> str:
        """The question and a line break; `tokenizer` is not needed."""
        return f"{question}\n"

    def compose(self, reasoning: str | None, answer: str) -> str:
        """The completion; `reasoning` None gives a direct answer."""
        direct = f"<answer> {answer} </answer>"
        return direct if reasoning is None else f"<think> {reasoning} </think> {direct}"

    def split(self, completion: Completion) -> Response:
        """By the rules of the built-in formats: one answer at the end, after at most one stretch of reasoning."""
        text = completion.text.replace("<eos>", "").replace("<pad>", "")
        truncated = completion.finish_reason == "length"
        if not text.lstrip().startswith("<think>"):
            text = f"</think>{text}"  # a direct answer: no reasoning stands before it
        return replace(split_tags(text, truncated=truncated), text=completion.text)


MINI = MiniFormat()
