"""Weights in shards over CPU processes: what `--accelerate-config` does on GPUs, tried out without one.

accelerate 1.15 shards on GPUs only: on CPUs it passes FSDP and DeepSpeed over in silence, and every process holds all
weights. Both libraries work over gloo, so accelerate is told that they may.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = ["shard_on_cpu"]


def shard_on_cpu() -> None:
    """From now on, accelerate shards over CPU processes where a launcher's environment asks for it."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    begin = AcceleratorState.__init__
    if begin.__name__ == "sharding":
        return

    def sharding(self: Any, *args: Any, **kwargs: Any) -> None:
        if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
            kwargs["cpu"] = False  # the processes have met already, over gloo
        begin(self, *args, **kwargs)
        plugin = kwargs.get("fsdp_plugin")
        if plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            if self._mixed_precision != "no":
                plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin = plugin

    AcceleratorState.__init__ = sharding
