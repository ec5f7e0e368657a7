"""The protocol `logic-rl`: Logic-RL's prompt, and its own reading of the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from kkwarm.protocols import strip_end_tokens
from kkwarm.types import Completion, Example, Message, Protocol, Response, Sampling, Status, Verdict, Verifier

_TAGS = ("</think>", "<answer>", "</answer>")
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FIRST = (
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the {final}"
    "answer. The reasoning process and answer are enclosed within <think> </think> and{space}<answer> </answer> tags, "
    "respectively, i.e., <think> reasoning process here </think><answer> answer here </answer>.{gap}Now the user asks "
    "you to solve a logical reasoning problem. After thinking, when you finally reach a conclusion, clearly state the "
    "identity of each character within <answer> </answer> tags. "
)
# The two templates of examples/data_preprocess/kk.py. The line breaks before <|im_end|> are the original's.
_CHAT_SYSTEM = (
    "You are a helpful assistant. "
    + _FIRST.format(final="", space="", gap="  ")
    + "i.e., <answer> (1) Zoey is a knight\n(2) ... </answer>.\n"
)
_TEXT_SYSTEM = (
    "The user asks a question, and the Assistant solves it."
    + _FIRST.format(final="final ", space=" ", gap=" ")
    + "List the identity of each person one by one, for example, <answer> (1) Zoey is a knight\n(2) Oliver is a "
    "knight\n(3)... </answer>."
)


@dataclass(frozen=True, slots=True)
class LogicRlReader:
    """Logic-RL's rules: ``</think>``, ``<answer>`` and ``</answer>`` once each and in this order, with any text around.

    A leading ``<think>`` is skipped, because saved outputs may begin with it.
    """

    reads_tags: ClassVar = True

    def compose(self, reasoning: str | None, answer: str) -> str:
        return f"{reasoning or ''}</think>\n<answer>\n{answer}\n</answer>"

    def split(self, completion: Completion) -> Response:
        text = strip_end_tokens(completion.text)
        body = text.lstrip().removeprefix("<think>")
        truncated = completion.finish_reason == "length"
        reasoning = body.partition("</think>")[0].strip() if "</think>" in body else ""

        def broken(problem: str) -> Response:
            return Response(completion.text, reasoning, None, True, problem, truncated)

        if "<think>" in body:
            return broken("<think> inside the completion")
        for tag in _TAGS:
            if body.count(tag) != 1:
                return broken(f"{body.count(tag) or 'no'} {tag}" + (" tags" if tag in body else ""))
        at = [body.index(tag) for tag in _TAGS]
        found = _ANSWER.search(body)
        if at != sorted(at) or found is None:
            return broken("the tags are not in the order </think> <answer> </answer>")
        return Response(completion.text, reasoning, found[1].strip(), True, "", truncated)


def check_logic_rl(example: Example, response: Response) -> Verdict:
    """Logic-RL's reading: as many knights and knaves as people, and "NAME is a ROLE" for each name, first match."""
    gold: Mapping[str, str] = example.answer
    text = response.answer or ""
    lower = text.lower()
    count = lower.count("knight") + lower.count("knave")
    if count != len(gold):
        return Verdict(Status.UNPARSED, None, f"The answer names {count} roles, not {len(gold)}.")
    roles: dict[str, str] = {}
    for name in gold:
        found = re.search(rf"\b{re.escape(name)}\b\s+is\s+a\s+\b(knight|knave)\b", text, re.IGNORECASE)
        if found is None:
            return Verdict(Status.UNPARSED, None, f"The answer does not say what {name} is.")
        roles[name] = found[1].lower()
    answer = ", ".join(f"{name} is a {role}" for name, role in roles.items())
    wrong = [name for name, role in roles.items() if role != gold[name]]
    if wrong:
        return Verdict(Status.WRONG, answer, f"The answer is wrong about {', '.join(wrong)}.")
    return Verdict(Status.CORRECT, answer, "Every role is correct.")


def _question(example: Example) -> str:
    return f"{example.question}\n"


def _text(messages: Sequence[Message]) -> str:
    names = {"system": "", "user": "\n\nUser:", "assistant": "\nAssistant: "}
    return "".join(f"{names[m.role]}{m.content}" for m in messages) + names["assistant"]


_SAMPLING = Sampling(0.0, 1.0, 4096)
_SOURCE = "Logic-RL (arXiv 2502.14768; Unakar/Logic-RL): examples/data_preprocess/kk.py, verl/utils/reward_score/kk.py"
LOGIC_RL_VERIFIER = Verifier("kk_logic_rl", check_logic_rl)
LOGIC_RL = Protocol(
    "logic-rl",
    LogicRlReader(),
    system=_CHAT_SYSTEM,
    question=_question,
    prefix="<think>",
    chat=True,
    text_form=Protocol(
        "logic-rl",
        LogicRlReader(),
        system=_TEXT_SYSTEM,
        text=_text,
        prefix="<think>",
        stop=("</answer>",),
        sampling=_SAMPLING,
        verifier="kk_logic_rl",
        official=True,
    ),
    stop=("</answer>",),
    sampling=_SAMPLING,
    verifier="kk_logic_rl",
    official=True,
    description="Logic-RL's prompt for chat or base models, and its own reading of the answer",
    source=_SOURCE,
)
