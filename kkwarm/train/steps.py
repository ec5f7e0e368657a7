"""Between two steps: step checkpoints that a kill cannot break, interruption, NaN."""

from __future__ import annotations

import json
import math
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from transformers import TrainerCallback

from kkwarm.errors import KkwarmError
from kkwarm.train import distributed
from kkwarm.train.config import TrainConfig, WarmupConfig
from kkwarm.train.engine import STEPS
from kkwarm.train.progress import Progress, say
from kkwarm.train.step_log import StepLog

if TYPE_CHECKING:
    from kkwarm.store import Run
    from kkwarm.train.in_training_eval import InTrainingEval
    from kkwarm.train.watchdog import Watchdog

__all__ = ["DivergenceMonitor", "Interrupt", "Recorder", "fits", "last_whole"]

MARK = "whole.json"  # written last: sizes of the checkpoint's files
EVERY_SECONDS = 30.0  # between step checkpoints where no number of steps is given
ALARM_EVERY = 10  # steps
SHARE = 20  # ... and at least so many times as long as saving took


def last_whole(folder: Path) -> Path | None:
    """The newest step checkpoint that was written to its end; broken ones are removed."""
    found: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        number = path.name.rpartition("-")[2]
        if not number.isdecimal():
            continue
        if _whole(path):
            found.append((int(number), path))
        else:
            shutil.rmtree(path)
    return max(found)[1] if found else None


def _sizes(path: Path) -> dict[str, int]:
    files = (f for f in path.rglob("*") if f.is_file() and f.name != MARK)
    return {str(f.relative_to(path)): f.stat().st_size for f in files}


def _whole(path: Path) -> bool:
    try:
        return bool(json.loads((path / MARK).read_text()) == _sizes(path))
    except (OSError, ValueError):
        return False


def _mark(path: Path) -> None:
    temporary = path / f".{MARK}"
    temporary.write_text(json.dumps(_sizes(path)))  # `_sizes` runs first: the temporary file is not among them
    temporary.replace(path / MARK)


_SHARDS = {"FSDP": "pytorch_model_fsdp*", "DEEPSPEED": "global_step*"}  # what a step checkpoint of either holds


def fits(checkpoint: Path, kind: str) -> None:
    """Whether the weights of a step checkpoint are kept as this run can read them: whole, or in the same shards.

    :param kind: ``FSDP``, ``DEEPSPEED``, or another one of accelerate's, whose processes each hold all weights.
    :raises KkwarmError: they are not.
    """
    held = next((kind for kind, files in _SHARDS.items() if any(checkpoint.glob(files))), None)
    asked = kind if kind in _SHARDS else None
    if held == asked:
        return
    name = {"FSDP": "fsdp2", "DEEPSPEED": "zero3", None: ""}[held]
    how = f"weights in shards ({name})" if held else "whole weights"
    hint = f"go on with --accelerate-config {name}" if held else "go on without --accelerate-config"
    raise KkwarmError(f"{checkpoint} holds {how}: it cannot be read in another way", hint=f"{hint}, as before")


