"""Sample efficiency: how many RLVR steps and examples a warmed start saves over the base."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kkwarm.analysis.cells import Cell, pair
from kkwarm.analysis.stats.estimates import estimate_mean
from kkwarm.analysis.stats.seed_variance import Scores, SeedVariance
from kkwarm.analysis.study_data import Roles, StudyData
from kkwarm.analysis.training import Curve
from kkwarm.errors import KkwarmError
from kkwarm.schema.report import EfficiencyPoint, EfficiencyStart, ExamplesSaved, SampleEfficiency, StepEfficiency

WINDOW = 5  # steps: a step has few prompts, so single values are noisy
BOOTSTRAP_SAMPLES = 2_000
Values = npt.NDArray[np.float64]
Variances = Mapping[str, SeedVariance | None]


# -- steps -------------------------------------------------------------------------------------------------------------


def smooth(values: Sequence[float]) -> Values:
    """The running mean of the last `WINDOW` values, fewer at the start."""
    total = np.concatenate([[0.0], np.cumsum(np.asarray(values, float))])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - WINDOW)
    return np.asarray((total[ends] - total[starts]) / (ends - starts), float)


def compare_curves(base: Sequence[Curve], warmed: Sequence[Curve]) -> tuple[list[float], StepEfficiency]:
    """Compares RLVR from both starts at equal steps.

    :returns: the mean difference over the common steps of the share of correct rollouts, for each seed (the area
        between the curves), and the comparison for the report.
    :raises KkwarmError: no seed has both curves, or a log has no accuracy.
    """
    pairs = [(b, w) for b in base for w in warmed if b.seed == w.seed]
    if not pairs:
        raise KkwarmError("no seed has an RLVR curve from both starts")
    count = min(min(len(b.steps), len(w.steps)) for b, w in pairs)
    curves = np.array([[_accuracy(b)[:count], _accuracy(w)[:count]] for b, w in pairs])  # (seeds, 2, steps)
    advantage = [float(a) for a in (curves[:, 1] - curves[:, 0]).mean(axis=1)]
    mean_base, mean_warmed = (smooth(curves[:, i].mean(axis=0)) for i in (0, 1))
    level = float(mean_base[-1])
    steps = pairs[0][0].steps
    return advantage, StepEfficiency(
        advantage=tuple(100 * a for a in advantage),
        seeds=tuple(b.seed for b, _ in pairs),
        steps=count,
        level=level,
        steps_base=_first_step(mean_base, level, steps),
        steps_warmed=_first_step(mean_warmed, level, steps),
        start_base=float(mean_base[0]),
        start_warmed=float(mean_warmed[0]),
        final_warmed=float(mean_warmed[-1]),
    )


def _accuracy(curve: Curve) -> Sequence[float]:
    if not curve.has_accuracy:
        raise KkwarmError(f"the RLVR log of {curve.condition!r}, seed {curve.seed}, has no accuracy")
    return curve.accuracy


def _first_step(values: Values, level: float, steps: Sequence[int]) -> int | None:
    reached = np.flatnonzero(values >= level - 1e-12)
    return int(steps[int(reached[0])]) if reached.size else None


# -- examples ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Point:
    examples: int
    cell: Cell


def sample_efficiency(study: StudyData, variances: Variances | None = None) -> list[SampleEfficiency]:
    """One entry for each domain of RLVR that was trained with several numbers of examples from both starts.

    Intervals are bootstrapped over questions and seeds; verdicts are corrected for the number of rows (Bonferroni).

    :param variances: the seed variances of the conditions.
    """
    entries = []
    for roles in study.roles:
        base = _points(study, roles.base, roles.base_rlvr, roles.on)
        warmed = _points(study, roles.warmed, roles.warmed_rlvr, roles.on)
        if min(len(base), len(warmed)) > 2:  # with two points there is one difference, which the matrix holds
            entries.append(
                SampleEfficiency(
                    on=roles.on,
                    base=_start(roles.base, base, variances or {}),
                    warmed=_start(roles.warmed, warmed, variances or {}),
                    saved=tuple(_examples_saved(base, warmed)),
                )
            )
    return entries


def examples_needed(level: float, examples: Sequence[int], accuracy: Values) -> float:
    """The least number of examples at which a curve reaches `level`, interpolated; infinite where it never does.

    The curve is made monotone first (isotonic regression): more examples are assumed to do no harm.
    """
    return _crossing(level, examples, _monotone(accuracy))


def scores_at_equal_examples(
    study: StudyData, roles: Roles
) -> tuple[list[int], dict[str, tuple[Scores, Scores]]] | None:
    """Scores averaged over the numbers of examples that RLVR used from both starts.

    :returns: the numbers of examples, and for each domain that is evaluated at all of them the mean scores of base and
        warmed start, each (seeds, questions); None where there are fewer than two such numbers.
    :raises KkwarmError: on the domain of RLVR they cannot be paired, or the questions or seeds differ between numbers.
    """
    counts, own = _averaged(study, roles, roles.on)
    if len(counts) < 2:
        return None
    scores = {roles.on: own}
    for domain in study.domains:
        try:
            domain_counts, domain_scores = _averaged(study, roles, domain)
        except KkwarmError:
            continue  # the matrix reports the problem
        if domain_counts == counts:
            scores[domain] = domain_scores
    return counts, scores


def _points(study: StudyData, start: str, trained: str, on: str) -> list[_Point]:
    """A start without RLVR (0 examples) and its evaluated RLVR conditions, by number of examples."""
    grid = next((g for g in study.grids.values() if trained in g.values()), {})
    cells = {n: study.cells.get((name, on)) for n, name in sorted({0: start, **grid}.items())}
    return [_Point(n, cell) for n, cell in cells.items() if cell is not None and cell.ids]


def _averaged(study: StudyData, roles: Roles, domain: str) -> tuple[list[int], tuple[Scores, Scores]]:
    """The numbers of examples above 0 that both starts have on a domain, and the questions' mean scores over them."""
    base, warmed = (
        {p.examples: p.cell for p in _points(study, start, trained, domain)}
        for start, trained in ((roles.base, roles.base_rlvr), (roles.warmed, roles.warmed_rlvr))
    )
    counts = sorted((base.keys() & warmed.keys()) - {0})
    pairs = [pair(base[n], warmed[n]) for n in counts]
    if len({(cell.ids, cell.seeds) for n in counts for cell in (base[n], warmed[n])}) > 1:
        raise KkwarmError("not every number of examples is evaluated on the same questions and seeds yet")
    empty = np.zeros((0, 0))
    one, other = (np.mean([p[side] for p in pairs], axis=0) if pairs else empty for side in (0, 1))
    return counts, (one, other)


