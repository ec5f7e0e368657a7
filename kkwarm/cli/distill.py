"""`kkwarm distill`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import Whole, json_option, unpinned_option, unsandboxed_option
from kkwarm.cli.options import configure, parse_pairs, settings_command
from kkwarm.cli.training import dry_run_option, engine_option, out_option, preset_option, show
from kkwarm.schema.settings import CONTAMINATION, HARDWARE, MODEL_AND_DATA, OUTPUT, SAMPLING, DistillConfig

if TYPE_CHECKING:
    from kkwarm.train.distillation import DistillPlan
    from kkwarm.types import Teacher

_TRIED = 20  # traces of a registered teacher that a dry run measures
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
@unpinned_option
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
    from kkwarm.train.distillation import DistillPlan, distill

    config = configure(DistillConfig, given, preset)
    options = {"concurrency": concurrency, **parse_pairs(engine, "--engine")}
    if not dry_run:
        run = distill(config, out, base_url=base_url, backend=backend, options=options)
        show({"run": str(run.path), **run.manifest.results}, as_json)
        return
    plan = DistillPlan(config, base_url=base_url, backend=backend, options=options)
    document: dict[str, Any] = {"domain": config.domain, "teacher": config.teacher}
    document |= {"backend": plan.backend, "seed": config.seed}
    if plan.teacher is not None:
        document["traces"] = config.n
        document["estimate"] = _estimate_traces(plan.teacher, config, out)
    else:
        tokens = plan.completions * plan.sampling.max_tokens
        document |= {"questions": len(plan.examples), "completions": plan.completions, "tokens_at_most": tokens}
        if plan.backend != "openai":
            document["estimate"] = _estimate_model(config, plan, tokens, out)
    show(document, as_json)


def _estimate_traces(teacher: Teacher, config: DistillConfig, out: Path) -> dict[str, Any]:
    """Time and disk space of a registered teacher's traces, by its first ones."""
    import time
    from itertools import islice

    from kkwarm.cost import fixed_estimate

    traces = iter(teacher.traces(min(config.n, _TRIED), config.seed))
    first = list(islice(traces, 1))  # a teacher may load its data before the first one
    started = time.monotonic()
    first += islice(traces, _TRIED)
    seconds = (time.monotonic() - started) / max(1, len(first) - 1) * config.n
    size = sum(len(f"{t.question}{t.reasoning}{t.answer}".encode()) + 200 for t in first) / max(1, len(first))
    return fixed_estimate(out, seconds, size * config.n, f"measured on {len(first)} traces")


def _estimate_model(config: DistillConfig, plan: DistillPlan, tokens: int, out: Path) -> dict[str, Any]:
    """Time, memory and disk space of a teacher that is a model: its completions are stored, and their traces."""
    from kkwarm import cost
    from kkwarm.backends.sizes import read_size

    size = read_size(config.teacher)
    longest = min(plan.sampling.max_tokens, size.context or plan.sampling.max_tokens)
    memory = cost.generation_memory(size, cost.this_machine(), samples=plan.completions, tokens=longest)
    disk = 2 * cost.sample_bytes(tokens, plan.completions)
    return cost.estimate(config.teacher, out, generated=tokens, memory=memory, disk=disk)
