"""What commands share: JSON on stdout and nothing else there, everything else on stderr."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import click
from click.shell_completion import CompletionItem

from kkwarm.errors import shorten, warn
from kkwarm.limits import LARGEST
from kkwarm.schema.settings import fraction_hint

__all__ = [
    "Number",
    "PercentagePoints",
    "Whole",
    "complete_domains",
    "complete_models",
    "complete_runs",
    "echo_json",
    "err_console",
    "json_option",
    "judged_bar",
    "out_console",
    "unsandboxed_option",
]

_STDOUT = "kkwarm.stdout"  # where `echo_json` writes, in the context's meta


def _alone(ctx: click.Context, option: click.Parameter, given: bool) -> bool:
    """From here on what plugins and libraries print goes to stderr."""
    if given:
        ctx.meta[_STDOUT] = sys.stdout
        ctx.with_resource(redirect_stdout(sys.stderr))
    return given


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_alone, help="One JSON document on stdout, nothing else there."
)


class Whole(click.IntRange):
    """A whole number from a least one on; at most `LARGEST`, which help need not name."""

    name = "integer"  # click's "integer range" makes "not a valid integer range" of what is no number

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found: int = super().convert(value, param, ctx)
        if found > LARGEST:
            self.fail(f"{shorten(found)} is too large; at most {LARGEST}.", param, ctx)
        return found


class Number(click.FloatRange):
    """A finite number within limits: click lets NaN through every limit."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return found

    def _describe_range(self) -> str:
        return "" if self.min is None and self.max is None else super()._describe_range()


class PercentagePoints(Number):
    """A number of percentage points, from 0 to 100. A value that looks like a fraction gets a hint on stderr."""

    name = "points"

    def __init__(self, min: float = 0, max: float = 100, min_open: bool = False) -> None:
        super().__init__(min, max, min_open=min_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        points = super().convert(value, param, ctx)
        name = param.opts[-1] if param is not None else "the value"
        if hint := fraction_hint(name, points):
            warn(hint)
        return points


def _allow(ctx: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        from kkwarm.verify.sandbox import ALLOW_UNSANDBOXED

        os.environ[ALLOW_UNSANDBOXED] = "1"  # so that the processes of a study, too, may


unsandboxed_option = click.option(
    "--allow-unsandboxed-code",
    is_flag=True,
    expose_value=False,
    callback=_allow,
    help="Run model-written code even where no sandbox can be had; the run records it.",
)


def complete_domains(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    """Names of domains for the shell, after the last comma of a list."""
    from kkwarm.plugins import registry

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in registry().domains if name.startswith(last)]


def complete_runs(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Paths, and the runs under `KKWARM_HOME` by their names there."""
    from kkwarm.store import runs_home

    home = runs_home()
    folders = sorted(
        m.parent.relative_to(home) for m in [*home.glob("*/manifest.json"), *home.glob("*/*/manifest.json")]
    )
    named = [CompletionItem(str(f)) for f in folders if incomplete and str(f).startswith(incomplete)]
    return [*named, CompletionItem(incomplete, type="file")]


def complete_models(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Checkpoint and run folders; hub ids and served names cannot be known."""
    return [CompletionItem(incomplete, type="dir")]


def echo_json(document: Any) -> None:
    """Prints one JSON document; what commands a terminal, or has no encoding, is escaped."""
    from kkwarm.reporting.sanitize import escaped_json

    context = click.get_current_context(silent=True)
    stdout = context.meta.get(_STDOUT, sys.stdout) if context else sys.stdout
    text = escaped_json(json.dumps(document, indent=1, ensure_ascii=False, default=str))
    try:
        text.encode(getattr(stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # LANG=C
        text = json.dumps(document, indent=1, default=str)
    click.echo(text, file=stdout)


@contextmanager
def judged_bar(name: str) -> Iterator[Callable[..., None]]:
    """A count of judged completions on a terminal's stderr; what it yields takes how many more, and of which run."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = err_console()
    columns = (SpinnerColumn(), TextColumn("{task.description}: {task.completed:,.0f} judged"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda n, of=name: bar.update(task, advance=n, description=of)


def out_console() -> Any:
    """A rich console on stdout, safe for text that a model wrote."""
    from kkwarm.reporting.sanitize import console

    return console()


def err_console() -> Any:
    """A rich console on stderr, for progress and warnings."""
    from kkwarm.reporting.sanitize import console

    return console(stderr=True)
