"""Benchmarks checkpoints. Only this package imports lm_eval."""

from typing import TYPE_CHECKING, Any

from kkwarm.schema.settings import BenchConfig

if TYPE_CHECKING:
    from kkwarm.evaluation.engine import bench

__all__ = ["BenchConfig", "bench"]


def __getattr__(name: str) -> Any:
    """`bench`, imported when it is first used: plugins and the lists of tasks do not need it."""
    if name == "bench":
        from kkwarm.evaluation.engine import bench

        return bench
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
