"""Builds the report of a study: the matrix with its changes, the claims, the curves. Everything is computed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean

import numpy as np

from kkwarm.analysis.cells import Cell
from kkwarm.analysis.changes import (
    accuracy_of,
    advise,
    compute_changes,
    find_settings_differences,
    variances_of_conditions,
)
from kkwarm.analysis.efficiency import sample_efficiency, smooth
from kkwarm.analysis.metrics import advise_on_unusable, mean_interval, natural_order, pass_at_k, reported_k
from kkwarm.analysis.stats.estimates import estimate_mean
from kkwarm.analysis.stats.seed_variance import SeedVariance
from kkwarm.analysis.study_data import StudyData
from kkwarm.analysis.training import Curve, Training
from kkwarm.schema import report as schema
from kkwarm.schema.report import Change, Claim, Figure, Report
from kkwarm.types import ClaimSet

MAX_VALUES = 100  # of one facet; more are not a breakdown
_SAMPLING = ("temperature", "top_p", "max_tokens")


def build_report(study: StudyData, claim_sets: Iterable[ClaimSet] | None = None) -> Report:
    """The report of a study or of bench runs.

    :param claim_sets: the claims to evaluate; None: all that plugins registered.
    """
    changes, differences, problems = compute_changes(study)
    variances = variances_of_conditions(study)
    claims, failures = _evaluate_claims(study, claim_sets)
    matrix = {c.name: _row(study, c.name, variances.get(c.name), changes) for c in study.conditions}
    verdicts = [(d, changes[key].verdict) for key, d in differences.items()]
    return Report(
        title=study.title,
        state="done" if study.state == "done" else "in progress",
        progress=schema.Progress(**study.progress) if study.progress else None,
        conditions=tuple(
            schema.Condition(name=c.name, baseline=c.baseline, chain=c.chain, labels=dict(c.labels), model=c.model)
            for c in study.conditions
        ),
        domains=study.domains,
        matrix=matrix,
        statuses={
            name: dict(sum((Counter(cell.status) for cell in row.values()), Counter()))
            for name, row in matrix.items()
            if row
        },
        claims=tuple(claims),
        roles=tuple(schema.Roles(**asdict(r)) for r in study.roles),
        curves=tuple(_curve(c) for c in study.curves),
        mean_curves=tuple(_mean_curves(study.curves)),
        efficiency=tuple(sample_efficiency(study, variances)),
        margin=study.margin,
        comparisons=len(changes),
        method=_method(study, len(changes)),
        advice=advise(verdicts, study.margin_fraction),
        note=study.note,
        problems=(*problems, *failures),
        unusable=tuple(_unusable(matrix)),
        prompts=tuple(_prompts(study, matrix)),
        stages=dict(study.stages),
        settings_differences=tuple(find_settings_differences(study, changes)),
        training=tuple(_training(t) for t in study.training),
        in_training_evals=tuple(_in_training_evals(study.training)),
        contamination=tuple(
            schema.Contamination(condition=c, domain=d, questions=n) for (c, d), n in sorted(study.contaminated.items())
        ),
        cost=tuple(schema.Cost(**asdict(c)) for c in study.cost),
        provenance=dict(study.provenance),
        runs=study.paths,
    )


def _evaluate_claims(study: StudyData, claim_sets: Iterable[ClaimSet] | None) -> tuple[list[Claim], list[str]]:
    """The claims of all sets, and the sets that failed, with the cause."""
    if claim_sets is None:
        from kkwarm.plugins import registry

        claim_sets = registry().claims.values()
    claims: list[Claim] = []
    failures = []
    for claim_set in claim_sets:
        try:
            claims += claim_set.evaluate(study)
        except Exception as err:  # a plugin's code
            failures.append(f"the claims {claim_set.name!r} could not be evaluated: {type(err).__name__}: {err}")
    return claims, failures


def _row(
    study: StudyData, condition: str, variance: SeedVariance | None, changes: dict[tuple[str, str], Change]
) -> dict[str, schema.Cell]:
    row = {}
    for domain in study.domains:
        cell, forced = study.cells.get((condition, domain)), study.forced.get((condition, domain))
        if cell is None or not cell.ids:
            continue
        row[domain] = schema.Cell(
            **dict(accuracy_of(cell, variance)),
            reasoning_rate=cell.reasoning_rate,
            tokens=cell.tokens,
            lengths=cell.lengths,
            change=changes.get((condition, domain)),
            forced=accuracy_of(forced) if forced is not None and forced.ids else None,
            contaminated=study.contaminated.get((condition, domain), 0),
            scoring=cell.scoring,
            stopped=None if cell.stopped is None else dict(cell.stopped),
            pass_at=pass_at(cell),
            facets=by_facet(cell, variance),
            training_split=cell.training_split,
            sampling={k: v for k in _SAMPLING if isinstance(v := cell.settings.get(k), int | float)},
        )
    return row


def _unusable(matrix: dict[str, dict[str, schema.Cell]]) -> list[str]:
    """A line for each condition and advice, with the domains that it applies to."""
    domains: dict[tuple[str, str], list[str]] = {}
    for condition, row in matrix.items():
        for domain, cell in row.items():
            if advice := advise_on_unusable(cell.status):
                domains.setdefault((condition, advice), []).append(domain)
    return [f"{condition} on {', '.join(names)}: {advice}" for (condition, advice), names in domains.items()]


def _prompts(study: StudyData, matrix: dict[str, dict[str, schema.Cell]]) -> list[schema.PromptExample]:
    """The stored prompts of each domain, with the conditions whose model got exactly this one."""
    used: dict[tuple[str, str, str, str], list[str]] = {}
    for domain in study.domains:
        for condition, row in matrix.items():
            id_, text = study.prompts.get((condition, domain), ("", ""))
            if domain in row and id_ in study.cells[condition, domain].ids:  # a sample of it is stored, so it was sent
                used.setdefault((domain, row[domain].protocol, id_, text), []).append(condition)
    return [
        schema.PromptExample(domain=domain, protocol=protocol, conditions=tuple(conditions), id=id_, text=text)
        for (domain, protocol, id_, text), conditions in used.items()
    ]


def _curve(curve: Curve) -> schema.Curve:
    accuracy = curve.accuracy if curve.has_accuracy else None
    return schema.Curve(
        condition=curve.condition,
        seed=curve.seed,
        steps=curve.steps,
        reward=curve.reward,
        smoothed_reward=_smoothed(curve.reward),
        accuracy=accuracy,
        smoothed_accuracy=None if accuracy is None else _smoothed(accuracy),
    )


def _smoothed(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(v) for v in smooth(values))


def _mean_curves(curves: Sequence[Curve]) -> list[schema.MeanCurve]:
    """The smoothed curves of each condition, on the steps that all of its seeds have; none for a single step."""
    results = []
    for condition in dict.fromkeys(c.condition for c in curves):
        own = [c for c in curves if c.condition == condition]
        count = min(len(c.steps) for c in own)
        if count < 2:
            continue
        accuracy = [_smoothed(c.accuracy)[:count] for c in own] if all(c.has_accuracy for c in own) else None
        results.append(
            schema.MeanCurve(
                condition=condition,
                steps=own[0].steps[:count],
                reward=_band([_smoothed(c.reward)[:count] for c in own]),
                accuracy=None if accuracy is None else _band(accuracy),
            )
        )
    return results


def _band(by_seed: Sequence[tuple[float, ...]]) -> schema.Band:
    columns = list(zip(*by_seed, strict=True))
    return schema.Band(
        mean=tuple(sum(c) / len(c) for c in columns),
        low=tuple(map(min, columns)),
        high=tuple(map(max, columns)),
        by_seed=tuple(by_seed),
    )


def _training(training: Training) -> schema.Training:
    return schema.Training(
        stage=training.stage,
        kind=training.kind,
        seed=training.seed,
        conditions=training.conditions,
        alarms=tuple(dict(a) for a in training.alarms),
        evals=tuple(schema.EvalPoint(step=s, accuracy=dict(a)) for s, a in sorted(training.evals.items())),
        signal=training.signal,
    )


def _in_training_evals(training: Sequence[Training]) -> list[schema.InTrainingEvals]:
    """First and last evaluation of each stage, means over its seeds, on the domains that all of them evaluated."""
    stages: dict[tuple[str, str], list[Training]] = {}
    for t in training:
        if t.evals:
            stages.setdefault((t.conditions[0], t.stage), []).append(t)
    results = []
    for (condition, stage), seeds in stages.items():
        ends = [(t.evals[min(t.evals)], t.evals[max(t.evals)]) for t in seeds]
        shared = [d for d in ends[0][0] if all(d in accuracy for pair in ends for accuracy in pair)]
        results.append(
            schema.InTrainingEvals(
                condition=condition,
                stage=stage,
                seeds=len(seeds),
                first_step=min(seeds[0].evals),
                last_step=min(max(t.evals) for t in seeds),
                accuracy={
                    d: (fmean(first[d] for first, _ in ends), fmean(last[d] for _, last in ends)) for d in shared
                },
            )
        )
    return results


def _method(study: StudyData, comparisons: int) -> str:
    seeds = sorted({len(c.seeds) for c in study.cells.values()})
    if not seeds:
        return ""
    about_seeds = (
        f", over {seeds[-1]} seeds"
        if seeds[-1] > 1
        else "; one seed: the intervals cover questions and sampling, not the variation between trainings"
    )
    corrected = (
        f"; verdicts, but not intervals, corrected for {comparisons} comparisons (Holm)" if comparisons > 1 else ""
    )
    tests = f"; changes paired by question{corrected}" if comparisons else ""
    return (
        f"95% intervals, clustered by question{about_seeds}{tests}; "
        f"tie: equivalence margin of {study.margin:g} percentage points"
    )


def pass_at(cell: Cell) -> dict[str, Figure]:
    """pass@k of a cell for k = 2, 4, 8, ... and the number of samples of each question in each seed."""
    fewest = min((t.questions[i].samples for t in cell.tallies for i in cell.ids), default=0)
    figures = {}
    for k in reported_k(fewest):
        rows = [
            [pass_at_k(q.samples, q.correct, k) for q in map(t.questions.__getitem__, cell.ids)] for t in cell.tallies
        ]
        figures[f"pass@{k}"] = Figure(value=float(np.mean(rows)), ci=mean_interval(rows), n=len(rows[0]))
    return figures


def by_facet(cell: Cell, seed_variance: SeedVariance | None) -> dict[str, dict[str, Figure]]:
    """Accuracy by facet and value."""
    values: dict[str, dict[str, str]] = {}
    for tally in cell.tallies:
        for facet, of in tally.facets.items():
            values.setdefault(facet, {}).update(of)
    return {facet: parts for facet, of in values.items() if (parts := _parts(cell, of, seed_variance))}


def _parts(cell: Cell, value_of: Mapping[str, str], seed_variance: SeedVariance | None) -> dict[str, Figure]:
    positions: dict[str, list[int]] = {}
    for n, id_ in enumerate(cell.ids):
        if id_ in value_of:
            positions.setdefault(value_of[id_], []).append(n)
    if len(positions) > MAX_VALUES:
        return {}
    figures = {}
    for value in sorted(positions, key=natural_order):
        estimate = estimate_mean(cell.scores[:, positions[value]], seed_variance)
        figures[value] = Figure(value=estimate.value, ci=(estimate.low, estimate.high), n=estimate.questions)
    return figures
