"""The report as one HTML file that works offline: claims, matrix as a heat map, answers, curves, a sample browser.

Everything that a model or a plugin wrote is escaped: static parts by `html.escape`, samples as compressed data that the
page's script shows as text only. The content security policy of the page forbids every request.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from kkwarm.files import write_file
from kkwarm.reporting.figures import figures
from kkwarm.reporting.labels import (
    CONTAMINATED,
    HOLDS,
    LEGEND,
    STATUS_ORDER,
    alarm_lines,
    change_text,
    checkpoint_lines,
    corrected_p,
    cost_line,
    efficiency_title,
    evals_text,
    labels_text,
    measured_lines,
    metric_change_text,
    metric_names,
    metric_text,
    nothing_learned_lines,
    percent,
    points,
    reasoning_text,
    saved_text,
    warning_lines,
    with_short_names,
)
from kkwarm.reporting.samples import Packed, pack
from kkwarm.reporting.sections import tables
from kkwarm.reporting.svg import figure_svg, interval_svg
from kkwarm.schema.report import Cell, Report

_LINKS = {"claims": "Claims", "matrix": "Accuracy", "training": "Training", "flips": "Flips"}  # shorter than titles


def write_html(report: Report, paths: Sequence[Path], target: Path) -> None:
    """Writes the page for a report and the samples of its runs.

    :raises KkwarmError: the file cannot be written.
    """
    write_file(target, page_pieces(report, paths), follow=True)


def page_pieces(report: Report, paths: Sequence[Path]) -> list[str]:
    """The page in pieces of text. Parameters as in `write_html`."""
    packed, shown = pack(report, paths), with_short_names(report)
    packed.header["domains"] = list(shown.domains)
    return _page(shown, packed)


def style() -> str:
    """The page's style sheet."""
    return _part("page.css")


def _page(report: Report, packed: Packed) -> list[str]:
    """The page in pieces: blocks of samples are never copied into one string."""
    before, after = _part("page.html").split("$blocks")
    header = json.dumps(packed.header, separators=(",", ":")).replace("<", "\\u003c")
    sections = _sections(report)
    links = "".join(f'<a href="#{key}">{_LINKS.get(key, title)}</a>' for key, title, _ in sections)
    body = "\n".join(f'<section id="{key}"><h2>{title}</h2>{html}</section>' for key, title, html in sections)
    values = {
        "title": escape(report.title),
        "style": _part("page.css"),
        "script": _part("page.js"),
        "links": links + '<a href="#samples">Samples</a>',
        "head": _head(report, packed),
        "body": body,
        "header": header,
        "foot": _foot(report),
    }
    blocks = [("columns", packed.columns), *(("samples", b) for b in packed.samples)]
    blocks += [("questions", b) for b in packed.questions]
    data = [f'<script type="text/plain" data-block="{kind}">{block}</script>\n' for kind, block in blocks]
    return [Template(before).substitute(values), *data, Template(after).substitute(values)]


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _head(report: Report, packed: Packed) -> str:
    seeds = sorted({s for c in report.cells() for s in c.seeds if s is not None})
    facts = [
        f"{len(report.conditions)} condition{'' if len(report.conditions) == 1 else 's'}",
        f"{len(report.domains)} domain{'' if len(report.domains) == 1 else 's'}",
        f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}" if seeds else "",
        f"{packed.header['samples'] + packed.header['left_out']:,} samples",
    ]
    chips = "".join(f"<li>{escape(f)}</li>" for f in facts if f)
    banners = []
    if report.state != "done":
        at = report.progress
        done = f" ({at.done} of {at.steps} steps)" if at else ""
        banners.append(("unsure", f"In progress{done}: figures will change."))
    banners += [("loss", line) for line in nothing_learned_lines(report)]
    banners += [("loss" if wrong else "unsure", line) for line, wrong in warning_lines(report)]
    shown = "".join(f'<p class="banner {tone}">{escape(text)}</p>' for tone, text in banners)
    note = f'<p class="note">{escape(report.note)}</p>' if report.note else ""
    about = (*checkpoint_lines(report), *measured_lines(report), report.advice, cost_line(report))
    measured = "".join(f"<li>{escape(line)}.</li>" for line in about if line)
    how = f'<ul class="measured">{measured}</ul>' if measured else ""
    return f'<h1>{escape(report.title)}</h1><ul class="facts">{chips}</ul>{shown}{note}{how}'


