"""What a backend is: prompts in, completions with text, tokens and finish reason out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from kkwarm.types import Completion, Sampling

__all__ = ["Backend", "Request", "Scores"]


@dataclass(frozen=True, slots=True)
class Request:
    """Samples to draw for one prompt: those with the indices `samples` (a resumed run asks only for missing ones).

    The randomness of a sample depends on (`Sampling.seed`, `key`, index) only: not on the batch it is generated in.
    """

    key: str
    prompt: str
    samples: tuple[int, ...]
    stop: tuple[str, ...] = ()


class Backend(Protocol):
    """Draws completions from one checkpoint."""

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
        """Changes when the weights change; goes into the run's inputs."""
        ...

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer, or None where the server keeps it."""
        ...

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[Request, int, Completion]]:
        """Yields (request, sample index, completion) as they are finished, in any order."""
        ...

    def close(self) -> None:
        """Frees the model."""
        ...


@runtime_checkable
class Scores(Protocol):
    """A backend that can tell how probable given tokens are."""

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """For each (prompt ids, completion ids) the natural log-probability of each completion token, at temperature 1.

        :raises KkwarmError: the engine or server does not tell.
        """
        ...
