"""Sends the figures of a run to experiment trackers: tensorboard, trackio and wandb. A tracker that fails never ends a
run: it is reported once, and the run's own files have every figure.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from kkwarm.errors import KkwarmError, unknown_name, warn
from kkwarm.redaction import redact_data
from kkwarm.store import Run

TRACK = "KKWARM_TRACK"  # names of trackers, set by `kkwarm study --track` for its workers
START_TIMEOUT, END_TIMEOUT = 20.0, 60.0  # seconds that wandb may take to begin, and to send what is left


class _Tracker(Protocol):
    def log(self, figures: Mapping[str, float], step: int | None) -> None: ...
    def close(self) -> None: ...


def check_trackers(names: Sequence[str]) -> None:
    """:raises KkwarmError: a tracker is unknown, or its package is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
        if find_spec(name) is None:
            raise KkwarmError(f"--track {name} needs {name}", hint=f"pip install 'kkwarm[{name}]'")


class Tracking:
    """The trackers of one run. `problems` lists those that failed, with the cause."""

    def __init__(self, run: Run, names: Sequence[str]) -> None:
        self._trackers: dict[str, _Tracker] = {}
        self.problems: list[str] = []
        for name in names:
            self._attempt(name, partial(self._start, name, run))

    def log(self, figures: Mapping[str, Any], step: int | None = None) -> None:
        """Sends the finite numbers among `figures`. Figures of a mapping get names like ``rewards/format``."""
        numbers = dict(_numbers(figures))
        for name, tracker in list(self._trackers.items()):
            self._attempt(name, partial(tracker.log, numbers, step))

    def _start(self, name: str, run: Run) -> None:
        self._trackers[name] = TRACKERS[name](run, self._note)

    def close(self) -> None:
        """Ends the trackers' runs, within a minute."""
        for name, tracker in list(self._trackers.items()):
            self._attempt(name, tracker.close)
        self._trackers.clear()

    def _attempt(self, name: str, action: Callable[[], Any]) -> None:
        """A failing tracker is dropped and reported."""
        try:
            action()
        except Exception as err:  # the libraries raise errors of many kinds
            self._trackers.pop(name, None)
            self._note(f"--track {name} failed: {type(err).__name__}: {' '.join(str(err).split())[:200]}")

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
            warn(f"{problem}; the run continues, and its own files have every figure")


@contextmanager
def track(run: Run, names: Sequence[str] | None) -> Iterator[Tracking]:
    """The trackers of `names`, or of ``KKWARM_TRACK``; what failed is recorded among the run's warnings.

    :param names: None: none at all, in processes that do not report.
    """
    chosen = [] if names is None else names or [n for n in os.environ.get(TRACK, "").split(",") if n]
    tracking = Tracking(run, list(dict.fromkeys(chosen)))
    try:
        yield tracking
    finally:
        tracking.close()
        if new := [p for p in tracking.problems if p not in run.manifest.warnings]:
            run.record(warnings=[*run.manifest.warnings, *new])


def _numbers(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in figures.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"{prefix}{key}", value


def _group(run: Run) -> str | None:
    """The name of the study that the run is a step of."""
    return run.path.resolve().parent.parent.name if run.path.resolve().parent.name == "steps" else None


def _config(run: Run) -> dict[str, Any]:
    settings: dict[str, Any] = redact_data({**run.manifest.config, "kind": run.manifest.kind})
    return settings


class _TensorBoard:
    def __init__(self, run: Run, _: Callable[[str], None]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.path / "tensorboard"))

    def log(self, figures: Mapping[str, float], step: int | None) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step or 0)

    def close(self) -> None:
        self._writer.close()


class _Trackio:
    def __init__(self, run: Run, _: Callable[[str], None]) -> None:
        import trackio

        project = os.environ.get("TRACKIO_PROJECT") or "kkwarm"
        options = {"project": project, "name": run.name, "group": _group(run), "config": _config(run)}
        with redirect_stdout(sys.stderr):  # it prints
            self._run = trackio.init(**options, resume="allow")

    def log(self, figures: Mapping[str, float], step: int | None) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        import trackio

        with redirect_stdout(sys.stderr):
            trackio.finish()  # unlike the run's own method, not once more at exit


class _Wandb:
    """Without a login or a connection, wandb stores the figures in the run folder, for `wandb sync`."""

    def __init__(self, run: Run, note: Callable[[str], None]) -> None:
        import wandb

        settings = wandb.Settings(
            silent=True, console="off", init_timeout=START_TIMEOUT, login_timeout=START_TIMEOUT,
            finish_timeout=END_TIMEOUT, x_graphql_retry_max=3, x_file_stream_retry_max=3, x_file_transfer_retry_max=3,
        )  # fmt: skip
        options: dict[str, Any] = {
            "project": os.environ.get("WANDB_PROJECT") or "kkwarm",
            "name": run.name,
            "group": _group(run),
            "id": f"{run.manifest.config_hash}-{''.join(c for c in run.manifest.created if c.isdigit())}",
            "resume": "allow",
            "dir": str(run.path),
            "config": _config(run),
            "settings": settings,
        }
        try:
            self._run = wandb.init(**options)
        except wandb.errors.Error as err:
            other_id = f"{options['id']}-offline"  # wandb still holds the first one
            self._run = wandb.init(**{**options, "mode": "offline", "resume": None, "id": other_id})
            cause = " ".join(str(err).split())[:150]
            folder = Path(run.path, "wandb")
            note(f"--track wandb cannot be reached ({cause}): figures are in {folder}, for `wandb sync`")

    def log(self, figures: Mapping[str, float], step: int | None) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()


TRACKERS: Mapping[str, Callable[[Run, Callable[[str], None]], _Tracker]] = {
    "tensorboard": _TensorBoard,
    "trackio": _Trackio,
    "wandb": _Wandb,
}
