"""`kkwarm study`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import rich_click

from kkwarm.cli.console import (
    Whole,
    complete_domains,
    complete_models,
    echo_json,
    err_console,
    json_option,
    out_console,
    unpinned_option,
    unsandboxed_option,
)
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    from kkwarm.schema.report import Report


class StudyCommand(rich_click.RichCommand):
    """`kkwarm study RECIPE`, except that `kkwarm study new` is a command of its own."""

    @property
    def subcommands(self) -> dict[str, click.Command]:
        return {"new": new_command}

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and (command := self.subcommands.get(args[0])) is not None:
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command("new")
@click.option(
    "--model",
    required=True,
    shell_complete=complete_models,
    help="Checkpoint folder, run with a checkpoint, or hub id.",
)
@click.option("--domain", required=True, shell_complete=complete_domains, help="Domain to train on by RLVR.")
@click.option(
    "--benchmarks",
    multiple=True,
    metavar="NAME,...",
    shell_complete=complete_domains,
    help="Further benchmarks to evaluate, beside the domain and the warm-up domain.",
)
@click.option(
    "--warmup-domain",
    default="kk",
    show_default=True,
    shell_complete=complete_domains,
    help="Domain of the warm-up traces. It needs the teacher `symbolic`.",
)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="File to write, FILE.toml.")
@json_option
def new_command(
    model: str, domain: str, benchmarks: tuple[str, ...], warmup_domain: str, out: Path, as_json: bool
) -> None:
    """Write a recipe of the paper's experiment for a checkpoint and a domain.

    It has the conditions base, warmed, base + RLVR and warmed + RLVR, and controls. Sizes fit the model, the domain and
    this machine, and comments explain each choice. `kkwarm study FILE` runs the recipe.
    """
    from kkwarm.evaluation.plan import parse_benchmark_names
    from kkwarm.progress import duration
    from kkwarm.study.local import default_jobs
    from kkwarm.study.new import new_recipe
    from kkwarm.study.plan_view import describe
    from kkwarm.study.run import default_folder

    names = parse_benchmark_names(benchmarks) if benchmarks else []
    recipe, plan = new_recipe(model, domain, names, out, warmup_domain=warmup_domain)
    jobs = default_jobs()
    document = describe(recipe, plan, default_folder(recipe), jobs)
    if as_json:
        echo_json({"file": str(out), "plan": document})
        return
    total, console = document["total"], out_console()
    conditions = ", ".join(c["name"] for c in document["conditions"])
    lines = [
        f"wrote {out}: {conditions}",
        f"evaluated on {', '.join(document['domains'])}",
        f"{len(document['steps'])} steps, about {duration(total['wall_seconds_left'])} on this machine, "
        f"{total['disk_gib']:.2g} GiB on disk",
        f"run it: kkwarm study {out}",
    ]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


@click.command(cls=StudyCommand)
@click.argument("recipe")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Folder of the study.  [default: a folder under KKWARM_HOME]"
)
@click.option(
    "--jobs",
    type=Whole(1),
    help="Number of steps that run at the same time.  [default: one per core; 1 with a GPU; all on Ray]",
)
@click.option(
    "--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Where steps run."
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Address of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT.  [default: RAY_ADDRESS, or this machine]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of the recipe, such as evaluate.limit=20. Can be given several times.",
)
@click.option(
    "--allow-contamination",
    is_flag=True,
    help="Train even if the training data contains evaluated questions. The report marks the affected results.",
)
@click.option(
    "--track",
    "trackers",
    multiple=True,
    metavar="NAME",
    help="Experiment tracker that gets the figures of every step: tensorboard, trackio or wandb. Can be "
    "given several times.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and its estimated cost, and stop.")
@unsandboxed_option
@unpinned_option
@json_option
def command(
    recipe: str,
    out: Path | None,
    jobs: int | None,
    executor: Literal["local", "ray"],
    ray_address: str | None,
    settings: tuple[str, ...],
    allow_contamination: bool,
    trackers: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run a whole experiment as a resumable plan, and report its results.

    RECIPE is a built-in recipe (`mini`, `mini-examples`, `paper-qwen2.5-3b`) or a TOML or YAML file. After an
    interruption, repeat the command to resume. `kkwarm study new` writes a recipe for your own checkpoint and domain.
    """
    from kkwarm.schema.recipe import load_recipe
    from kkwarm.study.local import default_jobs
    from kkwarm.study.run import default_folder

    if ray_address is not None and executor != "ray":
        raise KkwarmError("--ray-address needs --executor ray", hint="add --executor ray")
    if allow_contamination:
        os.environ["KKWARM_ALLOW_CONTAMINATION"] = "1"  # inherited by the workers, which train
    if trackers:
        from kkwarm.tracking import TRACK, check_trackers

        check_trackers(trackers)
        os.environ[TRACK] = ",".join(trackers)
    loaded = load_recipe(recipe, settings)
    folder = out or default_folder(loaded)
    if dry_run:
        _show_plan(loaded, folder, jobs or default_jobs(), as_json)
        return
    report = _run(loaded, folder, jobs, executor, ray_address, is_default=out is None)
    if as_json:
        echo_json(report.model_dump(mode="json"))
    else:
        from kkwarm.reporting.terminal import print_report

        print_report(report, out_console())
        out_console().print(f"report stored in {folder}", markup=False, soft_wrap=True)


def _run(
    recipe: Any,
    folder: Path,
    jobs: int | None,
    executor: Literal["local", "ray"],
    address: str | None,
    *,
    is_default: bool,
) -> Report:
    """Runs the study with progress on stderr; returns its report."""
    from kkwarm.reporting.terminal import render_text
    from kkwarm.study.local import default_jobs
    from kkwarm.study.progress import workers
    from kkwarm.study.run import find_extendable, run_study

    console = err_console()
    where = "on Ray" if executor == "ray" else workers(jobs or default_jobs())
    console.print(f"study {recipe.name}: {recipe.title}\nin {folder}, {where}", markup=False, soft_wrap=True)
    if is_default and not folder.exists():
        for other, seeds in find_extendable(recipe).items():
            same = f"{other} holds this study with seeds {', '.join(map(str, seeds))}"
            advice = f"to run only what the other seeds need, use -o {other}"
            console.print(f"{same}; {advice}", markup=False, soft_wrap=True)
    return run_study(recipe, folder, jobs, console, render_text, executor=executor, address=address)


def _show_plan(recipe: Any, folder: Path, jobs: int, as_json: bool) -> None:
    from kkwarm.study.plan import make_plan
    from kkwarm.study.plan_view import describe, show_plan

    document = describe(recipe, make_plan(recipe, jobs), folder, jobs)
    if as_json:
        echo_json(document)
    else:
        show_plan(document, out_console())
