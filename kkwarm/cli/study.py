"""`kkwarm study`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import echo_json, err_console, json_option, out_console, unsandboxed_option


@click.command()
@click.argument("recipe")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The study's folder.  [default: under KKWARM_HOME]")
@click.option("--jobs", type=click.IntRange(1), help="Worker processes.  [default: one for each core; with a GPU, 1]")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting: --set evaluate.limit=20."
)
@click.option("--dry-run", is_flag=True, help="Print the plan with its estimated cost; do nothing.")
@unsandboxed_option
@json_option
def command(
    recipe: str, out: Path | None, jobs: int | None, settings: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Run a whole experiment as a resumable plan, and report it.

    RECIPE is built in (`mini`, `paper-qwen2.5-3b`) or a TOML file. Stopped at any time, the same command goes on.
    """
    from kkwarm.report.terminal import render_text
    from kkwarm.study.execute import default_jobs
    from kkwarm.study.recipe import load
    from kkwarm.study.run import default_folder, do_study

    made = load(recipe, settings)
    jobs = jobs or default_jobs()
    folder = out or default_folder(made)
    if dry_run:
        _dry_run(made, folder, jobs, as_json)
        return
    console = err_console()
    console.print(f"study {made.name}: {made.title}\nin {folder}, {jobs} worker(s)", markup=False, soft_wrap=True)
    document = do_study(made, folder, jobs, console, render_text)
    if as_json:
        echo_json(document)
    else:
        from kkwarm.report.terminal import show

        show(document, out_console())
        console.print(f"report kept in {folder}", markup=False, soft_wrap=True)


def _dry_run(recipe: Any, folder: Path, jobs: int, as_json: bool) -> None:
    from kkwarm.study.dry import describe, show_plan
    from kkwarm.study.plan import make_plan

    document = describe(recipe, make_plan(recipe), folder, jobs)
    if as_json:
        echo_json(document)
    else:
        show_plan(document, out_console())
