"""Progress of generation on stderr: samples, tokens, tokens per second, and the time left.

A sample of a real model takes minutes, so tokens are counted while they are generated. Where stderr is not a terminal,
a line is printed at intervals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from kkwarm.types import Sample

PLAIN_INTERVAL = 30.0  # seconds between two lines where stderr is not a terminal
_REDRAW_INTERVAL = 0.2  # seconds between two updates of a bar


def duration(seconds: float) -> str:
    """Formats seconds: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


class TokenMeter:
    """Counts the samples and tokens of a generation, and estimates the time left from them.

    :param total: samples to generate.
    :param max_tokens: tokens of a sample, at most.
    """

    def __init__(self, total: int, max_tokens: int) -> None:
        self.total, self.max_tokens = total, max_tokens
        self.samples = self.tokens = 0
        self._finished_tokens = 0
        self._started = time.monotonic()

    def add_tokens(self, count: int) -> None:
        """`count` tokens were generated."""
        self.tokens += count

    def add_samples(self, count: int, tokens: int) -> None:
        """`count` samples with `tokens` tokens in all are finished."""
        self.samples += count
        self._finished_tokens += tokens

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / max(1e-3, time.monotonic() - self._started)

    @property
    def tokens_left(self) -> float:
        """The expected number of tokens that are still to be generated.

        Lengths of unfinished samples are censored: under a constant probability that a token is the last one, the mean
        length is the number of tokens over the number of finished samples. The closer this is to the limit, the more of
        the unfinished samples' tokens count as done.
        """
        if self.samples >= self.total:
            return 0.0
        mean = min(self.tokens / self.samples, self.max_tokens) if self.samples else float(self.max_tokens)
        unfinished = max(0, self.tokens - self._finished_tokens)
        return max(0.0, (self.total - self.samples) * mean - unfinished * mean / self.max_tokens)

    @property
    def seconds_left(self) -> float | None:
        """The expected time left; None before the first token."""
        return self.tokens_left / self.rate if self.tokens else None

    def text(self) -> str:
        """``4,210 tokens, 95 tokens/s, about 3 min 20 s left``; "at most" before the first sample is finished."""
        left = self.seconds_left
        if left is None:
            return ""
        counts = f"{self.tokens:,} tokens, {self.rate:,.0f} tokens/s"
        if self.samples >= self.total:
            return counts
        return f"{counts}, {'about' if self.samples else 'at most'} {duration(left)} left"


class GenerationProgress:
    """One bar for each benchmark or batch of them. Use as a context manager.

    :param show: False prints nothing.
    """

    def __init__(self, show: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        self._console = Console(stderr=True)
        self._plain = show and not self._console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False, table_column=Column()),  # it may wrap
            console=self._console,
            disable=not show or self._plain,
        )
        self._tasks: dict[str, Any] = {}
        self._name, self._stored, self._meter = "", 0, TokenMeter(0, 1)
        self._updated = self._printed = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._bars.stop()

    def start(self, name: str, total: int, completed: int, max_tokens: int = 1) -> None:
        """Shows the bar `name`, or updates it; `add_tokens` and `add_samples` then refer to it.

        :param completed: samples that an earlier session has stored.
        :param max_tokens: tokens of a sample, at most.
        """
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, note="")
        self._bars.update(self._tasks[name], total=total, completed=completed)
        self._name, self._stored, self._meter = name, completed, TokenMeter(total - completed, max_tokens)

    def add_tokens(self, count: int) -> None:
        """`count` tokens were generated."""
        self._meter.add_tokens(count)
        self._show(_REDRAW_INTERVAL)

    def add_samples(self, samples: Sequence[Sample]) -> None:
        """These samples are stored."""
        self._meter.add_samples(len(samples), sum(s.completion.n_tokens or 0 for s in samples))
        self._show(0.0)

    def add_scored(self, count: int) -> None:
        """The likelihood of so many texts is known; nothing is stored of them."""
        self._meter.add_samples(count, 0)
        self._show(0.0)

    def _show(self, interval: float) -> None:
        now = time.monotonic()
        if now - self._updated < interval:
            return
        self._updated = now
        done, total = self._stored + self._meter.samples, self._stored + self._meter.total
        if not self._plain:
            self._bars.update(self._tasks[self._name], completed=done, note=self._meter.text())
        elif now - self._printed >= PLAIN_INTERVAL:
            self._printed = now
            line = f"{self._name}: {done}/{total} samples, {self._meter.text()}".removesuffix(", ")
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class GenerationNote:
    """A text about a generation that is part of something else, such as a training step.

    :param show: called with the text; None shows nothing.
    """

    def __init__(self) -> None:
        self.show: Callable[[str], object] | None = None
        self._title, self._meter, self._updated = "", TokenMeter(0, 1), 0.0

    def start(self, title: str, total: int, max_tokens: int) -> None:
        """A generation of `total` samples of at most `max_tokens` tokens begins."""
        self._title, self._meter = title, TokenMeter(total, max_tokens)

    def add_tokens(self, count: int) -> None:
        """`count` tokens were generated."""
        self._meter.add_tokens(count)
        if self.show is not None and (now := time.monotonic()) - self._updated >= _REDRAW_INTERVAL:
            self._updated = now
            self.show(f"{self._title} {self._meter.samples}/{self._meter.total}: {self._meter.text()}")

    def add_sample(self, tokens: int) -> None:
        """A sample with so many tokens is finished."""
        self._meter.add_samples(1, tokens)
