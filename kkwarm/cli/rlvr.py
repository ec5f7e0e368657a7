"""`kkwarm rlvr`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import complete_models, json_option, unpinned_option, unsandboxed_option
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
from kkwarm.errors import warn
from kkwarm.schema.settings import (
    CONTAMINATION,
    EVALUATION,
    HARDWARE,
    MODEL_AND_DATA,
    OPTIMIZATION,
    OUTPUT,
    ROLLOUTS,
    TRACKING,
    RlvrConfig,
)

PANELS = {
    MODEL_AND_DATA: ("--preset", "--unpinned", "--allow-unsandboxed-code"),
    OPTIMIZATION: (),
    ROLLOUTS: (),
    EVALUATION: (),
    HARDWARE: (),
    CONTAMINATION: (),
    TRACKING: (),
    OUTPUT: ("--out", "--dry-run", "--probe", "--json", "--help"),
}


@settings_command(RlvrConfig, panels=PANELS, first=("domain", "learning_rate", "lora"))
@click.argument("model", shell_complete=complete_models)
@preset_option
@unsandboxed_option
@unpinned_option
@out_option
@dry_run_option
@probe_option
@json_option
def command(
    model: str, given: dict[str, Any], out: Path, preset: str | None, dry_run: bool, probe: bool, as_json: bool
) -> None:
    """Train MODEL with GRPO on examples of a domain, with the domain's verifier as the reward (RLVR).

    Writes checkpoint/ and log.jsonl to the run folder. After an interruption, repeat the command to resume. The exit
    code is 1 if nothing was learned because the rewards never differed within a group of completions.
    """
    from kkwarm.api import rlvr_config
    from kkwarm.train import distributed
    from kkwarm.train.grpo import plan_rlvr, render_prompts, rlvr, step_size

    config, note = rlvr_config(model, given, preset, configure)
    if note and distributed.is_main():
        warn(note)
    if probe:
        measure_speed(model, config, train=True)
    if dry_run or probe:
        from kkwarm.backends.checkpoint import resolve

        plan = plan_rlvr(config)
        prompts = render_prompts(plan, model, dry_run=True)
        completions = plan.steps * config.completions
        tokens = completions * plan.max_tokens
        document: dict[str, Any] = {
            "model": resolve(model),
            "domain": config.domain,
            "examples": len(plan.examples),
            "steps": plan.steps,
            "completions_per_step": config.completions,
            "completions": completions,
            "tokens_at_most": tokens,
            "memory": memory_of(model, config, step_size(plan, prompts)),
        }
        prompt_tokens = round(sum(map(len, prompts.ids)) / len(prompts.ids) * completions)
        document["estimate"] = training_estimate(
            model, config, out, document["memory"], generated=tokens, trained=tokens + prompt_tokens
        )
        show(document, as_json)
        return
    run = rlvr(model, config, out)
    if not distributed.is_main():
        return
    results = results_of(run)
    alarms = alarm_texts(run)
    show({**results, "warnings": run.manifest.warnings, "alarms": alarms}, as_json)
    if not results["signal"]:
        click.get_current_context().exit(1)
