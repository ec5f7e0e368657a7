"""`kkwarm warmup`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import complete_models, domain_option, json_option
from kkwarm.cli.options import configure, settings_command
from kkwarm.cli.training import (
    alarm_texts,
    dry_run_option,
    measure_speed,
    memory_of,
    out_option,
    preset_option,
    probe_option,
    results_of,
    show,
    training_estimate,
)
from kkwarm.schema.settings import (
    CONTAMINATION,
    EVALUATION,
    HARDWARE,
    MODEL_AND_DATA,
    OPTIMIZATION,
    OUTPUT,
    TRACKING,
    WarmupConfig,
)

PANELS = {
    MODEL_AND_DATA: ("--traces", "--domain", "--preset"),
    OPTIMIZATION: (),
    EVALUATION: (),
    HARDWARE: (),
    CONTAMINATION: (),
    TRACKING: (),
    OUTPUT: ("--out", "--dry-run", "--probe", "--json", "--help"),
}


@settings_command(WarmupConfig, panels=PANELS, first=("epochs", "learning_rate", "batch_size", "lora"))
@click.argument("model", shell_complete=complete_models)
@click.option(
    "--traces",
    required=True,
    type=click.Path(path_type=Path),
    help="Traces to train on: the folder of a distill run, or a file of traces.",
)
@domain_option
@preset_option
@out_option
@dry_run_option
@probe_option
@json_option
def command(
    model: str,
    traces: Path,
    given: dict[str, Any],
    out: Path,
    preset: str | None,
    dry_run: bool,
    probe: bool,
    as_json: bool,
) -> None:
    """Fine-tune MODEL on traces (SFT, with the loss on completions only).

    Writes checkpoint/ and log.jsonl to the run folder. After an interruption, repeat the command to resume; the final
    weights are the same.
    """
    from kkwarm.train import distributed
    from kkwarm.train.sft import plan_warmup, warmup

    config = configure(WarmupConfig, given, preset)
    if probe:
        measure_speed(model, config, generate=False, train=True)
    if not (dry_run or probe):
        run = warmup(model, traces, out, config)
        if distributed.is_main():
            show({**results_of(run), "alarms": alarm_texts(run)}, as_json)
        return
    plan = plan_warmup(model, traces, config, dry_run=True)
    n = len(plan.ids)
    document: dict[str, Any] = {
        "model": model,
        "traces": n,
        "left_out": plan.dropped + len(plan.contaminated),
        "domains": sorted({t.domain for t in plan.traces}),
        "sequences_per_step": config.batch_size,
    }
    if not config.packing:
        document |= {"steps": plan.steps(n), "tokens": sum(len(plan.ids[i]) for i in plan.order(n))}
    else:
        document |= {"tokens": round(plan.tokens * config.epochs), "epochs": config.epochs}
    document["memory"] = memory_of(model, config, plan.step_size())
    document["estimate"] = training_estimate(model, config, out, document["memory"], trained=document["tokens"])
    show(document, as_json)
