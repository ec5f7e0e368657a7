"""The weights of the best step so far: ``best/``, a folder to load, replaced whole when a in-training evaluation beats those before it.

A run that goes on does the steps after its last step checkpoint again, and may find another best among them. So what a
new best replaces stays until a step checkpoint covers the new one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from kkwarm.train import distributed
from kkwarm.train.engine import replaced, write_weights

__all__ = ["BEST", "BestWeights"]

BEST = "best"
_BEFORE, _OLD, _MARK = ".best-before", ".best-old", "kkwarm.json"


class BestWeights:
    """Only rank 0 writes; with weights in shards all processes put them together."""

    def __init__(self, out: Path, tokenizer: Any) -> None:
        self._out, self._tokenizer = out, tokenizer
        self._covered = 0  # the step of the last whole step checkpoint

    @property
    def path(self) -> Path:
        return self._out / BEST

    @property
    def step(self) -> int | None:
        """The step whose weights are in ``best/``; None where there are none."""
        return self._step_of(BEST)

    def _step_of(self, name: str) -> int | None:
        mark = self._out / name / _MARK
        return int(json.loads(mark.read_text("utf-8"))["step"]) if mark.is_file() else None

    def resume(self, at: int) -> None:
        """Drops weights of steps after `at`, which will be done again; those that they replaced come back."""
        self._covered = at
        best, before = self.step, self._step_of(_BEFORE)
        if best is None or best > at:
            self._remove(BEST)
            if before is not None and before <= at:
                (self._out / _BEFORE).rename(self.path)
        self._remove(_BEFORE, _OLD)

    def keep(self, trainer: Any, step: int) -> None:
        """Takes the weights as they are after `step`. All processes call it together."""
        with replaced(self.path, aside=self._aside) as folder:
            write_weights(trainer, self._tokenizer, folder)
            if distributed.is_main():
                (folder / _MARK).write_text(json.dumps({"step": step}), "utf-8")
        if distributed.is_main():
            self._remove(_OLD)

    def _aside(self) -> None:
        best = self.step
        if best is None:
            return
        covered = best <= self._covered
        self._remove(_BEFORE if covered else _OLD)
        self.path.rename(self._out / (_BEFORE if covered else _OLD))

    def covered(self, step: int) -> None:
        """A step checkpoint of `step` is whole: no step before it will be done again."""
        self._covered = step
        self._remove(_BEFORE)

    def forget(self) -> None:
        """Removes what is kept: it was the best by other questions."""
        self._remove(BEST, _BEFORE, _OLD)

    def _remove(self, *names: str) -> None:
        for name in names:
            shutil.rmtree(self._out / name, ignore_errors=True)
