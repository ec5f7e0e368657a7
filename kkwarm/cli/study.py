"""`kkwarm study`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import click

from kkwarm.cli.console import Whole, echo_json, err_console, json_option, out_console, unsandboxed_option
from kkwarm.errors import KkwarmError


@click.command()
@click.argument("recipe")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The study's folder.  [default: under KKWARM_HOME]")
@click.option("--jobs", type=Whole(1), help="Steps at once.  [default: one for each core; with a GPU, 1; on Ray, all]")
@click.option(
    "--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Where steps are done."
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Of a Ray cluster: auto, HOST:PORT, ray://HOST:PORT.  [default: RAY_ADDRESS, or this machine]",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting: --set evaluate.limit=20."
)
@click.option(
    "--allow-contamination", is_flag=True, help="Train on evaluated questions too; the report marks what it touches."
)
@click.option("--dry-run", is_flag=True, help="Print the plan with its estimated cost; do nothing.")
@unsandboxed_option
@json_option
def command(
    recipe: str,
    out: Path | None,
    jobs: int | None,
    executor: Literal["local", "ray"],
    ray_address: str | None,
    settings: tuple[str, ...],
    allow_contamination: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run a whole experiment as a resumable plan, and report it.

    RECIPE is built in (`mini`, `mini-examples`, `paper-qwen2.5-3b`) or a TOML file. Stopped at any time, the same
    command goes on.
    """
    from kkwarm.reporting.terminal import render_text
    from kkwarm.study.local import default_jobs
    from kkwarm.study.progress import workers
    from kkwarm.study.recipe_loader import load
    from kkwarm.study.run import default_folder, do_study, joinable

    if ray_address is not None and executor != "ray":
        raise KkwarmError("--ray-address is for --executor ray", hint="add --executor ray")
    if allow_contamination:
        os.environ["KKWARM_ALLOW_CONTAMINATION"] = "1"  # its workers train
    made = load(recipe, settings)
    folder = out or default_folder(made)
    if dry_run:
        _dry_run(made, folder, jobs or default_jobs(), as_json)
        return
    console = err_console()
    who = "on Ray" if executor == "ray" else workers(jobs or default_jobs())
    console.print(f"study {made.name}: {made.title}\nin {folder}, {who}", markup=False, soft_wrap=True)
    if out is None and not folder.exists():
        for other, seeds in joinable(made).items():
            has = f"{other} is this study with seeds {', '.join(map(str, seeds))}"
            console.print(f"{has}: with -o {other} only what others need is done", markup=False, soft_wrap=True)
    document = do_study(made, folder, jobs, console, render_text, executor=executor, address=ray_address)
    if as_json:
        echo_json(document)
    else:
        from kkwarm.reporting.terminal import show

        show(document, out_console())
        console.print(f"report kept in {folder}", markup=False, soft_wrap=True)


def _dry_run(recipe: Any, folder: Path, jobs: int, as_json: bool) -> None:
    from kkwarm.study.plan import make_plan
    from kkwarm.study.plan_view import describe, show_plan

    document = describe(recipe, make_plan(recipe), folder, jobs)
    if as_json:
        echo_json(document)
    else:
        show_plan(document, out_console())