def _sections(report: Report) -> list[tuple[str, str, str]]:
    """Id, title and HTML of the sections that are not empty."""
    images = "".join(map(figure_svg, figures(report)))
    curves = f'<div class="figures">{images}</div>' if images else ""
    sections = [
        ("claims", "The paper's claims", _claims(report)),
        ("matrix", "Accuracy and change", _matrix(report)),
        ("answers", "Answers", _answers(report)),
        ("metrics", "Metrics", _metrics(report)),
        ("efficiency", "Sample efficiency", curves + _examples_saved(report)),
        ("training", "Alarms and in-training evaluations", _training(report)),
        ("flips", "Questions gained and lost", _flips(report)),
        ("facets", "Facets", _plain(report, "facets")),
        ("pass-at-k", "pass@k", _plain(report, "pass-at-k")),
        ("cost", "Cost", _plain(report, "cost")),
        ("prompts", "Prompts", _prompts(report)),
    ]
    return [section for section in sections if section[2]]


def _plain(report: Report, key: str) -> str:
    """The tables of a section, as the terminal has them."""
    return "".join(
        f"<h3>{escape(t.title)}</h3>"
        + '<div class="scroll"><table class="plain evals"><thead><tr><td></td>'
        + "".join(f'<th scope="col">{escape(c)}</th>' for c in t.columns)
        + "</tr></thead><tbody>"
        + "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(c)}</td>" for c in row[1:])}</tr>'
            for row in t.rows
        )
        + "</tbody></table></div>"
        for t in tables(report)
        if t.key == key
    )


