"""From material to one JSON document: the matrix with its changes, the claims, the curves. Reports only render it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from kkwarm.analysis.advice import advice
from kkwarm.analysis.cells import Cell, PairingError, differing, pair
from kkwarm.analysis.contamination import mark
from kkwarm.analysis.curves import Curve, smooth
from kkwarm.analysis.efficiency import sample_efficiency
from kkwarm.analysis.papers.warm_up import claims
from kkwarm.analysis.seeds import moved, of_changes, of_rows
from kkwarm.analysis.stats.estimates import PairedDifference, holm, interval, paired, word
from kkwarm.analysis.stats.seed_variance import Moved, Scores, Spread, spreads
from kkwarm.analysis.study_data import StudyData

__all__ = ["analyse", "changed_cells"]


def analyse(material: StudyData) -> dict[str, Any]:
    """The report's document. ``matrix[condition][domain]``: ``accuracy``, ``stderr``, ``ci``, ``n``, ``seeds``,
    ``samples``, ``status``, ``works``, ``tokens`` (mean), ``lengths`` (median and 95th percentile of tokens),
    ``change`` (against another row, Holm over the whole matrix, with the questions that were ``gained`` and ``lost``:
    most samples right in one of both only), ``forced``. ``efficiency``: accuracy against the number of examples.
    ``advice``: what would decide the underpowered changes.
    ``problems``: what could not be paired, and why; ``differs``: what was paired though another tool drew the samples
    of one, and in what they were measured otherwise; ``training``: alarms and in-training evaluations of training runs.
    """
    problems: list[str] = []
    changes = _changes(material, problems)
    spread = of_rows(material)
    matrix: dict[str, dict[str, Any]] = {}
    for condition in material.conditions:
        row = {}
        for domain in material.domains:
            found = material.cells.get((condition.name, domain))
            if found is None or not found.ids:
                continue
            row[domain] = _figures(found, spread.get(condition.name)) | {
                "works": found.works,
                "tokens": found.tokens,
                "lengths": None if found.lengths is None else list(found.lengths),
                "change": changes.get((condition.name, domain)),
                "forced": _forced(material.forced.get((condition.name, domain))),
            }
        matrix[condition.name] = row
    document: dict[str, Any] = {
        "title": material.title,
        "state": material.state,
        "progress": dict(material.progress),
        "conditions": [{"name": c.name, "baseline": c.baseline, "chain": list(c.chain)} for c in material.conditions],
        "domains": list(material.domains),
        "matrix": matrix,
        "claims": claims(material),
        "roles": [asdict(r) for r in material.roles],
        "curves": [_curve(c) for c in material.curves],
        "efficiency": sample_efficiency(material, spread),
        "margin": material.margin,
        "family": len(changes),
        "method": _method(material, len(changes)),
        "advice": advice(list(changes.values()), material.margin),
        "note": material.note,
        "problems": problems,
        "differs": _differs(material, changes),
        "training": [t.fields() for t in material.training],
        "contamination": [
            {"condition": c, "domain": d, "questions": n} for (c, d), n in sorted(material.overlaps.items())
        ],
        "provenance": dict(material.provenance),
        "runs": list(material.paths),
    }
    mark(document, material)
    return document


def changed_cells(
    material: StudyData, first: str, second: str, domains: Sequence[str], *, common: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Two conditions on each domain: the figures of both (``a``, ``b``), the ``change`` (Holm over the domains), the
    questions that flipped (most samples of one right, the other's not): ``only_a``, ``only_b`` and their ids in
    ``flipped``, and ``differs``: in what their protocols differ, where another tool drew the samples of one.

    :param common: domains on which only the questions that both have are compared.
    :raises KkwarmError: they cannot be paired on some domain.
    """
    pairs = {d: pair(material.cells[first, d], material.cells[second, d], common=d in common) for d in domains}
    spread = spreads({"": [Moved.between(*p) for p in pairs.values()]})[""]
    differences = {d: paired([p], spread) for d, p in pairs.items()}
    adjusted = holm([d.p for d in differences.values()])
    rows = {}
    for (domain, difference), p in zip(differences.items(), adjusted, strict=True):
        one, other = material.cells[first, domain], material.cells[second, domain]
        both = set(one.ids)
        ids = [i for i in other.ids if i in both]
        sides = zip("ab", _flips(pairs[domain]), strict=True)
        flipped = {name: [i for i, f in zip(ids, side, strict=True) if f] for name, side in sides}
        rows[domain] = {
            "a": _figures(one),
            "b": _figures(other),
            "change": _change(first, difference, p, material.margin),
            "leaked": {k: material.overlaps.get((c, domain), 0) for k, c in (("a", first), ("b", second))},
            "only_a": len(flipped["a"]),
            "only_b": len(flipped["b"]),
            "flipped": flipped,
            "differs": differing(one, other) if one.outside or other.outside else [],
        }
    return rows


