"""The paper's four claims (arXiv 2505.13718), each with estimate, interval and verdict. A failed one says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kkwarm.analysis.cells import pair
from kkwarm.analysis.curves import efficiency
from kkwarm.analysis.efficiency import at_equal_examples
from kkwarm.analysis.seeds import Strata, moved, of_changes
from kkwarm.analysis.stats.estimates import PairedDifference, holm, paired, word
from kkwarm.analysis.stats.seed_variance import Moved, Scores, Spread, spreads
from kkwarm.analysis.study_data import Roles, StudyData
from kkwarm.analysis.training import compare_evals
from kkwarm.errors import KkwarmError

__all__ = ["by_examples", "by_steps", "claims"]


@dataclass(slots=True)
class Claim:
    """A claim being judged. `difference` is None where it cannot be judged yet; `why` then says what is missing."""

    id: str
    on: str
    text: str
    domains: tuple[str, ...]
    difference: PairedDifference | None = None
    why: str = ""
    over: str = ""  # of iv: where the two starts are compared
    more: dict[str, Any] | None = None


def claims(material: StudyData) -> list[dict[str, Any]]:
    """One entry for each claim (and each domain of RLVR): ``id`` (i to iv), ``on``, ``text``, ``domains``,
    ``estimate`` (a difference in accuracy), ``ci`` (95%), ``p``, ``p_holm`` (over all claims), ``verdict``,
    ``holds`` (True, False, or None: not decided), ``says`` (one sentence); iii has ``from_base``, iv ``efficiency``.
    iv is there for steps and, in a study that trains on several numbers of examples, once more for those.
    """
    judged: list[Claim] = []
    for number, roles in enumerate(material.roles):
        if not any(r.base == roles.base and r.warmed == roles.warmed for r in material.roles[:number]):
            judged.append(_first(material, roles))
        judged += [_second(material, roles), _third(material, roles), by_steps(material, roles)]
        judged += by_examples(material, roles)
    known = [c for c in judged if c.difference is not None]
    adjusted = holm([c.difference.p for c in known if c.difference is not None])
    p_of = {id(c): p for c, p in zip(known, adjusted, strict=True)}
    return [_entry(c, p_of.get(id(c)), material.margin) for c in judged]


def _first(material: StudyData, roles: Roles) -> Claim:
    others = tuple(d for d in material.domains if d != roles.warmup)
    claim = Claim("i", "", f"Warm-up on {roles.warmup} alone lifts the other domains", others)
    return _compared(claim, material, roles.base, roles.warmed)


def _second(material: StudyData, roles: Roles) -> Claim:
    text = f"After RLVR on {roles.on}, the warmed start is ahead of the base start on {roles.on}"
    return _compared(Claim("ii", roles.on, text, (roles.on,)), material, roles.base_rlvr, roles.warmed_rlvr)


def _third(material: StudyData, roles: Roles) -> Claim:
    others = tuple(d for d in material.domains if d != roles.on)
    text = f"The warmed start keeps its other domains through RLVR on {roles.on}"
    claim = _compared(Claim("iii", roles.on, text, others), material, roles.warmed, roles.warmed_rlvr)
    from_base = _compared(Claim("iii", roles.on, text, others), material, roles.base, roles.base_rlvr)
    if claim.difference is not None and from_base.difference is not None:
        d = from_base.difference
        claim.more = {
            "from_base": {"estimate": d.value, "ci": [d.low, d.high], "p": d.p, "verdict": word(d, material.margin)}
        }
    return claim


def by_steps(material: StudyData, roles: Roles) -> Claim:
    """Claim iv for steps: paired over questions where the in-training evaluation watched the domain in both; else seed by
    seed, over the rollouts of training.
    """
    claim = Claim("iv", roles.on, f"RLVR on {roles.on} needs fewer steps from the warmed start", (roles.on,))
    base = [c for c in material.curves if c.condition == roles.base_rlvr]
    warmed = [c for c in material.curves if c.condition == roles.warmed_rlvr]
    try:
        found = efficiency(base, warmed)
    except KkwarmError as err:
        claim.why = str(err)
    else:
        claim.more = {"efficiency": found}
        claim.over = f"over {found['steps']} equal steps"
        claim.difference = _over_seeds(found["advantage"])
        if len(found["advantage"]) < 2:
            claim.why = "one seed has no interval between seeds"
    watched = compare_evals(material.training, roles.base_rlvr, roles.warmed_rlvr, roles.on)
    if watched is not None:
        steps, scores = watched
        count = scores[roles.on][0].shape[1]
        claim.over, claim.why = f"at steps {_listed(steps)}, on {count:,} watched questions", ""
        claim.difference = _over_questions(scores, roles)
    return claim


def by_examples(material: StudyData, roles: Roles) -> list[Claim]:
    """Claim iv for examples: paired over questions, on the mean of all numbers; none in a study of one number."""
    claim = Claim("iv", roles.on, f"RLVR on {roles.on} needs fewer examples from the warmed start", (roles.on,))
    try:
        found = at_equal_examples(material, roles)
    except KkwarmError as err:
        claim.why = str(err)
        return [claim]
    if found is None:
        return []
    counts, scores = found
    claim.over = f"at {_listed(counts)} examples"
    claim.difference = _over_questions(scores, roles)
    return [claim]


def _over_questions(scores: Mapping[str, tuple[Scores, Scores]], roles: Roles) -> PairedDifference:
    """The difference on the domain of RLVR; how much seeds differ is told by all domains, of this one comparison: too
    little to hope that they do not.
    """
    known = spreads({roles.on: [Moved.between(*s) for s in scores.values()]})[roles.on]
    return paired([scores[roles.on]], known and Spread(known.wary, known.wary))


def _listed(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last


def _over_seeds(values: Sequence[float]) -> PairedDifference:
    """The mean of one value for each seed, with Student's interval."""
    from scipy.special import stdtr, stdtrit

    x = np.asarray(values, float)
    mean, df = float(x.mean()), len(x) - 1
    if df == 0:
        return PairedDifference(mean, math.nan, -1.0, 1.0, (-1.0, 1.0), 1.0, "one seed", 0, 1)
    stderr = float(x.std(ddof=1) / math.sqrt(len(x)))
    half, inner = float(stdtrit(df, 0.975)) * stderr, float(stdtrit(df, 0.95)) * stderr
    p = 2 * float(stdtr(df, -abs(mean) / stderr)) if stderr > 0 else float(mean == 0)
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return PairedDifference(mean, stderr, low, high, (mean - inner, mean + inner), p, "t over seeds", 0, len(x))


