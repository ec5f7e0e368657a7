"""The protocol `evalplus`: evalplus's chat prompt, or without a chat template the completion of the task's code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kkwarm.protocols import TextReader
from kkwarm.types import Example, Message, Protocol, Sampling

# evalplus 0.3.1 (Apache-2.0): codegen.py, provider/utility.py, provider/hf.py
INSTRUCTION = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
)
RESPONSE = (
    "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:"
)
END = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(")
END_OF_COMPLETION = {
    "humaneval": ("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert "),
    "mbpp": ('\n"""', "\nassert"),
}
END_OF_CHAT = ("\n```\n",)
_SAMPLING = Sampling(0.0, 1.0, 768)


@dataclass(frozen=True, slots=True)
class CodeReader(TextReader):
    """As `TextReader`. A composed completion holds the reasoning as comments, because the model's turn is code."""

    def compose(self, reasoning: str | None, answer: str) -> str:
        comments = "".join(f"# {line}".rstrip() + "\n" for line in (reasoning or "").splitlines())
        return comments + self.answer.replace("{answer}", answer.strip("\n"))


def _chat_question(example: Example) -> str:
    return f"{INSTRUCTION}\n```\n{example.question.strip()}\n```\n"


def _completion_question(example: Example) -> str:
    return f"{example.question.strip()}\n"


def _completion_text(messages: Sequence[Message]) -> str:
    return "\n".join(m.content for m in messages)


def evalplus_protocol(dataset: str) -> Protocol:
    """The protocol of evalplus's data set ``humaneval`` or ``mbpp``."""
    extra = END_OF_COMPLETION[dataset]
    stops = (*END, *extra, *END_OF_CHAT)
    completion = Protocol(
        "evalplus",
        CodeReader("{answer}\n", stops),
        question=_completion_question,
        text=_completion_text,
        stop=(*END, *extra),
        sampling=_SAMPLING,
        official=True,
    )
    return Protocol(
        "evalplus",
        CodeReader("{answer}\n```\n", stops),
        question=_chat_question,
        prefix=f"{RESPONSE}\n```python\n",
        prefix_as_turn=True,
        chat=True,
        text_form=completion,
        stop=(*END, *END_OF_CHAT),
        sampling=_SAMPLING,
        official=True,
        description="a chat turn that asks for a script; without a chat template, the completion of the code",
        source="evalplus 0.3.1, codegen.py and provider/utility.py (make_raw_chat_prompt)",
    )
