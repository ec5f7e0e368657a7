"""The matrix as a LaTeX table for a paper: booktabs, nothing else beyond LaTeX itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kkwarm.report.terminal import percent

__all__ = ["latex_text"]

SIGN = {"gain": r"\uparrow", "loss": r"\downarrow", "tie": "=", "underpowered": "?"}
ESCAPED = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "&": r"\&", "%": r"\%",
    "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "<": r"\textless{}", ">": r"\textgreater{}",
    "†": r"\textsuperscript{\dag}",
}  # fmt: skip


def latex_text(document: Mapping[str, Any]) -> str:
    """A table environment with the matrix; each change follows its figure; the second column says against what."""
    domains = document["domains"]
    against = {c["name"]: c["against"] for c in document["conditions"]}
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{ll{'r' * len(domains)}}}",
        r"\toprule",
        f"Condition & Against & {' & '.join(map(escaped, domains))} \\\\",
        r"\midrule",
    ]
    for name, row in document["matrix"].items():
        cells = [_cell(row.get(domain)) for domain in domains]
        lines.append(f"{escaped(name)} & {escaped(against[name] or '')} & {' & '.join(cells)} \\\\")
    state = "" if document["state"] == "done" else " In progress."
    words = (
        r"Percent with 95\% intervals; changes in points: $\uparrow$ gain, $\downarrow$ loss, $=$ tie, $?$ undecided."
        f" {escaped(document['method'])}."
    )
    for k in document["leaks"]:
        leak = f"{k['condition']} was trained on {k['questions']} questions of {k['domain']}"
        words += rf" \textsuperscript{{\dag}}{escaped(leak)}."
    words += "".join(f" Not compared: {escaped(p)}." for p in document["problems"])
    caption = rf"\caption{{{escaped(document['title'])}.{state} {words}}}"
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", caption, r"\end{table}"])


def escaped(text: str) -> str:
    """Text as LaTeX shows it, whatever it holds."""
    return "".join(ESCAPED.get(c, c) for c in " ".join(text.split()))


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "--"
    main, _, half = percent(cell).partition(" ±")
    shown = rf"{main} {{\scriptsize$\pm${escaped(half)}}}{'*' if cell['partial'] else ''}"
    change = cell["change"]
    if change is None:
        return shown
    leaked = r"\dag" if change.get("leaked") else ""
    return rf"{shown} {{\scriptsize${SIGN[change['verdict']]}{{{100 * change['estimate']:+.1f}}}{leaked}$}}"
