"""`kkwarm rlvr`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import Number, Whole, complete_domains, complete_models, json_option, unsandboxed_option
from kkwarm.cli.training import dry_run_option, memory_of, out_option, results_of, settings_of, show, training_options


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.option(
    "--domain",
    shell_complete=complete_domains,
    required=True,
    help="Domain to train on; NAME:VALUE narrows it by its facet.",
)
@click.option("--examples", type=Whole(1), help="Training examples to take.  [default: 100]")
@click.option("--steps", type=Whole(1), help="Steps instead of epochs.")
@click.option("--epochs", type=Number(), help="Passes over the examples.  [default: 5]")
@click.option("--prompts-per-step", type=Whole(1), help="[default: 8]")
@click.option("--generations", type=Whole(2), help="Completions of each prompt.  [default: 8]")
@click.option("--temperature", type=Number(), help="[default: 1.0]")
@click.option("--top-p", type=Number(), help="Below 1 it biases the importance ratio.  [default: 1.0]")
@click.option("--max-tokens", type=Whole(1), help="[default: the domain's]")
@click.option("--beta", type=Number(), help="Weight of the KL penalty.  [default: 0]")
@click.option("--loss-type", help="One of trl's.  [default: dr_grpo]")
@click.option("--scale-rewards", type=click.Choice(["none", "group", "batch"]), help="[default: none]")
@click.option("--epsilon", type=Number(), help="Clip range of the importance ratio.  [default: 0.2]")
@click.option("--vllm", type=click.Choice(["none", "colocate", "server"]), help="Generate by vLLM.  [default: none]")
@click.option("--keep-rollouts", is_flag=True, default=None, help="Write every completion to rollouts.jsonl.")
@training_options
@out_option
@dry_run_option
@unsandboxed_option
@json_option
def command(
    model: str,
    domain: str,
    out: Path,
    preset: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """RLVR of MODEL: GRPO with a domain's verifier as the reward, on --examples of its training examples.

    Dr. GRPO by default. The run folder gets checkpoint/ and log.jsonl. Stopped at any time, the same command goes on.
    Exits with 1 where no group of completions ever differed in reward: nothing was learnt then.
    """
    from kkwarm.train import distributed
    from kkwarm.train.config import PAPER_RLVR, RlvrConfig, changed
    from kkwarm.train.grpo import plan_rlvr, render_prompts, rlvr, step_size

    start = PAPER_RLVR if preset == "paper" else RlvrConfig(domain)
    config = changed(start, {**settings_of(options), "domain": domain})
    if dry_run:
        from kkwarm.backends.checkpoint import resolve

        plan = plan_rlvr(config)
        completions = plan.steps * config.completions
        show(
            {
                "model": resolve(model),
                "domain": domain,
                "examples": len(plan.examples),
                "steps": plan.steps,
                "completions": completions,
                "tokens_at_most": completions * plan.max_tokens,
                "memory": memory_of(model, config, step_size(plan, render_prompts(plan, model))),
            },
            as_json,
        )
        return
    run = rlvr(model, config, out)
    if not distributed.is_main():
        return
    results = results_of(run)
    alarms = [a["text"] for a in run.manifest.alarms]
    show({**results, "warnings": run.manifest.warnings, "alarms": alarms}, as_json)
    if not results["signal"]:
        click.get_current_context().exit(1)
