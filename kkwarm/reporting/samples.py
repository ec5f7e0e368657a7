"""The samples of a report, packed for its page: columns that filters need at once, and texts in compressed blocks that
are decompressed when they are shown or searched. Everything is base64 or escaped JSON, so it cannot contain markup.
"""

from __future__ import annotations

import base64
import json
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kkwarm.analysis.cells import FORCED, ProtocolOf
from kkwarm.analysis.load import run_protocols, run_seed, study_plan
from kkwarm.errors import KkwarmError
from kkwarm.protocols import PromptOptions, make_renderer, prompt_hash
from kkwarm.schema.report import Report, replace_surrogates
from kkwarm.store import Run
from kkwarm.types import Example, Protocol, Sample, Status

BLOCK = 256  # samples, or questions, in one compressed block
MAX_SAMPLES = 200_000  # about 100 MB; more are left out
UNKNOWN = 2**32 - 1
# Name and array type code of each column; stored in this order, each aligned to 4 bytes.
COLUMNS = (
    ("question", "I"), ("tokens", "I"), ("index", "H"), ("seed", "H"), ("condition", "H"), ("domain", "H"),
    ("status", "B"),
)  # fmt: skip
STATUSES = tuple(s.value for s in Status)


@dataclass(frozen=True, slots=True)
class Packed:
    """`header`: JSON data; `columns`: one compressed block of all columns; `samples` and `questions`: blocks of texts.

    Blocks are base64 of zlib. A block of samples is a JSON list of ``[text, answer, reason, start, end]``: the
    reasoning is ``text[start:end]`` in UTF-16 units; one of questions, of ``[id, question, reference]``.
    """

    header: dict[str, Any]
    columns: str
    samples: list[str]
    questions: list[str]


@dataclass(slots=True)
class _Writer:
    """Compresses rows as they are added, so that a large run is never in memory twice."""

    blocks: list[str] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)

    def add(self, row: Any) -> None:
        self.rows.append(row)
        if len(self.rows) == BLOCK:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.blocks.append(_compress(json.dumps(self.rows, separators=(",", ":")).encode()))
            self.rows = []


def pack(report: Report, paths: Sequence[Path]) -> Packed:
    """The samples of a report, from its runs; without those of prompts that force reasoning.

    :raises KkwarmError: a run's samples are damaged.
    """
    conditions = {c.name: i for i, c in enumerate(report.conditions)}
    domains = {name: i for i, name in enumerate(report.domains)}
    columns = {name: array(code) for name, code in COLUMNS}
    seeds: dict[int | None, int] = {}
    questions: dict[tuple[int, str], int] = {}
    hashes: dict[tuple[str, str], dict[str, str]] = {}
    protocols: dict[tuple[str, str], Protocol | None] = {}
    texts = _Writer()
    left_out = 0
    for condition, seed, sample, protocol_of in _stored_samples(list(conditions), paths):
        name = replace_surrogates(sample.benchmark)
        if name.endswith(FORCED) or name not in domains:
            continue
        if len(columns["status"]) >= MAX_SAMPLES:
            left_out += 1
            continue
        if (condition, name) not in protocols:
            protocols[condition, name] = protocol_of(name)
        domain = domains[name]
        question = questions.setdefault((domain, sample.id), len(questions))
        hashes.setdefault((condition, name), {})[sample.id] = sample.prompt_hash
        tokens = sample.completion.n_tokens
        row = (
            question, UNKNOWN if tokens is None else tokens, sample.index, seeds.setdefault(seed, len(seeds)),
            conditions[condition], domain, STATUSES.index(sample.verdict.status.value),
        )  # fmt: skip
        for (column, _), value in zip(COLUMNS, row, strict=True):
            columns[column].append(value)
        texts.add(_text(sample, protocols[condition, name]))
    texts.flush()
    examples = {domain: _examples(domain) for domain in domains}
    frames = {key: _prompt_frame(protocols[key], examples[key[1]], own) for key, own in hashes.items()}
    header = {
        "conditions": list(conditions),
        "baseline": [conditions.get(c.baseline or "") for c in report.conditions],
        "domains": list(domains),
        "statuses": list(STATUSES),
        "seeds": list(seeds),
        "prompts": [[frames.get((condition, domain)) for domain in domains] for condition in conditions],
        "questions": len(questions),
        "samples": len(columns["status"]),
        "block": BLOCK,
        "columns": [[name, columns[name].itemsize] for name, _ in COLUMNS],
        "left_out": left_out,
    }
    packed = _compress(b"".join(_aligned(columns[name]) for name, _ in COLUMNS))
    return Packed(header, packed, texts.blocks, _questions(list(domains), examples, questions))


