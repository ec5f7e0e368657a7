"""Results in a notebook: what the terminal shows, as HTML with inline styles."""

from __future__ import annotations

import io
from typing import Any

from kkwarm.reporting.sanitize import console as safe_console

WIDTH = 110  # columns
_PRE = '<pre style="white-space:pre;overflow-x:auto;line-height:1.3;font-size:0.85em">{code}</pre>'


def html(result: Any) -> str:
    """A run, report, comparison, score or check as HTML. All text in it is escaped."""
    console = safe_console(
        record=True,
        width=WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        force_jupyter=False,  # rich would also display each line by itself
        color_system="standard",
    )
    _print(result, console)
    text: str = console.export_html(inline_styles=True, code_format=_PRE)
    return text


def _print(result: Any, console: Any) -> None:
    from kkwarm.schema.report import Comparison, Comparisons, Report
    from kkwarm.store import Run
    from kkwarm.testing.check import CheckResult

    if isinstance(result, Report):
        from kkwarm.reporting.terminal import print_report

        print_report(result, console)
    elif isinstance(result, Comparison | Comparisons):
        from kkwarm.reporting.comparison import print_comparisons

        print_comparisons([result] if isinstance(result, Comparison) else result.comparisons, console)
    elif isinstance(result, CheckResult):
        from kkwarm.reporting.check import print_check

        print_check(result, console)
    elif isinstance(result, Run):
        _print_run(result, console)
    else:
        from kkwarm.reporting.results import print_figures

        print_figures(result.document(), console)


def _print_run(run: Any, console: Any) -> None:
    """A run: the figures of its benchmarks, or the results of a training, one in each line."""
    from rich.text import Text

    manifest = run.manifest
    state = "" if run.done else f" ({manifest.state}: {run.stored()})"
    console.print(Text(f"{manifest.kind} run {run.path}{state}", style="bold"), soft_wrap=True)
    if manifest.benchmarks:
        from kkwarm.reporting.results import print_figures

        print_figures(manifest.results, console)
        return
    from kkwarm.reporting.labels import value_lines

    for line in (*value_lines(manifest.results), *(f"alarm: {a['kind']}: {a['text']}" for a in manifest.alarms)):
        console.print(Text(line), soft_wrap=True)
