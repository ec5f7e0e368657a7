"""How many rows fit into memory, and what running out of it looks like."""

from __future__ import annotations

import gc
from typing import Any

__all__ = ["available_memory", "estimate_batch_size", "is_out_of_memory", "release_memory"]

_CPU_CACHE = 512 * 1024**2  # measured on a 2M-parameter model: beyond this, more rows gain nothing
_MOST = 1024


def estimate_batch_size(model: Any, kept: tuple[int, int], columns: int) -> int:
    """Rows of `columns` tokens whose past should fit; running out of memory corrects an estimate.

    :param kept: bytes that the model keeps of a row, and of each of its tokens.
    """
    row, column = kept
    budget = 0.6 * available_memory(model.device)
    if model.device.type != "cuda":
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        budget = min(max(_CPU_CACHE, 4 * weights), budget / 2)  # other programs live there too
    return int(min(max(1, budget // max(1, row + column * columns)), _MOST))


def available_memory(device: Any) -> int:
    """Bytes of a device that may be taken: of a CPU, what programs can have without swapping."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def is_out_of_memory(err: BaseException) -> bool:
    """Whether an exception says so: torch has a type for CUDA only."""
    import torch

    told = str(err).lower()
    return isinstance(err, MemoryError | torch.OutOfMemoryError) or "out of memory" in told or "can't allocate" in told


def release_memory() -> None:
    """Gives back what nothing refers to."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
