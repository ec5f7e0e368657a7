"""Paired differences between the conditions of a study, or between two runs, with corrected p-values."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from statistics import median
from typing import Any

from kkwarm.analysis.cells import (
    Cell,
    PairingError,
    measured_differently,
    pair,
    pair_metrics,
    protocol_label,
    settings_differences,
)
from kkwarm.analysis.seeds import seed_effects, variances_of_changes
from kkwarm.analysis.stats.estimates import (
    Outcome,
    PairedDifference,
    decide,
    difference_interval,
    estimate_mean,
    holm,
    paired_difference,
)
from kkwarm.analysis.stats.power import required_count
from kkwarm.analysis.stats.seed_variance import Scores, SeedEffect, SeedVariance, estimate_seed_variances
from kkwarm.analysis.study_data import StudyData
from kkwarm.schema.report import Accuracy, Change, Difference, Metric, MetricChange, SettingsDifference

__all__ = [
    "accuracy_of",
    "advise",
    "compare_conditions",
    "compute_changes",
    "find_settings_differences",
    "to_difference",
]

CellKey = tuple[str, str]
MAX_FACTOR = 10  # advice beyond this multiple of the present number is given as "more than"


def accuracy_of(cell: Cell, seed_variance: SeedVariance | None = None) -> Accuracy:
    """The accuracy of a cell, for a report."""
    estimate = estimate_mean(cell.scores, seed_variance)
    return Accuracy(
        accuracy=estimate.value,
        stderr=estimate.stderr,
        ci=(estimate.low, estimate.high),
        n=estimate.questions,
        seeds=cell.seeds,
        by_seed=tuple(float(row.mean()) for row in cell.scores),
        samples=cell.samples,
        status=dict(cell.status),
        partial=cell.partial,
        protocol=protocol_label(cell.settings),
        metrics={name: _metric(values) for name, values in cell.metrics.items()},
    )


def _metric(values: Scores) -> Metric:
    estimate = estimate_mean(values)
    return Metric(mean=estimate.value, stderr=estimate.stderr, ci=estimate.interval)


def _metric_changes(first: Cell, second: Cell) -> dict[str, MetricChange]:
    changes = {name: difference_interval(*values) for name, values in pair_metrics(first, second).items()}
    return {name: MetricChange(estimate=value, ci=(low, high)) for name, (value, low, high) in changes.items()}


def to_difference(d: PairedDifference, verdict: Outcome) -> Difference:
    """A difference in percentage points, for a report."""
    return Difference(estimate=100 * d.value, ci=(100 * d.low, 100 * d.high), p=d.p, verdict=verdict)


def compute_changes(
    study: StudyData,
) -> tuple[dict[CellKey, Change], dict[CellKey, PairedDifference], list[str]]:
    """Every condition's change from its baseline on every domain, with p-values corrected over all of them (Holm).

    :returns: the changes for the report, the differences behind them, and what could not be paired, with the reason.
    """
    pairs, problems = _pair_all(study)
    baselines = {c.name: c.baseline or "" for c in study.conditions}
    strata: dict[tuple[str, str], list[tuple[Scores, Scores]]] = {}
    for (name, _), scores in pairs.items():
        strata.setdefault((baselines[name], name), []).append(scores)
    variances = variances_of_changes(study, strata)
    differences = {
        (name, domain): paired_difference(
            [scores], variances[baselines[name], name], seed_effects(study, baselines[name], [scores])
        )
        for (name, domain), scores in pairs.items()
    }
    adjusted = holm([d.p for d in differences.values()])
    changes = {}
    for (key, d), p_holm in zip(differences.items(), adjusted, strict=True):
        name, domain = key
        baseline = baselines[name]
        contaminated = any(study.contaminated.get((c, domain)) for c in (name, baseline))
        change = _change(baseline, d, p_holm, study.margin_fraction, pairs[key], contaminated)
        metrics = _metric_changes(study.cells[baseline, domain], study.cells[key])
        changes[key] = change.model_copy(update={"metrics": metrics})
    return changes, differences, problems


def compare_conditions(
    study: StudyData, first: str, second: str, domains: Sequence[str], *, common: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Compares two conditions on each domain, with p-values corrected over the domains (Holm).

    :param common: domains on which only the questions that both have are compared.
    :returns: by domain, the fields of a `kkwarm.schema.report.BenchmarkComparison` but for `stopped` and `statement`.
    :raises PairingError: they cannot be paired on some domain.
    """
    across = study.across_protocols
    pairs = {
        d: pair(study.cells[first, d], study.cells[second, d], common=d in common, across_protocols=across)
        for d in domains
    }
    variance = estimate_seed_variances({"": [SeedEffect.difference(*p) for p in pairs.values()]})[""]
    differences = {d: paired_difference([p], variance) for d, p in pairs.items()}
    adjusted = holm([d.p for d in differences.values()])
    rows = {}
    for (domain, difference), p_holm in zip(differences.items(), adjusted, strict=True):
        a, b = study.cells[first, domain], study.cells[second, domain]
        in_a = set(a.ids)
        ids = [i for i in b.ids if i in in_a]
        flips = dict(zip("ab", _flips(pairs[domain]), strict=True))
        flipped = {side: tuple(i for i, f in zip(ids, flags, strict=True) if f) for side, flags in flips.items()}
        contaminated = {side: study.contaminated.get((c, domain), 0) for side, c in (("a", first), ("b", second))}
        any_contaminated = any(contaminated.values())
        change = _change(first, difference, p_holm, study.margin_fraction, pairs[domain], any_contaminated)
        rows[domain] = {
            "a": accuracy_of(a),
            "b": accuracy_of(b),
            "change": change.model_copy(update={"metrics": _metric_changes(a, b)}),
            "contaminated": contaminated,
            "scoring": {"a": a.scoring, "b": b.scoring},
            "only_a": len(flipped["a"]),
            "only_b": len(flipped["b"]),
            "flipped": flipped,
            "settings_differences": tuple(settings_differences(a, b)) if measured_differently(a, b) else (),
        }
    return rows


