"""How many rows fit into memory, and what running out of it looks like."""

from __future__ import annotations

import gc
import os
from typing import Any

__all__ = ["available", "fitting_rows", "free", "out_of_memory"]

_CPU_CACHE = 512 * 1024**2  # measured on a 2M-parameter model: beyond this, more rows gain nothing
_MOST = 1024


def fitting_rows(model: Any, columns: int) -> int:
    """Rows of `columns` tokens whose keys and values should fit; running out of memory corrects an estimate."""
    import torch

    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = torch.finfo(model.dtype).bits // 8
    column = 2 * config.num_hidden_layers * heads * size * width
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    if model.device.type == "cuda":
        unused, _ = torch.cuda.mem_get_info(model.device)
        budget = 0.6 * unused
    else:
        budget = min(max(_CPU_CACHE, 4 * weights), 0.3 * _available())
    return int(min(max(1, budget // (column * columns)), _MOST))


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
