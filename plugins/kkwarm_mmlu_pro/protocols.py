"""Protocols of MMLU-Pro: `5-shot`, which is lm-eval's and official, and `zero-shot`."""

from __future__ import annotations

from collections.abc import Sequence

from kkwarm.errors import KkwarmError
from kkwarm.protocols import TextReader
from kkwarm.types import Example, Message, Protocol, Sampling
from kkwarm_mmlu_pro.data import load_validation
from kkwarm_mmlu_pro.extract import LETTERS

__all__ = ["FIVE_SHOT", "PROTOCOLS", "ZERO_SHOT"]

_STOP = ("Question:",)
_SAMPLING = Sampling(0.0, 1.0, 2048)
_STEPS = "Let's think step by step."


def _description(example: Example) -> str:
    return (
        f"The following are multiple choice questions (with answers) about {example.meta['category']}. Think step by "
        'step and then finish your answer with "the answer is (X)" where X is the correct letter choice.\n'
    )


def _question(example: Example) -> str:
    options = "".join(f"{k}. {text}\n" for k, text in zip(LETTERS, example.meta["options"], strict=False))
    return f"Question:\n{example.meta['question']}\nOptions:\n{options}Answer: {_STEPS}"


def _solution(example: Example) -> str:
    cot = example.meta.get("cot")
    if cot is None:  # a training question, which has no reasoning
        return f"The answer is ({example.answer})."
    return str(cot).replace(f"A: {_STEPS} ", "")


def _examples(example: Example) -> Sequence[Example]:
    categories = load_validation()
    category = example.meta["category"]
    if category not in categories:
        raise KkwarmError(
            f"MMLU-Pro's validation rows have no category {category!r}",
            hint="mmlu_pro/validation.jsonl.gz must hold the rows of TIGER-Lab/MMLU-Pro's validation split",
        )
    return categories[category]


def _text(messages: Sequence[Message]) -> str:
    """As lm-eval joins the description, a question, its answer and the next question."""
    follow = {"system": "", "user": " ", "assistant": "\n\n"}
    return "".join(m.content + follow[m.role] for m in messages).removesuffix(" ")


FIVE_SHOT = Protocol(
    "5-shot",
    TextReader("The answer is ({answer}).", _STOP),
    system=_description,
    question=_question,
    text=_text,
    shots=5,
    shot_examples=_examples,
    solution=_solution,
    stop=_STOP,
    sampling=_SAMPLING,
    verifier="mmlu_pro_official",
    official=True,
    description='five validation questions of the category; the first "answer is (X)" is read',
    source="lm-eval 0.4.13, mmlu_pro (TIGER-AI-Lab/MMLU-Pro)",
)
ZERO_SHOT = Protocol(
    "zero-shot",
    TextReader("The answer is ({answer})."),
    system=_description,
    question=_question,
    text=_text,
    chat=True,
    sampling=_SAMPLING,
    description="as 5-shot without examples; the answer is read strictly",
    source="lm-eval 0.4.13, mmlu_pro with --num_fewshot 0",
)
PROTOCOLS = (FIVE_SHOT, ZERO_SHOT)
