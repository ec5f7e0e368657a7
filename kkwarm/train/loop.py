"""The life of a training run: opening its folder, resuming, training to the end, and cleaning up."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.schema.manifest import Kind, Manifest
from kkwarm.schema.settings import TrainConfig
from kkwarm.store import Run, environment, run_hash
from kkwarm.tracking import track
from kkwarm.train import distributed
from kkwarm.train.checkpoints import STEPS, check_sharding, distributed_type, find_last_checkpoint
from kkwarm.train.progress import StepLog, Watchdog
from kkwarm.train.trainer_setup import uses_bf16, uses_cuda
from kkwarm.verify.rewards import RewardError

if TYPE_CHECKING:
    from kkwarm.train.in_training_eval import InTrainingEval

LOG = "log.jsonl"
LogFields = Callable[[dict[str, float], int], dict[str, Any]]


def read_finished(
    out: Path, *, kind: Kind, config: Mapping[str, Any], inputs: Mapping[str, str], product: str
) -> Run | None:
    """The run in `out`, read-only, if it is this run, finished, and still has its `product`."""
    if not (out / "manifest.json").exists() or not (out / product).exists():
        return None
    run = Run.read(out)
    same = run.manifest.config_hash == run_hash(kind, config, inputs)
    return run if same and run.done else None


@contextmanager
def open_run(out: Path, *, kind: Kind, config: Mapping[str, Any], inputs: Mapping[str, str]) -> Iterator[Run]:
    """`Run.open` on rank 0; the other processes get a run that writes nothing."""
    if not distributed.is_main():
        yield _UnwrittenRun(out, Manifest(kind=kind, config=dict(config)))
        return
    with Run.open(out, kind=kind, config=config, inputs=inputs) as run:
        yield run


class _UnwrittenRun(Run):
    def _write_manifest(self) -> None:
        """Rank 0 writes it."""


def record_environment(run: Run, config: TrainConfig) -> None:
    """Records in the manifest what the run trains on: device, precision, processes, threads."""
    import torch

    run.record(
        environment=environment(),
        device="cuda" if uses_cuda(config) else "cpu",
        precision="bf16" if uses_bf16(config) else "fp32",
        processes=distributed.world_size(),
        threads=torch.get_num_threads(),
    )


def train_to_end(
    run: Run,
    trainer: Any,
    log_fields: LogFields,
    config: TrainConfig,
    in_training_eval: InTrainingEval,
    *,
    progress: bool,
    save_stride: int = 1,
    on_start: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """Trains to the end, from the last complete step checkpoint if there is one. Returns the step log.

    :param log_fields: further fields of a step's line, from trl's log and the step.
    :param save_stride: only steps that are a multiple of it may be saved (GRPO: between two generations).
    :param on_start: called with the step that the run resumes from, before anything else happens.
    :raises KeyboardInterrupt: the run was interrupted, after saving.
    :raises RewardError: a reward cannot be used; the steps before it are saved.
    :raises KkwarmError: the loss or gradient is not finite, the loss diverges, memory or disk space ran out.
    """
    from transformers.trainer_callback import PrinterCallback

    from kkwarm.train.callback import RunCallback

    checkpoint = distributed.broadcast(find_last_checkpoint(run.path / STEPS) if distributed.is_main() else None)
    start = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    if checkpoint:
        check_sharding(checkpoint, distributed_type(trainer.accelerator))
    if on_start is not None:
        on_start(start)
    log = StepLog(run.path / LOG, start) if distributed.is_main() else None
    in_training_eval.open(start)
    watchdog = Watchdog(run.path)
    callback = RunCallback(
        *(run, log, log_fields, config, in_training_eval, watchdog), save_stride=save_stride, progress=progress
    )
    callback.trainer = trainer
    trainer.remove_callback(PrinterCallback)  # it prints on stdout
    trainer.add_callback(callback)
    try:
        trackers = config.track if distributed.is_main() else None
        with track(run, trackers) as callback.tracking, callback.interrupt, watchdog:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except RewardError as err:
        callback.save_last_step()
        note = f"then repeat the command: it resumes after step {trainer.state.global_step}"
        raise RewardError(err.message, hint=f"{err.hint}; {note}") from err
    except Exception as err:  # safetensors, torch and the system each have their own type for a full disk
        rows = trainer.args.per_device_train_batch_size
        if (error := _explain_resource_error(err, run.path, rows)) is not None:
            raise error from err
        raise
    finally:
        callback.close()
    if trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt
    steps = StepLog.rows(run.path / LOG)
    if distributed.is_main():
        in_training_eval.alarm(steps)
    return steps


def _explain_resource_error(err: Exception, path: Path, rows: int) -> KkwarmError | None:
    """An error with a fix where memory or disk space ran out; None for other errors.

    :param rows: sequences in a forward pass.
    """
    text = " ".join(str(err).split())
    lower = text.lower()
    if isinstance(err, MemoryError) or "out of memory" in lower or "can't allocate" in lower:
        option = f"--micro-batch-size {rows // 2}" if rows > 1 else "--gradient-checkpointing"
        hint = f"add {option} to the same command, which resumes the run; or use --lora with another -o"
        return KkwarmError(f"out of memory with {rows} sequences in a forward pass: {text[:200]}", hint=hint)
    full = isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
    if full or "no space left" in lower or "os error 28" in lower or "pytorchstreamwriter" in lower:
        return KkwarmError(f"{path} cannot be written: {text[:200]}", hint="free space and run the same command again")
    return None


def summarize(log: list[dict[str, Any]]) -> dict[str, Any]:
    """Number of steps and their time in seconds."""
    seconds = sum(row["seconds"] for row in log)
    return {"steps": len(log), "seconds": round(seconds, 2), "seconds_per_step": round(seconds / max(1, len(log)), 4)}


def finish_run(run: Run, in_training_eval: InTrainingEval, last_step: int) -> None:
    """Removes what only resuming needs (step checkpoints, the previous best weights), and calls the plugins' hook."""
    if not distributed.is_main():
        return
    in_training_eval.on_checkpoint_saved(last_step)
    shutil.rmtree(run.path / STEPS, ignore_errors=True)
    registry().call_hook("kkwarm_run_finished", run=run)