def find_settings_differences(study: StudyData, changes: Collection[CellKey]) -> list[SettingsDifference]:
    """How compared conditions were measured differently, where another tool generated the samples of one, or where
    their protocols differ; one entry for all domains with the same differences.
    """
    domains: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for condition in study.conditions:
        name, baseline = condition.name, condition.baseline or ""
        for domain in study.domains:
            if (name, domain) not in changes:
                continue
            first, second = study.cells[baseline, domain], study.cells[name, domain]
            if measured_differently(first, second):
                key = (name, baseline, tuple(settings_differences(first, second)))
                domains.setdefault(key, []).append(domain)
    return [
        SettingsDifference(condition=name, baseline=baseline, domains=tuple(listed), differences=differences)
        for (name, baseline, differences), listed in domains.items()
        if differences
    ]


def advise(differences: Sequence[tuple[PairedDifference, Outcome]], margin: float) -> str:
    """One line on what would decide the underpowered differences; empty where all are decided.

    The number is the median of what each needs if its true value is the estimate. In `benchmarks/advice_simulation.py`
    it decides most of them, not half: `required_count` is conservative.

    :param margin: equivalence margin, as a fraction.
    """
    undecided = [d for d, verdict in differences if verdict == "underpowered"]
    if not undecided:
        return ""
    shares = [d.seed_share for d in undecided if d.seeds > 1]
    share = median(shares) if shares else 0.0
    by_seeds = share > 0.5
    needed = median(
        required_count(d, margin, len(differences), "seeds" if by_seeds else "questions") for d in undecided
    )
    limit = MAX_FACTOR * median(d.seeds if by_seeds else d.questions for d in undecided)
    number = f"more than {limit:,.0f}" if needed > limit else f"about {math.ceil(needed):,}"
    message = f"{len(undecided)} of {len(differences)} changes are underpowered"
    if shares:
        message += f"; {share:.0%} of their squared error (the median) is between seeds"
    if by_seeds:
        return f"{message}: {number} seeds would decide most; more questions would hardly help"
    return f"{message}: {number} questions would decide most; more samples per question help too"


def _pair_all(study: StudyData) -> tuple[dict[CellKey, tuple[Scores, Scores]], list[str]]:
    """The paired scores of every condition and its baseline, and what could not be paired, once for all domains."""
    pairs: dict[CellKey, tuple[Scores, Scores]] = {}
    failed: dict[tuple[str, str, str, str], list[str]] = {}
    for condition in study.conditions:
        for domain in study.domains:
            first = study.cells.get((condition.baseline or "", domain))
            second = study.cells.get((condition.name, domain))
            if first is None or second is None:
                continue
            try:
                pairs[condition.name, domain] = pair(first, second, across_protocols=study.across_protocols)
            except PairingError as err:
                failed.setdefault((first.condition, second.condition, err.reason, err.hint), []).append(domain)
    problems = [
        f"{one!r} and {other!r} on {', '.join(domains)} cannot be paired: {reason} ({hint})"
        for (one, other, reason, hint), domains in failed.items()
    ]
    return pairs, problems


def _change(
    baseline: str, d: PairedDifference, p_holm: float, margin: float, scores: tuple[Scores, Scores], contaminated: bool
) -> Change:
    lost, gained = _flips(scores)
    return Change(
        **dict(to_difference(d, decide(d, margin, p_holm))),
        baseline=baseline,
        stderr=100 * d.stderr,
        p_holm=p_holm,
        test=d.test,
        questions=d.questions,
        seeds=d.seeds,
        seed_share=d.seed_share if d.seeds > 1 else None,
        gained=int(gained.sum()),
        lost=int(lost.sum()),
        contaminated=contaminated,
    )


def _flips(scores: tuple[Scores, Scores]) -> tuple[Any, Any]:
    """Boolean arrays: questions that only the first, and that only the second answers correctly (by most samples)."""
    first, second = (s.mean(axis=0) > 0.5 for s in scores)
    return first & ~second, second & ~first
