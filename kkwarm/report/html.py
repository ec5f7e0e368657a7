"""The report as one HTML file that works offline: matrix as a heat map, curves, claims, and a browser of samples.

Everything that a model or a plugin wrote is escaped: static parts by `html.escape`, samples as JSON data that the
page's script shows as text only. The page's content policy forbids every request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.report.load import format_of, steps_of
from kkwarm.report.svg import curves_svg
from kkwarm.report.terminal import HOLDS, LEAKED, STATUS_ORDER, change_text, percent
from kkwarm.store import Run
from kkwarm.transfer.cells import FORCED
from kkwarm.types import Format, Sample

__all__ = ["write_html"]

MAX_SAMPLES = 60_000  # some 60 MB of page; beyond that it opens too slowly
Document = Mapping[str, Any]


def write_html(document: Document, paths: Sequence[Path], target: Path) -> None:
    """Writes the page for a report's document and the samples of its runs.

    :raises KkwarmError: the file cannot be written.
    """
    template = Template(Path(__file__).with_name("page.html").read_text("utf-8"))
    data = json.dumps(_samples(document, paths), separators=(",", ":")).replace("<", "\\u003c")
    page = template.substitute(title=escape(document["title"]), body=_body(document), data=data)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, "utf-8")
    except OSError as err:
        raise KkwarmError(f"{target} cannot be written: {err.strerror}") from None


# -- static parts ------------------------------------------------------------------------------------------------------


def _body(document: Document) -> str:
    state = "" if document["state"] == "done" else '<p class="tag underpowered">In progress: figures will change.</p>'
    note = f'<p class="note">{escape(document["note"])}</p>' if document["note"] else ""
    leaks = "".join(
        f'<p class="loss">{LEAKED} Leak: {escape(k["condition"])} was trained on {k["questions"]} questions of '
        f"{escape(k['domain'])}</p>"
        for k in document["leaks"]
    )
    problems = leaks + "".join(f'<p class="underpowered">Not compared: {escape(p)}</p>' for p in document["problems"])
    p = document["provenance"]
    environment = p.get("environment", {})
    facts = [p.get("created", ""), environment.get("processor", ""), *environment.get("gpu", [])]
    facts += [f"{name} {version}" for name, version in environment.get("versions", {}).items()]
    provenance = escape(" · ".join(f for f in facts if f))
    return "\n".join(
        [
            f"<h1>{escape(document['title'])}</h1>{state}{note}",
            f"<h2>Accuracy (percent ± 95% interval) and change</h2>{_matrix(document)}{problems}",
            _works(document),
            _claims(document),
            *(_curves(document, roles) for roles in document["roles"]),
            f"<h2>Provenance</h2><p class='soft'>{escape(document['method'])}.<br>{provenance}</p>",
        ]
    )


def _matrix(document: Document) -> str:
    against = {c["name"]: c["against"] for c in document["conditions"]}
    head = "".join(f"<th>{escape(d)}</th>" for d in document["domains"])
    rows = []
    for name, row in document["matrix"].items():
        versus = f"<small>against {escape(against[name])}</small>" if against[name] else ""
        cells = "".join(_cell(row.get(d)) for d in document["domains"])
        rows.append(f"<tr><td><b>{escape(name)}</b>{versus}</td>{cells}</tr>")
    return f'<div class="scroll"><table class="heat"><tr><th>condition</th>{head}</tr>{"".join(rows)}</table></div>'


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "<td>-</td>"
    change = cell["change"]
    text = ""
    if change is not None:
        low, high = (f"{100 * v:+.1f}" for v in change["ci"])
        test = f"p = {change['p_holm']:.2g} after Holm ({change['test']})"
        hint = f"{change['verdict']}; 95% interval {low} to {high}; {test}"
        mark = change_text(change)
        text = f'<small class="{change["verdict"]}" title="{escape(hint)}">{mark}</small>'
    counts = ", ".join(f"{s} {cell['status'][s]}" for s in STATUS_ORDER if cell["status"].get(s))
    title = f"{cell['n']} questions, seeds {', '.join(map(str, cell['seeds']))}; {counts}"
    heat = f"--a:{0.55 * cell['accuracy']:.2f}"
    return f'<td style="{heat}" title="{escape(title)}">{percent(cell)}{"*" if cell["partial"] else ""}{text}</td>'


def _works(document: Document) -> str:
    rows = []
    for name, row in document["matrix"].items():
        cells = []
        for domain in document["domains"]:
            cell = row.get(domain)
            works = "-" if cell is None or cell["works"] is None else f"{cell['works']:.2f}"
            forced = "" if cell is None or not cell["forced"] else f" / {100 * cell['forced']['accuracy']:.1f}"
            leaked = LEAKED if forced and cell is not None and cell.get("leaked") else ""
            cells.append(f"<td>{works}{forced}{leaked}</td>")
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(d)}</th>" for d in document["domains"])
    title = "<h2>P(works step by step) / accuracy when forced to</h2>"
    return f'{title}<div class="scroll"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _claims(document: Document) -> str:
    if not document["claims"]:
        return ""
    rows = []
    for claim in document["claims"]:
        word, _ = HOLDS[claim["holds"]]
        estimate = "" if claim["estimate"] is None else f"{100 * claim['estimate']:+.1f}"
        ci = "" if not claim["ci"] else f"[{100 * claim['ci'][0]:+.1f}, {100 * claim['ci'][1]:+.1f}]"
        rows.append(
            f"<tr><td>{claim['id']}</td><td class='tag {word.lower()}'>{word}</td><td>{escape(claim['text'])}"
            f"{LEAKED if claim.get('leaked') else ''}"
            f"<br><small>{escape(claim['says'])}</small></td><td>{estimate} {ci}</td>"
            f"<td class='{claim['verdict']}'>{claim['verdict']}</td></tr>"
        )
    return f'<h2>The paper\'s claims</h2><div class="scroll"><table class="left">{"".join(rows)}</table></div>'


def _curves(document: Document, roles: Mapping[str, str]) -> str:
    drawn = curves_svg(document["curves"], (roles["base_rlvr"], roles["warmed_rlvr"]))
    if not drawn:
        return ""
    return f"<h2>Reward of RLVR on {escape(roles['on'])}: each seed and their mean, 5-step running mean</h2>{drawn}"


# -- samples -----------------------------------------------------------------------------------------------------------


def _samples(document: Document, paths: Sequence[Path]) -> dict[str, Any]:
    """The browser's data. Rows name conditions, domains, questions and statuses by their place in lists."""
    conditions = [c["name"] for c in document["conditions"]]
    domains = list(document["domains"])
    questions: dict[str, int] = {}
    rows: list[list[Any]] = []
    left_out = 0
    formats: dict[str, Format | None] = {}
    for condition, seed, sample in _stored(conditions, paths):
        if sample.benchmark.endswith(FORCED) or sample.benchmark not in domains:
            continue
        if len(rows) >= MAX_SAMPLES:
            left_out += 1
            continue
        if sample.benchmark not in formats:
            formats[sample.benchmark] = format_of(sample.benchmark)
        fmt = formats[sample.benchmark]
        reasoning = "" if fmt is None else fmt.split(sample.completion).reasoning
        question = questions.setdefault(sample.id, len(questions))
        rows.append(
            [
                conditions.index(condition), domains.index(sample.benchmark), seed, question, sample.index,
                STATUS_ORDER.index(sample.verdict.status.value), sample.verdict.answer, sample.verdict.reason,
                reasoning, sample.completion.text, sample.completion.n_tokens,
            ]
        )  # fmt: skip
    places = {name: i for i, name in enumerate(conditions)}
    return {
        "conditions": conditions,
        "domains": domains,
        "statuses": list(STATUS_ORDER),
        "questions": list(questions),
        "against": [places.get(c["against"]) for c in document["conditions"]],
        "prompts": _prompts(domains, questions),
        "samples": rows,
        "left_out": left_out,
    }


def _stored(conditions: Sequence[str], paths: Sequence[Path]) -> Iterator[tuple[str, int, Sample]]:
    first = Run.read(paths[0])
    if first.manifest["kind"] != "study":
        for condition, path in zip(conditions, paths, strict=True):
            for sample in Run.read(path).samples():
                yield condition, 0, sample
        return
    for condition, seeds in steps_of(first)["rows"].items():
        for seed, parts in seeds.items():
            folder = first.path / "steps" / parts["bench"]
            if (folder / "manifest.json").exists():
                for sample in Run.read(folder).samples():
                    yield condition, int(seed), sample


def _prompts(domains: Sequence[str], questions: Mapping[str, int]) -> dict[str, str]:
    """Question texts, from the benchmarks that are installed and whose data is here; the others show their ids only."""
    from kkwarm.plugins import registry

    found: dict[str, str] = {}
    for number, domain in enumerate(domains):
        try:
            examples = list(registry().benchmark(domain).load())
        except KkwarmError:
            continue
        found |= {f"{number}|{questions[e.id]}": e.question for e in examples if e.id in questions}
    return found
