"""`kkwarm distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import Whole, json_option, unsandboxed_option
from kkwarm.cli.options import configure, parse_pairs, settings_command
from kkwarm.cli.training import dry_run_option, engine_option, out_option, preset_option, show
from kkwarm.schema.settings import (
    CONTAMINATION,
    HARDWARE,
    MODEL_AND_DATA,
    OUTPUT,
    PAPER_DISTILL,
    SAMPLING,
    DistillConfig,
)

PANELS = {
    MODEL_AND_DATA: ("--preset",),
    SAMPLING: (),
    HARDWARE: ("--backend", "--base-url", "--concurrency", "--engine", "--allow-unsandboxed-code"),
    CONTAMINATION: (),
    OUTPUT: ("--out", "--dry-run", "--json", "--help"),
}


@settings_command(DistillConfig, panels=PANELS)
@preset_option
@click.option(
    "--backend",
    type=click.Choice(["hf", "vllm", "openai"]),
    help="Backend of a teacher that is a model.  [default: openai with --base-url, otherwise hf]",
)
@click.option(
    "--base-url", metavar="URL", help="Address of an OpenAI-compatible server, such as http://localhost:8000/v1."
)
@click.option("--concurrency", type=Whole(1), help="Number of simultaneous requests to a server.")
@engine_option
@unsandboxed_option
@out_option
@dry_run_option
@json_option
def command(
    given: dict[str, Any],
    preset: str | None,
    backend: str | None,
    base_url: str | None,
    concurrency: int | None,
    engine: tuple[str, ...],
    out: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Generate warm-up traces of a domain with a teacher.

    They are written to traces.jsonl in the run folder. After an interruption, repeat the command to resume.
    """
    from kkwarm.train.distillation import distill, plan_distill

    config = configure(DistillConfig, given, PAPER_DISTILL if preset == "paper" else None)
    options = {"concurrency": concurrency, **parse_pairs(engine, "--engine")}
    if not dry_run:
        run = distill(config, out, base_url=base_url, backend=backend, options=options)
        show({"run": str(run.path), **run.manifest.results}, as_json)
        return
    plan = plan_distill(config, base_url=base_url, backend=backend, options=options)
    document: dict[str, Any] = {"domain": config.domain, "teacher": config.teacher}
    document |= {"backend": plan.backend, "seed": config.seed}
    if plan.teacher is not None:
        document["traces"] = config.n
    else:
        document |= {"questions": len(plan.examples), "completions": plan.completions}
        document["tokens_at_most"] = plan.completions * plan.sampling.max_tokens
    show(document, as_json)