def _claims(report: Report) -> str:
    if not report.claims:
        return ""
    reach = max((abs(v) for c in report.claims for v in c.ci or ()), default=100.0) or 100.0
    cards = []
    for claim in report.claims:
        label, _ = HOLDS[claim.holds]
        interval = estimate = ""
        if claim.estimate is not None:
            estimate = f"<b>{claim.estimate:+.1f}</b> points"
            if claim.ci:
                low, high = claim.ci
                estimate += f' <span class="soft">[{low:+.1f}, {high:+.1f}]{corrected_p(claim)}</span>'
                interval = interval_svg(claim.estimate, low, high, report.margin, reach)
            estimate = f'<p class="estimate">{estimate} <span class="{claim.verdict}">{claim.verdict}</span></p>'
        cards.append(
            f'<article class="card {label.lower()}"><p class="verdict"><span>{claim.id}</span> {label}</p>'
            f"<h3>{escape(claim.text)}{CONTAMINATED if claim.contaminated else ''}</h3>{estimate}{interval}"
            f"<p class='soft'>{escape(claim.statement)}</p></article>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _matrix(report: Report) -> str:
    rows = [
        f"<tr>{_row_head(report, name)}{''.join(_cell(name, d, row.get(d)) for d in report.domains)}</tr>"
        for name, row in report.matrix.items()
    ]
    legend = escape(LEGEND)
    for tone, text in (("gain", "▲ gain"), ("loss", "▼ loss"), ("underpowered", "? underpowered")):
        legend = legend.replace(text, f'<span class="{tone}">{text}</span>')
    if report.comparisons:
        legend += ". Changes are against the baseline below each name, Holm-corrected"
    legend += ". Click a cell to see its samples."
    return f'{_table(report, rows, "heat")}<p class="soft">{legend}</p>'


def _table(report: Report, rows: Sequence[str], css: str) -> str:
    head = "".join(f'<th scope="col">{escape(d).replace(":", ":<wbr>")}</th>' for d in report.domains)
    return (
        f'<div class="scroll"><table class="{css}"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row_head(report: Report, name: str) -> str:
    baseline = report.baseline(name)
    versus = f"<small>against {escape(baseline)}</small>" if baseline else ""
    labels = labels_text(next((c.labels for c in report.conditions if c.name == name), {}), named=True)
    versus += f"<small>{escape(labels)}</small>" if labels else ""
    return f'<th scope="row">{escape(name)}{versus}</th>'


def _link(condition: str, domain: str, change: str = "") -> str:
    """The attributes by which the page's script shows a cell's samples."""
    filtered = f' data-change="{change}"' if change else ""
    return f'data-condition="{escape(condition)}" data-domain="{escape(domain)}"{filtered} tabindex="0"'


def _cell(condition: str, domain: str, cell: Cell | None) -> str:
    if cell is None:
        return '<td class="none">-</td>'
    change = cell.change
    text = ""
    if change is not None:
        low, high = (f"{v:+.1f}" for v in change.ci)
        p = change.p if change.p_holm is None else change.p_holm
        hint = f"{change.verdict}; 95% interval {low} to {high}; p = {p:.2g} after Holm ({change.test})"
        text = f'<small class="{change.verdict}" title="{escape(hint)}">{change_text(change)}</small>'
    by_seed = zip(cell.seeds, cell.by_seed, strict=True)
    seeds = ", ".join(points(v) if seed is None else f"seed {seed}: {points(v)}" for seed, v in by_seed)
    title = f"{cell.n:,} questions; {seeds}" + (f"; protocol {cell.protocol}" if cell.protocol else "")
    main, _, half = percent(cell).partition(" ")
    body = f'<b>{main}</b> <span class="half">{half}{"*" if cell.partial else ""}</span>{text}'
    heat = f"--a:{100 * cell.accuracy:.0f}%"
    return f'<td style="{heat}" title="{escape(title)}" {_link(condition, domain)}>{body}</td>'


def _metrics(report: Report) -> str:
    """A table for each metric of the samples, the reward among them."""

    def entry(cell: Cell | None) -> str:
        if cell is None or name not in cell.metrics:
            return '<td class="none">-</td>'
        change = metric_change_text(cell.change.metrics.get(name)) if cell.change is not None else ""
        below = f"<br><small>{change}</small>" if change else ""
        return f"<td>{metric_text(cell.metrics[name])}{below}</td>"

    parts = []
    for name in metric_names(report):
        shown = {c: row for c, row in report.matrix.items() if any(name in cell.metrics for cell in row.values())}
        rows = [
            f"<tr>{_row_head(report, c)}{''.join(entry(row.get(d)) for d in report.domains)}</tr>"
            for c, row in shown.items()
        ]
        parts.append(f"<h3>{escape(name)}</h3>{_table(report, rows, '')}")
    note = (
        "Mean over questions, and below it the paired difference from the baseline, in the metric's own unit, with 95% "
    )
    note += "intervals that are not corrected for the number of comparisons."
    return "".join(parts) + f'<p class="soft">{note}</p>' if parts else ""


def _answers(report: Report) -> str:
    """Statuses as bars, reasoning rate, accuracy with forced reasoning, and length."""
    rows = [
        f"<tr>{_row_head(report, name)}{''.join(_answer(row.get(d)) for d in report.domains)}</tr>"
        for name, row in report.matrix.items()
        if row
    ]
    if not rows:
        return ""
    present = {s for cell in report.cells() for s, count in cell.status.items() if count}
    keys = "".join(f'<span class="key s-{s}">{s}</span>' for s in STATUS_ORDER if s in present)
    legend = (
        f'<p class="keys">{keys}</p><p class="soft">reasoning: share of completions that reason before the answer; '
        "forced: accuracy with forced reasoning; tokens: median, and 95th percentile.</p>"
    )
    return _table(report, rows, "answers") + legend


def _answer(cell: Cell | None) -> str:
    if cell is None:
        return '<td class="none">-</td>'
    total = sum(cell.status.values())
    shares = {s: cell.status[s] / total for s in STATUS_ORDER if cell.status.get(s)}
    title = ", ".join(f"{s} {100 * v:.1f}% ({cell.status[s]:,})" for s, v in shares.items())
    bar = "".join(f'<i class="s-{s}" style="flex:{v:.5f}"></i>' for s, v in shares.items())
    facts = [f"{s} {100 * v:.1f}%" for s, v in shares.items() if s not in ("correct", "wrong") and v >= 0.0005]
    facts += [f"{name} {t}" for name, t in zip(("reasoning", "forced"), reasoning_text(cell), strict=True) if t]
    if cell.lengths:
        facts.append("tokens {:g}–{:g}".format(*(round(v) for v in cell.lengths)))
    details = "".join(f"<small>{f}</small>" for f in facts)
    return f'<td title="{escape(title)}"><div class="bar">{bar}</div>{details}</td>'


def _examples_saved(report: Report) -> str:
    parts = []
    for entry in report.efficiency:
        rows = "".join(
            f'<tr><th scope="row">{row.examples}</th><td>{100 * row.level:.1f}</td>'
            + "".join(f"<td>{text}</td>" for text in saved_text(row))
            + f'<td class="{_TONE[row.verdict]}">{row.verdict}</td></tr>'
            for row in entry.saved
        )
        head = "<th>examples</th><th>base reaches</th><th>base needs</th><th>warmed needs</th><th>saved</th>"
        title = f"<h3>{escape(efficiency_title(report, entry))}</h3>"
        parts.append(
            f'{title}<div class="scroll"><table class="plain"><tr>{head}<th>95% interval</th><th></th></tr>{rows}'
            "</table></div><p class='soft'>Examples that each start needs for the accuracy that the base reaches, "
            "interpolated on monotone curves; intervals by a bootstrap of questions and seeds.</p>"
        )
    return "".join(parts)


def _training(report: Report) -> str:
    """Alarms of training runs, and the first and last in-training evaluation."""
    lines = "".join(f"<li>{escape(line)}</li>" for line in alarm_lines(report))
    alarms = f'<ul class="alarms">{lines}</ul>' if lines else ""
    domains, rows = evals_text(report)
    if not rows:
        return alarms
    head = "".join(f'<th scope="col">{escape(d)}</th>' for d in domains)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{end}</td>" for end in ends)}</tr>'
        for name, ends in rows
    )
    legend = "Percent correct at the first and the last in-training evaluation; mean over seeds."
    table = f'<table class="plain evals"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'{alarms}<div class="scroll">{table}</div><p class="soft">{legend}</p>'


_TONE = {"saves": "gain", "costs": "loss", "undecided": "underpowered"}


def _flips(report: Report) -> str:
    rows = []
    for name, row in report.matrix.items():
        if any(cell.change for cell in row.values()):
            cells = "".join(_flip(name, d, row.get(d)) for d in report.domains)
            rows.append(f"<tr>{_row_head(report, name)}{cells}</tr>")
    if not rows:
        return ""
    legend = (
        "Questions that only this condition (+), and that only its baseline (−) answers correctly, by the majority of "
        "samples over all seeds. Click a number to see the samples."
    )
    return f'{_table(report, rows, "flips")}<p class="soft">{legend}</p>'


def _flip(condition: str, domain: str, cell: Cell | None) -> str:
    change = None if cell is None else cell.change
    if change is None:
        return '<td class="none">-</td>'
    spans = " ".join(
        f'<span class="{tone}" {_link(condition, domain, kind)}>{sign}{count}</span>'
        for kind, tone, sign, count in (("gained", "gain", "+", change.gained), ("lost", "loss", "−", change.lost))
    )
    return f"<td>{spans}</td>"


def _prompts(report: Report) -> str:
    """One prompt of each domain and protocol, folded."""
    return "".join(
        f"<details><summary>{escape(p.domain)}{f', protocol {escape(p.protocol)}' if p.protocol else ''} "
        f'<span class="soft">({escape(p.id)}; {escape(", ".join(p.conditions))})</span></summary>'
        f"<pre>{escape(p.text)}</pre></details>"
        for p in report.prompts
    )


def _foot(report: Report) -> str:
    p = report.provenance
    environment = p.get("environment", {})
    facts = [p.get("created", ""), environment.get("platform", ""), environment.get("processor", "")]
    facts += environment.get("gpu", [])
    facts += [f"{name} {version}" for name, version in environment.get("versions", {}).items()]
    facts += [f"evaluation version {p['evaluation_version']}"] if "evaluation_version" in p else []
    facts += [f"settings {p['config_hash']}"] if "config_hash" in p else []
    lines = (f"{report.method}.", " · ".join(str(f) for f in facts if f))
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