def _monotone(accuracy: Values) -> Values:
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(accuracy).x, float)


def _crossing(level: float, examples: Sequence[int], monotone: Values) -> float:
    reached = np.flatnonzero(monotone >= level - 1e-12)
    if not reached.size:
        return math.inf
    k = int(reached[0])
    if k == 0:
        return float(examples[0])
    share = (level - monotone[k - 1]) / (monotone[k] - monotone[k - 1])
    return float(examples[k - 1] + min(1.0, share) * (examples[k] - examples[k - 1]))


def _start(condition: str, points: list[_Point], variances: Variances) -> EfficiencyStart:
    rows = []
    for point in points:
        cell = point.cell
        estimate = estimate_mean(cell.scores, variances.get(cell.condition))
        rows.append(
            EfficiencyPoint(
                examples=point.examples,
                condition=cell.condition,
                accuracy=estimate.value,
                ci=(estimate.low, estimate.high),
                by_seed=tuple(float(row.mean()) for row in cell.scores),
            )
        )
    return EfficiencyStart(condition=condition, points=tuple(rows))


def _examples_saved(base: list[_Point], warmed: list[_Point]) -> list[ExamplesSaved]:
    """For each number of examples, how many the warmed start saves; intervals by a bootstrap of questions and seeds."""
    points = [*base, *warmed]
    scores = _common_scores([p.cell for p in points])
    if scores is None:
        return []
    rng = np.random.default_rng(20250513)
    _, seeds, questions = scores.shape
    by_seed, by_question = _bootstrap_weights(rng, seeds), _bootstrap_weights(rng, questions)
    resampled = np.einsum("ds,psq,dq->dp", by_seed, scores, by_question, optimize=True)
    examples = [p.examples for p in base], [p.examples for p in warmed]
    means = scores.mean(axis=(1, 2))
    rows = []
    for k in range(1, len(base)):
        needed, level = _needed_at(means, k, examples)
        bootstrap = np.array([_needed_at(sample, k, examples)[0] for sample in resampled])
        saved = np.sort(bootstrap[:, 0] - bootstrap[:, 1])
        low, high = _central_interval(saved, 0.05)
        corrected = _central_interval(saved, 0.05 / (len(base) - 1))
        rows.append(
            ExamplesSaved(
                examples=base[k].examples,
                level=level,
                base=needed[0],
                warmed=_finite(needed[1]),
                saved=_finite(needed[0] - needed[1]),
                ci=(_finite(low), _finite(high)),
                reached=float(np.isfinite(saved).mean()),
                verdict="saves" if corrected[0] > 0 else "costs" if corrected[1] < 0 else "undecided",
            )
        )
    return rows


def _central_interval(ordered: Values, outside: float) -> tuple[float, float]:
    """The interval that leaves out this share of the values, half on each side."""
    cut = int(outside / 2 * len(ordered))
    return float(ordered[cut]), float(ordered[len(ordered) - 1 - cut])


def _bootstrap_weights(rng: np.random.Generator, count: int) -> Values:
    """Weights of `count` units in each bootstrap sample, scaled by sqrt(count / (count - 1)): plain resampling of three
    seeds has two thirds of their variance (J. N. K. Rao and C. F. J. Wu, J. Am. Stat. Assoc. 83, 1988).
    """
    weights = rng.multinomial(count, [1 / count] * count, BOOTSTRAP_SAMPLES) / count
    return np.asarray(1 / count + math.sqrt(count / max(count - 1, 1)) * (weights - 1 / count), float)


def _needed_at(
    means: Values, k: int, examples: tuple[Sequence[int], Sequence[int]]
) -> tuple[tuple[float, float], float]:
    """The examples that base and warmed start need for the level that the base reaches at its point `k`, and the level.

    Where the base's curve is flat it needs fewer examples than that point has; savings are counted from there.
    """
    count = len(examples[0])
    base, warmed = _monotone(means[:count]), _monotone(means[count:])
    level = float(base[k])
    return (_crossing(level, examples[0], base), _crossing(level, examples[1], warmed)), level


def _common_scores(cells: Sequence[Cell]) -> Values | None:
    """Scores of shape (cells, seeds, questions) on the seeds and questions that all have; None where none is shared."""
    seeds = [s for s in cells[0].seeds if all(s in c.seeds for c in cells)]
    ids = sorted(set.intersection(*(set(c.ids) for c in cells)))
    if not seeds or not ids or any(c.settings != cells[0].settings for c in cells):
        return None
    rows = []
    for cell in cells:
        positions = {i: n for n, i in enumerate(cell.ids)}
        rows.append(cell.scores[np.ix_([cell.seeds.index(s) for s in seeds], [positions[i] for i in ids])])
    return np.stack(rows)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
