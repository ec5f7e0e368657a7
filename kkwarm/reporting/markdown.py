"""The matrix, the claims and what training told of itself, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kkwarm.reporting.sanitize import shown
from kkwarm.reporting.terminal import HOLDS, LEAKED, change_text, percent
from kkwarm.reporting.training import alarm_lines, differs_lines, watched

__all__ = ["markdown_text"]

_MARKUP = re.compile(r"[\\`*\[\]$|<~]|^[#>]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")


def markdown_text(document: Mapping[str, Any]) -> str:
    """The tables, warnings, alarms and the note."""
    domains = document["domains"]
    against = {c["name"]: c["baseline"] for c in document["conditions"]}
    lines = [f"**{_escaped(document['title'])}**" + ("" if document["state"] == "done" else " (in progress)"), ""]
    lines += ["| condition | compared with | " + " | ".join(map(_escaped, domains)) + " |"]
    lines += ["|---|---|" + "---:|" * len(domains)]
    for name, row in document["matrix"].items():
        cells = []
        for domain in domains:
            cell = row.get(domain)
            cells.append("-" if cell is None else f"{percent(cell)} {change_text(cell['change'])}".strip())
        lines.append(f"| {_escaped(name)} | {_escaped(against[name] or '')} | " + " | ".join(cells) + " |")
    lines += ["", "Percent ± 95% interval; change in points: ▲ gain, ▼ loss, = tie, ? underpowered."]
    lines += [line for p in document["problems"] for line in ("", f"Not compared: {_escaped(p)}")]
    lines += [line for d in differs_lines(document) for line in ("", f"Not measured alike: {_escaped(d)}")]
    if document["claims"]:
        lines += ["", "| claim | | estimate | 95% interval | verdict | |", "|---|---|---:|---|---|---|"]
    for claim in document["claims"]:
        estimate = "" if claim["estimate"] is None else f"{100 * claim['estimate']:+.1f}"
        ci = "" if not claim["ci"] else f"{100 * claim['ci'][0]:+.1f} to {100 * claim['ci'][1]:+.1f}"
        word = HOLDS[claim["holds"]][0]
        says = _escaped(claim["says"])
        text = _escaped(claim["text"]) + (LEAKED if claim.get("leaked") else "")
        lines.append(f"| {claim['id']} {text} | {word} | {estimate} | {ci} | {claim['verdict']} | {says} |")
    lines += _training(document)
    for k in document["contamination"]:
        overlap = f"{k['condition']} was trained on {k['questions']} questions of {k['domain']}."
        lines += ["", f"{LEAKED} {_escaped(overlap)}"]
    if document["note"]:
        lines += ["", _escaped(document["note"])]
    advice = [document["advice"] + ".", ""] if document["advice"] else []
    return "\n".join([*lines, "", *advice, document["method"] + "."])


def _training(document: Mapping[str, Any]) -> list[str]:
    """What was watched, and alarms."""
    lines = []
    domains, rows = watched(document)
    if rows:
        lines += ["", "| watched in training, percent | " + " | ".join(map(_escaped, domains)) + " |"]
        lines += ["|---|" + "---:|" * len(domains)]
    for row in rows:
        ends = ["{:.0f} → {:.0f}".format(*(100 * v for v in row.ends[d])) if d in row.ends else "-" for d in domains]
        lines.append(f"| {_escaped(row.name)} | " + " | ".join(ends) + " |")
    if alarms := alarm_lines(document):
        lines += ["", "Alarms in training:", "", *(f"- {_escaped(line)}" for line in alarms)]
    return lines


def _escaped(text: str) -> str:
    """Text as Markdown shows it, whatever it holds, in one line."""
    return _MARKUP.sub(r"\\\g<0>", shown(" ".join(text.split())))
