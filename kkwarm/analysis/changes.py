"""Paired differences between the conditions of a study, or between two runs, with corrected p-values."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from statistics import median
from typing import Any, TypeVar

from kkwarm.analysis.cells import (
    Cell,
    PairingError,
    measured_differently,
    pair,
    pair_metrics,
    protocol_label,
    restrict,
    settings_differences,
    stopped_by,
)
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
from kkwarm.schema.report import (
    Accuracy,
    BenchmarkComparison,
    Change,
    Difference,
    Metric,
    MetricChange,
    SettingsDifference,
)

CellKey = tuple[str, str]
Strata = Sequence[tuple[Scores, Scores]]
Key = TypeVar("Key", bound=Hashable)
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
        metrics={
            name: Metric(mean=e.value, stderr=e.stderr, ci=e.interval)
            for name, values in cell.metrics.items()
            for e in [estimate_mean(values)]
        },
    )


def _metric_changes(first: Cell, second: Cell) -> dict[str, MetricChange]:
    changes = {name: difference_interval(*values) for name, values in pair_metrics(first, second).items()}
    return {name: MetricChange(estimate=value, ci=(low, high)) for name, (value, low, high) in changes.items()}


def to_difference(d: PairedDifference, verdict: Outcome) -> Difference:
    """A difference in percentage points, for a report."""
    return Difference(estimate=100 * d.value, ci=(100 * d.low, 100 * d.high), p=d.p, verdict=verdict)


def compute_changes(study: StudyData) -> tuple[dict[CellKey, Change], dict[CellKey, PairedDifference], list[str]]:
    """Every condition's change from its baseline on every domain, with p-values corrected over all of them (Holm).

    :returns: the changes for the report, the differences behind those that no group-sequential test decided, and what
        could not be paired, with the reason.
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
    records = {key: _sequential_record(study.cells[baselines[key[0]], key[1]], study.cells[key]) for key in differences}
    adjusted = _adjust(differences, records)
    changes = {}
    for key, d in differences.items():
        name, domain = key
        baseline = baselines[name]
        contaminated = any(study.contaminated.get((c, domain)) for c in (name, baseline))
        change = _change(baseline, d, adjusted.get(key, d.p), study.margin, pairs[key], contaminated)
        metrics = _metric_changes(study.cells[baseline, domain], study.cells[key])
        changes[key] = _replace_by_record(change, records[key]).model_copy(update={"metrics": metrics})
    fixed = {key: d for key, d in differences.items() if records[key] is None}
    return changes, fixed, problems


def compare_conditions(
    study: StudyData, first: str, shared: Mapping[str, Sequence[str]], *, common: bool = False
) -> dict[str, dict[str, BenchmarkComparison]]:
    """Compares conditions with the `first` on each domain, with p-values corrected over all comparisons (Holm).

    :param shared: the other conditions, each with the domains to compare.
    :param common: where the questions differ, compare those that both have.
    :raises PairingError: two conditions cannot be paired on some domain.
    """
    across = study.across_protocols
    cells = {(c, d): (study.cells[first, d], study.cells[c, d]) for c, domains in shared.items() for d in domains}
    pairs = {key: pair(*two, common=common, across_protocols=across) for key, two in cells.items()}
    variances = estimate_seed_variances(
        {c: [SeedEffect.difference(*pairs[c, d]) for d in domains] for c, domains in shared.items()}
    )
    differences = {key: paired_difference([scores], variances[key[0]]) for key, scores in pairs.items()}
    records = {key: _sequential_record(*two) for key, two in cells.items()}
    adjusted = _adjust(differences, records)
    rows: dict[str, dict[str, BenchmarkComparison]] = {c: {} for c in shared}
    for (name, domain), d in differences.items():
        contaminated = {side: study.contaminated.get((c, domain), 0) for side, c in (("a", first), ("b", name))}
        p_holm = adjusted.get((name, domain), d.p)
        change = _change(first, d, p_holm, study.margin, pairs[name, domain], any(contaminated.values()))
        change = _replace_by_record(change, records[name, domain])
        rows[name][domain] = _benchmark_comparison(cells[name, domain], pairs[name, domain], change, contaminated)
    return rows


def _benchmark_comparison(
    cells: tuple[Cell, Cell], scores: tuple[Scores, Scores], change: Change, contaminated: dict[str, int]
) -> BenchmarkComparison:
    """Both accuracies are those on the questions that both have."""
    in_first = set(cells[0].ids)
    ids = [i for i in cells[1].ids if i in in_first]
    a, b = (restrict(cell, ids) for cell in cells)
    flips = dict(zip("ab", _flips(scores), strict=True))
    flipped = {side: tuple(i for i, f in zip(ids, flags, strict=True) if f) for side, flags in flips.items()}
    return BenchmarkComparison(
        a=accuracy_of(a),
        b=accuracy_of(b),
        change=change.model_copy(update={"metrics": _metric_changes(a, b)}),
        contaminated=contaminated,
        scoring={"a": a.scoring, "b": b.scoring},
        only_a=len(flipped["a"]),
        only_b=len(flipped["b"]),
        flipped=flipped,
        settings_differences=tuple(settings_differences(a, b)) if measured_differently(a, b) else (),
        stopped={side: None if c.stopped is None else dict(c.stopped) for side, c in (("a", a), ("b", b))},
        statement=_statement(change, len(flipped["a"]), len(flipped["b"])),
    )


