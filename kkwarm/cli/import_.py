"""`kkwarm import`: other tools' results as runs."""

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
    "-o", "--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/import/...]"
)
as_option = click.option(
    "--as", "named", multiple=True, metavar="TASK=BENCHMARK", help="Whose questions a task asked; TASK may have *."
)
reverify_option = click.option("--reverify", is_flag=True, help="Let kkwarm's verifiers judge every completion anew.")


@click.group()
def command() -> None:
    """Turn other tools' result folders into runs that compare with ours.

    The tool's verdicts are kept (--reverify makes new ones). Where the tool asked or judged otherwise than `kkwarm bench`,
    that is said, here and by `kkwarm compare`.
    """


@command.command("lm-eval")
@path_argument
@as_option
@reverify_option
@click.option("--filter", "filter_name", help="Whose answers count.  [default: the task's first filter]")
@click.option("--metric", help="Which metric decides.  [default: exact_match, acc, accuracy or pass@1]")
@out_option
@json_option
def lm_eval(
    path: Path,
    named: tuple[str, ...],
    reverify: bool,
    filter_name: str | None,
    metric: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Import what `lm_eval --output_path PATH --log_samples` wrote.

    A task becomes the benchmark lm_eval:TASK, as `kkwarm bench --on lm_eval:TASK` names it. Where its documents are the
    questions of an installed benchmark, say so: --as hendrycks_math500=math, --as 'mmlu_pro_*=mmlu_pro'.
    """
    from kkwarm.importers.lm_eval import read

    _stored(read(path, filter_name=filter_name, metric=metric), named, reverify, out, as_json)


@command.command("evalplus")
@path_argument
@as_option
@reverify_option
@out_option
@json_option
def evalplus(path: Path, named: tuple[str, ...], reverify: bool, out: Path | None, as_json: bool) -> None:
    """Import what `evalplus.evaluate --samples FILE` wrote: *_eval_results.json, or a folder that holds one."""
    from kkwarm.importers.evalplus import read

    _stored(read(path), named, reverify, out, as_json)


def _stored(results: Any, named: tuple[str, ...], reverify: bool, out: Path | None, as_json: bool) -> None:
    from kkwarm.importers import store
    from kkwarm.plugins import registry

    names = {}
    for pair in named:
        task, equals, benchmark = pair.partition("=")
        if not (task and equals and benchmark):
            raise KkwarmError(f"--as {pair!r} is not of the form TASK=BENCHMARK")
        names[task] = benchmark
    run = store(results, registry(), names=names, reverify=reverify, out=out)
    manifest = run.manifest
    if as_json:
        echo_json(manifest.results | {"differs": manifest.differs, "notes": manifest.notes})
    else:
        _show(manifest, out_console())
    _warn(manifest)


def _show(manifest: Manifest, console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    config, results = manifest.config, manifest.results
    table = Table(title=Text(f"{results['model']}, by {config['tool']}"), title_justify="left")
    for column in ("benchmark", "n", "samples", "accuracy ± se", "judged by"):
        table.add_column(column, justify="left" if column in ("benchmark", "judged by") else "right")
    for name, f in results["benchmarks"].items():
        error = "" if f["stderr"] is None else f" ± {100 * f['stderr']:.1f}"
        scorer = config["protocol"][name]["scorer"]
        table.add_row(Text(name), f"{f['n']:,}", f"{f['samples']:,}", f"{100 * f['accuracy']:.1f}{error}", scorer)
        for metric, value in f["metrics"].items():
            table.add_row(Text(f"  {metric}"), "", "", f"{100 * value:.1f}", "")
    console.print(table)
    console.print(Text(f"kept in {results['run']}"), soft_wrap=True)


def _warn(manifest: Manifest) -> None:
    """What the figures do not share with ours, on stderr."""
    from rich.text import Text

    console = err_console()
    for note in manifest.notes:
        console.print(Text(f"note: {note}", style="dim"), soft_wrap=True)
    for name, rows in manifest.differs.items():
        told = "; ".join(f"{d['what']} {_value(d['theirs'])}, not {_value(d['ours'])}" for d in rows)
        console.print(
            Text(f"warning: {name} was not measured as `kkwarm bench` does: {told}", "yellow"), soft_wrap=True
        )


def _value(value: Any) -> str:
    return "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
