"""A domain that a checkpoint of a few thousand weights can learn: repeat a given word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kkwarm.plugins
from kkwarm.formats import split_tags
from kkwarm.plugins import hookimpl
from kkwarm.testing.checkpoint import tiny_checkpoint
from kkwarm.train import write_traces
from kkwarm.types import Completion, Domain, Example, Response, Sampling, Teacher, Trace, Verdict

WORDS = ("red", "green", "blue", "black", "white", "gold", "grey", "pink")
__all__ = ["Plugin", "ToyFormat", "checkpoint", "install", "write_traces"]
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
VOCABULARY = ("say", "please", "now", ":", "the", "word", "is", *TAGS, *WORDS)


@dataclass(frozen=True)
class ToyFormat:
    name: str = "toy"
    stop: tuple[str, ...] = ("</answer>",)
    chat: bool = False
    force: str = ""

    def render(self, question: str, tokenizer: Any = None) -> str:
        return f"{question} <think>"

    def compose(self, reasoning: str | None, answer: str) -> str:
        return f"{'' if reasoning is None else f' {reasoning}'} </think> <answer> {answer} </answer>"

    def split(self, completion: Completion) -> Response:
        return split_tags(completion.text, truncated=completion.finish_reason == "length")


def check(example: Example, response: Response) -> bool | Verdict:
    return response.answer == example.answer


def contains_colour(example: Example, response: Response) -> bool:
    """Easier: some word of the answer is a colour."""
    return any(word in WORDS for word in (response.answer or "").split())


def _questions() -> list[Example]:
    questions = [
        f"{a} {b} : {word}" for a in ("say", "please say", "now say") for b in ("the word", "word") for word in WORDS
    ]
    return [
        Example(f"toy/{i}", q, q.split()[-1], "train" if i % 4 else "test", {"word": q.split()[-1]})
        for i, q in enumerate(questions)
    ]


def _teach(n: int, seed: int) -> list[Trace]:
    train = [e for e in _questions() if e.split == "train"]
    selected = [train[(i * 7 + seed) % len(train)] for i in range(n)]
    return [
        Trace(f"t{i}", "toy", e.question, f"the word is {e.answer}", e.answer, "symbolic", {"gold": e.answer})
        for i, e in enumerate(selected)
    ]


def _lie(n: int, seed: int) -> list[Trace]:
    """Every other answer is wrong."""
    traces = _teach(n, seed)
    return [
        Trace(t.id, "toy", t.question, t.reasoning, "say" if i % 2 else t.answer, "liar", t.meta)
        for i, t in enumerate(traces)
    ]


class Plugin:
    @hookimpl
    def kkwarm_formats(self) -> list[Any]:
        return [ToyFormat()]

    @hookimpl
    def kkwarm_domains(self) -> list[Domain]:
        sampling = Sampling(1.0, 1.0, 12)
        return [
            Domain("toy", _questions, check, lambda e: str(e.answer), format="toy", sampling=sampling, facet="word"),
            Domain("easy", _questions, contains_colour, format="toy", sampling=sampling),
        ]

    @hookimpl
    def kkwarm_teachers(self) -> list[Teacher]:
        return [
            Teacher("symbolic", "toy", _teach),
            Teacher("liar", "toy", _lie),
            Teacher("wrong", "toy", lambda n, s: _lie(2 * n, s)[1::2]),
        ]


def install() -> None:
    """Registers the toy domain in this process."""
    load = kkwarm.plugins.load
    kkwarm.plugins.load = lambda extra=(): load([*extra, ("toy", Plugin())])  # type: ignore[assignment]
    kkwarm.plugins.registry.cache_clear()


def checkpoint(path: Path, **options: Any) -> Path:
    return tiny_checkpoint(path, vocab=VOCABULARY, context=64, **options)
