"""The weights of the best step so far: ``best/``, a loadable folder that every better evaluation replaces.

A resumed run repeats the steps after its last step checkpoint, and may find another best step among them. So replaced
weights are kept until a step checkpoint includes the step that replaced them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from kkwarm.train import distributed
from kkwarm.train.checkpoints import replace_folder, write_weights

BEST = "best"
_PREVIOUS, _OBSOLETE, _STEP_FILE = ".best-before", ".best-old", "kkwarm.json"


class BestWeights:
    """Keeps ``best/`` in a run folder. Only rank 0 writes; sharded weights are gathered by all processes."""

    def __init__(self, out: Path, tokenizer: Any) -> None:
        self._out, self._tokenizer = out, tokenizer
        self._checkpoint_step = 0  # step of the last complete step checkpoint

    @property
    def path(self) -> Path:
        return self._out / BEST

    @property
    def step(self) -> int | None:
        """The step whose weights are in ``best/``; None if there are none."""
        return self._read_step(BEST)

    def _read_step(self, name: str) -> int | None:
        file = self._out / name / _STEP_FILE
        return int(json.loads(file.read_text("utf-8"))["step"]) if file.is_file() else None

    def resume(self, step: int) -> None:
        """Drops weights of steps after `step`, which are repeated, and restores those that they replaced."""
        self._checkpoint_step = step
        best, previous = self.step, self._read_step(_PREVIOUS)
        if best is None or best > step:
            self._remove(BEST)
            if previous is not None and previous <= step:
                (self._out / _PREVIOUS).rename(self.path)
        self._remove(_PREVIOUS, _OBSOLETE)

    def keep(self, trainer: Any, step: int) -> None:
        """Stores the current weights as those of `step`. All processes call it together."""
        with replace_folder(self.path, move_old=self._move_aside) as folder:
            write_weights(trainer, self._tokenizer, folder)
            if distributed.is_main():
                (folder / _STEP_FILE).write_text(json.dumps({"step": step}), "utf-8")
        if distributed.is_main():
            self._remove(_OBSOLETE)

    def _move_aside(self) -> None:
        best = self.step
        if best is None:
            return
        target = _PREVIOUS if best <= self._checkpoint_step else _OBSOLETE
        self._remove(target)
        self.path.rename(self._out / target)

    def on_checkpoint_saved(self, step: int) -> None:
        """The step checkpoint of `step` is complete: no earlier step will be repeated."""
        self._checkpoint_step = step
        self._remove(_PREVIOUS)

    def forget(self) -> None:
        """Removes the weights: they were the best for other questions."""
        self._remove(BEST, _PREVIOUS, _OBSOLETE)

    def _remove(self, *names: str) -> None:
        for name in names:
            shutil.rmtree(self._out / name, ignore_errors=True)
