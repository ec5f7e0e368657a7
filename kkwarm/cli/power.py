"""`kkwarm power`, and `kkwarm bench --power`: the differences that a run can detect, before it is done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kkwarm.cli.console import Number, PercentagePoints, Whole, echo_json, json_option, on_option, out_console
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    from kkwarm.analysis.stats.power import VarianceComponents

COUNTS = (1, 2, 4, 8, 16, math.inf)
ALPHA, POWER = 0.05, 0.8

prior_option = click.option(
    "--prior",
    "priors",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Estimate variances from this earlier run; give a second one for the correlation of two checkpoints.",
)
detect_option = click.option(
    "--detect",
    type=PercentagePoints(min=0.01),
    metavar="POINTS",
    help="Also print the samples and questions that detect a difference of this many percentage points.",
)


@click.command()
@on_option("Benchmarks, separated by commas.", required=True)
@click.option("--samples", type=Whole(1), default=1, show_default=True, help="Samples per question.")
@click.option("--limit", type=Whole(1), metavar="N", help="Use at most N questions of each benchmark.  [default: all]")
@prior_option
@detect_option
@click.option(
    "--accuracy",
    type=Number(0, 1),
    default=0.5,
    show_default=True,
    help="Expected accuracy as a fraction, where there is no --prior.",
)
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
    """Print the smallest difference between two checkpoints that a run of this size can detect. Needs no model.

    A run given by --prior shows how much questions and samples vary (it needs several samples per question); a second
    one, of another checkpoint, shows how much the two correlate. Everything else is assumed, and the output lists it.
    """
    document = power_analysis(names, samples, limit, priors, detect, accuracy)
    echo_json(document) if as_json else print_power(document)


def power_analysis(
    names: Sequence[str],
    samples: int,
    limit: int | Mapping[str, int] | None,
    priors: Sequence[Path],
    detect: float | None,
    accuracy: float = 0.5,
) -> dict[str, Any]:
    """``benchmarks[NAME]``: ``n``, ``samples``, the detectable differences ``paired``, ``unpaired`` and ``by_samples``,
    the variance ``components``, and ``assumptions``; given `detect`, ``needed``: ``samples`` (None: no number suffices)
    and ``questions``. Differences are percentage points.

    :raises KkwarmError: an unknown benchmark, or a prior run that has no samples of it.
    """
    from kkwarm.evaluation.plan import parse_benchmark_names
    from kkwarm.schema.settings import value_of

    listed = parse_benchmark_names(names)
    alpha = ALPHA / len(listed)  # the first step of Holm's correction
    if len(priors) > 2:
        raise KkwarmError("at most two prior runs", hint="one of each checkpoint")
    rows = {name: _analyze(name, samples, value_of(limit, name), priors, detect, accuracy, alpha) for name in listed}
    return {"alpha": ALPHA, "power": POWER, "family": len(listed), "benchmarks": rows}


def _analyze(
    name: str,
    samples: int,
    limit: int | None,
    priors: Sequence[Path],
    detect: float | None,
    accuracy: float,
    alpha: float,
) -> dict[str, Any]:
    from kkwarm.analysis.stats import power
    from kkwarm.evaluation.lm_eval_index import LM_EVAL_PREFIX
    from kkwarm.evaluation.plan import limit_examples
    from kkwarm.plugins import registry

    if name.startswith(LM_EVAL_PREFIX):
        from kkwarm.evaluation.lm_eval_tasks import load_questions

        examples = load_questions(name)
    else:
        examples = list(registry().benchmark(name).load())
    n = len(limit_examples(examples, limit))
    if n < 2:
        raise KkwarmError(f"{name}: one question cannot show a difference", hint="raise --limit")
    components, assumptions = _components(name, priors, accuracy)
    row = {
        "n": n,
        "samples": samples,
        "paired": 100 * power.detectable_difference(components, n, samples, alpha=alpha),
        "unpaired": 100 * power.detectable_difference(components, n, samples, paired=False, alpha=alpha),
        "by_samples": {k: 100 * v for k, v in power.detectable_by_samples(components, n, alpha, COUNTS).items()},
        "components": {k: getattr(components, k) for k in ("accuracy", "between", "within", "correlation")},
        "assumptions": assumptions,
    }
    if detect is not None:
        row["needed"] = {
            "difference": detect,
            "samples": power.samples_needed(components, n, detect / 100, alpha=alpha),
            "questions": power.questions_needed(components, samples, detect / 100, alpha=alpha),
        }
    return row


def _components(name: str, priors: Sequence[Path], accuracy: float) -> tuple[VarianceComponents, list[str]]:
    from kkwarm.analysis.cells import pair
    from kkwarm.analysis.load import load
    from kkwarm.analysis.stats import power
    from kkwarm.store import find_run

    if not priors:
        assumption = (
            f"accuracy {accuracy:g}, 60% of the variance between questions, correlation 0.8 between two checkpoints"
        )
        return power.assume_components(accuracy), [assumption]
    study = load([find_run(prior) for prior in priors])
    cells = [c for (_, domain), c in study.cells.items() if domain == name]
    if len(cells) < len(priors):
        raise KkwarmError(f"a prior run has no samples of {name}", hint="bench it there, or leave --prior out")
    counts = {c.samples // (len(c.ids) * len(c.seeds)) for c in cells}
    if len(counts) > 1 or any(c.samples % (len(c.ids) * len(c.seeds)) for c in cells):
        raise KkwarmError(f"the prior runs have unequal numbers of samples on {name}", hint="finish them first")
    scores = pair(*cells, common=True) if len(cells) == 2 else (cells[0].scores,)
    try:
        return power.estimate_components(scores[0][0], counts.pop(), *(s[0] for s in scores[1:]))
    except ValueError as err:
        raise KkwarmError(f"{name} in {priors[0]}: {err}") from None


def print_power(document: dict[str, Any]) -> None:
    """Prints a power analysis, in percentage points."""
    from rich.table import Table
    from rich.text import Text

    console = out_console()
    family = document["family"]
    corrected = f", corrected for {family} benchmarks" if family > 1 else ""
    title = f"Difference detected with {document['power']:.0%} power at the 5% level{corrected} (percentage points)"
    console.print(Text(title, "italic"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("benchmark")
    for column in ("n", "k", "paired", "unpaired", *(f"k={_count(k)}" for k in COUNTS)):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in document["benchmarks"].items():
        cells = [f"{row['n']:,}", str(row["samples"]), f"{row['paired']:.1f}", f"{row['unpaired']:.1f}"]
        table.add_row(Text(name), *cells, *(Text(f"{v:.1f}", "dim") for v in row["by_samples"].values()))
    console.print(table)
    for name, row in document["benchmarks"].items():
        if "needed" in row:
            console.print(Text(f"{name}: {_needed_text(row)}"), soft_wrap=True)
        for assumption in row["assumptions"]:
            console.print(Text(f"{name}: assumed {assumption}", "dim"), soft_wrap=True)
    console.print(Text("Covers questions and samples; the variation between training seeds is not included.", "dim"))


def _needed_text(row: dict[str, Any]) -> str:
    needed = row["needed"]
    k, questions = needed["samples"], f"these {row['n']:,} questions"
    by_k = (
        f"{k:,} sample{'s' if k > 1 else ''} of each of {questions}"
        if k
        else f"more than {questions}, with any number of samples"
    )
    by_n = f"{needed['questions']:,} questions with {row['samples']} sample{'s' if row['samples'] > 1 else ''} each"
    return f"detecting {needed['difference']:.1f} points needs {by_k}{', or' if k else ':'} {by_n}"


def _count(k: float) -> str:
    return "∞" if math.isinf(k) else f"{k:g}"
