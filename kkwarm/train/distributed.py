"""Which of several processes this is, and what they agree on. Standard library only at import.

A step has the same sequences however many processes share it, so that their number never changes a recipe: a run may
go on with another one. Only rank 0 writes the run and shows progress.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

from kkwarm.errors import KkwarmError

__all__ = [
    "all_gather",
    "all_reduce_max",
    "barrier",
    "broadcast",
    "is_main",
    "local_rank",
    "rank",
    "share",
    "world_size",
]

T = TypeVar("T")


def rank() -> int:
    """0 where there is one process."""
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """The rank on this machine: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


def world_size() -> int:
    """Processes in all, on all machines; launchers (accelerate, torchrun) set it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Whether this process writes."""
    return rank() == 0


def share(total: int, at_most: int) -> tuple[int, int]:
    """(sequences in a forward pass, passes in a step) of one process, so that all make `total` in a step.

    :param at_most: sequences in a forward pass.
    :raises KkwarmError: the processes cannot share them equally.
    """
    n = world_size()
    if total % n:
        raise KkwarmError(f"{n} processes cannot share the {total} sequences of a step", hint="change one of them")
    mine = total // n
    batch = max(d for d in range(1, min(at_most, mine) + 1) if mine % d == 0)
    return batch, mine // batch


def all_reduce_max(*numbers: int) -> Any:
    """The largest of all processes, for each number. All processes must call this together."""
    if world_size() > 1:
        import torch
        import torch.distributed as dist

        told = torch.tensor(numbers, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(told, dist.ReduceOp.MAX)
        numbers = tuple(told.tolist())
    return numbers[0] if len(numbers) == 1 else numbers


def broadcast(value: T) -> T:
    """Rank 0's value, for all."""
    if world_size() == 1:
        return value
    import torch.distributed as dist

    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def all_gather(rows: list[Any]) -> list[Any]:
    """The rows of all processes, in the order of their ranks."""
    if world_size() == 1:
        return rows
    import torch.distributed as dist

    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, rows)
    return [row for part in parts for row in part]


def barrier() -> None:
    """Waits for all processes."""
    if world_size() > 1:
        import torch.distributed as dist

        dist.barrier()
