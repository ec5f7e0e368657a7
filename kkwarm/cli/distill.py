"""`kkwarm distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import Number, Whole, complete_domains, json_option, unsandboxed_option
from kkwarm.cli.training import dry_run_option, engine_option, out_option, passed, show


@click.command()
@click.option("--domain", shell_complete=complete_domains, required=True, help="Domain of the questions.")
@click.option("--teacher", required=True, help="A teacher of the domain, a checkpoint, or a server's model name.")
@click.option("-n", "n", type=Whole(1), help="Traces of a teacher; questions for a model.")
@click.option("--preset", type=click.Choice(["paper"]), help="Start from the settings of arXiv 2505.13718.")
@click.option("--samples", type=Whole(1), help="Completions of each question (models).  [default: 1]")
@click.option("--temperature", type=Number(), help="[default: 0.6]")
@click.option("--top-p", type=Number(), help="[default: 0.95]")
@click.option("--max-tokens", type=Whole(1), help="[default: the domain's]")
@click.option(
    "--verified-only", is_flag=True, default=None, help="Keep only traces that the domain's verifier accepts."
)
@click.option("--format", "format", help="The teacher's prompt format instead of the domain's.")
@click.option("--seed", type=int, help="[default: 0]")
@click.option("--backend", type=click.Choice(["hf", "vllm", "openai"]), help="For a model.  [default: hf]")
@click.option("--base-url", help="Of an OpenAI-compatible server, such as http://localhost:8000/v1.")
@click.option(
    "--decontaminate-against", metavar="NAME,...", help="Benchmarks to be evaluated: asking their questions is refused."
)
@click.option("--drop-contaminated", is_flag=True, default=None, help="Leave them out (models: ask the next ones).")
@click.option(
    "--allow-contamination", is_flag=True, default=None, help="Ask them nevertheless; reports mark what it touches."
)
@click.option("--concurrency", type=Whole(1), help="Requests to a server at a time.")
@engine_option
@out_option
@dry_run_option
@unsandboxed_option
@json_option
def command(
    domain: str,
    teacher: str,
    preset: str | None,
    backend: str | None,
    base_url: str | None,
    concurrency: int | None,
    engine: tuple[str, ...],
    out: Path,
    dry_run: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Make warm-up traces: traces.jsonl in the run folder, each line with its teacher."""
    from kkwarm.errors import KkwarmError
    from kkwarm.train.config import PAPER_DISTILL, DistillConfig
    from kkwarm.train.distillation import distill, plan_distill

    given = {k: v for k, v in settings.items() if v is not None}
    if preset == "paper":
        given = {**PAPER_DISTILL, **given}
    if "n" not in given:
        raise KkwarmError("how many traces?", hint="-n 1000")
    if "decontaminate_against" in given:
        given["decontaminate_against"] = tuple(name.strip() for name in given["decontaminate_against"].split(","))
    config = DistillConfig(domain, teacher, **given)
    options = {"concurrency": concurrency, **passed(engine, "--engine")}
    if dry_run:
        plan = plan_distill(config, base_url=base_url, backend=backend, options=options)
        document: dict[str, Any] = {"domain": domain, "teacher": teacher, "backend": plan.backend, "seed": config.seed}
        if plan.teacher is not None:
            document["traces"] = config.n
        else:
            document |= {"questions": len(plan.examples), "completions": plan.completions}
            document["tokens_at_most"] = plan.completions * plan.sampling.max_tokens
        show(document, as_json)
        return
    run = distill(
        config,
        out,
        base_url=base_url,
        backend=backend,
        options=options,
    )
    show({"run": str(run.path), **run.manifest.results}, as_json)
