"""`kkwarm import`: turns results of other tools into runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import echo_json, err_console, json_option, out_console
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    from kkwarm.schema.manifest import Manifest

path_argument = click.argument("path", type=click.Path(path_type=Path))
out_option = click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Run folder.  [default: a folder under runs/import]"
)
as_option = click.option(
    "--as",
    "pairs",
    multiple=True,
    metavar="TASK=BENCHMARK",
    help="Benchmark whose questions a task has; TASK may contain *. Can be given several times.",
)
reverify_option = click.option(
    "--reverify",
    is_flag=True,
    help="Verify every completion with kkwarm's verifiers instead of keeping the tool's verdicts.",
)


@click.group()
def command() -> None:
    """Turn result folders of other tools into runs that can be compared with kkwarm's.

    The tool's verdicts are kept unless --reverify is given. This command and `kkwarm compare` name all differences from
    the prompts, settings and scoring of `kkwarm bench`.
    """


@command.command("lm-eval")
@path_argument
@as_option
@reverify_option
@click.option("--filter", "filter_name", help="lm-eval filter whose answers count.  [default: the task's first]")
@click.option(
    "--metric",
    help="Metric that decides whether an answer is correct.  [default: exact_match, acc, accuracy or pass@1]",
)
@out_option
@json_option
def lm_eval(
    path: Path,
    pairs: tuple[str, ...],
    reverify: bool,
    filter_name: str | None,
    metric: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Import the output of `lm_eval --output_path PATH --log_samples`.

    A task becomes the benchmark lm_eval:TASK, as in `kkwarm bench --on lm_eval:TASK`. If its documents are the
    questions of an installed benchmark, name that benchmark: --as hendrycks_math500=math, --as 'mmlu_pro_*=mmlu_pro'.
    """
    from kkwarm.importers.lm_eval import read

    _import(read(path, filter_name=filter_name, metric=metric), pairs, reverify, out, as_json)


@command.command("evalplus")
@path_argument
@as_option
@reverify_option
@out_option
@json_option
def evalplus(path: Path, pairs: tuple[str, ...], reverify: bool, out: Path | None, as_json: bool) -> None:
    """Import the output of `evalplus.evaluate --samples FILE`: *_eval_results.json, or a folder that holds one."""
    from kkwarm.importers.evalplus import read

    _import(read(path), pairs, reverify, out, as_json)


def _import(results: Any, pairs: tuple[str, ...], reverify: bool, out: Path | None, as_json: bool) -> None:
    from kkwarm.importers import import_results
    from kkwarm.plugins import registry

    names = {}
    for pair in pairs:
        task, equals, benchmark = pair.partition("=")
        if not (task and equals and benchmark):
            raise KkwarmError(f"--as {pair!r} does not have the form TASK=BENCHMARK")
        names[task] = benchmark
    run = import_results(results, registry(), names=names, reverify=reverify, out=out)
    manifest = run.manifest
    if as_json:
        echo_json(manifest.results | {"differs": manifest.differs, "notes": manifest.notes})
    else:
        _show(manifest, out_console())
    _warn(manifest)


def _show(manifest: Manifest, console: Any) -> None:
    from rich.text import Text

    from kkwarm.reporting.results import print_figures

    config, results = manifest.config, manifest.results
    console.print(Text(f"{results['model']}, by {config['tool']}", "bold"))
    print_figures(results, console)
    for name in results["benchmarks"]:
        console.print(Text(f"{name}: scored by {config['evaluation'][name]['scorer']}"))
    console.print(Text(f"stored in {results['run']}"), soft_wrap=True)


def _warn(manifest: Manifest) -> None:
    """Prints notes and differences from `kkwarm bench` on stderr."""
    from rich.text import Text

    console = err_console()
    for note in manifest.notes:
        console.print(Text(f"note: {note}", style="dim"), soft_wrap=True)
    for name, rows in manifest.differs.items():
        differences = "; ".join(f"{d['what']} {_value(d['theirs'])}, not {_value(d['ours'])}" for d in rows)
        message = f"warning: {name} differs from `kkwarm bench`: {differences}"
        console.print(Text(message, "yellow"), soft_wrap=True)


def _value(value: Any) -> str:
    return "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
