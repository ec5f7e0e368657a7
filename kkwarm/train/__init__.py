"""Distillation, warm-up by SFT, and RLVR: the only importers of trl (inside the functions that train)."""

from kkwarm.schema.settings import (
    PAPER_DISTILL,
    PAPER_RLVR,
    PAPER_WARMUP,
    DistillConfig,
    RlvrConfig,
    TrainConfig,
    WarmupConfig,
)
from kkwarm.train.distillation import distill
from kkwarm.train.grpo import rlvr
from kkwarm.train.sft import warmup
from kkwarm.train.traces import read_traces, write_traces

__all__ = [
    "PAPER_DISTILL",
    "PAPER_RLVR",
    "PAPER_WARMUP",
    "DistillConfig",
    "RlvrConfig",
    "TrainConfig",
    "WarmupConfig",
    "distill",
    "read_traces",
    "rlvr",
    "warmup",
    "write_traces",
]
