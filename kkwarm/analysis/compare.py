"""Paired comparison of two runs on the same questions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kkwarm.analysis.changes import compare_conditions
from kkwarm.analysis.load import load
from kkwarm.analysis.study_data import MARGIN
from kkwarm.errors import KkwarmError
from kkwarm.schema.report import BenchmarkComparison, Change, Comparison
from kkwarm.store import Run

__all__ = ["compare"]


def compare(
    first: Path, second: Path, *, margin: float = MARGIN, common: bool = False, across_protocols: bool = False
) -> Comparison:
    """Compares two runs on every benchmark of both: B minus A, with p-values corrected over the benchmarks (Holm).

    :param margin: equivalence margin in percentage points.
    :param common: where the questions differ, compare those that both have.
    :param across_protocols: compare also where the protocols differ. The result lists how.
    :raises KkwarmError: no benchmark is in both, or the runs cannot be paired.
    """
    runs = Run.read(first), Run.read(second)
    study = load([first, second], margin=margin, across_protocols=across_protocols)
    a, b = (c.name for c in study.conditions)
    shared = [d for d in study.domains if (a, d) in study.cells and (b, d) in study.cells]
    if not shared:
        in_a, in_b = (", ".join(d for d in study.domains if (c, d) in study.cells) or "none" for c in (a, b))
        raise KkwarmError(
            f"{first} and {second} share no benchmark: the first has {in_a}, the second {in_b}",
            hint="bench both checkpoints on the same domains",
        )
    stopped = {d: {side: _stopped(run, d) for side, run in zip("ab", runs, strict=True)} for d in shared}
    # A run that early stopping ended has a random subset of the questions: compare on that subset without --common.
    subset = set(shared) if common else {d for d, records in stopped.items() if any(records.values())}
    rows = compare_conditions(study, a, b, shared, common=subset)
    count = f"{len(rows)} benchmark{'s' if len(rows) > 1 else ''}"
    return Comparison(
        a=str(first),
        b=str(second),
        state="done" if study.state == "done" else "in progress",
        states={side: "done" if run.done else "in progress" for side, run in zip("ab", runs, strict=True)},
        margin=margin,
        benchmarks={name: _benchmark(row, stopped[name], first, margin) for name, row in rows.items()},
        method="Paired by question; with one sample each: exact McNemar test, with several: exact sign flips; "
        f"p-values by Holm over {count}; "
        f"tie: 90% interval within the equivalence margin of {margin:g} percentage points.",
    )


def _stopped(run: Run, benchmark: str) -> dict[str, Any] | None:
    record: dict[str, Any] | None = run.manifest.stopped.get(benchmark)
    return record


def _benchmark(
    row: dict[str, Any], stopped: Mapping[str, dict[str, Any] | None], first: Path, margin: float
) -> BenchmarkComparison:
    change, differences = _sequential(row["change"], row["settings_differences"], stopped, first)
    row |= {"change": change, "settings_differences": differences, "stopped": dict(stopped)}
    return BenchmarkComparison(**row, statement=_statement(change, row["only_a"], row["only_b"], margin))


def _sequential(
    change: Change, differences: tuple[str, ...], stopped: Mapping[str, dict[str, Any] | None], first: Path
) -> tuple[Change, tuple[str, ...]]:
    """Where a group-sequential test against A stopped B, its result replaces the usual one: the usual p-value of a
    stopped run is too small.
    """
    record = stopped["b"]
    if record is not None and record["rule"] == "decided" and Path(record["baseline"]).resolve() == first.resolve():
        update = {
            "verdict": record["verdict"],
            "ci": (record["low"], record["high"]),
            "p": record["p"],
            "p_holm": None,
            "test": f"group-sequential, level {record['level']:.2g} at this test",
        }
        return change.model_copy(update=update), differences
    if any(r is not None and r["rule"] == "decided" for r in stopped.values()):
        differences = (*differences, "one was stopped by a test against another run, so its p-value is too small")
    return change, differences


def _statement(change: Change, only_a: int, only_b: int, margin: float) -> str:
    """The verdict as a sentence."""
    points, (low, high) = abs(change.estimate), change.ci
    interval = f"{low:+.1f} to {high:+.1f}"
    message = {
        "gain": f"gain: B is {points:.1f} points ahead ({interval})",
        "loss": f"loss: B is {points:.1f} points behind ({interval})",
        "tie": f"tie: the difference ({interval}) lies within {margin:g} points",
        "underpowered": f"underpowered: {interval} allows a gain or a loss; more questions or samples are needed",
    }[change.verdict]
    if change.verdict == "underpowered" and (low > 0 or high < 0):
        message = f"underpowered: {interval} excludes 0, but not after correction for several benchmarks"
    counts = f"Correct in B only: {only_b}, in A only: {only_a} of {change.questions:,} questions"
    return f"{message}. {counts}"
