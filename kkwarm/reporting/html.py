"""The report as one HTML file that works offline: claims, matrix as a heat map, answers, curves, a browser of samples.

Everything that a model or a plugin wrote is escaped: static parts by `html.escape`, samples as compressed data that the
page's script shows as text only. The page's content policy forbids every request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.reporting.figures import figures
from kkwarm.reporting.samples import Packed, pack
from kkwarm.reporting.svg import figure_svg, interval_svg
from kkwarm.reporting.terminal import (
    HOLDS,
    LEAKED,
    STATUS_ORDER,
    change_text,
    efficiency_title,
    percent,
    saved_text,
    works_text,
)
from kkwarm.reporting.training import alarm_lines, differs_lines, watched
from kkwarm.study.progress import duration

__all__ = ["write_html"]

Document = Mapping[str, Any]


def write_html(document: Document, paths: Sequence[Path], target: Path) -> None:
    """Writes the page for a report's document and the samples of its runs.

    :raises KkwarmError: the file cannot be written.
    """
    page = _page(document, pack(document, paths))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", encoding="utf-8") as out:
            out.writelines(page)
    except OSError as err:
        raise KkwarmError(f"{target} cannot be written: {err.strerror}") from None


def _page(document: Document, packed: Packed) -> list[str]:
    """The page in pieces: the blocks of samples are written as they are, never copied into one string."""
    before, after = _part("page.html").split("$blocks")
    header = json.dumps(packed.header, separators=(",", ":")).replace("<", "\\u003c")
    sections = _sections(document)
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections)
    body = "\n".join(f'<section id="{key}"><h2>{title}</h2>{made}</section>' for key, title, made in sections)
    values = {
        "title": escape(document["title"]),
        "style": _part("page.css"),
        "script": _part("page.js"),
        "links": links + '<a href="#samples">Samples</a>',
        "head": _head(document, packed),
        "body": body,
        "header": header,
        "foot": _foot(document),
    }
    blocks = [("columns", packed.columns), *(("samples", b) for b in packed.samples)]
    blocks += [("questions", b) for b in packed.questions]
    data = [f'<script type="text/plain" data-block="{kind}">{block}</script>\n' for kind, block in blocks]
    return [Template(before).substitute(values), *data, Template(after).substitute(values)]


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


# -- sections ----------------------------------------------------------------------------------------------------------


def _head(document: Document, packed: Packed) -> str:
    p = document["provenance"]
    environment = p.get("environment", {})
    cells = [cell for row in document["matrix"].values() for cell in row.values()]
    seeds = max((len(c["seeds"]) for c in cells), default=0)
    facts = [
        f"{len(document['conditions'])} conditions",
        f"{len(document['domains'])} domains",
        f"{seeds} seed{'s' if seeds != 1 else ''}",
        f"{packed.header['samples'] + packed.header['left_out']:,} samples",
        p.get("created", "")[:10],
        duration(p["wall_s"]) if "wall_s" in p else "",
        ", ".join(environment.get("gpu", [])) or environment.get("processor", ""),
    ]
    chips = "".join(f"<li>{escape(f)}</li>" for f in facts if f)
    said = []
    if document["state"] != "done":
        at = document["progress"]
        done = f" ({at['done']} of {at['steps']} steps)" if at else ""
        said.append(f'<p class="banner unsure">In progress{done}: figures will change.</p>')
    for k in document["contamination"]:
        overlap = f"{k['condition']} was trained on {k['questions']} questions of {k['domain']}"
        said.append(f'<p class="banner loss">{LEAKED} Leak: {escape(overlap)}</p>')
    said += [f'<p class="banner unsure">Not compared: {escape(p)}</p>' for p in document["problems"]]
    said += [f'<p class="banner unsure">Not measured alike: {escape(d)}</p>' for d in differs_lines(document)]
    note = f'<p class="note">{escape(document["note"])}</p>' if document["note"] else ""
    return f'<h1>{escape(document["title"])}</h1><ul class="facts">{chips}</ul>{"".join(said)}{note}'


def _sections(document: Document) -> list[tuple[str, str, str]]:
    """Those that have something to show: id, title, HTML."""
    drawn = "".join(map(figure_svg, figures(document)))
    curves = f'<div class="figures">{drawn}</div>' if drawn else ""
    made = [
        ("claims", "The paper's claims", _claims(document)),
        ("matrix", "Accuracy and change", _matrix(document)),
        ("answers", "How they answer", _answers(document)),
        ("efficiency", "Sample efficiency", curves + _saved(document)),
        ("training", "Alarms and in-training evaluations", _training(document)),
        ("flips", "Where answers flipped", _flips(document)),
    ]  # fmt: skip
    return [section for section in made if section[2]]


def _claims(document: Document) -> str:
    if not document["claims"]:
        return ""
    reach = max((abs(v) for c in document["claims"] for v in c["ci"] or ()), default=1.0) or 1.0
    cards = []
    for claim in document["claims"]:
        word, _ = HOLDS[claim["holds"]]
        drawn = figure = ""
        if claim["estimate"] is not None:
            figure = f"<b>{100 * claim['estimate']:+.1f}</b> points"
            if claim["ci"]:
                low, high = claim["ci"]
                figure += f' <span class="soft">[{100 * low:+.1f}, {100 * high:+.1f}]</span>'
                drawn = interval_svg(claim["estimate"], low, high, document["margin"], reach)
            figure = f'<p class="estimate">{figure} <span class="{claim["verdict"]}">{claim["verdict"]}</span></p>'
        cards.append(
            f'<article class="card {word.lower()}"><p class="word"><span>{claim["id"]}</span> {word}</p>'
            f"<h3>{escape(claim['text'])}{LEAKED if claim.get('leaked') else ''}</h3>{figure}{drawn}"
            f"<p class='soft'>{escape(claim['says'])}</p></article>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _matrix(document: Document) -> str:
    rows = [
        f"<tr>{_row_head(document, name)}{''.join(_cell(name, d, row.get(d)) for d in document['domains'])}</tr>"
        for name, row in document["matrix"].items()
    ]
    key = (
        "percent ± 95% interval; change in points against the row named under each, Holm-corrected: "
        '<span class="gain">▲ gain</span> <span class="loss">▼ loss</span> <span>= tie</span> '
        '<span class="underpowered">? underpowered</span>. A cell opens its samples.'
    )
    return f'{_table(document, rows, "heat")}<p class="soft">{key}</p>'


def _table(document: Document, rows: Sequence[str], css: str) -> str:
    head = "".join(f'<th scope="col">{escape(d).replace(":", ":<wbr>")}</th>' for d in document["domains"])
    return (
        f'<div class="scroll"><table class="{css}"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row_head(document: Document, name: str) -> str:
    against = next(c["baseline"] for c in document["conditions"] if c["name"] == name)
    versus = f"<small>against {escape(against)}</small>" if against else ""
    return f'<th scope="row">{escape(name)}{versus}</th>'


def _opens(condition: str, domain: str, change: str = "") -> str:
    """The attributes by which the page's script shows a cell's samples."""
    pressed = f' data-change="{change}"' if change else ""
    return f'data-condition="{escape(condition)}" data-domain="{escape(domain)}"{pressed} tabindex="0"'


def _cell(condition: str, domain: str, cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return '<td class="none">-</td>'
    change = cell["change"]
    text = ""
    if change is not None:
        low, high = (f"{100 * v:+.1f}" for v in change["ci"])
        test = f"p = {change['p_holm']:.2g} after Holm ({change['test']})"
        hint = f"{change['verdict']}; 95% interval {low} to {high}; {test}"
        text = f'<small class="{change["verdict"]}" title="{escape(hint)}">{change_text(change)}</small>'
    seeds = ", ".join(f"{100 * v:.1f}" for v in cell["by_seed"])
    title = f"{cell['n']} questions; by seed {seeds}"
    main, _, half = percent(cell).partition(" ")
    shown = f'<b>{main}</b> <span class="half">{half}{"*" if cell["partial"] else ""}</span>{text}'
    heat = f"--a:{100 * cell['accuracy']:.0f}%"
    return f'<td style="{heat}" title="{escape(title)}" {_opens(condition, domain)}>{shown}</td>'


def _answers(document: Document) -> str:
    """Statuses as bars; how often a completion shows work, what it does when forced to, and its length."""
    rows = [
        f"<tr>{_row_head(document, name)}{''.join(_answer(row.get(d)) for d in document['domains'])}</tr>"
        for name, row in document["matrix"].items()
        if row
    ]
    if not rows:
        return ""
    present = {s for row in document["matrix"].values() for c in row.values() for s in c["status"] if c["status"][s]}
    keys = "".join(f'<span class="key s-{s}">{s}</span>' for s in STATUS_ORDER if s in present)
    legend = (
        f'<p class="keys">{keys}</p><p class="soft">works: share of completions that show work; forced: accuracy when '
        "made to; tok: median tokens, and 95th percentile.</p>"
    )
    return _table(document, rows, "answers") + legend


def _answer(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return '<td class="none">-</td>'
    total = sum(cell["status"].values())
    shares = {s: cell["status"][s] / total for s in STATUS_ORDER if cell["status"].get(s)}
    title = ", ".join(f"{s} {100 * v:.1f}% ({cell['status'][s]:,})" for s, v in shares.items())
    bar = "".join(f'<i class="s-{s}" style="flex:{v:.5f}"></i>' for s, v in shares.items())
    facts = [f"{s} {100 * v:.1f}%" for s, v in shares.items() if s not in ("correct", "wrong") and v >= 0.0005]
    facts += [f"{name} {text}" for name, text in zip(("works", "forced"), works_text(cell), strict=True) if text]
    if cell["lengths"]:
        facts.append("tok {:g}–{:g}".format(*(round(v) for v in cell["lengths"])))
    said = "".join(f"<small>{f}</small>" for f in facts)
    return f'<td title="{escape(title)}"><div class="bar">{bar}</div>{said}</td>'


def _saved(document: Document) -> str:
    parts = []
    for entry in document.get("efficiency", ()):
        rows = "".join(
            f'<tr><th scope="row">{row["examples"]}</th><td>{100 * row["level"]:.1f}</td>'
            + "".join(f"<td>{text}</td>" for text in saved_text(row))
            + f'<td class="{_TONE[row["verdict"]]}">{row["verdict"]}</td></tr>'
            for row in entry["saved"]
        )
        head = "<th>examples</th><th>base reaches</th><th>base needs</th><th>warmed needs</th><th>saved</th>"
        title = f"<h3>{escape(efficiency_title(document, entry))}</h3>"
        parts.append(
            f'{title}<div class="scroll"><table class="plain"><tr>{head}<th>95% interval</th><th></th></tr>{rows}'
            "</table></div><p class='soft'>What each start needs for the accuracy that the base reaches, interpolated "
            "on monotone curves; intervals by resampling questions and seeds. A bound that is not reached says so.</p>"
        )
    return "".join(parts)


def _training(document: Document) -> str:
    """Alarms of training runs, and what the in-training evaluation saw at its first and last step."""
    alarms = "".join(f"<li>{escape(line)}</li>" for line in alarm_lines(document))
    made = f'<ul class="alarms">{alarms}</ul>' if alarms else ""
    domains, rows = watched(document)
    if not rows:
        return made
    head = "".join(f'<th scope="col">{escape(d)}</th>' for d in domains)
    body = ""
    for row in rows:
        ends = ["{:.0f} → {:.0f}".format(*(100 * v for v in row.ends[d])) if d in row.ends else "-" for d in domains]
        body += f'<tr><th scope="row">{escape(row.name)}</th>{"".join(f"<td>{end}</td>" for end in ends)}</tr>'
    words = (
        "Percent correct of the watched questions at the first and the last in-training evaluation; mean over seeds."
    )
    table = f'<table class="plain watched"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'{made}<div class="scroll">{table}</div><p class="soft">{words}</p>'


_TONE = {"saves": "gain", "costs": "loss", "undecided": "underpowered"}


def _flips(document: Document) -> str:
    rows = []
    for name, row in document["matrix"].items():
        if not any(cell["change"] for cell in row.values()):
            continue
        rows.append(f"<tr>{_row_head(document, name)}")
        rows += [_flip(name, d, row.get(d)) for d in document["domains"]]
        rows.append("</tr>")
    if not rows:
        return ""
    words = (
        "Questions that only this row answers, and that only the row it is compared with does: by the majority of its "
        "samples over all seeds. A number opens the samples that say so."
    )
    return f'{_table(document, rows, "flips")}<p class="soft">{words}</p>'


def _flip(condition: str, domain: str, cell: Mapping[str, Any] | None) -> str:
    change = None if cell is None else cell["change"]
    if change is None:
        return '<td class="none">-</td>'
    shown = " ".join(
        f'<span class="{tone}" {_opens(condition, domain, kind)}>{sign}{change[kind]}</span>'
        for kind, tone, sign in (("gained", "gain", "+"), ("lost", "loss", "−"))
    )
    return f"<td>{shown}</td>"


def _foot(document: Document) -> str:
    p = document["provenance"]
    environment = p.get("environment", {})
    facts = [p.get("created", ""), environment.get("platform", ""), environment.get("processor", "")]
    facts += environment.get("gpu", [])
    facts += [f"{name} {version}" for name, version in environment.get("versions", {}).items()]
    facts += [f"protocol {p['protocol']}"] if "protocol" in p else []
    facts += [f"settings {p['config_hash']}"] if "config_hash" in p else []
    advice = f"<p>{escape(document['advice'])}.</p>" if document["advice"] else ""
    return f"{advice}<p>{escape(document['method'])}.</p><p>{escape(' · '.join(str(f) for f in facts if f))}</p>"
