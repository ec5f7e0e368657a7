"""Scores saved outputs: JSON lines with `id`, `completion` and, optionally, `reference`.

The whole file is read and checked before anything is verified, so that an error in its last line costs no time.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kkwarm.analysis.metrics import Facets, summarize
from kkwarm.data import read_numbered_jsonl
from kkwarm.errors import KkwarmError
from kkwarm.protocols import ReasoningSplitter
from kkwarm.types import REFERENCE_DIFFERS, Benchmark, Completion, Example, Protocol, Sample, Status, Task, Verifier
from kkwarm.verify.judge import Judge
from kkwarm.verify.rewards import TaskReward

CHUNK = 256  # completions verified between two progress updates
CODE_CHUNK = 32  # programs verified between two writes to the run: seconds of work
_REASONS = ("stop", "length")


@dataclass(frozen=True, slots=True)
class Row:
    """One saved completion. A reference of null counts as none. `question` belongs to the reference."""

    line: int
    id: str
    completion: Completion
    reference: Any = None
    question: str = ""

    @property
    def has_reference(self) -> bool:
        """Whether the row has its own gold answer."""
        return self.reference is not None


@dataclass(frozen=True, slots=True)
class Scored:
    """Samples in input order, the ids of their rows, and the figures."""

    samples: list[Sample]
    ids: list[str]
    figures: dict[str, Any]


def read_rows(path: Path | str) -> list[Row]:
    """The completions of a file in order; a line with a list of completions gives several rows.

    Optional keys are `reference`, `question` (beside a reference), `finish_reason` (``stop`` or ``length``) and
    `n_tokens`.
    """
    return _parse(read_numbered_jsonl(path), path)


def parse_rows(rows: Iterable[Mapping[str, Any]], where: str) -> list[Row]:
    """As `read_rows`, of rows in memory.

    :param where: what messages call them.
    :raises KkwarmError: a row is no mapping or lacks a key; the message has its number, from 1.
    """
    rows = list(rows)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise KkwarmError(f"{where}, line {number}: {type(row).__name__}, not a mapping with id and completion")
    return _parse(enumerate(rows, 1), where)


def _parse(lines: Iterable[tuple[int, Mapping[str, Any]]], where: Path | str) -> list[Row]:
    rows = [row for line, raw in lines for row in _read_row(where, line, raw)]
    if not rows:
        raise KkwarmError(f"{where}: it holds no completions", hint='write JSON lines with "id" and "completion"')
    return rows


def _read_row(path: Path | str, line: int, raw: Mapping[str, Any]) -> Iterator[Row]:
    for name in ("id", "completion"):
        if name not in raw:
            keys = ", ".join(sorted(raw)[:8]) or "none"
            raise KkwarmError(f'{path}, line {line}: key "{name}" is missing', hint=f"its keys: {keys}")
    id_ = raw["id"]
    if isinstance(id_, bool) or not isinstance(id_, str | int):
        raise KkwarmError(f'{path}, line {line}: "id" is {json.dumps(id_)[:60]}, not a string')
    completions = raw["completion"]
    if not isinstance(completions, list):
        completions = [completions]
    if not completions:
        raise KkwarmError(f'{path}, line {line}: "completion" is an empty list')
    if not isinstance(question := raw.get("question", ""), str):
        raise KkwarmError(f'{path}, line {line}: "question" is {json.dumps(question)[:60]}, not a string')
    for i, text in enumerate(completions):
        reason, tokens = _item(raw.get("finish_reason"), i), _item(raw.get("n_tokens"), i)
        completion = Completion(
            text,  # the judge reports null and other types
            tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else None,
            reason if reason in _REASONS else "unknown",
        )
        yield Row(line, str(id_), completion, raw.get("reference"), question)


def _item(value: Any, i: int) -> Any:
    if isinstance(value, list):
        return value[i] if i < len(value) else None
    return value


def match_examples(rows: Sequence[Row], benchmark: Benchmark, path: Path | str) -> list[Example]:
    """The example that each row answers.

    A row with a reference becomes an example of its id and reference; each such pair is one question. The benchmark's
    data is loaded only if a row has no reference.
    """
    own: dict[str, Example] = {}
    if any(not row.has_reference for row in rows):
        own = {e.id: e for e in benchmark.load_all()}
        missing = [row for row in rows if not row.has_reference and row.id not in own]
        if missing:
            raise _unknown_ids(missing, own, benchmark.name, path)
    referenced: dict[tuple[str, str], Example] = {}
    count: Counter[str] = Counter()
    examples = []
    for row in rows:
        if not row.has_reference:
            examples.append(own[row.id])
            continue
        pair = row.id, json.dumps(row.reference, sort_keys=True)
        if pair not in referenced:
            count[row.id] += 1
            is_used = count[row.id] > 1 or row.id in own
            referenced[pair] = Example(f"{row.id} #{count[row.id]}" if is_used else row.id, row.question, row.reference)
        examples.append(referenced[pair])
    return examples


def check_references(
    rows: Sequence[Row],
    examples: Sequence[Example],
    task: Task,
    verifier: Verifier,
    protocol: Protocol,
    path: Path | str,
) -> None:
    """Rejects references of the wrong type, which would silently make every answer wrong.

    The verifier must accept the task's gold answer to each distinct reference. Batch verifiers (model-written code) use
    the id instead and are not checked.

    :param protocol: the task's own protocol.
    :raises KkwarmError: the verifier does not accept the gold answer to a reference.
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
    keys = [key for key, gold in golds.items() if gold is not None]
    pairs = [
        (first[key][1], Completion(protocol.compose(None, golds[key] or ""), finish_reason="stop")) for key in keys
    ]
    with Judge() as judge:
        verdicts = dict(zip(keys, judge.verify(verifier, protocol, pairs), strict=True))
    for key, (row, _) in first.items():
        if key not in verdicts or verdicts[key].status not in (Status.CORRECT, Status.TIMEOUT):
            text = json.dumps(row.reference, ensure_ascii=False)[:60]
            raise KkwarmError(
                f"{path}, line {row.line}: {task.name} accepts no answer to the reference {text}",
                hint=_describe_references(task),
            )


