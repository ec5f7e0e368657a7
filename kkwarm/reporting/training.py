"""What a report says of training itself, for every view: alarms, and what the in-training evaluation saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

__all__ = ["Watched", "alarm_lines", "differs_lines", "watched"]

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Watched:
    """A stage's watched domains: accuracy at its first and its last in-training evaluation, means over `seeds`."""

    name: str
    seeds: int
    ends: Mapping[str, tuple[float, float]]


def alarm_lines(document: Document) -> list[str]:
    """A line for each kind of alarm of each stage: the text of its first seed, and the seeds that raised it too."""
    found: dict[tuple[str, str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for t in document["training"]:
        for alarm in t["alarms"]:
            about = alarm["text"].split()[0] if alarm["kind"] == "forgetting" else ""  # each domain is forgotten alone
            found.setdefault((_name(t), alarm["kind"], about), []).append((t["seed"], alarm))
    lines = []
    for (name, kind, _), told in found.items():
        seed, alarm = told[0]
        others = ", ".join(str(s) for s, _ in told[1:])
        also = f"; seed{'s' if len(told) > 2 else ''} {others} too" if others else ""
        lines.append(f"{name}, seed {seed}, step {alarm['step']}: {kind}: {alarm['text']}{also}")
    return lines


def watched(document: Document) -> tuple[list[str], list[Watched]]:
    """The watched domains, and a row for each stage that was watched."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for t in document["training"]:
        if t["evals"]:
            stages.setdefault(_name(t), []).append(t)
    rows = []
    for name, seeds in stages.items():
        ends = [(t["evals"][0]["accuracy"], t["evals"][-1]["accuracy"]) for t in seeds]
        last = min(t["evals"][-1]["step"] for t in seeds)
        shared = [d for d in ends[0][0] if all(d in a for pair in ends for a in pair)]
        means = {d: (fmean(first[d] for first, _ in ends), fmean(now[d] for _, now in ends)) for d in shared}
        rows.append(Watched(f"{name}, step {seeds[0]['evals'][0]['step']} to {last}", len(seeds), means))
    return list(dict.fromkeys(d for row in rows for d in row.ends)), rows


def differs_lines(document: Document) -> list[str]:
    """A line for each pair of rows that another tool's measuring sets apart."""
    return [
        f"{d['condition']} and {d['baseline']} on {', '.join(d['domains'])}: {'; '.join(d['says'])}"
        for d in document["differs"]
    ]


def _name(training: Mapping[str, Any]) -> str:
    return f"{training['conditions'][0]} ({training['stage']})"
