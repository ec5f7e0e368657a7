"""Runs a trl trainer to its end: resumes, logs, stops in good order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kkwarm.plugins import registry
from kkwarm.schema.manifest import Kind, Manifest
from kkwarm.store import Run, config_hash, environment
from kkwarm.train import distributed
from kkwarm.train.config import TrainConfig
from kkwarm.train.engine import STEPS, explained, kind_of, on_cuda, uses_bf16
from kkwarm.train.step_log import StepLog
from kkwarm.train.watchdog import Watchdog

if TYPE_CHECKING:
    from kkwarm.train.in_training_eval import InTrainingEval

__all__ = ["LOG", "done_before", "finished", "note_environment", "opened", "quietly", "run_steps", "summary"]

LOG = "log.jsonl"
Row = Callable[[dict[str, float], int], dict[str, Any]]


def done_before(
    out: Path, *, kind: Kind, config: Mapping[str, Any], inputs: Mapping[str, str], product: str
) -> Run | None:
    """The run in `out`, for reading, where exactly this one is done and its `product` is still there."""
    if not (out / "manifest.json").exists() or not (out / product).exists():
        return None
    run = Run.read(out)
    same = run.manifest.config_hash == config_hash({"kind": kind, "config": config, "inputs": inputs})
    return run if same and run.done else None


@contextmanager
def opened(out: Path, *, kind: Kind, config: Mapping[str, Any], inputs: Mapping[str, str]) -> Iterator[Run]:
    """`Run.open`; of several processes only the first writes."""
    if not distributed.is_main():
        yield _Silent(out, Manifest(kind=kind, config=dict(config)))
        return
    with Run.open(out, kind=kind, config=config, inputs=inputs) as run:
        yield run


class _Silent(Run):
    """What the processes that do not write see as the run."""

    def _write_manifest(self) -> None:
        """Nothing: rank 0 does."""


def note_environment(run: Run, config: TrainConfig) -> None:
    """Keeps in the manifest what the run really trains on: device, precision, processes, threads."""
    import torch

    run.record(
        environment=environment(),
        device="cuda" if on_cuda(config) else "cpu",
        precision="bf16" if uses_bf16(config) else "fp32",
        processes=distributed.world_size(),
        threads=torch.get_num_threads(),
    )


def quietly(cls: Any) -> Any:
    """The trainer class without model cards at every save and without counting its users."""

    def nothing(self: Any, *args: Any, **kwargs: Any) -> None:
        return None

    return type(cls.__name__, (cls,), {"create_model_card": nothing, "_send_telemetry": nothing})


def run_steps(
    run: Run,
    trainer: Any,
    row: Row,
    config: TrainConfig,
    in_training_eval: InTrainingEval,
    *,
    progress: bool,
    stride: int = 1,
    also: Any = None,
) -> list[dict[str, Any]]:
    """Trains to the end, from the last whole step checkpoint if there is one; returns the step log.

    :param row: further fields of a step's line, from trl's log.
    :param stride: only multiples of it may be saved (GRPO: between two generations).
    :param also: called with the step that the run goes on from, before anything else happens.
    :raises KeyboardInterrupt: it was interrupted, after saving.
    :raises KkwarmError: loss or gradient is not finite, the loss diverges, memory or disk ran out.
    """
    from transformers.integrations import TensorBoardCallback
    from transformers.trainer_callback import PrinterCallback

    from kkwarm.train.steps import Recorder, fits, last_whole

    steps = run.path / STEPS
    start = distributed.broadcast(last_whole(steps) if distributed.is_main() else None)
    at = int(start.name.rpartition("-")[2]) if start else 0
    if start:
        fits(start, kind_of(trainer.accelerator))
    if also is not None:
        also(at)
    log = StepLog(run.path / LOG, at) if distributed.is_main() else None
    in_training_eval.open(at)
    watchdog = Watchdog(run.path)
    recorder = Recorder(
        run, log, row, config, in_training_eval=in_training_eval, watchdog=watchdog, stride=stride, progress=progress
    )
    recorder.trainer = trainer
    trainer.remove_callback(PrinterCallback)  # it prints on stdout
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(run.path / "tensorboard")  # not among the step checkpoints, which are removed
    trainer.add_callback(recorder)
    try:
        with recorder.interrupt, watchdog:
            trainer.train(resume_from_checkpoint=str(start) if start else None)
    except Exception as err:  # safetensors, torch and the system each have their own type for a full disk
        if (told := explained(err, run.path, rows=trainer.args.per_device_train_batch_size)) is not None:
            raise told from err
        raise
    finally:
        recorder.close()
    if trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt
    rows = StepLog.rows(run.path / LOG)
    if distributed.is_main():
        in_training_eval.alarm(rows)
    return rows


def summary(log: list[dict[str, Any]]) -> dict[str, Any]:
    """Steps and their time."""
    seconds = sum(r["seconds"] for r in log)
    return {"steps": len(log), "seconds": round(seconds, 2), "seconds_per_step": round(seconds / max(1, len(log)), 4)}


def finished(run: Run, in_training_eval: InTrainingEval, last: int) -> None:
    """Frees what only a run that goes on needs (step checkpoints, the best weights before the best), and tells the
    plugins. `last`: its last step.
    """
    if not distributed.is_main():
        return
    in_training_eval.on_checkpoint_saved(last)
    shutil.rmtree(run.path / STEPS, ignore_errors=True)
    registry().call_hook("kkwarm_run_finished", run=run)