def find_replaced_answers(
    rows: Sequence[Row],
    examples: Sequence[Example],
    benchmark: Benchmark,
    task: Task | None,
    verifier: Verifier,
    protocol: Protocol,
) -> frozenset[int]:
    """Positions of the rows whose id is that of a question of the benchmark and whose reference is another answer.

    References that are written differently but mean the same (the verifier accepts the gold answer of each for the
    other) are not reported. Batch verifiers use the id and no reference, so they replace nothing. Where the benchmark's
    data is not available, there is nothing to compare with.
    """
    if verifier.check_batch is not None or not any(row.has_reference for row in rows):
        return frozenset()
    try:
        own = {e.id: e for e in benchmark.load_all()}
    except KkwarmError:
        return frozenset()
    differing: dict[tuple[str, str], Example] = {}
    keys: list[tuple[str, str] | None] = []
    for row, example in zip(rows, examples, strict=True):
        key = (row.id, json.dumps(row.reference, sort_keys=True)) if row.has_reference and row.id in own else None
        if key is not None and key[1] == json.dumps(own[row.id].answer, sort_keys=True, default=str):
            key = None
        keys.append(key)
        if key is not None:
            differing[key] = example
    if differing and task is not None and task.gold is not None:
        same = _same_answers([(own[id_], example) for (id_, _), example in differing.items()], task, verifier, protocol)
        differing = {key: example for (key, example), equal in zip(differing.items(), same, strict=True) if not equal}
    return frozenset(i for i, key in enumerate(keys) if key in differing)


def _same_answers(
    pairs: Sequence[tuple[Example, Example]], task: Task, verifier: Verifier, protocol: Protocol
) -> list[bool]:
    """For each pair of examples, whether the verifier accepts the gold answer of each one for the other."""
    crossed = []
    for one, other in pairs:
        for example, gold in ((other, _gold(task, one)), (one, _gold(task, other))):
            text = "" if gold is None else protocol.compose(None, gold)
            crossed.append((example, Completion(text, finish_reason="stop")))
    with Judge() as judge:
        accepted = [v.status is Status.CORRECT for v in judge.verify(verifier, protocol, crossed)]
    return [a and b for a, b in zip(accepted[::2], accepted[1::2], strict=True)]


