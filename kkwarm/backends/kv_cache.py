"""A key-value cache whose rows change: prefilled prompts are copied to their samples, and finished rows leave.

All rows end at the same column; a shorter row starts later, and the columns before its start are masked. Keys already
include their positions, so a row stays the same in other columns.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

_MIN_SPARE = 64  # columns to grow by, at least


class GrowingLayer(DynamicLayer):
    """A layer that writes into spare columns; transformers' own copies the whole cache at every token."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: torch.Tensor | None = None
        self._values: torch.Tensor | None = None
        self.length = 0

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Appends states [rows, heads, new, size]; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        if self._keys is None or self._values is None:
            self._keys, self._values = _grow(key_states, 0, end), _grow(value_states, 0, end)
        elif end > self._keys.shape[-2]:
            self._keys = _grow(self._keys, self.length, end)
            self._values = _grow(self._values, self.length, end)
        self._keys[:, :, self.length : end] = key_states
        self._values[:, :, self.length : end] = value_states
        self._set_length(end)
        return self.keys, self.values

    def set_buffers(self, keys: torch.Tensor, values: torch.Tensor, length: int) -> None:
        """Replaces the buffers by ones whose first `length` columns are filled."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self._keys, self._values = keys, values
        self._set_length(length)

    def _set_length(self, length: int) -> None:
        assert self._keys is not None and self._values is not None
        self.length = length
        self.keys, self.values = self._keys[:, :, :length], self._values[:, :, :length]


def has_full_cache(model: Any) -> bool:
    """Whether every layer caches all keys and values (no sliding window, no recurrent state)."""
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)


def make_cache(model: Any) -> DynamicCache:
    """An empty cache for `model`, of growing layers if it has a full cache."""
    cache = DynamicCache(config=model.config)
    if has_full_cache(model):
        cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache


def select_rows(cache: DynamicCache, rows: torch.Tensor, width: int) -> None:
    """Keeps `rows` (an index may repeat), and of a full cache the last `width` columns."""
    if not isinstance(cache.layers[0], GrowingLayer):
        cache.reorder_cache(rows)
        return
    for layer in cache.layers:
        keys, values = (_stack([(part, rows)], width) for part in (layer.keys, layer.values))
        layer.set_buffers(keys, values, width)


def append_rows(
    cache: DynamicCache, rows: torch.Tensor, other: DynamicCache, other_rows: torch.Tensor, width: int
) -> None:
    """Keeps `rows` of `cache` and appends `other_rows` of `other`; both are full caches; `width` columns remain."""
    for layer, new in zip(cache.layers, other.layers, strict=True):
        keys = _stack([(layer.keys, rows), (new.keys, other_rows)], width)
        values = _stack([(layer.values, rows), (new.values, other_rows)], width)
        layer.set_buffers(keys, values, width)


def _stack(parts: list[tuple[torch.Tensor, torch.Tensor]], width: int) -> torch.Tensor:
    """The given rows of several buffers, one below the other, all ending at column `width`."""
    first = parts[0][0]
    count = sum(len(rows) for _, rows in parts)
    out = first.new_empty(count, first.shape[1], width + _spare(width), first.shape[3])
    top = 0
    for part, rows in parts:
        columns = min(width, part.shape[2])
        target = out[top : top + len(rows)]
        target[:, :, : width - columns] = 0  # masked, but uninitialized memory may hold NaN, which passes any mask
        target[:, :, width - columns : width] = part[:, :, part.shape[2] - columns :][rows]
        top += len(rows)
    return out


def _grow(states: torch.Tensor, filled: int, needed: int) -> torch.Tensor:
    """A copy of the first `filled` columns in a buffer with at least `needed` columns."""
    rows, heads, _, size = states.shape
    out = states.new_empty(rows, heads, needed + _spare(needed), size)
    out[:, :, :filled] = states[:, :, :filled]
    return out


def _spare(length: int) -> int:
    return max(_MIN_SPARE, length // 4)
