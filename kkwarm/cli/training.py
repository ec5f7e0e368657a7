"""Options and output that distill, warmup and rlvr share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import echo_json
from kkwarm.schema.settings import BenchConfig, TrainConfig

preset_option = click.option(
    "--preset",
    type=click.Choice(["paper"]),
    help="Start from the settings of arXiv 2505.13718; options that you give replace them.",
)
engine_option = click.option(
    "--engine",
    multiple=True,
    metavar="KEY=VALUE",
    help="Further option of the backend, such as tensor_parallel_size, replicas, gpu_memory_utilization or dtype.",
)
out_option = click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder. If it holds an unfinished run of the same settings, the run resumes.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Print what would be done, with its size, and stop.")
probe_option = click.option(
    "--probe",
    is_flag=True,
    help="Measure the model's speed on this machine (about a minute), store it, and print the dry run with it.",
)


def measure_speed(model: str, config: BenchConfig | TrainConfig, *, generate: bool = True, train: bool = False) -> None:
    """Measures and stores the speed of a model, for ``--probe``."""
    from kkwarm.throughput import measure

    device = None if config.device == "auto" else config.device
    measure(model, generate=generate, train=train, device=device, threads=config.threads)


def results_of(run: Any) -> dict[str, Any]:
    """A finished run's results, with the folders of its checkpoints."""
    results = dict(run.manifest.results)
    best = results.get("best", {})
    if best.get("weights") in ("best", "checkpoint"):
        results["best"] = {**best, "weights": str(run.path / best["weights"])}
    return {"run": str(run.path), "checkpoint": str(run.path / "checkpoint"), **results}


def alarm_texts(run: Any) -> list[str]:
    """The alarms that a run raised, as ``kind: sentence``."""
    return [f"{alarm['kind']}: {alarm['text']}" for alarm in run.manifest.alarms]


def memory_of(model: str, config: Any, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The memory estimate of a dry run."""
    from kkwarm.train.memory import preflight

    fit = preflight(model, config, **sizes)
    return {**fit.fields(), **({"changes": fit.changes} if fit.changes else {})}


def training_estimate(
    model: str, config: TrainConfig, out: Path, memory: Mapping[str, Any], *, generated: int = 0, trained: int = 0
) -> dict[str, Any]:
    """Time, memory and disk space of a training, for a dry run.

    :param memory: as `memory_of` gives it.
    :param generated, trained: tokens, at most.
    """
    from kkwarm import cost
    from kkwarm.backends.sizes import read_size

    keeps_best = bool(config.eval_on) and config.keep_best
    return cost.estimate(
        model,
        out,
        generated=generated,
        trained=trained,
        threads=config.threads,
        memory=memory["gib"]["total"] * cost.GIB,
        disk=cost.training_disk(read_size(model), lora=config.lora, keeps_best=keeps_best),
    )


def show(document: Mapping[str, Any], as_json: bool) -> None:
    """Prints a document as JSON, or as one ``name: value`` per line."""
    from kkwarm.reporting.labels import value_lines

    if as_json:
        echo_json(document)
        return
    if "estimate" in document:
        from kkwarm.cost import estimate_lines

        lines = estimate_lines(document["estimate"])
        if "memory" in document:
            lines["memory"] = _memory_text(document["memory"])
        document = {k: v for k, v in document.items() if k != "estimate"} | lines
    for line in value_lines(document):
        click.echo(line)


def _memory_text(memory: Mapping[str, Any]) -> str:
    """A memory estimate in one line: the total, its parts, the sequences in a forward pass, and what was changed."""
    parts = ", ".join(f"{name} {gib:.3g}" for name, gib in memory["gib"].items() if name != "total")
    rows = memory["rows"]
    text = f"about {memory['gib']['total']:.3g} of {memory['device_gib']:.3g} GiB ({parts}), "
    text += f"{rows} sequence{'' if rows == 1 else 's'} in a forward pass"
    text += ", gradient checkpointing" if memory["gradient_checkpointing"] else ""
    return text + (f"; {memory['changes']}" if memory.get("changes") else "")
