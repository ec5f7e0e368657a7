"""Rank, world size and collectives of a training run with several processes. Standard library only at import.

A step has the same sequences however many processes share it, so a run may resume with another number of processes.
Only rank 0 writes the run and shows progress.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

from kkwarm.errors import KkwarmError

T = TypeVar("T")


def rank() -> int:
    """This process's rank; 0 where there is one process."""
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """The rank on this machine, which is the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


def world_size() -> int:
    """Number of processes on all machines, as set by the launcher (accelerate, torchrun)."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """True for rank 0, the process that writes."""
    return rank() == 0


def split_step(total: int, micro_batch: int) -> tuple[int, int]:
    """Splits a step of `total` sequences: (sequences in a forward pass, passes in a step) of one process.

    :param micro_batch: largest number of sequences in a forward pass.
    :raises KkwarmError: the processes cannot share the sequences equally.
    """
    n = world_size()
    if total % n:
        raise KkwarmError(f"{n} processes cannot share the {total} sequences of a step", hint="change one of them")
    own = total // n
    batch = max(d for d in range(1, min(micro_batch, own) + 1) if own % d == 0)
    return batch, own // batch


def all_reduce_max(*numbers: int) -> Any:
    """The maximum over all processes, for each number. All processes must call this together."""
    if world_size() > 1:
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(numbers, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        numbers = tuple(tensor.tolist())
    return numbers[0] if len(numbers) == 1 else numbers


def broadcast(value: T) -> T:
    """Rank 0's value, on all processes."""
    if world_size() == 1:
        return value
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


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


def enable_cpu_sharding() -> None:
    """Makes accelerate shard weights over CPU processes, so that `--accelerate-config` can be tried without a GPU.

    accelerate 1.15 shards on GPUs only. On CPUs it silently ignores FSDP and DeepSpeed, although both work over gloo.
    """
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    original = AcceleratorState.__init__
    if original.__name__ == "init_with_sharding":
        return

    def init_with_sharding(self: Any, *args: Any, **kwargs: Any) -> None:
        if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
            kwargs["cpu"] = False  # the gloo process group exists already
        original(self, *args, **kwargs)
        plugin = kwargs.get("fsdp_plugin")
        if plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            if self._mixed_precision != "no":
                plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin = plugin

    AcceleratorState.__init__ = init_with_sharding
