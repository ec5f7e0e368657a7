"""The model card of a checkpoint: metadata for the hub, results, training data by hash, recipe, how to reproduce it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kkwarm.reporting.markdown import escape, markdown_text
from kkwarm.schema.report import Cell, Report

_ACTIONS = {"distill": "Warm-up traces", "warmup": "Warm-up (SFT)", "rlvr": "RLVR (GRPO)"}
_STATES = {"gain": "gain", "loss": "loss", "tie": "tie", "underpowered": "underpowered"}


@dataclass(frozen=True, slots=True)
class Card:
    """What a model card is made from.

    :param name: the repository, USER/NAME.
    :param base: the checkpoint that training started from; `base_id`: its id on the hub, if it is there.
    :param stages: the runs that made the checkpoint, oldest first, as `kkwarm.exporters.push.describe_stage` returns
        them.
    :param report: the study, or bench runs; None: there are no results.
    :param condition: the row of the report that is this checkpoint; None: no row is. `seed`: its seed in a study.
    :param datasets: repositories of the training data on the hub.
    :param license: the hub's identifier of the licence; empty: none is named.
    """

    name: str
    base: str
    stages: Sequence[Mapping[str, Any]]
    report: Report | None = None
    condition: str | None = None
    seed: int | None = None
    base_id: str = ""
    datasets: Sequence[str] = ()
    license: str = ""
    adapter: bool = False

    @property
    def cells(self) -> Mapping[str, Cell]:
        """The checkpoint's results by domain."""
        return {} if self.report is None or self.condition is None else self.report.matrix.get(self.condition, {})

    def accuracy(self, cell: Cell) -> float:
        """The accuracy of this checkpoint, which is one seed of the condition."""
        return cell.by_seed[cell.seeds.index(self.seed)] if self.seed in cell.seeds else cell.accuracy


def card_text(card: Card) -> str:
    """The card: YAML metadata between lines of ``---``, then Markdown.

    :raises ValueError: the metadata is not valid.
    """
    sections = [_summary(card), *_results(card), *_training(card), *_contamination(card), *_reproduction(card)]
    return f"---\n{_metadata(card)}\n---\n\n# {escape(card.name.rpartition('/')[2])}\n\n" + "\n\n".join(sections) + "\n"


