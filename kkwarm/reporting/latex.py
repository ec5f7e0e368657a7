"""The matrix, pass@k and facets as LaTeX tables for a paper: booktabs, nothing else beyond LaTeX itself."""

from __future__ import annotations

from kkwarm.reporting.labels import (
    checkpoint_lines,
    contamination_lines,
    measured_lines,
    percent,
    scoring_lines,
    settings_lines,
    with_short_names,
)
from kkwarm.reporting.sanitize import sanitize
from kkwarm.reporting.sections import Section, tables
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
    """A table environment with the matrix; below each condition's accuracies its changes, and its baseline. Then one
    for each table of pass@k and facets.
    """
    report = with_short_names(report)
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
    lines += [r"\bottomrule", r"\end{tabular}", _caption(report), r"\end{table}"]
    return "\n".join([*lines, *(_table(t) for t in tables(report) if t.key in ("pass-at-k", "facets"))])


def _table(table: Section) -> str:
    """A table environment with a table of the report."""
    head = " & ".join(["", *(rf"{{\scriptsize {escaped(c)}}}" for c in table.columns)])
    rows = [" & ".join([escaped(row[0]), *map(_interval, row[1:])]) for row in table.rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{2pt}",
            rf"\begin{{tabular}}{{@{{}}l{'r' * len(table.columns)}@{{}}}}",
            r"\toprule",
            *(rf"{line} \\" + (r"\midrule" if n == 0 else "") for n, line in enumerate((head, *rows))),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{escaped(table.title)}.}}",
            r"\end{table}",
        ]
    )


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
    legend += "".join(f" {escaped(line)}." for line in (*checkpoint_lines(report)[:1], *measured_lines(report)))
    legend += "".join(f" Not compared: {escaped(p)}." for p in report.problems)
    legend += "".join(f" Measured differently: {escaped(line)}." for line in settings_lines(report))
    title = escaped(report.title)
    stop = "" if title.endswith((".", "?", "!")) else "."
    return rf"\caption{{{title}{stop}{state} {legend}}}"


def _accuracy(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    return _interval(percent(cell)) + ("*" if cell.partial else "")


def _interval(text: str) -> str:
    """``54.0 ±2.9`` with a small interval; other text as it is."""
    main, sign, half = text.partition(" ±")
    return rf"{main}\,{{\tiny$\pm${escaped(half)}}}" if sign else escaped(text)


def _change(cell: Cell | None) -> str:
    change = None if cell is None else cell.change
    if change is None:
        return ""
    mark = r"\dag" if change.contaminated else ""
    return rf"{{\scriptsize${SIGN[change.verdict]}\;{{{change.estimate:+.1f}}}{mark}$}}"
