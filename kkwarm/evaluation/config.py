"""Settings of a benchmark run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.limits import check_sampling, check_seed, positive

__all__ = ["BenchConfig"]


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """`samples` for each question. None takes the benchmark's own: `temperature`, `top_p`, `max_tokens`, `format`.

    :param limit: a fixed choice of at most that many questions of each benchmark.
    :param force: make the model work step by step, by the text that the format has for that; the samples belong to
        ``NAME+forced``.
    :param batch_size: rows at a time (backend hf); None chooses by memory. It does not change the samples.
    :param engine: further options of the backend (`kkwarm.backends.BACKENDS`), such as ``tensor_parallel_size``.
    :param until: stop each benchmark where its score is known within this half-width; see `kkwarm.analysis.stats.sequential`.
    :param until_decided: stop each benchmark where it is decided against this run; `margin`: what still is a tie.
        Neither decides whether two runs are the same: without it the run goes on to all questions.
    """

    samples: int = 1
    limit: int | None = None
    backend: str = "hf"
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int = 0
    format: str | None = None
    force: bool = False
    batch_size: int | None = None
    device: str | None = None
    base_url: str | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)
    until: float | None = None
    until_decided: str | None = None
    margin: float = 0.05

    def __post_init__(self) -> None:
        positive(self, "samples", "limit", "max_tokens", "batch_size")
        check_sampling(self.temperature, self.top_p)
        check_seed(self.seed)
        if not 0 <= self.margin <= 1:
            raise KkwarmError(f"margin must be from 0 to 1, not {self.margin}")
        if self.until is not None and not 0 < self.until < 1:
            raise KkwarmError(f"until must be a half-width between 0 and 1, not {self.until}", hint="0.02 is 2 points")
        if self.until is not None and self.until_decided is not None:
            raise KkwarmError("--until and --until-decided are two rules", hint="name one")