class Interrupt:
    """Turns the first Ctrl-C or SIGTERM into a wish to stop after this step; a second Ctrl-C stops at once.

    A second SIGTERM does not: a batch system sends it to every process, and a study hands its own on to its workers.
    """

    def __init__(self) -> None:
        self.wished = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._hit)
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _hit(self, number: int, frame: FrameType | None) -> None:
        if self.wished and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.wished:
            say("stopping after this step (Ctrl-C again: at once)")
        self.wished = True


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Logs each step, shows progress, saves step checkpoints and stops on NaN.

    :param log: None in processes that do not write.
    :param row: further fields of a step's line, from trl's log.
    :param stride: only multiples of it may be saved.
    """

    def __init__(
        self,
        run: Run,
        log: StepLog | None,
        row: Callable[[dict[str, float], int], dict[str, Any]],
        config: TrainConfig,
        *,
        in_training_eval: InTrainingEval,
        watchdog: Watchdog,
        stride: int = 1,
        progress: bool = True,
    ) -> None:
        self._title, self._out, self._log, self._row = run.manifest.kind, run.path / STEPS, log, row
        self._every, self._stride, self._show = config.save_every, stride, progress
        # RLVR's loss is no measure of how well it does.
        self._divergence = DivergenceMonitor(config.divergence_factor) if isinstance(config, WarmupConfig) else None
        self._in_training_eval, self._watchdog = in_training_eval, watchdog
        self.trainer: Any = None
        self.interrupt = Interrupt()
        self._bar: Progress | None = None
        self._at = time.monotonic()
        self._saved_at, self._saving_took = self._at, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar = Progress(self._title, state.max_steps, done=state.global_step, show=self._show)
        self._bar.__enter__()
        if state.global_step == 0:
            self._run_eval(state)
        self._at = self._saved_at = time.monotonic()

    def _run_eval(self, state: Any) -> None:
        if not self._in_training_eval.is_due(state.global_step, state.max_steps):
            return
        began = time.monotonic()
        self._in_training_eval.run(self.trainer, state.global_step)
        self._at += time.monotonic() - began  # no part of the step's time
        self._watchdog.beat(counted=False)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Each process has its own clock and its own signals: all of them do what one wishes.
        stop, save = distributed.all_reduce_max(
            int(self.interrupt.wished), int(distributed.is_main() and self._due(state.global_step))
        )
        if stop:
            control.should_training_stop = True
        if state.global_step % self._stride == 0 and state.global_step < state.max_steps:
            control.should_save = bool(stop or save)
        self._watchdog.beat()
        self._run_eval(state)

    def _due(self, step: int) -> bool:
        if self._divergence is not None and not self._divergence.healthy:
            return False  # the last step checkpoint stays a good one
        if self._every is not None:
            return step % self._every == 0
        return time.monotonic() - self._saved_at > max(EVERY_SECONDS, SHARE * self._saving_took)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "loss" not in logs:  # the summary at the end
            return
        now = time.monotonic()
        row = {"step": state.global_step, **self._row(logs, state.global_step), "seconds": round(now - self._at, 4)}
        self._at = now
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise KkwarmError(
                    self._diverged(name, logs[name], state.global_step),
                    hint="try a lower --learning-rate or --max-grad-norm",
                )
        if self._divergence is not None and (told := self._divergence.add(logs["loss"])):
            raise KkwarmError(
                f"{told} at step {state.global_step}; {self._good()}",
                hint="try a lower --learning-rate or --max-grad-norm, with another -o; --divergence-factor is the limit",
            )
        if self._log is not None:
            self._log.write(row)
            if state.global_step % ALARM_EVERY == 0:
                self._in_training_eval.alarm(StepLog.rows(self._log.path))
        if self._bar is not None:
            shown = ("reward", "accuracy", "loss")
            self._bar.update(state.global_step, "  ".join(f"{k} {row[k]:.3f}" for k in shown if row.get(k) is not None))

    def _diverged(self, name: str, value: float, step: int) -> str:
        return f"{name} is {value} at step {step}; {self._good()}"

    def _good(self) -> str:
        good = last_whole(self._out)
        return f"the last good checkpoint is {good}" if good else "no step checkpoint was saved before"

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        distributed.barrier()  # each process writes the state of its random numbers
        if distributed.is_main():
            _mark(self._out / f"checkpoint-{state.global_step}")
            self._in_training_eval.on_checkpoint_saved(state.global_step)
        now = time.monotonic()
        self._saving_took, self._saved_at = now - self._at, now
        self._at = now
        self._watchdog.beat(counted=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        if self._log is not None:
            self._log.close()
        self._in_training_eval.close()


class DivergenceMonitor:
    """Whether a loss diverges: its mean over 8 steps is `limit` times the lowest such mean, and above the first.

    A step checkpoint is worth keeping while the mean is below half of that.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._last: deque[float] = deque(maxlen=8)
        self._first, self._least = math.inf, math.inf
        self.healthy = True

    def add(self, loss: float) -> str:
        """What is wrong; empty where nothing is."""
        self._last.append(loss)
        if len(self._last) < 8:
            return ""
        mean = sum(self._last) / 8
        if math.isinf(self._first):
            self._first = mean
        self._least = min(self._least, mean)
        high = mean > self._first and mean > self._limit * self._least
        self.healthy = mean <= max(self._first, self._limit / 2 * self._least)
        return f"the loss diverges: {mean:.3g} over 8 steps, it was {self._least:.3g}" if high else ""
