"""The matrix as a LaTeX table for a paper: booktabs, nothing else beyond LaTeX itself."""

from __future__ import annotations

from kkwarm.reporting.labels import contamination_lines, percent, protocol_lines, scoring_lines, settings_lines
from kkwarm.reporting.sanitize import sanitize
from kkwarm.schema.report import Cell, Report

SIGN = {"gain": r"\uparrow", "loss": r"\downarrow", "tie": "=", "underpowered": "?"}
ESCAPED = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "&": r"\&", "%": r"\%",
    "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "†": r"\textsuperscript{\dag}", "‡": r"\textsuperscript{\ddag}",
    "→": r"$\rightarrow$", "±": r"$\pm$", "×": r"$\times$",
    "≤": r"$\leq$", "≥": r"$\geq$", "−": r"$-$",
}  # fmt: skip


def latex_text(report: Report) -> str:
    """A table environment with the matrix; below each condition's accuracies its changes, and its baseline."""
    lines = [
        r"% needs \usepackage{booktabs}; four domains fit one of two columns, for more use table*",
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{2pt}",
        rf"\begin{{tabular}}{{@{{}}l{'r' * len(report.domains)}@{{}}}}",
        r"\toprule",
        " & ".join(["Condition", *(rf"{{\scriptsize {escaped(d)}}}" for d in report.domains)]) + r" \\",
        r"\midrule",
    ]
    for number, (name, row) in enumerate(report.matrix.items()):
        if number:
            lines.append(r"\addlinespace[2pt]")
        cells = [row.get(domain) for domain in report.domains]
        lines.append(f"{escaped(name)} & {' & '.join(map(_accuracy, cells))} \\\\")
        if any(cell is not None and cell.change is not None for cell in cells):
            versus = rf"\enspace{{\scriptsize vs {escaped(report.baseline(name) or '')}}}"
            lines.append(f"{versus} & {' & '.join(map(_change, cells))} \\\\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", _caption(report), r"\end{table}"])


def escaped(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(ESCAPED.get(c, c) for c in sanitize(" ".join(text.split())))


def _caption(report: Report) -> str:
    state = "" if report.state == "done" else " In progress."
    legend = (
        r"Percent with 95\% intervals; changes in percentage points: $\uparrow$ gain, $\downarrow$ loss, $=$ tie, "
        f"? underpowered. {escaped(report.method)}."
    )
    legend += "".join(rf" \textsuperscript{{\dag}}{escaped(line)}." for line in contamination_lines(report))
    legend += "".join(rf" \textsuperscript{{\ddag}}{escaped(line)}." for line in scoring_lines(report))
    legend += "".join(f" {escaped(line)}." for line in protocol_lines(report))
    legend += "".join(f" Not compared: {escaped(p)}." for p in report.problems)
    legend += "".join(f" Measured differently: {escaped(line)}." for line in settings_lines(report))
    title = escaped(report.title)
    stop = "" if title.endswith((".", "?", "!")) else "."
    return rf"\caption{{{title}{stop}{state} {legend}}}"


def _accuracy(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    main, _, half = percent(cell).partition(" ±")
    return rf"{main}\,{{\tiny$\pm${escaped(half)}}}{'*' if cell.partial else ''}"


def _change(cell: Cell | None) -> str:
    change = None if cell is None else cell.change
    if change is None:
        return ""
    mark = r"\dag" if change.contaminated else ""
    return rf"{{\scriptsize${SIGN[change.verdict]}\;{{{change.estimate:+.1f}}}{mark}$}}"
