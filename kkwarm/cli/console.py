"""Options, types and output that commands share. With --json, stdout holds one JSON document and nothing else."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from kkwarm.errors import KkwarmError, shorten, warn

F = TypeVar("F", bound=Callable[..., Any])
_STDOUT = "kkwarm.stdout"  # key in the context's meta: the stream that `echo_json` writes to


def _reserve_stdout(ctx: click.Context, option: click.Parameter, given: bool) -> bool:
    """Sends everything that plugins and libraries print to stderr."""
    if given:
        ctx.meta[_STDOUT] = sys.stdout
        ctx.with_resource(redirect_stdout(sys.stderr))
    return given


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_reserve_stdout, help="Print the result as one JSON document on stdout."
)


def table_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options --csv and --parquet, for `write_tables`."""
    for form in ("Parquet", "CSV"):
        kind = click.Path(path_type=Path, dir_okay=False)
        option = click.option(
            f"--{form.lower()}", type=kind, metavar="FILE", help=f"Write the figures to a {form} file."
        )
        function = option(function)
    return function


def write_tables(rows: Sequence[Mapping[str, Any]], csv: Path | None, parquet: Path | None) -> None:
    """Writes rows of equal columns to the files that were asked for, and names them on stderr."""
    from kkwarm.reporting.table import write_table

    for path in (csv, parquet):
        if path is not None:
            write_table(rows, path, parquet=path is parquet)
            click.echo(f"wrote {path}", err=True)


class Whole(click.IntRange):
    """A whole number within limits, at most `LARGEST`."""

    name = "integer"  # click's own name gives the message "not a valid integer range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from kkwarm.schema.settings import LARGEST  # not above: `kkwarm --help` imports this module

        number: int = super().convert(value, param, ctx)
        if number > LARGEST:
            self.fail(f"{shorten(number)} is too large; at most {LARGEST}.", param, ctx)
        return number


