"""Runs a trl trainer to its end: resumes, logs, stops in good order."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.store import Run
from kkwarm.train.engine import STEPS
from kkwarm.train.progress import say

__all__ = ["LOG", "finished", "quietly", "run_steps", "summary"]

LOG = "log.jsonl"
Row = Callable[[dict[str, float], int], dict[str, Any]]


def quietly(cls: Any) -> Any:
    """The trainer class without model cards at every save and without counting its users."""

    def nothing(self: Any, *args: Any, **kwargs: Any) -> None:
        return None

    return type(cls.__name__, (cls,), {"create_model_card": nothing, "_send_telemetry": nothing})


def run_steps(
    run: Run, trainer: Any, title: str, row: Row, *, every: int | None, progress: bool, stride: int = 1, also: Any = None
) -> list[dict[str, Any]]:
    """Trains to the end, from the last whole step checkpoint if there is one; returns the step log.

    :param also: called with the step that the run goes on from, before anything else happens.
    :raises KeyboardInterrupt: it was interrupted, after saving.
    :raises KkwarmError: loss or gradient is not finite, memory or disk ran out.
    """
    from transformers.trainer_callback import PrinterCallback

    from kkwarm.train.steps import Recorder, StepFile, last_whole

    steps = run.path / STEPS
    start = last_whole(steps)
    at = int(start.name.rpartition("-")[2]) if start else 0
    if also is not None:
        also(at)
    log = StepFile(run.path / LOG, at)
    recorder = Recorder(title, steps, log, row, every=every, stride=stride, progress=progress)
    trainer.remove_callback(PrinterCallback)  # it prints on stdout
    trainer.add_callback(recorder)
    try:
        with recorder.interrupt:
            trainer.train(resume_from_checkpoint=str(start) if start else None)
    except (RuntimeError, MemoryError, OSError) as err:
        raise _explained(err, run) from err
    finally:
        recorder.close()
    if trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt
    return StepFile.rows(run.path / LOG)


def _explained(err: BaseException, run: Run) -> BaseException:
    told = " ".join(str(err).split())
    if isinstance(err, MemoryError) or "out of memory" in told.lower() or "can't allocate" in told:
        hint = "lower --batch-size, or add --checkpointing or --lora; the same command then goes on"
        return KkwarmError(f"out of memory: {told[:200]}", hint=hint)
    if isinstance(err, OSError) or "No space left" in told or "PytorchStreamWriter" in told:
        return KkwarmError(f"{run.path} cannot be written: {told[:200]}", hint="free space; the run resumes")
    return err


def summary(log: list[dict[str, Any]]) -> dict[str, Any]:
    """Steps and their time."""
    seconds = sum(r["seconds"] for r in log)
    return {"steps": len(log), "seconds": round(seconds, 2), "seconds_per_step": round(seconds / max(1, len(log)), 4)}


def finished(run: Run, steps: Path) -> None:
    """Frees the step checkpoints of a run that is done, and tells the plugins."""
    shutil.rmtree(steps, ignore_errors=True)
    for impl in registry().manager.hook.kkwarm_run_finished.get_hookimpls():
        try:
            impl.function(run=run)
        except Exception as err:  # a plugin's failure must not cost the run
            say(f"plugin {impl.plugin_name} failed on the finished run: {type(err).__name__}: {err}")
