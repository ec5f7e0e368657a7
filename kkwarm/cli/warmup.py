"""`kkwarm warmup`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import Number, Whole, complete_models, json_option
from kkwarm.cli.training import dry_run_option, memory_of, out_option, results_of, settings_of, show, training_options


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.option("--traces", required=True, type=click.Path(path_type=Path), help="A distill run, or a file of traces.")
@click.option("--epochs", type=Number(), help="[default: 3]")
@click.option("--max-steps", type=Whole(1), help="Steps instead of epochs.")
@click.option("--max-length", type=Whole(2), help="Longer traces are left out.  [default: the model's context]")
@click.option("--packing", is_flag=True, default=None, help="Several traces in a row, each attending to itself only.")
@training_options
@out_option
@dry_run_option
@json_option
def command(
    model: str, traces: Path, out: Path, preset: str | None, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Warm MODEL up: SFT on traces, with the loss on the completion only.

    The run folder gets checkpoint/ and log.jsonl. Stopped at any time, the same command goes on, with the same result.
    """
    from kkwarm.train import distributed
    from kkwarm.train.config import PAPER_WARMUP, WarmupConfig, changed
    from kkwarm.train.sft import plan_warmup, warmup

    config = changed(PAPER_WARMUP if preset == "paper" else WarmupConfig(), settings_of(options))
    if dry_run:
        plan = plan_warmup(model, traces, config)
        n = len(plan.ids)
        document = {
            "model": model,
            "traces": n,
            "left_out": plan.dropped + len(plan.contaminated),
            "domains": sorted({t.domain for t in plan.traces}),
        }
        if not config.packing:
            document |= {"steps": plan.steps(n), "tokens": sum(len(plan.ids[i]) for i in plan.order(n))}
        else:
            document |= {"tokens_an_epoch": plan.tokens, "epochs": config.epochs}
        document["memory"] = memory_of(model, config, plan.step_size())
        show(document, as_json)
        return
    run = warmup(model, traces, out, config)
    if not distributed.is_main():
        return
    show({**results_of(run), "alarms": [a["text"] for a in run.manifest.alarms]}, as_json)