def _gold(task: Task, example: Example) -> str | None:
    """The gold answer to an example with a user's reference; None where the reference has the wrong type."""
    assert task.gold is not None
    try:
        gold = task.gold(example)
    except Exception:  # plugin code may raise anything on a value of another type
        return None
    return gold if isinstance(gold, str) else None


def _describe_references(task: Task) -> str:
    try:
        answer = next(iter(task.load())).answer
    except (KkwarmError, StopIteration):
        return "use the type of the benchmark's own answers"
    return f"its own references look like {json.dumps(answer, ensure_ascii=False, default=str)[:80]}"


def _unknown_ids(rows: Sequence[Row], examples: Mapping[str, Example], name: str, path: Path | str) -> KkwarmError:
    ids = list(dict.fromkeys(row.id for row in rows))
    first = rows[0]
    similar = difflib.get_close_matches(first.id, list(examples), n=3, cutoff=0.6) or list(examples)[:2]
    others = f", nor {len(ids) - 1:,} further ids" if len(ids) > 1 else ""
    return KkwarmError(
        f"{path}, line {first.line}: {name} has no id {first.id!r}{others}",
        hint=f"its ids look like {', '.join(map(repr, similar))}; or give each row a reference",
    )


def facets_of(examples: Sequence[Example], names: Sequence[str]) -> Facets:
    """The value of each facet by example id; without facets that no example has."""
    facets = {name: {e.id: str(e.meta[name]) for e in examples if e.meta.get(name) is not None} for name in names}
    return {name: values for name, values in facets.items() if values}


def score_rows(
    rows: Sequence[Row],
    examples: Sequence[Example],
    benchmark: Benchmark,
    verifier: Verifier,
    protocol: Protocol,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    stored: Mapping[tuple[str, int], Sample] = MappingProxyType({}),
    keep: Callable[[Sequence[Sample]], None] | None = None,
    replaced: Collection[int] = (),
    reward: TaskReward | None = None,
) -> Scored:
    """Verifies every row and summarizes the verdicts.

    :param progress: called with the number of completions processed since the last call.
    :param stored: samples of an earlier session by id and index; they are not verified again.
    :param keep: called with new samples after each chunk.
    :param replaced: as `find_replaced_answers` returns it; recorded with the samples.
    :param reward: gives the rewards that are stored with the samples.
    """
    samples: list[Sample] = []
    split = ReasoningSplitter.for_saved_outputs(protocol)
    completions = [split(row.completion, "") for row in rows]
    count: Counter[str] = Counter()
    size = CHUNK if keep is None or verifier.check_batch is None else CODE_CHUNK
    with Judge(workers) as judge:
        for start in range(0, len(rows), size):
            part = range(start, min(start + size, len(rows)))
            places = []
            for i in part:
                places.append((examples[i].id, count[examples[i].id]))
                count[examples[i].id] += 1
            new = [i for i, place in zip(part, places, strict=True) if place not in stored]
            pairs = [(examples[i], completions[i]) for i in new]
            results = judge.verify(verifier, protocol, pairs)
            items = [(*pair, verdict) for pair, verdict in zip(pairs, results, strict=True)]
            verdicts = zip(results, reward.stored(items) if reward else [None] * len(items), strict=True)
            added = []
            for i, (id_, index) in zip(part, places, strict=True):
                sample = stored.get((id_, index))
                if sample is None:
                    row = rows[i]
                    meta = {"reference": row.reference} if row.has_reference else {}
                    meta |= {"question": row.question} if row.has_reference and row.question else {}
                    meta |= {f: examples[i].meta[f] for f in benchmark.all_facets if f in examples[i].meta}
                    if i in replaced:
                        meta[REFERENCE_DIFFERS] = True
                    verdict, earned = next(verdicts)
                    sample = Sample(benchmark.name, id_, index, completions[i], verdict, meta=meta, reward=earned)
                    added.append(sample)
                samples.append(sample)
            if keep is not None:
                keep(added)
            progress(len(part))
    figures = summarize(samples, facets_of(examples, benchmark.all_facets))
    return Scored(samples, [row.id for row in rows], figures)
