"""The format `mini`: the question, then ``<think> steps </think> <answer> X </answer>`` or only the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kkwarm.formats import split_tags
from kkwarm.types import Completion, Response

__all__ = ["MINI", "MiniFormat"]


@dataclass(frozen=True, slots=True)
class MiniFormat:
    """Completions with reasoning and completions with an answer only are both well-formed."""

    name: str = "mini"
    stop: tuple[str, ...] = ("</answer>",)
    chat: bool = False
    force: str = "<think>"

    def render(self, question: str, tokenizer: Any = None) -> str:
        """The question and a line break. The tokenizer is not used."""
        return f"{question}\n"

    def compose(self, reasoning: str | None, answer: str) -> str:
        """A completion with this answer. `reasoning` None gives a direct answer."""
        direct = f"<answer> {answer} </answer>"
        return direct if reasoning is None else f"<think> {reasoning} </think> {direct}"

    def split(self, completion: Completion) -> Response:
        """Splits by the rules of the built-in formats: at most one reasoning block, then one answer at the end."""
        text = completion.text.replace("<eos>", "").replace("<pad>", "")
        truncated = completion.finish_reason == "length"
        if not text.lstrip().startswith("<think>"):
            text = f"</think>{text}"  # a direct answer has no reasoning before it
        return replace(split_tags(text, truncated=truncated), text=completion.text)


MINI = MiniFormat()
