"""Memory of a device: the batch size that fits, and errors that mean it ran out."""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import suppress
from typing import Any

MEMORY_LIMIT = "KKWARM_MEMORY_LIMIT"  # bytes; set for the workers of a study, which share the machine

_CPU_CACHE_BYTES = 512 * 1024**2  # measured on a 2M-parameter model: a larger batch gains nothing
_MAX_ROWS = 1024


def estimate_batch_size(model: Any, cache_bytes: tuple[int, int], tokens: int) -> int:
    """The number of rows of `tokens` tokens whose cache should fit. Running out of memory corrects the estimate.

    :param cache_bytes: bytes of the cache for a row, and for each of its tokens.
    """
    per_row, per_token = cache_bytes
    budget = 0.6 * available_memory(model.device)
    if model.device.type != "cuda":
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        budget = min(max(_CPU_CACHE_BYTES, 4 * weights), budget / 2)  # other programs use this memory too
    return int(min(max(1, budget // max(1, per_row + per_token * tokens)), _MAX_ROWS))


def available_memory(device: Any) -> int:
    """Free bytes of a device; for a CPU, what can be allocated without swapping."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory()


def free_memory() -> int:
    """Bytes of the machine's memory that this process may still use: what is free, or the share of a study's worker."""
    import psutil

    free = int(psutil.virtual_memory().available)
    return min(free, int(os.environ.get(MEMORY_LIMIT, free)))


def is_out_of_memory(err: BaseException) -> bool:
    """Whether an exception means that memory ran out. (torch has an exception type for CUDA only.)"""
    import torch

    message = str(err).lower()
    return (
        isinstance(err, MemoryError | torch.OutOfMemoryError)
        or "out of memory" in message
        or "can't allocate" in message
    )


def release_memory() -> None:
    """Frees unreferenced memory, on the GPU too, and returns what the C library keeps of it to the system."""
    import torch

    gc.collect()
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