def _statement(change: Change, only_a: int, only_b: int) -> str:
    """The verdict as a sentence."""
    points, (low, high) = abs(change.estimate), change.ci
    interval = f"95% interval {low:+.1f} to {high:+.1f}"
    low_90, high_90 = change.ci_90
    bound = f"the difference is smaller than {change.margin:g} points"
    message = {
        "gain": f"gain: B is {points:.1f} points ahead ({interval})",
        "loss": f"loss: B is {points:.1f} points behind ({interval})",
        "tie": f"tie: {bound} (90% interval {low_90:+.1f} to {high_90:+.1f})",
        "underpowered": f"underpowered: both a gain and a loss are possible ({interval}): too few questions",
    }[change.verdict]
    if change.verdict == "underpowered" and (low > 0 or high < 0):
        message = f"underpowered: the {interval} excludes 0, but not after correction for several comparisons"
    return f"{message}. Correct in B only: {only_b}, in A only: {only_a} of {change.questions:,} questions"


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
    if by_seeds:
        message += f", and {share:.0%} of their squared error comes from the seeds"
        return f"{message}: {number} seeds would decide most; more questions would hardly help"
    return f"{message}: {number} questions per domain would decide most; more samples per question help too"


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


def _adjust(
    differences: Mapping[Key, PairedDifference], records: Mapping[Key, Mapping[str, Any] | None]
) -> dict[Key, float]:
    """Holm's p-values of the differences that no group-sequential test decided: those have their own error rate."""
    fixed = [key for key in differences if records[key] is None]
    return dict(zip(fixed, holm([differences[key].p for key in fixed]), strict=True))


def _sequential_record(first: Cell, second: Cell) -> dict[str, Any] | None:
    """The result of the group-sequential test that stopped one cell against the other, as second minus first: its usual
    p-value is too small, because it was tested several times. None where there was no such test.
    """
    if (record := stopped_by(second, first)) is not None:
        return dict(record)
    if (record := stopped_by(first, second)) is None:
        return None
    opposite = {"gain": "loss", "loss": "gain"}
    negated = {"low": "high", "high": "low", "tie_low": "tie_high", "tie_high": "tie_low"}
    return {
        **record,
        "verdict": opposite.get(record["verdict"], record["verdict"]),
        **{key: -record[source] for key, source in negated.items()},
    }


def _replace_by_record(change: Change, record: Mapping[str, Any] | None) -> Change:
    if record is None:
        return change
    update = {
        "verdict": record["verdict"],
        "ci": (record["low"], record["high"]),
        "ci_90": (record["tie_low"], record["tie_high"]),
        "margin": record["margin"],
        "p": record["p"],
        "p_holm": None,
        "test": f"group-sequential, level {record['level']:.2g} at this test",
    }
    return change.model_copy(update=update)


def _change(
    baseline: str, d: PairedDifference, p_holm: float, margin: float, scores: tuple[Scores, Scores], contaminated: bool
) -> Change:
    """:param margin: equivalence margin in percentage points."""
    lost, gained = _flips(scores)
    low_90, high_90 = d.interval_90
    return Change(
        **dict(to_difference(d, decide(d, margin / 100, p_holm))),
        baseline=baseline,
        ci_90=(100 * low_90, 100 * high_90),
        margin=margin,
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


def seed_effects(study: StudyData, first: str, strata: Strata) -> list[SeedEffect]:
    """The seed effect of each stratum: of the second condition only, where the first is an untrained checkpoint."""
    fixed = any(c.name == first and len(c.chain) == 1 for c in study.conditions)
    effect = SeedEffect.vs_fixed_baseline if fixed else SeedEffect.difference
    return [effect(*s) for s in strata]


def variances_of_changes(
    study: StudyData, changes: Mapping[tuple[str, str], Strata]
) -> dict[tuple[str, str], SeedVariance | None]:
    """The seed variance of each change (first, second condition), given the data of all changes."""
    return _estimate(study, {key: (key, seed_effects(study, key[0], strata)) for key, strata in changes.items()})


def variances_of_conditions(study: StudyData) -> dict[str, SeedVariance | None]:
    """The seed variance of each condition's accuracy, given the data of all conditions."""
    effects: dict[str, list[SeedEffect]] = {}
    for (name, _), cell in study.cells.items():
        if cell.ids:
            effects.setdefault(name, []).append(SeedEffect.single(cell.scores))
    return _estimate(study, {name: ((name,), each) for name, each in effects.items()})


def _estimate(
    study: StudyData, effects: Mapping[Key, tuple[Sequence[str], Sequence[SeedEffect]]]
) -> dict[Key, SeedVariance | None]:
    """Estimates trained and untrained conditions apart: untrained ones carry no information about the others."""
    trained_names = {c.name for c in study.conditions if c.chain[1:]}
    trained = {key: each for key, (names, each) in effects.items() if trained_names & {*names}}
    untrained = {key: each for key, (_, each) in effects.items() if key not in trained}
    return {**estimate_seed_variances(trained), **estimate_seed_variances(untrained)}
