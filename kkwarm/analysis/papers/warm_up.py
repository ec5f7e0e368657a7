"""The four claims of the warm-up paper (arXiv 2505.13718), each with estimate, interval and verdict.

(i) warm-up alone improves other domains; (ii) after RLVR the warmed start is ahead of the base; (iii) it keeps its
other domains through RLVR; (iv) it needs fewer RLVR steps and examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kkwarm.analysis.cells import pair
from kkwarm.analysis.changes import Strata, seed_effects, to_difference, variances_of_changes
from kkwarm.analysis.efficiency import compare_curves, scores_at_equal_examples
from kkwarm.analysis.stats.estimates import PairedDifference, decide, holm, paired_difference
from kkwarm.analysis.stats.seed_variance import Scores, SeedEffect, SeedVariance, estimate_seed_variances
from kkwarm.analysis.study_data import Roles, StudyData
from kkwarm.analysis.training import paired_evals
from kkwarm.errors import KkwarmError
from kkwarm.schema.report import Claim, Difference, StepEfficiency


@dataclass(slots=True)
class _Evaluation:
    """A claim under evaluation. `difference`: None where data is missing, which `reason` names; `scope`: where claim iv
    compares the two starts.
    """

    id: str
    on: str
    text: str
    domains: tuple[str, ...]
    difference: PairedDifference | None = None
    reason: str = ""
    scope: str = ""
    from_base: Difference | None = None
    efficiency: StepEfficiency | None = None


def evaluate(study: StudyData) -> list[Claim]:
    """The claims for each domain of RLVR, with p-values corrected over all of them (Holm). Claim iv is evaluated for
    steps and, in a study with several numbers of RLVR examples, once more for those.
    """
    evaluations: list[_Evaluation] = []
    for number, roles in enumerate(study.roles):
        if not any(r.base == roles.base and r.warmed == roles.warmed for r in study.roles[:number]):
            evaluations.append(_claim_other_domains(study, roles))
        evaluations += [_claim_ahead(study, roles), _claim_retention(study, roles), claim_by_steps(study, roles)]
        evaluations += claim_by_examples(study, roles)
    with_data = [(e, e.difference) for e in evaluations if e.difference is not None]
    adjusted = holm([difference.p for _, difference in with_data])
    p_holm = {id(e): p for (e, _), p in zip(with_data, adjusted, strict=True)}
    return [_to_claim(e, p_holm.get(id(e)), study) for e in evaluations]


def _claim_other_domains(study: StudyData, roles: Roles) -> _Evaluation:
    others = tuple(d for d in study.domains if d != roles.warmup)
    evaluation = _Evaluation("i", "", f"Warm-up on {roles.warmup} alone improves the other domains", others)
    return _compare(evaluation, study, roles.base, roles.warmed)


def _claim_ahead(study: StudyData, roles: Roles) -> _Evaluation:
    text = f"After RLVR on {roles.on}, the warmed start is ahead of the base start on {roles.on}"
    return _compare(_Evaluation("ii", roles.on, text, (roles.on,)), study, roles.base_rlvr, roles.warmed_rlvr)


def _claim_retention(study: StudyData, roles: Roles) -> _Evaluation:
    others = tuple(d for d in study.domains if d != roles.on)
    text = f"The warmed start keeps its other domains through RLVR on {roles.on}"
    evaluation = _compare(_Evaluation("iii", roles.on, text, others), study, roles.warmed, roles.warmed_rlvr)
    from_base = _compare(_Evaluation("iii", roles.on, text, others), study, roles.base, roles.base_rlvr).difference
    if evaluation.difference is not None and from_base is not None:
        evaluation.from_base = to_difference(from_base, decide(from_base, study.margin_fraction))
    return evaluation


def claim_by_steps(study: StudyData, roles: Roles) -> _Evaluation:
    """Claim iv for steps: paired over questions where the in-training evaluation covers the domain in both starts; else
    seed by seed, over the rollouts of training.
    """
    text = f"RLVR on {roles.on} needs fewer steps from the warmed start"
    evaluation = _Evaluation("iv", roles.on, text, (roles.on,))
    base = [c for c in study.curves if c.condition == roles.base_rlvr]
    warmed = [c for c in study.curves if c.condition == roles.warmed_rlvr]
    try:
        advantage, efficiency = compare_curves(base, warmed)
    except KkwarmError as err:
        evaluation.reason = str(err)
    else:
        evaluation.efficiency = efficiency
        evaluation.scope = f"over {efficiency.steps} equal steps"
        evaluation.difference = _mean_over_seeds(advantage)
        if len(advantage) < 2:
            evaluation.reason = "one seed gives no interval between seeds"
    evals = paired_evals(study.training, roles.base_rlvr, roles.warmed_rlvr, roles.on)
    if evals is not None:
        steps, scores = evals
        count = scores[roles.on][0].shape[1]
        evaluation.scope = f"at steps {_join(steps)}, on {count:,} in-training evaluation questions"
        evaluation.reason = ""
        evaluation.difference = _mean_over_questions(scores, roles)
    return evaluation


def claim_by_examples(study: StudyData, roles: Roles) -> list[_Evaluation]:
    """Claim iv for examples: paired over questions, on the mean over all numbers of examples; empty in a study with one
    number.
    """
    text = f"RLVR on {roles.on} needs fewer examples from the warmed start"
    evaluation = _Evaluation("iv", roles.on, text, (roles.on,))
    try:
        equal = scores_at_equal_examples(study, roles)
    except KkwarmError as err:
        evaluation.reason = str(err)
        return [evaluation]
    if equal is None:
        return []
    counts, scores = equal
    evaluation.scope = f"at {_join(counts)} examples"
    evaluation.difference = _mean_over_questions(scores, roles)
    return [evaluation]


def _mean_over_questions(scores: Mapping[str, tuple[Scores, Scores]], roles: Roles) -> PairedDifference:
    """The difference on the domain of RLVR. All domains of this one comparison give its seed variance; a single
    comparison cannot show that seeds do not differ, so the conservative distribution is used throughout.
    """
    effects = [SeedEffect.difference(*s) for s in scores.values()]
    variance = estimate_seed_variances({roles.on: effects})[roles.on]
    return paired_difference(
        [scores[roles.on]], variance and SeedVariance(variance.conservative, variance.conservative)
    )


def _mean_over_seeds(values: Sequence[float]) -> PairedDifference:
    """The mean of one value for each seed, with Student's interval."""
    from scipy.special import stdtr, stdtrit

    x = np.asarray(values, float)
    mean, df = float(x.mean()), len(x) - 1
    if df == 0:
        return PairedDifference(mean, math.nan, -1.0, 1.0, (-1.0, 1.0), 1.0, "one seed", 0, 1)
    stderr = float(x.std(ddof=1) / math.sqrt(len(x)))
    half, half_90 = float(stdtrit(df, 0.975)) * stderr, float(stdtrit(df, 0.95)) * stderr
    p = 2 * float(stdtr(df, -abs(mean) / stderr)) if stderr > 0 else float(mean == 0)
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return PairedDifference(
        mean, stderr, low, high, (mean - half_90, mean + half_90), p, "t over seeds", 0, len(x)
    )  # fmt: skip