def _compress(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode("ascii")


def _aligned(column: array[int]) -> bytes:
    import sys

    if sys.byteorder == "big":
        column = array(column.typecode, column)
        column.byteswap()
    data = column.tobytes()
    return data + b"\0" * (-len(data) % 4)


def _text(sample: Sample, protocol: Protocol | None) -> list[Any]:
    text: Any = sample.completion.text
    if not isinstance(text, str):  # scored files may hold null or any JSON value
        return [json.dumps(text), sample.verdict.answer, sample.verdict.reason, 0, 0]
    start = end = 0
    if sample.completion.reasoning:  # stored separately
        text = f"{sample.completion.reasoning}\n\n{text}"
    reasoning = protocol.split(sample.completion).reasoning if protocol is not None else ""
    if reasoning and (position := text.find(reasoning)) >= 0:
        start = _utf16_length(text[:position])
        end = start + _utf16_length(reasoning)
    return [text, sample.verdict.answer, sample.verdict.reason, start, end]


def _utf16_length(text: str) -> int:
    """Length in UTF-16 code units, as a browser counts."""
    return len(text) + sum(1 for c in text if c > "\uffff") if not text.isascii() else len(text)


def _stored_samples(
    conditions: Sequence[str], paths: Sequence[Path]
) -> Iterator[tuple[str, int | None, Sample, ProtocolOf]]:
    first = Run.read(paths[0])
    if first.manifest.kind != "study":
        for condition, path in zip(conditions, paths, strict=True):
            run = Run.read(path)
            protocol_of = run_protocols(run)
            seed = run_seed(run)
            for sample in run.samples():
                yield condition, seed, sample, protocol_of
        return
    for condition, seeds in study_plan(first).rows.items():
        for number, parts in seeds.items():
            folder = first.path / "steps" / parts["bench"]
            if (folder / "manifest.json").exists():
                run = Run.read(folder)
                protocol_of = run_protocols(run)
                for sample in run.samples():
                    yield condition, int(number), sample, protocol_of


def _questions(
    domains: Sequence[str],
    examples: Mapping[str, Mapping[str, Example]],
    questions: Mapping[tuple[int, str], int],
) -> list[str]:
    """Blocks of questions. Texts come from installed benchmarks whose data is available; other questions are shown by
    their ids only.
    """
    writer = _Writer()
    for domain, id_ in questions:
        example = examples[domains[domain]].get(id_)
        writer.add([id_, *([example.question, _reference(example)] if example is not None else [None, None])])
    writer.flush()
    return writer.blocks


def _examples(domain: str) -> dict[str, Example]:
    from kkwarm.plugins import registry

    try:
        return {e.id: e for e in registry().benchmark(domain, from_run=True).load_all()}
    except KkwarmError:
        return {}


def _reference(example: Example) -> str | None:
    """The gold answer, unless it is long, such as the tests of a program."""
    answer = example.answer
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return text if len(text) <= 500 else None


def _prompt_frame(
    protocol: Protocol | None, examples: Mapping[str, Example], hashes: Mapping[str, str]
) -> list[str] | None:
    """The text of a condition's prompts before and after the question, if the stored hash of every prompt agrees.

    :param hashes: the hash of the prompt that was sent, by question id.
    """
    frame: tuple[str, str] | None = None
    if protocol is None or protocol.question is not None:
        return None
    for id_, expected in hashes.items():
        example = examples.get(id_)
        if example is None or not expected:
            return None
        prompt = make_renderer(protocol, options=PromptOptions(shots=0))(example)
        if prompt_hash(prompt) != expected:  # a chat template, whose tokenizer is not loaded, or solved examples
            return None
        before, _, after = prompt.partition(example.question)
        if frame not in (None, (before, after)):
            return None
        frame = before, after
    return None if frame is None else list(frame)
