"""The interface of a backend: prompts in; completions with text, tokens and finish reason out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from kkwarm.types import ChatPrompt, Completion, Sampling

Likelihood = tuple[float, bool]  # sum of the natural log-probabilities of a text's tokens; whether all are greedy


@dataclass(frozen=True, slots=True)
class Request:
    """Samples to generate for one prompt, by index (a resumed run requests only the missing ones).

    The randomness of a sample depends on (`Sampling.seed`, `key`, index) only, not on the batch it is generated in.

    :param max_tokens: replaces that of the sampling settings, for requests of several benchmarks in one batch.
    :param chat: replaces `prompt` where a server renders the chat template.
    """

    key: str
    prompt: str
    samples: tuple[int, ...]
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    chat: ChatPrompt | None = None

    def limit(self, sampling: Sampling) -> int:
        """The most tokens of a sample."""
        return sampling.max_tokens if self.max_tokens is None else self.max_tokens


class Backend(Protocol):
    """Generates completions with one checkpoint."""

    @property
    def name(self) -> str:
        """``hf``, ``vllm``, ``openai`` or ``replay``."""
        ...

    @property
    def checkpoint(self) -> str:
        """The folder, hub id or served model name."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes with the weights; part of a run's inputs."""
        ...

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer, or None if only the server has it."""
        ...

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields (request, sample index, completion) in the order in which they finish."""
        ...

    def close(self) -> None:
        """Frees the model."""
        ...


@runtime_checkable
class LiveBackend(Protocol):
    """A backend that calls `on_tokens` with the number of new tokens while it generates; others yield whole samples."""

    on_tokens: Callable[[int], None] | None


@runtime_checkable
class LogprobBackend(Protocol):
    """A backend that can score given tokens."""

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """For each (prompt ids, completion ids), the natural log-probability of each completion token at temperature 1.

        :raises KkwarmError: the engine or server does not return log-probabilities.
        """
        ...


@runtime_checkable
class LikelihoodBackend(Protocol):
    """A backend that can score given texts in large numbers, as multiple-choice tasks need it."""

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        ...

    @property
    def context(self) -> int | None:
        """Maximum number of tokens of a text; None where the model has no limit."""
        ...

    def likelihoods(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Likelihood]:
        """For each (context ids, continuation ids), neither empty: the log-likelihood of the continuation (temperature
        1), and whether greedy decoding would generate it. Contexts that are too long lose their first tokens.

        :raises KkwarmError: a continuation is longer than the context window.
        """
        ...
