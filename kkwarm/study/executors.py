"""The executors that there are, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from kkwarm.study.executor import Executor

__all__ = ["Name", "open_executor"]

Name = Literal["local", "ray"]


def open_executor(
    name: Name, out: Path, jobs: int | None, *, address: str | None = None, say: Callable[[str], None] = lambda _: None
) -> Executor:
    """The executor `name` for the study in `out`.

    :param jobs: steps at once; None: as many as there is room for.
    :param address: of the Ray cluster; None: ``RAY_ADDRESS``, or one of this machine's cores and GPUs.
    :param say: told what a user should know.
    :raises KkwarmError: it cannot be had here.
    """
    if name == "ray":
        from kkwarm.study.cluster import RayExecutor

        return RayExecutor(out, jobs, address, say)
    from kkwarm.study.local import LocalExecutor

    return LocalExecutor(out, jobs)
