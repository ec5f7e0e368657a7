"""A key-value cache whose rows come and go: prefilled prompts are copied to their samples, finished rows leave.

All rows end at the same column; a shorter one starts later, and the columns before its start are masked. Keys carry
their positions already, so moving a row to other columns changes nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

__all__ = ["append_rows", "keeps_all_keys", "make_cache", "select_rows"]

_ROOM = 64  # columns to grow by, at least


class GrowingLayer(DynamicLayer):
    """A layer that writes into spare columns where transformers' own copies the whole cache at every token."""

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
            self._keys, self._values = _spacious(key_states, 0, end), _spacious(value_states, 0, end)
        elif end > self._keys.shape[-2]:
            self._keys = _spacious(self._keys, self.length, end)
            self._values = _spacious(self._values, self.length, end)
        self._keys[:, :, self.length : end] = key_states
        self._values[:, :, self.length : end] = value_states
        self._show(end)
        return self.keys, self.values

    def put(self, keys: torch.Tensor, values: torch.Tensor, length: int) -> None:
        """Takes over buffers whose first `length` columns are filled."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self._keys, self._values = keys, values
        self._show(length)

    def _show(self, length: int) -> None:
        assert self._keys is not None and self._values is not None
        self.length = length
        self.keys, self.values = self._keys[:, :, :length], self._values[:, :, :length]


def keeps_all_keys(model: Any) -> bool:
    """Whether every layer keeps all keys and values (no sliding window, no recurrent state)."""
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)


def make_cache(model: Any) -> DynamicCache:
    """An empty cache for `model`, of growing layers where the model is plain."""
    cache = DynamicCache(config=model.config)
    if keeps_all_keys(model):
        cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache


def select_rows(cache: DynamicCache, rows: torch.Tensor, width: int) -> None:
    """Keeps `rows` (an index may repeat), and of a plain cache the last `width` columns."""
    if not isinstance(cache.layers[0], GrowingLayer):
        cache.reorder_cache(rows)
        return
    for layer in cache.layers:
        keys, values = (_moved([(part, rows)], width) for part in (layer.keys, layer.values))
        layer.put(keys, values, width)


def append_rows(cache: DynamicCache, rows: torch.Tensor, other: DynamicCache, others: torch.Tensor, width: int) -> None:
    """Keeps `rows` of `cache`, and appends rows `others` of `other`; both plain; `width` columns remain."""
    for layer, new in zip(cache.layers, other.layers, strict=True):
        keys = _moved([(layer.keys, rows), (new.keys, others)], width)
        values = _moved([(layer.values, rows), (new.values, others)], width)
        layer.put(keys, values, width)


def _moved(parts: list[tuple[torch.Tensor, torch.Tensor]], width: int) -> torch.Tensor:
    """Rows of several buffers, one below the other, all ending at column `width`."""
    first = parts[0][0]
    count = sum(len(rows) for _, rows in parts)
    out = first.new_empty(count, first.shape[1], width + _spare(width), first.shape[3])
    top = 0
    for part, rows in parts:
        taken = min(width, part.shape[2])
        below = out[top : top + len(rows)]
        below[:, :, : width - taken] = 0  # masked, but a NaN left in memory would pass through any mask
        below[:, :, width - taken : width] = part[:, :, part.shape[2] - taken :][rows]
        top += len(rows)
    return out


def _spacious(states: torch.Tensor, filled: int, needed: int) -> torch.Tensor:
    rows, heads, _, size = states.shape
    out = states.new_empty(rows, heads, needed + _spare(needed), size)
    out[:, :, :filled] = states[:, :, :filled]
    return out


def _spare(length: int) -> int:
    return max(_ROOM, length // 4)
