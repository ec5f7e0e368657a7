"""Rows in in-training evaluation: samples that are being generated together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kkwarm.backends.base import Request

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Batch", "Job"]

_LISTS = ("jobs", "sample", "tokens")
_ARRAYS = ("key", "stop", "limit", "length", "count", "last", "alive")


@dataclass(frozen=True, slots=True)
class Job:
    """Samples still to draw for one prompt."""

    request: Request
    ids: list[int]
    limit: int  # new tokens that still fit into the context
    samples: tuple[int, ...]


@dataclass(slots=True)
class Batch:
    """Rows in in-training evaluation. Arrays have one entry for each row; `length` counts its columns in the cache."""

    cache: Any
    jobs: list[Job]
    sample: list[int]
    key: NDArray[np.uint64]
    stop: NDArray[np.int64]
    limit: NDArray[np.int64]
    length: NDArray[np.int64]
    count: NDArray[np.int64]
    last: NDArray[np.int64]
    alive: NDArray[np.bool_]
    tokens: list[list[int]]
    width: int = 0

    def keep(self, rows: NDArray[np.int64]) -> None:
        for name in _LISTS:
            setattr(self, name, [getattr(self, name)[i] for i in rows])
        for name in _ARRAYS:
            setattr(self, name, getattr(self, name)[rows])

    def add(self, other: Batch) -> None:
        for name in _LISTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _ARRAYS:
            setattr(self, name, np.concatenate([getattr(self, name), getattr(other, name)]))
