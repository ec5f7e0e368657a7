"""The matrix as a LaTeX table for a paper: booktabs, nothing else beyond LaTeX itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kkwarm.reporting.sanitize import shown
from kkwarm.reporting.terminal import percent
from kkwarm.reporting.training import differs_lines

__all__ = ["latex_text"]

SIGN = {"gain": r"\uparrow", "loss": r"\downarrow", "tie": "=", "underpowered": "?"}
ESCAPED = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "&": r"\&", "%": r"\%",
    "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "†": r"\textsuperscript{\dag}", "→": r"$\rightarrow$", "±": r"$\pm$", "×": r"$\times$",
    "≤": r"$\leq$", "≥": r"$\geq$", "−": r"$-$",
}  # fmt: skip


def latex_text(document: Mapping[str, Any]) -> str:
    """A table environment with the matrix; below a row's figures its changes, and the row that they are against."""
    domains = document["domains"]
    against = {c["name"]: c["baseline"] for c in document["conditions"]}
    lines = [
        r"% needs \usepackage{booktabs}; four domains fit one of two columns, for more take table*",
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{2pt}",
        rf"\begin{{tabular}}{{@{{}}l{'r' * len(domains)}@{{}}}}",
        r"\toprule",
        " & ".join(["Condition", *(rf"{{\scriptsize {escaped(d)}}}" for d in domains)]) + r" \\",
        r"\midrule",
    ]
    for number, (name, row) in enumerate(document["matrix"].items()):
        if number:
            lines.append(r"\addlinespace[2pt]")
        cells = [row.get(domain) for domain in domains]
        lines.append(f"{escaped(name)} & {' & '.join(map(_figure, cells))} \\\\")
        if any(cell is not None and cell["change"] is not None for cell in cells):
            versus = rf"\enspace{{\scriptsize vs {escaped(against[name] or '')}}}"
            lines.append(f"{versus} & {' & '.join(map(_change, cells))} \\\\")
    state = "" if document["state"] == "done" else " In progress."
    words = (
        r"Percent with 95\% intervals; changes in points: $\uparrow$ gain, $\downarrow$ loss, $=$ tie, ? underpowered."
        f" {escaped(document['method'])}."
    )
    for k in document["contamination"]:
        overlap = f"{k['condition']} was trained on {k['questions']} questions of {k['domain']}"
        words += rf" \textsuperscript{{\dag}}{escaped(overlap)}."
    words += "".join(f" Not compared: {escaped(p)}." for p in document["problems"])
    words += "".join(f" Not measured alike: {escaped(line)}." for line in differs_lines(document))
    title = escaped(document["title"])
    stop = "" if title.endswith((".", "?", "!")) else "."
    caption = rf"\caption{{{title}{stop}{state} {words}}}"
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", caption, r"\end{table}"])


def escaped(text: str) -> str:
    """Text as LaTeX shows it, whatever it holds."""
    return "".join(ESCAPED.get(c, c) for c in shown(" ".join(text.split())))


def _figure(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "--"
    main, _, half = percent(cell).partition(" ±")
    return rf"{main}\,{{\tiny$\pm${escaped(half)}}}{'*' if cell['partial'] else ''}"


def _change(cell: Mapping[str, Any] | None) -> str:
    change = None if cell is None else cell["change"]
    if change is None:
        return ""
    leaked = r"\dag" if change.get("leaked") else ""
    return rf"{{\scriptsize${SIGN[change['verdict']]}\;{{{100 * change['estimate']:+.1f}}}{leaked}$}}"