def _compared(claim: Claim, material: StudyData, first: str, second: str) -> Claim:
    try:
        strata = _strata(material, claim.domains, first, second)
    except KkwarmError as err:
        claim.why = str(err)
        return claim
    claim.difference = paired(strata, _spread(material, first, second), moved(material, first, strata))
    return claim


def _strata(material: StudyData, domains: Sequence[str], first: str, second: str) -> Strata:
    if not domains:
        raise KkwarmError("no other domain was evaluated")
    for condition in (first, second):
        missing = [d for d in domains if (condition, d) not in material.cells]
        if missing:
            raise KkwarmError(f"{condition!r} has no samples of {', '.join(missing)} yet")
    return [pair(material.cells[first, d], material.cells[second, d]) for d in domains]


def _spread(material: StudyData, first: str, second: str) -> Spread | None:
    """How much seeds move the second against the first, by these two and by the study's rows, on all domains: as the
    matrix has it, so that a claim and its cell of the matrix do not contradict each other.
    """
    rows: dict[tuple[str, str], list[tuple[Scores, Scores]]] = {}
    for against, name in {(first, second): None, **{(r.baseline or "", r.name): None for r in material.conditions}}:
        for domain in material.domains:
            try:
                rows.setdefault((against, name), []).extend(_strata(material, [domain], against, name))
            except KkwarmError:
                continue  # not evaluated yet, or not comparable: the matrix says so at that row
    return of_changes(material, {key: strata for key, strata in rows.items() if strata}).get((first, second))


def _entry(claim: Claim, p_holm: float | None, margin: float) -> dict[str, Any]:
    d = claim.difference
    entry: dict[str, Any] = {"id": claim.id, "on": claim.on, "text": claim.text, "domains": list(claim.domains)}
    if d is None:
        return entry | {"estimate": None, "ci": None, "verdict": "no data", "holds": None, "says": claim.why}
    verdict = word(d, margin, p_holm)
    holds: bool | None = None
    if claim.id == "iii":  # not inferior: the interval excludes a loss beyond the margin
        if d.low > -margin:
            holds = True
        elif verdict == "loss" or d.high < -margin:
            holds = False
    elif verdict != "underpowered":
        holds = verdict == "gain"
    entry |= {
        "estimate": d.value,
        "ci": None if math.isnan(d.stderr) else [d.low, d.high],
        "p": d.p,
        "p_holm": p_holm,
        "test": d.test,
    }
    entry |= {"verdict": verdict, "holds": holds, "seeds": d.seeds, "questions": d.questions, **(claim.more or {})}
    return entry | {"says": _says(claim, margin)}


def _says(claim: Claim, margin: float) -> str:
    if claim.id == "iii" and claim.more:
        from_base = claim.more["from_base"]
        return (
            f"from the base it is {100 * from_base['estimate']:+.1f}; a loss of up to {100 * margin:g} counts as kept"
        )
    if claim.id == "iv" and not claim.more:
        return f"mean difference {claim.over}"
    if claim.id == "iv" and claim.more:
        e = claim.more["efficiency"]
        if e["steps_warmed"] is None:
            reached = f"the warmed start never reaches the base's final level ({100 * e['level']:.0f}%)"
        else:
            reached = (
                f"the base's final level ({100 * e['level']:.0f}%) is reached at step {e['steps_warmed']} "
                f"from the warmed start, {e['steps_base']} from the base"
            )
        extra = f"; {claim.why}" if claim.why else ""
        return f"mean difference {claim.over}; {reached}{extra}"
    return f"the mean over {', '.join(claim.domains)}" if len(claim.domains) > 1 else f"on {claim.domains[0]}"
