"""Two runs on the same questions, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kkwarm.analysis.build import changed_cells
from kkwarm.analysis.load import load
from kkwarm.analysis.study_data import StudyData
from kkwarm.errors import KkwarmError
from kkwarm.store import Run

__all__ = ["compare"]


def compare(first: Path, second: Path, *, margin: float, common: bool) -> dict[str, Any]:
    """The comparison as one JSON document: ``benchmarks[NAME]`` with ``a``, ``b``, ``change`` (Holm over benchmarks),
    the questions that flipped (``only_a``: right in A only, by the majority of its samples; their ids in ``flipped``),
    ``differs`` (protocols, where another tool drew samples), ``says`` (the verdict as a sentence) and ``stopped`` (the
    rule by which `bench --until` ended a run before its last question). ``states``: of both runs.

    :raises KkwarmError: no benchmark is in both, or what is in both cannot be paired.
    """
    runs = Run.read(first), Run.read(second)
    material: StudyData = load([first, second], margin=margin)
    a, b = (c.name for c in material.conditions)
    shared = [d for d in material.domains if (a, d) in material.cells and (b, d) in material.cells]
    if not shared:
        has = [", ".join(d for d in material.domains if (c, d) in material.cells) or "none" for c in (a, b)]
        raise KkwarmError(
            f"{first} and {second} share no benchmark: {has[0]} there, {has[1]} here",
            hint="bench both checkpoints on the same domains",
        )
    stops = {d: [run.manifest.stopped.get(d) for run in runs] for d in shared}
    # A run that a rule stopped has a random part of the questions: on that part it is compared without being asked.
    fewer = set(shared) if common else {d for d, found in stops.items() if any(found)}
    rows = changed_cells(material, a, b, shared, common=fewer)
    for name, row in rows.items():
        row["stopped"] = dict(zip("ab", stops[name], strict=True))
        _decided(row, first)
        row["says"] = _says(row, margin)
    return {
        "a": str(first),
        "b": str(second),
        "state": material.state,
        "states": {side: "done" if run.done else "in progress" for side, run in zip("ab", runs, strict=True)},
        "margin": margin,
        "benchmarks": rows,
        "method": "Paired by question; one sample each: exact McNemar test, several: exact sign flips; "
        f"p by Holm over {len(rows)} benchmark{'s' if len(rows) > 1 else ''}; "
        f"tie: 90% interval within {100 * margin:g} points.",
    }


def _decided(row: dict[str, Any], first: Path) -> None:
    """Where B was stopped by a decision against A, that decision counts: the p of a stopped run is too small."""
    stop = row["stopped"]["b"]
    if stop is not None and stop["rule"] == "decided" and Path(stop["baseline"]).resolve() == first.resolve():
        row["change"] |= {"verdict": stop["verdict"], "ci": [stop["low"], stop["high"]], "p": stop["p"]}
        row["change"] |= {"p_holm": None, "test": f"group-sequential, level {stop['level']:.2g} at this look"}
        return
    if any(s is not None and s["rule"] == "decided" for s in row["stopped"].values()):
        row["differs"].append("one was stopped by a decision against another run: p is too small")


def _says(row: dict[str, Any], margin: float) -> str:
    """The verdict as a sentence."""
    change, points = row["change"], 100 * abs(row["change"]["estimate"])
    low, high = (100 * v for v in change["ci"])
    interval = f"{low:+.1f} to {high:+.1f}"
    said = {
        "gain": f"gain: B is {points:.1f} points ahead ({interval})",
        "loss": f"loss: B is {points:.1f} points behind ({interval})",
        "tie": f"tie: whatever the difference ({interval}), it lies within {100 * margin:g} points",
        "underpowered": f"underpowered: {interval} allows a gain as well as a loss; more questions or samples decide",
    }[change["verdict"]]
    if change["verdict"] == "underpowered" and (low > 0 or high < 0):
        said = f"underpowered: {interval} excludes 0, but chance could do that to one of several benchmarks"
    return (
        f"{said}. Right in B alone: {row['only_b']}, in A alone: {row['only_a']} of {change['questions']:,} questions"
    )
