"""A domain that a checkpoint of a few thousand weights can learn: repeat a given word."""

from pathlib import Path
from typing import Any

import kkwarm.plugins
from kkwarm.plugins import hookimpl
from kkwarm.protocols import StatedReader, TagReader
from kkwarm.testing.checkpoint import tiny_checkpoint
from kkwarm.train import write_traces
from kkwarm.types import (
    Completion,
    Domain,
    Example,
    Protocol,
    Response,
    Rewards,
    Sampling,
    Status,
    Teacher,
    Trace,
    Verdict,
)

WORDS = ("red", "green", "blue", "black", "white", "gold", "grey", "pink")
__all__ = ["TOY", "Plugin", "checkpoint", "install", "write_traces"]
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
VOCABULARY = ("say", "please", "now", ":", "the", "word", "is", *TAGS, *WORDS)


def prompt_of(question: str) -> str:
    """The prompt of a question."""
    return f"{question} <think>"


TOY = Protocol("toy", TagReader(), text=lambda messages: prompt_of(messages[-1].content), stop=("</answer>",))


STATED = Protocol("stated", StatedReader("is {answer}"), text=lambda messages: messages[-1].content)


def check(example: Example, response: Response) -> bool | Verdict:
    return response.answer == example.answer


def contains_colour(example: Example, response: Response) -> bool:
    """Easier: some word of the answer is a colour."""
    return any(word in WORDS for word in (response.answer or "").split())


def near(example: Example, response: Response) -> Verdict:
    """The metric ``near`` is 1 for a right answer, and a half for another colour."""
    answer = response.answer or ""
    status = Status.CORRECT if answer == example.answer else Status.WRONG
    return Verdict(status, answer, metrics={"near": 1.0 if status is Status.CORRECT else (answer in WORDS) / 2})


def graded(verdict: Verdict, example: Example, completion: Completion) -> dict[str, float]:
    answer = 2 * verdict.metrics["near"] if "near" in verdict.metrics else Rewards().for_status(verdict.status)
    return {"answer": answer, "length": -0.01 * (completion.n_tokens or 0)}


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
    def kkwarm_protocols(self) -> list[Any]:
        return [TOY]

    @hookimpl
    def kkwarm_domains(self) -> list[Domain]:
        sampling = Sampling(1.0, 1.0, 12)
        return [
            Domain(
                "toy",
                _questions,
                check,
                lambda e: str(e.answer),
                protocol="toy",
                sampling=sampling,
                facet="word",
                protocols=[STATED],
            ),
            Domain("easy", _questions, contains_colour, protocol="toy", sampling=sampling),
            Domain("graded", _questions, near, protocol="toy", sampling=sampling, reward=graded),
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