def _compare(evaluation: _Evaluation, study: StudyData, first: str, second: str) -> _Evaluation:
    try:
        strata = _pair_domains(study, evaluation.domains, first, second)
    except KkwarmError as err:
        evaluation.reason = str(err)
        return evaluation
    effects = seed_effects(study, first, strata)
    evaluation.difference = paired_difference(strata, _seed_variance(study, first, second), effects)
    return evaluation


def _pair_domains(study: StudyData, domains: Sequence[str], first: str, second: str) -> Strata:
    if not domains:
        raise KkwarmError("no other domain was evaluated")
    for condition in (first, second):
        missing = [d for d in domains if (condition, d) not in study.cells]
        if missing:
            raise KkwarmError(f"{condition!r} has no samples of {', '.join(missing)} yet")
    return [pair(study.cells[first, d], study.cells[second, d]) for d in domains]


def _seed_variance(study: StudyData, first: str, second: str) -> SeedVariance | None:
    """The seed variance of the second against the first condition on all domains, given all changes of the matrix: the
    same as in the matrix, so that a claim and its cell do not contradict each other.
    """
    changes: dict[tuple[str, str], list[tuple[Scores, Scores]]] = {}
    for baseline, name in dict.fromkeys([(first, second), *((c.baseline or "", c.name) for c in study.conditions)]):
        for domain in study.domains:
            try:
                changes.setdefault((baseline, name), []).extend(_pair_domains(study, [domain], baseline, name))
            except KkwarmError:
                continue  # not evaluated yet, or not comparable: the matrix reports it
    return variances_of_changes(study, {key: strata for key, strata in changes.items() if strata}).get((first, second))


def _to_claim(e: _Evaluation, p_holm: float | None, study: StudyData) -> Claim:
    involved = {c for r in study.roles for c in (r.base, r.warmed, r.base_rlvr, r.warmed_rlvr)}
    contaminated = {domain for condition, domain in study.contaminated if condition in involved}
    d, margin = e.difference, study.margin_fraction
    verdict = "no data" if d is None else decide(d, margin, p_holm)
    claim = Claim(
        id=e.id,
        on=e.on,
        text=e.text,
        domains=e.domains,
        verdict=verdict,
        holds=None if d is None else _holds(e.id, d, verdict, margin),
        statement=e.reason if d is None else _statement(e, study.margin),
        contaminated=bool(contaminated.intersection(e.domains or study.domains)),
        from_base=e.from_base,
    )
    if d is None:
        return claim
    return claim.model_copy(
        update={
            "estimate": 100 * d.value,
            "ci": None if math.isnan(d.stderr) else (100 * d.low, 100 * d.high),
            "p": d.p,
            "p_holm": p_holm,
            "test": d.test,
            "seeds": d.seeds,
            "questions": d.questions,
            "efficiency": e.efficiency,
        }
    )


def _holds(id_: str, d: PairedDifference, verdict: str, margin: float) -> bool | None:
    if id_ == "iii":  # non-inferiority: the interval excludes a loss beyond the margin
        if d.low > -margin:
            return True
        return False if verdict == "loss" or d.high < -margin else None
    return None if verdict == "underpowered" else verdict == "gain"


def _statement(e: _Evaluation, margin: float) -> str:
    if e.id == "iii" and e.from_base is not None:
        return f"from the base it is {e.from_base.estimate:+.1f}; a loss of up to {margin:g} points counts as kept"
    if e.id == "iv" and e.efficiency is None:
        return f"mean difference {e.scope}"
    if e.id == "iv" and e.efficiency is not None:
        f = e.efficiency
        if f.steps_warmed is None:
            reached = f"the warmed start never reaches the base's final level ({100 * f.level:.0f}%)"
        else:
            reached = (
                f"the base's final level ({100 * f.level:.0f}%) is reached at step {f.steps_warmed} "
                f"from the warmed start, {f.steps_base} from the base"
            )
        return f"mean difference {e.scope}; {reached}" + (f"; {e.reason}" if e.reason else "")
    return f"the mean over {', '.join(e.domains)}" if len(e.domains) > 1 else f"on {e.domains[0]}"


def _join(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last