class Number(click.FloatRange):
    """A finite number within limits. click alone accepts NaN within any limits."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number

    def _describe_range(self) -> str:
        return "" if self.min is None and self.max is None else super()._describe_range()


class PercentagePoints(Number):
    """A number of percentage points, from 0 to 100. A value that looks like a fraction gets a hint on stderr."""

    name = "points"

    def __init__(self, min: float = 0, max: float = 100, min_open: bool = False) -> None:
        super().__init__(min, max, min_open=min_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from kkwarm.schema.settings import fraction_hint

        points = super().convert(value, param, ctx)
        name = param.opts[-1] if param is not None else "the value"
        if hint := fraction_hint(name, points):
            warn(hint)
        return points


def _allow_unsandboxed(ctx: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        from kkwarm.verify.sandbox import ALLOW_UNSANDBOXED

        os.environ[ALLOW_UNSANDBOXED] = "1"  # inherited by the processes of a study


def _allow_unpinned(ctx: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        from kkwarm.data.pins import ALLOW_UNPINNED

        os.environ[ALLOW_UNPINNED] = "1"  # inherited by the processes of a study


across_protocols_option = click.option(
    "--across-protocols",
    is_flag=True,
    help="Compare runs also where their protocols (prompts, shots, sampling) differ. The result lists the differences.",
)
unsandboxed_option = click.option(
    "--allow-unsandboxed-code",
    is_flag=True,
    expose_value=False,
    callback=_allow_unsandboxed,
    help="Run model-written code even if no sandbox is available. The run records it.",
)
unpinned_option = click.option(
    "--unpinned",
    is_flag=True,
    expose_value=False,
    callback=_allow_unpinned,
    help="Use data that is not the published content of a benchmark. Every figure is marked.",
)


def _load_domains(ctx: click.Context, option: click.Parameter, names: tuple[str, ...]) -> None:
    if names:
        from kkwarm.api import load_domains

        load_domains(names)


domain_option = click.option(
    "--domain",
    multiple=True,
    expose_value=False,
    callback=_load_domains,
    metavar="NAME",
    help="Domain of the run that is not installed, such as the table PATH.toml. By themselves, runs load installed "
    "domains only. Can be given several times.",
)


def on_option(help: str, *, required: bool = False) -> Callable[[F], F]:
    settings: dict[str, Any] = {"multiple": True, "required": required, "metavar": "NAME,...", "help": help}
    return click.option("--on", "names", shell_complete=complete_domains, **settings)


def protocol_option(help: str) -> Callable[[F], F]:
    return click.option("--protocol", "protocol_name", metavar="NAME", help=help)


def margin_option(default: str) -> Callable[[F], F]:
    help = f"Equivalence margin in percentage points: smaller differences are ties.  [default: {default}]"
    return click.option("--margin", type=PercentagePoints(), metavar="POINTS", help=help)


def parse_labels(labels: Sequence[str]) -> dict[str, str]:
    """The labels of ``--label KEY=VALUE``."""
    if bad := [label for label in labels if not re.match("[^=]+=", label)]:
        raise KkwarmError(f"label {bad[0]!r} is not of the form KEY=VALUE")
    return dict(label.split("=", 1) for label in labels)


def complete_domains(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    """Completes the name of a domain or benchmark after the last comma of a list."""
    from kkwarm.plugins import registry

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in registry().benchmarks if name.startswith(last)]


def complete_runs(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes paths, and names of runs under `KKWARM_HOME`."""
    from kkwarm.store import runs_home

    home = runs_home()
    folders = sorted(
        m.parent.relative_to(home) for m in [*home.glob("*/manifest.json"), *home.glob("*/*/manifest.json")]
    )
    names = [CompletionItem(str(f)) for f in folders if incomplete and str(f).startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


def complete_models(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes checkpoint and run folders; hub ids and served names are not known here."""
    return [CompletionItem(incomplete, type="dir")]


def echo_json(document: Any) -> None:
    """Prints one JSON document. Terminal control characters and characters without an encoding are escaped."""
    from kkwarm.reporting.sanitize import escaped_json

    context = click.get_current_context(silent=True)
    stdout = context.meta.get(_STDOUT, sys.stdout) if context else sys.stdout
    text = escaped_json(json.dumps(document, indent=1, ensure_ascii=False, default=str))
    try:
        text.encode(getattr(stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # LANG=C
        text = json.dumps(document, indent=1, default=str)
    click.echo(text, file=stdout)


def print_verifiers(figures: Mapping[str, Mapping[str, Any]], console: Any) -> None:
    """Prints a line for each benchmark whose figures come from another verifier than its own."""
    from rich.text import Text

    from kkwarm.plugins import registry

    for name, row in figures.items():
        used = row.get("verifier")
        try:
            own = registry().benchmark(name.removesuffix("+forced"), from_run=True).verifier
        except KkwarmError:
            continue
        if used and used != own:
            line = f"{name}: scored by the verifier {used}, not by the benchmark's own ({own})"
            console.print(Text(line, style="yellow"), soft_wrap=True)


@contextmanager
def verification_bar(name: str) -> Iterator[Callable[..., None]]:
    """Shows the number of verified completions on a terminal's stderr.

    Yields a function that adds a number to the count and optionally changes the name of the run.
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = err_console()
    columns = (SpinnerColumn(), TextColumn("{task.description}: {task.completed:,.0f} verified"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda n, of=name: bar.update(task, advance=n, description=of)


@contextmanager
def search_bar(name: str) -> Iterator[Callable[[int, float, int], None]]:
    """Shows the progress of an adversarial search on a terminal's stderr, with the remaining time.

    Yields a function of the number of cases, the used share of the budget, and the number of kinds that failed.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = err_console()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=1.0)

        def report(cases: int, share: float, found: int) -> None:
            bar.update(task, completed=share, description=f"{name}: {cases:,} cases, {found} kinds failed")

        yield report


def out_console() -> Any:
    """A rich console on stdout, safe for model-written text."""
    from kkwarm.reporting.sanitize import console

    return console()


def err_console() -> Any:
    """A rich console on stderr, for progress and warnings."""
    from kkwarm.reporting.sanitize import console

    return console(stderr=True)
