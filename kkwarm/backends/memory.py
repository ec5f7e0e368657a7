"""How many rows fit into memory, and what running out of it looks like."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kkwarm.backends.network import Network

__all__ = ["available", "fitting_rows", "free", "out_of_memory"]

_CPU_CACHE = 512 * 1024**2  # measured on a 2M-parameter model: beyond this, more rows gain nothing
_MOST = 1024
_SHORT = 4  # tokens: within any window


def fitting_rows(network: Network, columns: int) -> int:
    """Rows of `columns` tokens whose past should fit; running out of memory corrects an estimate."""
    import torch

    model = network.model
    row, column = _kept(network)
    if model.device.type == "cuda":
        unused, _ = torch.cuda.mem_get_info(model.device)
        budget = 0.6 * unused
    else:
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        budget = min(max(_CPU_CACHE, 4 * weights), 0.3 * _available())
    return int(min(max(1, budget // max(1, row + column * columns)), _MOST))


def _kept(network: Network) -> tuple[int, int]:
    """Bytes that the model keeps of a row, and of each of its tokens. Measured: configurations name them in too many
    ways, and some for each layer."""
    import torch
    from transformers.cache_utils import DynamicCache

    sizes = []
    for length in (_SHORT, 2 * _SHORT):
        cache = DynamicCache(config=network.model.config)
        ids = torch.zeros(1, length, dtype=torch.long)
        network(ids, torch.ones_like(ids, dtype=torch.bool), torch.arange(length)[None, :], cache, False, False)
        sizes.append(sum(_bytes(layer) for layer in cache.layers))
    column = (sizes[1] - sizes[0]) // _SHORT
    return sizes[0] - _SHORT * column, column


def _bytes(layer: Any) -> int:
    """Of the tensors in a layer of a cache: keys and values, or states by number."""
    import torch

    held = [x for value in vars(layer).values() for x in (value.values() if isinstance(value, dict) else [value])]
    return sum(x.numel() * x.element_size() for x in held if isinstance(x, torch.Tensor))


def available(device: Any) -> int:
    """Bytes of a device that may be taken: of a CPU, what programs can have without swapping."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def out_of_memory(err: BaseException) -> bool:
    """Whether an exception says so: torch has a type for CUDA only."""
    import torch

    told = str(err).lower()
    return isinstance(err, MemoryError | torch.OutOfMemoryError) or "out of memory" in told or "can't allocate" in told


def free() -> None:
    """Gives back what nothing refers to."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _available() -> float:
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
