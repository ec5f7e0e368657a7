"""Paired comparison of runs on the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kkwarm.analysis.changes import compare_conditions
from kkwarm.analysis.load import load
from kkwarm.analysis.study_data import StudyData
from kkwarm.errors import KkwarmError
from kkwarm.schema.report import BenchmarkComparison, Comparison, Comparisons, State
from kkwarm.store import Run


def compare(
    first: Path, second: Path, *, margin: float | None = None, common: bool = False, across_protocols: bool = False
) -> Comparison:
    """Compares two runs on every benchmark of both: B minus A, with p-values corrected over the benchmarks (Holm).

    Parameters and errors as `compare_all`.
    """
    paths = [first, second]
    return compare_all(paths, margin=margin, common=common, across_protocols=across_protocols).comparisons[0]


def compare_all(
    paths: Sequence[Path], *, margin: float | None = None, common: bool = False, across_protocols: bool = False
) -> Comparisons:
    """Compares runs with the first of them, with p-values corrected over all runs and benchmarks (Holm).

    :param paths: at least two runs.
    :param margin: equivalence margin in percentage points; None: that of early stopping, or 5.
    :param common: where the questions differ, compare those that both have.
    :param across_protocols: compare also where the protocols differ. The result lists how.
    :raises KkwarmError: a run shares no benchmark with the first, or they cannot be paired.
    """
    study = load(paths, margin=margin, across_protocols=across_protocols)
    first, *others = (c.name for c in study.conditions)
    shared = {name: _shared(study, first, name, paths[0], path) for name, path in zip(others, paths[1:], strict=True)}
    rows = compare_conditions(study, first, shared, common=common)
    count = sum(map(len, rows.values()))
    method = (
        "Paired by question; with one sample each: exact McNemar test, with several: exact sign flips; "
        f"p-values by Holm over {count} comparison{'s' if count > 1 else ''}; "
        "tie: 90% interval within the equivalence margin."
    )
    states: list[State] = ["done" if Run.read(path).done else "in progress" for path in paths]
    return Comparisons(
        baseline=str(paths[0]),
        comparisons=tuple(
            _comparison(study, (paths[0], path), (states[0], state), row, method)
            for path, state, row in zip(paths[1:], states[1:], rows.values(), strict=True)
        ),
        method=method,
    )


def _comparison(
    study: StudyData,
    paths: tuple[Path, Path],
    states: tuple[State, State],
    row: dict[str, BenchmarkComparison],
    method: str,
) -> Comparison:
    labels = {path: dict(c.labels) for path, c in zip(study.paths, study.conditions, strict=True)}
    return Comparison(
        a=str(paths[0]),
        b=str(paths[1]),
        state="done" if states == ("done", "done") else "in progress",
        states=dict(zip("ab", states, strict=True)),
        labels={side: labels[str(path)] for side, path in zip("ab", paths, strict=True)},
        margin=study.margin,
        benchmarks=row,
        method=method,
    )


def _shared(study: StudyData, first: str, second: str, *paths: Path) -> list[str]:
    """The benchmarks of both conditions."""
    shared = [d for d in study.domains if (first, d) in study.cells and (second, d) in study.cells]
    if not shared:
        a, b = (", ".join(d for d in study.domains if (c, d) in study.cells) or "none" for c in (first, second))
        raise KkwarmError(
            f"{paths[0]} and {paths[1]} share no benchmark: the first has {a}, the second {b}",
            hint="bench both checkpoints on the same domains",
        )
    return shared