def _changes(material: StudyData, problems: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Every row's change on every domain, with p-values corrected over all of them."""
    pairs = {}
    refused: dict[tuple[str, str, str, str], list[str]] = {}  # what is refused alike on several domains is said once
    for row in material.conditions:
        for domain in material.domains:
            first, second = material.cells.get((row.baseline or "", domain)), material.cells.get((row.name, domain))
            if first is None or second is None:
                continue
            try:
                pairs[row.name, domain] = pair(first, second)
            except PairingError as err:
                refused.setdefault((first.condition, second.condition, err.reason, err.hint), []).append(domain)
    for (one, other, reason, hint), domains in refused.items():
        problems.append(f"{one!r} and {other!r} on {', '.join(domains)} cannot be paired: {reason} ({hint})")
    against = {row.name: row.baseline or "" for row in material.conditions}
    rows: dict[tuple[str, str], list[tuple[Scores, Scores]]] = {}
    for (name, _), both in pairs.items():
        rows.setdefault((against[name], name), []).append(both)
    spread = of_changes(material, rows)
    differences = {
        (name, domain): paired([p], spread[against[name], name], moved(material, against[name], [p]))
        for (name, domain), p in pairs.items()
    }
    adjusted = holm([d.p for d in differences.values()])
    return {
        key: _change(against[key[0]], d, p, material.margin) | _flipped(pairs[key])
        for (key, d), p in zip(differences.items(), adjusted, strict=True)
    }


def _differs(material: StudyData, changes: Collection[tuple[str, str]]) -> list[dict[str, Any]]:
    """In what compared rows were measured otherwise, where another tool drew the samples of one: once for all domains
    on which two rows differ alike.
    """
    found: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for row in material.conditions:
        for domain in material.domains:
            if (row.name, domain) not in changes:
                continue
            first, second = material.cells[row.baseline or "", domain], material.cells[row.name, domain]
            if first.outside or second.outside:
                found.setdefault((row.name, row.baseline or "", tuple(differing(first, second))), []).append(domain)
    return [
        {"condition": name, "baseline": against, "domains": domains, "says": list(says)}
        for (name, against, says), domains in found.items()
        if says
    ]


def _change(against: str, d: PairedDifference, p_holm: float, margin: float) -> dict[str, Any]:
    return {
        "baseline": against,
        "estimate": d.value,
        "stderr": d.stderr,
        "ci": [d.low, d.high],
        "p": d.p,
        "p_holm": p_holm,
        "test": d.test,
        "questions": d.questions,
        "verdict": word(d, margin, p_holm),
        "seeds": d.seeds,
        "of_seeds": d.of_seeds if d.seeds > 1 else None,
    }


def _flips(scores: tuple[Scores, Scores]) -> tuple[Any, Any]:
    """Whether only the first, and whether only the second answers a question (most of its samples right): booleans."""
    first, second = (s.mean(axis=0) > 0.5 for s in scores)
    return first & ~second, second & ~first


def _flipped(scores: tuple[Scores, Scores]) -> dict[str, int]:
    lost, gained = _flips(scores)
    return {"gained": int(gained.sum()), "lost": int(lost.sum())}


def _figures(found: Cell, spread: Spread | None = None) -> dict[str, Any]:
    e = interval(found.scores, spread)
    return {
        "accuracy": e.value,
        "stderr": e.stderr,
        "ci": [e.low, e.high],
        "n": e.questions,
        "seeds": list(found.seeds),
        "by_seed": [float(row.mean()) for row in found.scores],
        "samples": found.samples,
        "status": dict(found.status),
        "partial": found.partial,
    }


def _forced(found: Cell | None) -> dict[str, Any] | None:
    return None if found is None or not found.ids else _figures(found)


def _curve(curve: Curve) -> dict[str, Any]:
    known = not any(math.isnan(a) for a in curve.accuracy)  # a log without it; JSON has no NaN
    return {
        "condition": curve.condition,
        "seed": curve.seed,
        "steps": list(curve.steps),
        "reward": list(curve.reward),
        "smoothed": [float(v) for v in smooth(curve.reward)],
        "accuracy": list(curve.accuracy) if known else None,
        "smoothed_accuracy": [float(v) for v in smooth(curve.accuracy)] if known else None,
    }


def _method(material: StudyData, family: int) -> str:
    seeds = sorted({len(c.seeds) for c in material.cells.values()})
    if not seeds:
        return ""
    spread = (
        f"{seeds[-1]} seeds as replicates crossed with questions; the intervals cover both"
        if seeds[-1] > 1
        else "one seed: the intervals cover questions and sampling, not the variation between trainings"
    )
    tests = f"; changes paired by question, Holm over {family} comparisons" if family else ""
    return f"95% intervals, clustered by question; {spread}{tests}; tie: within {100 * material.margin:g} points"
