"""The matrix, claims, pass@k, facets, cost, in-training evaluations and alarms as Markdown."""

from __future__ import annotations

import re

from kkwarm.reporting.labels import (
    CONTAMINATED,
    HOLDS,
    LEGEND,
    alarm_lines,
    change_text,
    checkpoint_lines,
    cost_line,
    evals_text,
    measured_lines,
    nothing_learned_lines,
    percent,
    warning_lines,
    with_short_names,
)
from kkwarm.reporting.sanitize import sanitize
from kkwarm.reporting.sections import tables
from kkwarm.schema.report import Report

_MARKUP = re.compile(r"[\\`*\[\]$|<~]|^[#>]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")


def markdown_text(report: Report, *, full: bool = True) -> str:
    """The tables, warnings, alarms, and how everything was measured; pass@k and facets only if `full`."""
    report = with_short_names(report)
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
    for line, wrong in warning_lines(report):
        lines += ["", f"**{escape(line)}**" if wrong else escape(line)]
    lines += _claims(report)
    lines += [line for key in (("pass-at-k", "facets") if full else ()) for line in _tables(report, key)]
    lines += _tables(report, "cost")
    lines += _training(report)
    facts = [report.note, *(f"{line}." for line in (*checkpoint_lines(report), *measured_lines(report)))]
    facts += [f"{report.advice}." if report.advice else "", f"{report.method}.", cost_line(report)]
    return "\n".join([*lines, *(line for fact in facts if fact for line in ("", escape(fact)))])


def _tables(report: Report, key: str) -> list[str]:
    """The tables of a section, as the terminal has them."""
    lines = []
    for table in tables(report):
        if table.key == key:
            lines += ["", f"{escape(table.title)}:", "", f"| | {' | '.join(map(escape, table.columns))} |"]
            lines += [f"|---|{'---:|' * len(table.columns)}"]
            lines += [f"| {' | '.join(map(escape, row))} |" for row in table.rows]
    return lines


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
