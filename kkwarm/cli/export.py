"""`kkwarm export`: writes domains and results in the forms of other tools."""

from __future__ import annotations

from pathlib import Path

import click

from kkwarm.cli.console import complete_domains, complete_runs, echo_json, json_option, out_console


@click.group()
def command() -> None:
    """Write what kkwarm has in the forms of other tools."""


@command.command()
@click.argument("name", shell_complete=complete_domains)
@click.option("--to", "tool", type=click.Choice(["lm-eval"]), default="lm-eval", help="Tool that will run the domain.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@click.option("--protocol", metavar="NAME", help="Protocol of prompts and answers.  [default: the domain's]")
@click.option("--shots", type=click.IntRange(0, 1000), help="Number of solved examples.  [default: the protocol's]")
@click.option("--system", metavar="TEXT", help="System prompt, which replaces the protocol's.")
@click.option("--samples", type=click.IntRange(1), default=1, help="Number of completions per question.  [default: 1]")
@click.option("--task", metavar="NAME", help="Name of the task.  [default: the domain's]")
@json_option
def domain(
    name: str,
    tool: str,
    out: Path,
    protocol: str | None,
    shots: int | None,
    system: str | None,
    samples: int,
    task: str | None,
    as_json: bool,
) -> None:
    """Write domain NAME as a task folder of lm-eval.

    The folder has a YAML file, the questions with their prompts, and a module that calls kkwarm's verifier, so that
    `lm_eval --include_path FOLDER --tasks NAME` reaches the same verdicts. kkwarm must be installed beside lm-eval.
    """
    from kkwarm import plugins
    from kkwarm.exporters.lm_eval_task import export_task
    from kkwarm.protocols import PromptOptions

    options = PromptOptions("off", system, shots)
    written = export_task(name, plugins.registry(), out, protocol=protocol, options=options, samples=samples, task=task)
    if as_json:
        document = {"tool": tool, "task": written.task, "folder": str(out), "questions": written.questions}
        echo_json(document | {"protocol": written.protocol})
        return
    console = out_console()
    text = f"{written.questions:,} questions of {name} by protocol {written.protocol} in {out}"
    console.print(text, markup=False, soft_wrap=True)
    console.print(f"lm_eval --include_path {out} --tasks {written.task} ...", markup=False, soft_wrap=True)


@command.command()
@click.argument("run", shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.option(
    "--to",
    "tool",
    type=click.Choice(["lm-eval", "hub", "every-eval-ever"]),
    required=True,
    help="Format of the results: lm-eval's output folder, the hub's .eval_results, or Every Eval Ever's records.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@click.option("--model", metavar="USER/NAME", help="Name of the model in the results.  [default: the run's]")
@json_option
def results(run: Path, tool: str, out: Path, model: str | None, as_json: bool) -> None:
    """Write the results of RUN, a bench, score or import run, for another tool.

    `kkwarm import lm-eval` reads lm-eval's format back with every verdict. The hub's format has only benchmarks
    that are data sets of the hub; `kkwarm push` uploads it, too.
    """
    from kkwarm.errors import KkwarmError, warn
    from kkwarm.exporters.results import TOOLS, hub_entries, load_results
    from kkwarm.files import write_file
    from kkwarm.store import Run, find_run

    loaded = load_results(Run.read(find_run(run)), model)
    files = TOOLS[tool](loaded)
    skipped = hub_entries(loaded)[1] if tool == "hub" else {}
    for path in files:
        if (out / path).exists():
            raise KkwarmError(f"{out / path} exists already", hint="give another folder with -o, or delete it")
    for path, text in files.items():
        write_file(out / path, text)
    for name, reason in skipped.items():
        warn(f"{name} is left out: {reason}")
    if as_json:
        echo_json({"tool": tool, "folder": str(out), "files": list(files), "skipped": skipped})
        return
    for path in files:
        out_console().print(str(out / path), markup=False, soft_wrap=True)
