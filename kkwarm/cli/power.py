"""`kkwarm power`, and `kkwarm bench --power`: what a run can show, before it is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kkwarm.cli.console import Number, Whole, complete_domains, echo_json, json_option, out_console
from kkwarm.errors import KkwarmError

COUNTS = (1, 2, 4, 8, 16, math.inf)
ALPHA, POWER = 0.05, 0.8

prior_option = click.option(
    "--prior", "priors", multiple=True, type=click.Path(path_type=Path), metavar="RUN", help="Learn variances from it."
)
detect_option = click.option("--detect", type=Number(1e-4, 1), help="Also say what a difference of this size needs.")


@click.command()
@click.option(
    "--on",
    "names",
    shell_complete=complete_domains,
    multiple=True,
    required=True,
    metavar="NAME,...",
    help="Benchmarks.",
)
@click.option("--samples", type=Whole(1), default=1, show_default=True, help="Samples for each question.")
@click.option("--limit", type=Whole(1), help="At most N questions of each.")
@prior_option
@detect_option
@click.option("--accuracy", type=Number(0, 1), default=0.5, show_default=True, help="Expected, without --prior.")
@json_option
def command(
    names: tuple[str, ...],
    samples: int,
    limit: int | None,
    priors: tuple[Path, ...],
    detect: float | None,
    accuracy: float,
    as_json: bool,
) -> None:
    """What difference between two checkpoints a run of this size can show. No model is needed.

    A run given by --prior tells how much questions and samples differ (several samples a question are needed for that);
    a second one, of another checkpoint, also how much the two share. What is not known is assumed, and said.
    """
    document = plan(names, samples, limit, priors, detect, accuracy)
    echo_json(document) if as_json else show(document)


def plan(
    names: Sequence[str],
    samples: int,
    limit: int | None,
    priors: Sequence[Path],
    detect: float | None,
    accuracy: float = 0.5,
) -> dict[str, Any]:
    """``benchmarks[NAME]``: ``n``, ``samples``, the differences detectable ``paired`` and ``unpaired``, ``by_samples``,
    the ``components`` and what was ``assumed`` of them; given `detect`, ``needed``: ``samples`` (None: no number does)
    and ``questions``.

    :raises KkwarmError: an unknown benchmark, or a prior run that has no samples of it.
    """
    from kkwarm.analysis.stats import power
    from kkwarm.evaluation.plan import LM_EVAL_PREFIX, limit_examples, parse_benchmark_names
    from kkwarm.plugins import registry

    listed = parse_benchmark_names(names)
    alpha = ALPHA / len(listed)  # the first step of Holm's correction
    if len(priors) > 2:
        raise KkwarmError("at most two prior runs", hint="one of each checkpoint")
    rows = {}
    for name in listed:
        if name.startswith(LM_EVAL_PREFIX):
            raise KkwarmError(f"{name}: lm-eval's own tasks draw one sample, their questions are not known before")
        n = len(limit_examples(list(registry().benchmark(name).load()), limit))
        if n < 2:
            raise KkwarmError(f"{name}: one question shows nothing", hint="raise --limit")
        found, told = _components(name, priors, accuracy)
        rows[name] = {
            "n": n,
            "samples": samples,
            "paired": power.detectable(found, n, samples, alpha=alpha),
            "unpaired": power.detectable(found, n, samples, paired=False, alpha=alpha),
            "by_samples": power.by_samples(found, n, alpha, COUNTS),
            "components": {k: getattr(found, k) for k in ("accuracy", "between", "within", "shared")},
            "assumed": told,
        }
        if detect is not None:
            rows[name]["needed"] = {
                "difference": detect,
                "samples": power.samples_needed(found, n, detect, alpha=alpha),
                "questions": power.questions_needed(found, samples, detect, alpha=alpha),
            }
    return {"alpha": ALPHA, "power": POWER, "family": len(listed), "benchmarks": rows}


def _components(name: str, priors: Sequence[Path], accuracy: float) -> tuple[Any, list[str]]:
    from kkwarm.analysis.cells import pair
    from kkwarm.analysis.load import load
    from kkwarm.analysis.stats import power
    from kkwarm.store import find_run

    if not priors:
        found = power.assumed(accuracy)
        told = f"accuracy {accuracy:g}, 60% of the variance between questions, correlation 0.8 between two checkpoints"
        return found, [told]
    material = load([find_run(prior) for prior in priors])
    cells = [c for (_, domain), c in material.cells.items() if domain == name]
    if len(cells) < len(priors):
        raise KkwarmError(f"a prior run has no samples of {name}", hint="bench it there, or leave --prior out")
    counts = {c.samples // (len(c.ids) * len(c.seeds)) for c in cells}
    if len(counts) > 1 or any(c.samples % (len(c.ids) * len(c.seeds)) for c in cells):
        raise KkwarmError(f"the prior runs have unequal numbers of samples on {name}", hint="finish them first")
    scores = pair(*cells, common=True) if len(cells) == 2 else (cells[0].scores,)
    try:
        return power.components(scores[0][0], counts.pop(), *(s[0] for s in scores[1:]))
    except ValueError as err:
        raise KkwarmError(f"{name} in {priors[0]}: {err}") from None


def show(document: dict[str, Any]) -> None:
    """Prints the plan, in points of accuracy."""
    from rich.table import Table
    from rich.text import Text

    console = out_console()
    family = document["family"]
    corrected = f", corrected for {family} benchmarks" if family > 1 else ""
    title = f"Smallest difference found {document['power']:.0%} of the time at the 5% level{corrected} (points)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("benchmark")
    for column in ("n", "k", "paired", "unpaired", *(f"k={_count(k)}" for k in COUNTS)):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in document["benchmarks"].items():
        cells = [f"{row['n']:,}", str(row["samples"]), _points(row["paired"]), _points(row["unpaired"])]
        table.add_row(Text(name), *cells, *(Text(_points(v), "dim") for v in row["by_samples"].values()))
    console.print(table)
    for name, row in document["benchmarks"].items():
        if "needed" in row:
            console.print(Text(f"{name}: {_needs(row)}"), soft_wrap=True)
        for told in row["assumed"]:
            console.print(Text(f"{name}: assumed {told}", "dim"), soft_wrap=True)
    console.print(Text("Over questions and samples; training seeds differ on top of that.", "dim"))


def _needs(row: dict[str, Any]) -> str:
    needed = row["needed"]
    k, these = needed["samples"], f"these {row['n']:,} questions"
    by_k = f"{k:,} sample{'s' if k > 1 else ''} of each of {these}" if k else f"more than {these}, however many samples"
    by_n = f"{needed['questions']:,} questions with {row['samples']} sample{'s' if row['samples'] > 1 else ''} each"
    return f"to find {_points(needed['difference'])} points takes {by_k}{', or' if k else ':'} {by_n}"


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _count(k: float) -> str:
    return "∞" if math.isinf(k) else f"{k:g}"
