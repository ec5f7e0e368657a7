"""The format `mini`: the question, then ``<think> steps </think> <answer> X </answer>`` or only the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kkwarm.types import Completion, Response

__all__ = ["MINI", "MiniFormat"]

_WHOLE = re.compile(r"\s*(?:<think>(?P<steps>.*?)</think>\s*)?<answer>(?P<answer>.*?)</answer>\s*", re.DOTALL)
_TAG = re.compile(r"</?(?:think|answer)>")


@dataclass(frozen=True, slots=True)
class MiniFormat:
    """Both kinds of completion are whole. `force`, appended to a prompt, makes the model work step by step."""

    name: str = "mini"
    stop: tuple[str, ...] = ("</answer>",)
    force: str = "<think>"

    def render(self, question: str, tokenizer: Any = None) -> str:
        """The question and a line break; `tokenizer` is not needed."""
        return f"{question}\n"

    def compose(self, reasoning: str | None, answer: str) -> str:
        """The completion; `reasoning` None gives a direct answer."""
        direct = f"<answer> {answer} </answer>"
        return direct if reasoning is None else f"<think> {reasoning} </think> {direct}"

    def split(self, completion: Completion) -> Response:
        """Exactly one answer, at the end, after at most one stretch of reasoning; anything else is a problem."""
        text = completion.text.replace("<eos>", "").replace("<pad>", "")
        whole = _WHOLE.fullmatch(text)
        if whole and not _TAG.search(whole["answer"]) and not _TAG.search(whole["steps"] or ""):
            return Response(completion.text, (whole["steps"] or "").strip(), whole["answer"].strip())
        started = text.lstrip().startswith("<think>")
        reasoning = text.split("<think>", 1)[-1].split("</think>")[0].strip() if started else ""
        truncated = completion.finish_reason == "length" and "</answer>" not in text
        return Response(completion.text, reasoning, None, problem=_problem(text), truncated=truncated)


def _problem(text: str) -> str:
    if "</answer>" not in text:
        return "no <answer> ... </answer>"
    if text.count("<answer>") != 1 or text.count("</answer>") != 1:
        return "more than one answer tag"
    if text.rstrip().endswith("</answer>"):
        return "text or tags between the reasoning and the answer"
    return "text after </answer>"


MINI = MiniFormat()
