"""The protocols that every benchmark has: `paper`, `plain` and `auto`."""

from __future__ import annotations

from collections.abc import Sequence

from kkwarm.protocols.readers import AutoReader, TagReader, TextReader
from kkwarm.types import Message, Protocol

__all__ = ["AUTO", "BUILT_IN", "PAPER", "PLAIN", "STEP_BY_STEP"]

STEP_BY_STEP = "Let's think step by step."  # Kojima et al. 2022, arXiv 2205.11916
_SYSTEM = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant "
    "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., "
    "<think> reasoning process here </think> <answer> answer here </answer>."
)


def _paper_text(messages: Sequence[Message]) -> str:
    names = {"system": "", "user": "\nUser: ", "assistant": "\nAssistant: "}
    return "".join(f"{names[m.role]}{m.content}" for m in messages) + names["assistant"]


PAPER = Protocol(
    "paper",
    TagReader(),
    system=_SYSTEM,
    text=_paper_text,
    prefix="<think>",
    stop=("</answer>",),
    force=f" {STEP_BY_STEP}",
    description="reasoning and answer in <think> and <answer> tags, as raw text",
    source="arXiv 2505.13718, the authors' code",
)
PLAIN = Protocol(
    "plain",
    TextReader(),
    chat=True,
    force=f"\n{STEP_BY_STEP}",
    description="the question alone; the answer is read from free text",
)
AUTO = Protocol(
    "auto",
    AutoReader(f"\n{STEP_BY_STEP}"),
    chat=True,
    force=f"\n{STEP_BY_STEP}",
    description="as plain; reads tags where a completion has them (saved outputs of other tools)",
)
BUILT_IN = {p.name: p for p in (PAPER, PLAIN, AUTO)}