def _metadata(card: Card) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = []
    for domain, cell in card.cells.items():
        low, high = (100 * v for v in cell.ci)
        scope = f"95% interval {low:.1f} to {high:.1f}"
        if len(cell.seeds) > 1:
            scope += f" of the mean over {len(cell.seeds)} seeds"
        results.append(
            EvalResult(
                task_type="text-generation",
                dataset_type=domain,
                dataset_name=f"{domain} (kkwarm)",
                dataset_split="test",
                metric_type="accuracy",
                metric_name=f"accuracy in percent; {scope}",
                metric_value=round(100 * card.accuracy(cell), 2),
            )
        )
    data = ModelCardData(
        license=card.license or None,
        base_model=card.base_id or None,
        datasets=list(card.datasets) or None,
        library_name="peft" if card.adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["kkwarm", *(t for t, kind in (("sft", "warmup"), ("grpo", "rlvr")) if _of_kind(card, kind))],
        model_name=card.name.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _of_kind(card: Card, kind: str) -> list[Mapping[str, Any]]:
    return [stage for stage in card.stages if stage["kind"] == kind]


def _summary(card: Card) -> str:
    parts = []
    for stage in card.stages:
        data = stage["data"]
        if stage["kind"] == "warmup":
            parts.append(f"a warm-up (SFT on {data['count']:,} traces of {', '.join(data['domains'])})")
        elif stage["kind"] == "rlvr":
            parts.append(f"RLVR (GRPO on {data['count']:,} examples of {', '.join(data['domains'])})")
    version = card.stages[-1]["versions"].get("kkwarm", "")
    text = f"This checkpoint was made from {escape(card.base)} by {escape(' and '.join(parts))}, with kkwarm {version}."
    if card.condition is not None and card.report is not None:
        if card.seed is not None:
            text += f" In the study below it is seed {card.seed} of the condition **{escape(card.condition)}**."
        baseline = card.report.baseline(card.condition)
        verdicts = [(d, c.change) for d, c in card.cells.items() if c.change is not None]
        if baseline and verdicts:
            changes = "; ".join(f"{d} {c.estimate:+.1f} points, {_STATES[c.verdict]}" for d, c in verdicts)
            text += f" Compared with {escape(baseline)}: {escape(changes)}."
    return text


def _results(card: Card) -> Iterator[str]:
    if card.report is None:
        yield "## Results\n\nNo evaluation was stored with this checkpoint."
        return
    if card.cells:
        several = any(len(cell.seeds) > 1 for cell in card.cells.values())
        mean = " mean over seeds, % |" if several else ""
        rows = [f"| benchmark | questions | this checkpoint, % |{mean} 95% interval | protocol |"]
        rows.append(f"|---|---:|---:|{'---:|' if several else ''}---|---|")
        for domain, cell in card.cells.items():
            low, high = (100 * v for v in cell.ci)
            marks = ("†" if cell.contaminated else "") + ("‡" if cell.scoring else "")
            figures = f"{100 * card.accuracy(cell):.1f}{marks}"
            figures += f" | {100 * cell.accuracy:.1f}{marks}" if several else ""
            interval = f"{low:.1f} to {high:.1f}"
            rows.append(
                f"| {escape(domain)} | {cell.n:,} | {figures} | {interval} | {escape(cell.protocol or 'default')} |"
            )
        yield "## Results\n\n" + "\n".join(rows)
    yield "## Transfer matrix\n\n" + markdown_text(card.report, full=False)


def _training(card: Card) -> Iterator[str]:
    yield "## Training\n\nHashes are the first 16 digits of SHA-256. All settings are in `kkwarm/training.json`."
    for number, stage in enumerate(card.stages, 1):
        data = stage["data"]
        lines = [f"### {number}. {_ACTIONS[stage['kind']]}", ""]
        what = {"distill": "questions", "warmup": "traces", "rlvr": "examples"}[stage["kind"]]
        known = f", hash `{data['hash']}`" if data.get("hash") else ""
        lines.append(f"- Data: {data['count']:,} {what} of {escape(', '.join(data['domains']))}{known}")
        for name, entry in stage["unpinned"].items():
            lines.append(
                f"- ‡ {escape(name)} is not the published data: hash `{entry['content'][:16]}`, "
                f"published `{entry['pinned'][:16]}`"
            )
        lines += [f"- {label}: `{value}`" for label, value in stage["hashes"].items()]
        hardware = ", ".join(filter(None, (stage["hardware"], stage["precision"])))
        lines.append(f"- Software: {', '.join(f'{k} {v}' for k, v in stage['versions'].items())}")
        lines += [f"- Hardware: {escape(hardware)}"] if hardware else []
        lines += ["", "Settings other than the defaults:", "", "```yaml"]
        lines += [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in stage["changed"].items()]
        yield "\n".join([*lines, "```"])


def _contamination(card: Card) -> Iterator[str]:
    lines = []
    for stage in card.stages:
        compared = ", ".join(stage["compared_with"]) or "no benchmark"
        found = stage["contamination"]
        result = "; ".join(f"† {n} questions of {d}" for d, n in found.items()) if found else "no overlap"
        lines.append(f"- {_ACTIONS[stage['kind']]}: compared with {escape(compared)}: {escape(result)}")
        lines += [f"  - not compared: {escape(name)} ({escape(why)})" for name, why in stage["not_compared"].items()]
    method = "Training questions against evaluated questions, by text and near-duplicates:"
    yield "\n".join(["## Contamination check", "", method, "", *lines])


def _reproduction(card: Card) -> Iterator[str]:
    commands = list(dict.fromkeys(stage["command"] for stage in card.stages if stage["command"]))
    version = card.stages[-1]["versions"].get("kkwarm", "")
    lines = [f"pip install kkwarm=={version}" if version else "pip install kkwarm", *commands]
    if card.cells:
        cell = next(iter(card.cells.values()))
        each = max(1, round(cell.samples / (cell.n * len(cell.seeds))))
        counts = {cell.n for cell in card.cells.values()}
        limit = f" --limit {cell.n}" if len(counts) == 1 else ""
        lines.append(f"kkwarm bench {card.name} --on {','.join(card.cells)} --samples {each}{limit}")
    yield "## How to reproduce\n\n```bash\n" + "\n".join(lines) + "\n```"
    yield (
        "`kkwarm/report.json` holds every figure of this page, and `kkwarm/training.json` every setting. "
        "The hashes above tell whether the same data and weights were used."
    )
