"""A limit on the tokens of the reasoning: after it, the reasoning is closed, and the model is asked for the answer.

Completions are generated in two stages: the reasoning, up to its closing tag or the limit, and the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kkwarm.backends.base import Backend, LiveBackend, Request
from kkwarm.backends.checkpoint import read_text_config
from kkwarm.errors import KkwarmError
from kkwarm.evaluation.plan import EvalTask
from kkwarm.protocols import ThinkTags
from kkwarm.protocols.prompts import PromptRenderer
from kkwarm.protocols.reasoning import FAMILIES
from kkwarm.types import Completion, Sampling

_CHUNK = 64  # requests whose reasoning is finished before their answers are generated
# What Qwen3 inserts where its reasoning is cut off (arXiv 2505.09388, section 4.3).
_CLOSING = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n"
)


def check_thinking_budget(tasks: Sequence[EvalTask], budget: int, model: str | Path) -> None:
    """Checks that the reasoning can be limited, and leaves room for an answer.

    :raises KkwarmError: a task has no reasoning delimiters, or the budget exceeds the token limit or the context.
    """
    context = getattr(read_text_config(model), "max_position_embeddings", None)
    if context is not None and budget >= context:
        raise KkwarmError(f"--thinking-budget {budget}: the context of {model} has {context} tokens", hint="lower it")
    for task in tasks:
        if _delimiters(task.renderer) is None:
            raise KkwarmError(
                f"--thinking-budget: {task.name} has no reasoning delimiters with this checkpoint",
                hint="give them by --think-tags OPEN,CLOSE, or use another --protocol",
            )
        if budget >= task.sampling.max_tokens:
            raise KkwarmError(
                f"--thinking-budget {budget} leaves no token for an answer: {task.name} has {task.sampling.max_tokens}",
                hint="lower it, or raise --max-tokens",
            )


def _delimiters(renderer: PromptRenderer) -> tuple[ThinkTags, str] | None:
    """The delimiters of a renderer's reasoning, and the text that closes it and asks for the answer."""
    splitter = renderer.split_reasoning
    if splitter.has_own_tags:
        before, marker, _ = renderer.protocol.compose("", "@").partition("@")
        start = before.find("</think>")
        return (FAMILIES[0], f" {before[start:]}".rstrip()) if marker and start >= 0 else None
    if splitter.tags is None:
        return None
    return splitter.tags, f"{_CLOSING}{splitter.tags.before_close}{splitter.tags.close}\n\n"


@dataclass(slots=True)
class ThinkingBudget:
    """A backend that closes the reasoning after `budget` tokens.

    :param delimiters: by request key: the delimiters, and the text that closes the reasoning.
    """

    backend: Backend
    budget: int
    delimiters: Mapping[str, tuple[ThinkTags, str]]

    @classmethod
    def of(cls, backend: Backend, tasks: Sequence[EvalTask], budget: int) -> ThinkingBudget:
        """For the questions of tasks that `check_thinking_budget` accepts."""
        delimiters: dict[str, tuple[ThinkTags, str]] = {}
        for task in tasks:
            if (found := _delimiters(task.renderer)) is not None:
                delimiters |= {task.request_key(item.example.id): found for item in task.items}
        return cls(backend, budget, delimiters)

    @property
    def name(self) -> str:
        return self.backend.name

    @property
    def checkpoint(self) -> str:
        return self.backend.checkpoint

    @property
    def fingerprint(self) -> str:
        return self.backend.fingerprint

    @property
    def tokenizer(self) -> Any:
        return self.backend.tokenizer

    @property
    def on_tokens(self) -> Callable[[int], None] | None:
        """See `kkwarm.backends.base.LiveBackend`."""
        return self.backend.on_tokens if isinstance(self.backend, LiveBackend) else None

    @on_tokens.setter
    def on_tokens(self, report: Callable[[int], None] | None) -> None:
        if isinstance(self.backend, LiveBackend):
            self.backend.on_tokens = report

    def close(self) -> None:
        """Closes the backend."""
        self.backend.close()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields completions that end before their answer begins, then, chunk by chunk, the others."""
        for first in range(0, len(requests), _CHUNK):
            chunk = requests[first : first + _CHUNK]
            originals = {r.key: r for r in chunk}
            begun: dict[tuple[str, int], tuple[Request, str]] = {}  # by key and index of the second request
            second = []
            reasoning = [self._reasoning_request(r, sampling) for r in chunk]
            for made, index, completion in self.backend.generate(reasoning, sampling):
                request = originals[made.key]
                text = self._close(request, completion)
                rest = self._rest(request, text or "", completion, sampling)
                if text is None or rest <= 0:
                    yield request, index, completion
                    continue
                answer = Request(f"{request.key}/answer", request.prompt + text, (index,), request.stop, rest)
                second.append(answer)
                begun[answer.key, index] = request, text
            limits = {(r.key, r.samples[0]): r.max_tokens or 0 for r in second}
            for made, index, completion in self.backend.generate(second, sampling) if second else ():
                request, text = begun[made.key, index]
                tokens = request.limit(sampling) - limits[made.key, index] + (completion.n_tokens or 0)
                yield request, index, Completion(text + completion.text, tokens, completion.finish_reason)

    def _reasoning_request(self, request: Request, sampling: Sampling) -> Request:
        tags, _ = self.delimiters[request.key]
        limit = min(self.budget, request.limit(sampling))
        return replace(request, stop=(*request.stop, tags.close), max_tokens=limit)

    def _close(self, request: Request, completion: Completion) -> str | None:
        """The text with its reasoning closed; None where the completion has ended."""
        tags, closing = self.delimiters[request.key]
        text = completion.text
        if text.endswith(tags.close):
            return text
        if completion.finish_reason != "length":
            return None
        reasoning = tags.is_open(request.prompt) or text.lstrip().startswith(tags.open)
        return text + closing if reasoning else text

    def _rest(self, request: Request, text: str, completion: Completion, sampling: Sampling) -> int:
        """The number of tokens that the answer may have."""
        added = text.removeprefix(completion.text)
        closing = len(self.tokenizer(added, add_special_tokens=False)["input_ids"]) if added else 0
        return request.limit(sampling) - (completion.n_tokens or 0) - closing
