"""Options and output that distill, warmup and rlvr share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from kkwarm.cli.console import Number, Whole, echo_json
from kkwarm.errors import KkwarmError

__all__ = [
    "dry_run_option",
    "engine_option",
    "memory_of",
    "out_option",
    "passed",
    "results_of",
    "settings_of",
    "show",
    "training_options",
]

engine_option = click.option(
    "--engine",
    multiple=True,
    metavar="KEY=VALUE",
    help="Of the backend: tensor_parallel_size, replicas, gpu_memory_utilization, dtype, concurrency, ...",
)
F = TypeVar("F", bound=Callable[..., Any])

out_option = click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder; an unfinished run goes on.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Print what would be done; train nothing.")

_NO: Mapping[str, Any] = {"is_flag": True, "flag_value": False, "default": None}  # without a default, click's is False
_OPTIONS = (
    click.option("--preset", type=click.Choice(["paper"]), help="Start from the settings of arXiv 2505.13718."),
    click.option("--learning-rate", type=Number(), help="Learning rate."),
    click.option("--schedule", type=click.Choice(["constant", "linear", "cosine"])),
    click.option("--warmup-steps", type=Whole(0), help="Steps of linear rise before the schedule."),
    click.option("--weight-decay", type=Number()),
    click.option("--max-grad-norm", type=Number(), help="Largest gradient norm."),
    click.option("--batch-size", type=Whole(1), help="Sequences in a forward pass."),
    click.option("--lora", is_flag=True, default=None, help="Train a LoRA adapter; the checkpoint has it merged."),
    click.option("--lora-rank", type=Whole(1), help="Rank of the adapter (implies --lora).  [default: 32]"),
    click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), help="Of activations.  [default: auto]"),
    click.option(
        "--gradient-checkpointing",
        "--gradient-checkpointing",
        "gradient_checkpointing",
        is_flag=True,
        default=None,
        help="Recompute activations: less memory, slower.",
    ),
    click.option("--format", "format", help="Prompt format instead of the domain's."),
    click.option(
        "--seed", type=int, default=None, help="Of data order, choice of examples and sampling.  [default: 0]"
    ),
    click.option("--save-every", type=Whole(1), help="Steps between step checkpoints.  [default: by time]"),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="[default: auto]"),
    click.option("--nproc", type=Whole(1), help="Processes that share each step.  [default: 1]"),
    click.option(
        "--accelerate-config", "accelerate", metavar="NAME|FILE", help="Weights in shards: fsdp2, zero3, or a file."
    ),
    click.option(
        "--micro-batch-size", type=Whole(1), help="Sequences in a forward pass, at most.  [default: what fits]"
    ),
    click.option("--attention", type=click.Choice(["auto", "sdpa", "flash", "eager"]), help="[default: auto]"),
    click.option("--liger", is_flag=True, default=None, help="Liger's fused kernels (CUDA)."),
    click.option("--optim", type=click.Choice(["adamw", "adamw_8bit"]), help="8 bits: bitsandbytes."),
    click.option("--qlora", is_flag=True, default=None, help="LoRA on weights of 4 bits (bitsandbytes)."),
    click.option("--eval-on", metavar="NAME,...", help="Benchmarks to evaluate a little between the steps."),
    click.option("--eval-every", type=Whole(1), help="Steps between two such in-training evaluations.  [default: 10]"),
    click.option("--eval-questions", type=Whole(1), help="Questions of each.  [default: 50]"),
    click.option("--no-keep-best", "keep_best", **_NO, help="Do not keep the best watched step's weights."),
    click.option(
        "--divergence-factor", type=Number(), help="SFT stops where the loss is so many times its lowest.  [default: 3]"
    ),
    click.option("--no-memory-check", "memory_check", **_NO, help="Try what may be too large."),
    click.option("--threads", type=Whole(1), help="CPU threads."),
    click.option(
        "--decontaminate-against", metavar="NAME,...", help="Benchmarks to be evaluated: training on them is refused."
    ),
    click.option("--drop-contaminated", is_flag=True, default=None, help="Train on the others instead."),
    click.option(
        "--allow-contamination",
        is_flag=True,
        default=None,
        help="Train on them nevertheless; reports mark what it touches.",
    ),
    click.option("--track", multiple=True, help="A tracker of trl's: tensorboard, trackio, wandb."),
    click.option("--trl", multiple=True, metavar="KEY=VALUE", help="A further argument of trl's config."),
)


def training_options(function: F) -> F:
    """Adds the options that warmup and rlvr share."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def passed(pairs: tuple[str, ...], option: str = "--trl") -> dict[str, Any]:
    """``KEY=VALUE`` pairs; a value is JSON where it can be, else text.

    :raises KkwarmError: a pair has no ``=``.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise KkwarmError(f"{option} {pair}: not KEY=VALUE")
        try:
            found[key.strip().replace("-", "_")] = json.loads(value.strip())
        except ValueError:
            found[key.strip().replace("-", "_")] = {"True": True, "False": False, "None": None}.get(value, value)
    return found


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a configuration from the options of `training_options` (`preset` taken out; None: not given)."""
    found = {
        k: v
        for k, v in options.items()
        if k not in ("preset", "lora_rank", "trl", "track", "decontaminate_against", "eval_on") and v is not None
    }
    if options.get("lora_rank"):
        found["lora"] = options["lora_rank"]
    for listed in ("decontaminate_against", "eval_on"):
        if options.get(listed):
            found[listed] = tuple(name.strip() for name in options[listed].split(","))
    if options.get("trl"):
        found["trl"] = passed(options["trl"])
    if options.get("track"):
        found["track"] = tuple(options["track"])
    return found


def results_of(run: Any) -> dict[str, Any]:
    """A finished run's results, with the places of its checkpoints as paths."""
    results = dict(run.manifest.results)
    best = results.get("best", {})
    if best.get("weights") in ("best", "checkpoint"):
        results["best"] = {**best, "weights": str(run.path / best["weights"])}
    return {"run": str(run.path), "checkpoint": str(run.path / "checkpoint"), **results}


def memory_of(model: str, config: Any, sizes: Mapping[str, int]) -> dict[str, Any]:
    """What a dry run says of memory.

    :raises KkwarmError: nothing fits.
    """
    from kkwarm.train.memory import preflight

    fit = preflight(model, config, **sizes)
    return {**fit.fields(), **({"changes": fit.changes} if fit.changes else {})}


def _inline(values: Mapping[str, Any]) -> str:
    parts = []
    for name, value in values.items():
        shown = (
            f"({_inline(value)})"
            if isinstance(value, Mapping)
            else f"{value:.4g}"
            if isinstance(value, float)
            else value
        )
        parts.append(f"{name} {shown}")
    return ", ".join(parts)


def show(document: Mapping[str, Any], as_json: bool) -> None:
    """Prints a document as JSON, or one `name: value` a line."""
    if as_json:
        echo_json(document)
        return
    for name, value in document.items():
        if isinstance(value, float):
            value = f"{value:.6g}"
        elif isinstance(value, Mapping):
            value = _inline(value)
        elif isinstance(value, list):
            value = "; ".join(map(str, value))
        if value not in ("", None):
            click.echo(f"{name.replace('_', ' ')}: {value}")
