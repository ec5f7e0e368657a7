"""The matrix, the claims, in-training evaluations and alarms as Markdown."""

from __future__ import annotations

import re

from kkwarm.reporting.labels import (
    CONTAMINATED,
    HOLDS,
    LEGEND,
    SCORING,
    alarm_lines,
    change_text,
    contamination_lines,
    evals_text,
    nothing_learned_lines,
    percent,
    protocol_lines,
    scoring_lines,
    settings_lines,
)
from kkwarm.reporting.sanitize import sanitize
from kkwarm.schema.report import Report

_MARKUP = re.compile(r"[\\`*\[\]$|<~]|^[#>]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")


def markdown_text(report: Report) -> str:
    """The tables, warnings, alarms and the note."""
    state = "" if report.state == "done" else " (in progress)"
    lines = [f"**{escape(report.title)}**{state}", ""]
    lines += [text for line in nothing_learned_lines(report) for text in (f"**{escape(line)}**", "")]
    lines += ["| condition | compared with | " + " | ".join(map(escape, report.domains)) + " |"]
    lines += ["|---|---|" + "---:|" * len(report.domains)]
    for name, row in report.matrix.items():
        cells = []
        for domain in report.domains:
            cell = row.get(domain)
            cells.append("-" if cell is None else f"{percent(cell)} {change_text(cell.change)}".strip())
        lines.append(f"| {escape(name)} | {escape(report.baseline(name) or '')} | " + " | ".join(cells) + " |")
    lines += ["", f"{LEGEND[0].upper()}{LEGEND[1:]}."]
    lines += [line for p in protocol_lines(report) for line in ("", f"{escape(p)}.")]
    lines += [line for p in report.problems for line in ("", f"Not compared: {escape(p)}")]
    lines += [line for u in report.unusable for line in ("", escape(u))]
    lines += [line for d in settings_lines(report) for line in ("", f"Measured differently: {escape(d)}")]
    lines += _claims(report)
    lines += _training(report)
    for line in scoring_lines(report):
        lines += ["", f"{SCORING} {escape(line)}."]
    for line in contamination_lines(report):
        lines += ["", f"{CONTAMINATED} {escape(line)}."]
    if report.note:
        lines += ["", escape(report.note)]
    advice = [report.advice + ".", ""] if report.advice else []
    return "\n".join([*lines, "", *advice, report.method + "."])


def _claims(report: Report) -> list[str]:
    if not report.claims:
        return []
    lines = ["", "| claim | | estimate | 95% interval | verdict | |", "|---|---|---:|---|---|---|"]
    for claim in report.claims:
        estimate = "" if claim.estimate is None else f"{claim.estimate:+.1f}"
        ci = "" if claim.ci is None else f"{claim.ci[0]:+.1f} to {claim.ci[1]:+.1f}"
        text = escape(claim.text) + (CONTAMINATED if claim.contaminated else "")
        facts = (f"{claim.id} {text}", HOLDS[claim.holds][0], estimate, ci, claim.verdict, escape(claim.statement))
        lines.append(f"| {' | '.join(facts)} |")
    return lines


def _training(report: Report) -> list[str]:
    lines = []
    domains, rows = evals_text(report)
    if rows:
        lines += ["", "| in-training evaluations, percent | " + " | ".join(map(escape, domains)) + " |"]
        lines += ["|---|" + "---:|" * len(domains)]
    lines += [f"| {escape(name)} | " + " | ".join(ends) + " |" for name, ends in rows]
    if alarms := alarm_lines(report):
        lines += ["", "Alarms in training:", "", *(f"- {escape(line)}" for line in alarms)]
    return lines


def escape(text: str) -> str:
    """Text on one line with Markdown's special characters escaped."""
    return _MARKUP.sub(r"\\\g<0>", sanitize(" ".join(text.split())))
