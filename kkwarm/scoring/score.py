"""Scores outputs that were saved in a file: JSON lines with `id`, `completion` and, optionally, `reference`.

The whole file is read and checked before anything is judged, so that a mistake in its last line costs no time.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kkwarm.analysis.metrics import summarize
from kkwarm.data import read_numbered_jsonl
from kkwarm.errors import KkwarmError
from kkwarm.types import Benchmark, Completion, Example, Format, Sample, Status, Task, Verifier
from kkwarm.verify.judge import Judge

__all__ = ["Row", "Scored", "check_references", "examples_of", "facets_of", "read_rows", "score_rows"]

CHUNK = 256  # completions judged between two reports of progress
CODE_CHUNK = 32  # of model-written code, between two times that what is judged is kept: seconds of work
_REASONS = ("stop", "length")


@dataclass(frozen=True, slots=True)
class Row:
    """One saved completion. A reference of null is none."""

    line: int
    id: str
    completion: Completion
    reference: Any = None

    @property
    def has_reference(self) -> bool:
        """Whether the row brings its own gold answer."""
        return self.reference is not None


@dataclass(frozen=True, slots=True)
class Scored:
    """Samples in input order (each with its row's id), and the figures over them."""

    samples: list[Sample]
    ids: list[str]
    figures: dict[str, Any]


def read_rows(path: Path | str) -> list[Row]:
    """The completions of a file, in order; a row with a list of completions gives several.

    Optional beside the contract's keys: `finish_reason` (``stop`` or ``length``) and `n_tokens`.

    :raises KkwarmError: a line is damaged or lacks a key; names the line.
    """
    rows: list[Row] = []
    for line, raw in read_numbered_jsonl(path):
        rows += _rows(path, line, raw)
    if not rows:
        raise KkwarmError(f"{path}: no completions in it", hint='write JSON lines with "id" and "completion"')
    return rows


def _rows(path: Path | str, line: int, raw: Mapping[str, Any]) -> Iterator[Row]:
    for name in ("id", "completion"):
        if name not in raw:
            has = ", ".join(sorted(raw)[:8]) or "nothing"
            raise KkwarmError(f'{path}, line {line}: no "{name}"', hint=f"it has: {has}")
    id_ = raw["id"]
    if isinstance(id_, bool) or not isinstance(id_, str | int):
        raise KkwarmError(f'{path}, line {line}: "id" is {json.dumps(id_)[:60]}, not a string')
    completions = raw["completion"]
    if not isinstance(completions, list):
        completions = [completions]
    if not completions:
        raise KkwarmError(f'{path}, line {line}: "completion" is an empty list')
    for i, text in enumerate(completions):
        reason, tokens = _at(raw.get("finish_reason"), i), _at(raw.get("n_tokens"), i)
        completion = Completion(
            text,  # null or no string: the judge says so
            tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else None,
            reason if reason in _REASONS else "unknown",
        )
        yield Row(line, str(id_), completion, raw.get("reference"))


def _at(value: Any, i: int) -> Any:
    if isinstance(value, list):
        return value[i] if i < len(value) else None
    return value


def examples_of(rows: Sequence[Row], benchmark: Benchmark, path: Path | str) -> list[Example]:
    """The example that each row answers.

    A row with a reference makes its own, of the id and the reference alone; each pair of these is one question. The
    benchmark's data is loaded only where a row needs it.

    :raises KkwarmError: rows without a reference have ids that the benchmark lacks.
    """
    known: dict[str, Example] = {}
    if any(not row.has_reference for row in rows):
        known = {e.id: e for e in benchmark.load_all()}
        missing = [row for row in rows if not row.has_reference and row.id not in known]
        if missing:
            raise _missing(missing, known, benchmark.name, path)
    made: dict[tuple[str, str], Example] = {}
    seen: Counter[str] = Counter()
    examples = []
    for row in rows:
        if not row.has_reference:
            examples.append(known[row.id])
            continue
        pair = row.id, json.dumps(row.reference, sort_keys=True)
        if pair not in made:
            seen[row.id] += 1
            taken = seen[row.id] > 1 or row.id in known
            made[pair] = Example(f"{row.id} #{seen[row.id]}" if taken else row.id, "", row.reference)
        examples.append(made[pair])
    return examples


def check_references(
    rows: Sequence[Row], examples: Sequence[Example], task: Task, verifier: Verifier, fmt: Format, path: Path | str
) -> None:
    """Finds references of the wrong kind, which would make every answer wrong without a word.

    Each different reference is put to the verifier as the task's own gold answer to it. Verifiers of whole batches
    (model-written code) go by the id, and are left out.

    :param fmt: the task's own format.
    :raises KkwarmError: the verifier does not accept a reference as its own answer.
    """
    if task.gold is None or verifier.check_batch is not None:
        return
    first: dict[str, tuple[Row, Example]] = {}
    for row, example in zip(rows, examples, strict=True):
        if row.has_reference:
            first.setdefault(json.dumps(row.reference, sort_keys=True), (row, example))
    if not first:
        return
    golds = {key: _gold(task, example) for key, (_, example) in first.items()}
    asked = [key for key, gold in golds.items() if gold is not None]
    pairs = [(first[key][1], Completion(fmt.compose(None, golds[key] or ""), finish_reason="stop")) for key in asked]
    with Judge() as judge:
        verdicts = dict(zip(asked, judge.verify(verifier, fmt, pairs), strict=True))
    for key, (row, _) in first.items():
        if key not in verdicts or verdicts[key].status not in (Status.CORRECT, Status.TIMEOUT):
            shown = json.dumps(row.reference, ensure_ascii=False)[:60]
            raise KkwarmError(
                f"{path}, line {row.line}: {task.name} accepts no answer to the reference {shown}", hint=_like(task)
            )


def _gold(task: Task, example: Example) -> str | None:
    """The right answer to an example of a user's own; None where the reference makes none."""
    assert task.gold is not None
    try:
        found = task.gold(example)
    except Exception:  # whatever a plugin's code says to a value of another kind
        return None
    return found if isinstance(found, str) else None


def _like(task: Task) -> str:
    try:
        own = next(iter(task.load())).answer
    except (KkwarmError, StopIteration):
        return "it must be of the kind that the benchmark's own answers are"
    return f"its own look like {json.dumps(own, ensure_ascii=False, default=str)[:80]}"


def _missing(rows: Sequence[Row], known: Mapping[str, Example], name: str, path: Path | str) -> KkwarmError:
    ids = list(dict.fromkeys(row.id for row in rows))
    first = rows[0]
    near = difflib.get_close_matches(first.id, list(known), n=3, cutoff=0.6) or list(known)[:2]
    others = f", and {len(ids) - 1:,} further ids" if len(ids) > 1 else ""
    return KkwarmError(
        f"{path}, line {first.line}: {name} has no id {first.id!r}{others}",
        hint=f"its ids look like {', '.join(map(repr, near))}; or give each row a reference",
    )


def facets_of(examples: Sequence[Example], facet: str | None) -> dict[str, str] | None:
    """Id -> value of the facet; None where there is no facet, or no example has it."""
    if facet is None:
        return None
    return {e.id: str(e.meta[facet]) for e in examples if facet in e.meta} or None


def score_rows(
    rows: Sequence[Row],
    examples: Sequence[Example],
    benchmark: Benchmark,
    verifier: Verifier,
    fmt: Format,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    stored: Mapping[tuple[str, int], Sample] = MappingProxyType({}),
    keep: Callable[[Sequence[Sample]], None] | None = None,
) -> Scored:
    """Judges every row and summarises.

    :param progress: gets the number of completions dealt with since the last call.
    :param stored: samples judged before, by id and index; they are not judged again.
    :param keep: gets what is judged, as it comes.
    """
    samples: list[Sample] = []
    count: Counter[str] = Counter()
    size = CHUNK if keep is None or verifier.check_batch is None else CODE_CHUNK
    with Judge(workers) as judge:
        for begin in range(0, len(rows), size):
            part = range(begin, min(begin + size, len(rows)))
            places = []
            for i in part:
                places.append((examples[i].id, count[examples[i].id]))
                count[examples[i].id] += 1
            new = [i for i, place in zip(part, places, strict=True) if place not in stored]
            judged = iter(judge.verify(verifier, fmt, [(examples[i], rows[i].completion) for i in new]))
            fresh = []
            for i, (id_, index) in zip(part, places, strict=True):
                sample = stored.get((id_, index))
                if sample is None:
                    meta = {"reference": rows[i].reference} if rows[i].has_reference else {}
                    sample = Sample(benchmark.name, id_, index, rows[i].completion, next(judged), meta=meta)
                    fresh.append(sample)
                samples.append(sample)
            if keep is not None:
                keep(fresh)
            progress(len(part))
    figures = summarize(samples, facets_of(examples, benchmark.facet))
    return Scored(samples, [row.id for row in rows], figures)
