"""What happens between two training steps: logging, step checkpoints, in-training evaluation, interruption, divergence.

Imports transformers: import it where a run trains.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections import deque
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from transformers import TrainerCallback

from kkwarm.errors import KkwarmError
from kkwarm.interrupt import handle_signals
from kkwarm.schema.settings import TrainConfig, WarmupConfig
from kkwarm.train import distributed
from kkwarm.train.checkpoints import STEPS, find_last_checkpoint, mark_complete
from kkwarm.train.progress import Progress, StepLog, Watchdog, print_status

if TYPE_CHECKING:
    from kkwarm.store import Run
    from kkwarm.tracking import Tracking
    from kkwarm.train.in_training_eval import InTrainingEval

SAVE_SECONDS = 30.0  # between step checkpoints where no number of steps is given,
SAVE_FACTOR = 20  # and at least this many times as long as saving took
ALARM_STEPS = 10  # between checks of the alarms
DIVERGENCE_WINDOW = 8  # steps over which the loss is averaged
_LEARNING_RATE_HINT = "try a lower --learning-rate or --max-grad-norm"


class InterruptHandler:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a request to stop after this step; a second Ctrl-C stops at once.

    A second SIGTERM does not, because a batch system sends it to every process, and a study passes it to its workers.
    """

    def __init__(self) -> None:
        self.requested = False
        self._handlers = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._handlers.enter_context(handle_signals(self._handle))
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._handlers.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            print_status("stopping after this step (press Ctrl-C again to stop at once)")
        self.requested = True


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Logs each step, shows progress, saves step checkpoints, evaluates, and stops on NaN or divergence.

    Set `trainer` before training starts.

    :param log: the step log; None in processes that do not write.
    :param log_fields: further fields of a step's line, from trl's log and the step.
    :param save_stride: only steps that are a multiple of it may be saved.
    """

    def __init__(
        self,
        run: Run,
        log: StepLog | None,
        log_fields: Callable[[dict[str, float], int], dict[str, Any]],
        config: TrainConfig,
        in_training_eval: InTrainingEval,
        watchdog: Watchdog,
        *,
        save_stride: int = 1,
        progress: bool = True,
    ) -> None:
        self._title, self._steps, self._log, self._log_fields = run.manifest.kind, run.path / STEPS, log, log_fields
        self._save_every, self._save_stride, self._show = config.save_every, save_stride, progress
        # RLVR's loss does not measure how well training goes.
        self._divergence = DivergenceMonitor(config.divergence_factor) if isinstance(config, WarmupConfig) else None
        self._in_training_eval, self._watchdog = in_training_eval, watchdog
        self.trainer: Any = None
        self.tracking: Tracking | None = None  # set before training starts
        self.interrupt = InterruptHandler()
        self._bar: Progress | None = None
        self._step_started = self._saved_at = time.monotonic()
        self._saving_seconds = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar = Progress(self._title, state.max_steps, done=state.global_step, show=self._show)
        self._bar.__enter__()
        self._in_training_eval.note.show = self._bar.show_note
        if state.global_step == 0:
            self._evaluate(state)
        self._step_started = self._saved_at = time.monotonic()

    def _evaluate(self, state: Any) -> None:
        if not self._in_training_eval.is_due(state.global_step, state.max_steps):
            return
        started = time.monotonic()
        self._in_training_eval.run(self.trainer, state.global_step)
        if self.tracking is not None and (rows := self._in_training_eval.rows()):
            self.tracking.log({"eval": rows[-1]["accuracy"]}, state.global_step)
        self._step_started += time.monotonic() - started  # not part of the step's time
        self._watchdog.step_done(counts=False)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Each process has its own clock and its own signals: all of them do what any of them asks for.
        stop, save = distributed.all_reduce_max(
            int(self.interrupt.requested), int(distributed.is_main() and self._save_due(state.global_step))
        )
        if stop:
            control.should_training_stop = True
        if state.global_step % self._save_stride == 0 and state.global_step < state.max_steps:
            control.should_save = bool(stop or save)
        self._watchdog.step_done()
        self._evaluate(state)

    def _save_due(self, step: int) -> bool:
        if self._divergence is not None and not self._divergence.healthy:
            return False  # keep the last step checkpoint from before
        if self._save_every is not None:
            return step % self._save_every == 0
        return time.monotonic() - self._saved_at > max(SAVE_SECONDS, SAVE_FACTOR * self._saving_seconds)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "loss" not in logs:  # trl's summary at the end
            return
        step, now = state.global_step, time.monotonic()
        row = {"step": step, **self._log_fields(logs, step), "seconds": round(now - self._step_started, 4)}
        self._step_started = now
        self._check_loss(logs, step)
        if self._log is not None:
            self._log.write(row)
            if self.tracking is not None:
                self.tracking.log({"train": {k: v for k, v in row.items() if k != "step"}}, step)
            if step % ALARM_STEPS == 0:
                self._in_training_eval.alarm(StepLog.rows(self._log.path))
        if self._bar is not None:
            names = [name for name in ("reward", "accuracy", "token_accuracy", "loss") if row.get(name) is not None]
            figures = {name: f"{name.replace('_', ' ')} {row[name]:.3f}" for name in names}
            if parts := row.get("rewards"):
                figures["reward"] += f" ({', '.join(f'{name} {mean:.3f}' for name, mean in parts.items())})"
            self._bar.update(step, "  ".join(figures.values()))

    def _check_loss(self, logs: dict[str, float], step: int) -> None:
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                message = f"{name} is {logs[name]} at step {step}; {self._last_checkpoint_note()}"
                raise KkwarmError(message, hint=_LEARNING_RATE_HINT)
        if self._divergence is not None and (problem := self._divergence.add(logs["loss"])):
            raise KkwarmError(
                f"{problem} at step {step}; {self._last_checkpoint_note()}",
                hint=f"{_LEARNING_RATE_HINT}, with another -o, or a higher --divergence-factor",
            )

    def _last_checkpoint_note(self) -> str:
        last = find_last_checkpoint(self._steps)
        return f"the last good checkpoint is {last}" if last else "no step checkpoint was saved before"

    def save_last_step(self) -> None:
        """Saves the step before a generation that failed, unless it is saved already. All processes call this."""
        trainer, step = self.trainer, self.trainer.state.global_step
        last = find_last_checkpoint(self._steps) if distributed.is_main() else None
        saved = distributed.broadcast(last is not None and last.name == f"checkpoint-{step}")
        if step > 0 and step % self._save_stride == 0 and not saved:
            trainer._save_checkpoint(trainer.model, None)
            trainer.control = trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        distributed.barrier()  # each process writes the state of its random numbers
        if distributed.is_main():
            mark_complete(self._steps / f"checkpoint-{state.global_step}")
            self._in_training_eval.on_checkpoint_saved(state.global_step)
        now = time.monotonic()
        self._saving_seconds, self._saved_at = now - self._step_started, now
        self._step_started = now
        self._watchdog.step_done(counts=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        if self._log is not None:
            self._log.close()
        self._in_training_eval.close()


class DivergenceMonitor:
    """Detects a diverging loss: its mean over 8 steps exceeds the first such mean and `factor` times the lowest one.

    The loss is `healthy`, and a step checkpoint worth keeping, while the mean is below half of that.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._losses: deque[float] = deque(maxlen=DIVERGENCE_WINDOW)
        self._first_mean, self._lowest_mean = math.inf, math.inf
        self.healthy = True

    def add(self, loss: float) -> str:
        """Takes the loss of the next step. Returns a description of the problem; empty where there is none."""
        self._losses.append(loss)
        if len(self._losses) < DIVERGENCE_WINDOW:
            return ""
        mean = sum(self._losses) / DIVERGENCE_WINDOW
        if math.isinf(self._first_mean):
            self._first_mean = mean
        self._lowest_mean = min(self._lowest_mean, mean)
        self.healthy = mean <= max(self._first_mean, self._factor / 2 * self._lowest_mean)
        if mean > self._first_mean and mean > self._factor * self._lowest_mean:
            return (
                f"the loss diverges: {mean:.3g} over {DIVERGENCE_WINDOW} steps, {self._lowest_mean:.3g} at its lowest"
            )
        return ""
