"""Scores a file of saved outputs, or rows in memory: what `kkwarm score` does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kkwarm.errors import KkwarmError, warn
from kkwarm.schema.by_benchmark import check_protocols
from kkwarm.scoring.score import (
    Row,
    Scored,
    check_references,
    find_replaced_answers,
    match_examples,
    parse_rows,
    read_rows,
    score_rows,
)
from kkwarm.store import Run, config_hash, file_hash
from kkwarm.types import REFERENCE_DIFFERS, Benchmark, Example, Protocol, Sample
from kkwarm.verify.rewards import TaskReward

if TYPE_CHECKING:
    import pandas

    from kkwarm.plugins import Registry

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """What `kkwarm.score` found.

    :param benchmarks: the figures by benchmark: ``n``, ``samples``, ``accuracy`` and ``stderr`` (fractions),
        ``pass@k``, ``status`` (counts), ``metrics``.
    :param samples: every completion with its verdict, in input order.
    :param file: the scored file; None: rows in memory.
    :param protocol: name of the protocol that read the answers.
    :param notes: what the user should know, such as references that differ from the benchmark's own answers.
    :param seconds: duration.
    :param run: folder of the run, where the samples were stored.
    """

    benchmarks: dict[str, dict[str, Any]]
    samples: tuple[Sample, ...]
    file: str | None
    protocol: str
    verifier: str
    notes: tuple[str, ...]
    seconds: float
    run: str | None = None

    def document(self) -> dict[str, Any]:
        """The result as JSON data, as ``kkwarm score --json`` prints it."""
        names = ("benchmarks", "file", "protocol", "verifier")
        document = {name: getattr(self, name) for name in names} | {"notes": list(self.notes), "seconds": self.seconds}
        return document if self.run is None else document | {"run": self.run}

    def to_json(self) -> str:
        """`document` as JSON text."""
        return json.dumps(self.document(), indent=1, ensure_ascii=False, default=str)

    def samples_df(self) -> pandas.DataFrame:
        """A row for each completion. See `kkwarm.store.frames.samples_frame`."""
        from kkwarm.store.frames import samples_frame

        return samples_frame(self.samples)

    def metrics_df(self) -> pandas.DataFrame:
        """A row for each benchmark. See `kkwarm.store.frames.figures_frame`."""
        from kkwarm.store.frames import figures_frame

        return figures_frame(self.benchmarks)

    def _repr_html_(self) -> str:
        from kkwarm.reporting.notebook import html

        return html(self)


def score_file(
    file: Path | str | Rows,
    name: str,
    *,
    protocol: str | None = None,
    workers: int | None = None,
    out: Path | str | None = None,
    samples_out: Path | None = None,
    progress: Callable[[int, int], None] = lambda new, total: None,
) -> ScoreResult:
    """Scores saved outputs by a benchmark's verifier.

    :param file: JSON lines, or their rows in memory, with the keys ``id``, ``completion`` and, optionally,
        ``reference``, ``question``, ``finish_reason`` and ``n_tokens``.
    :param name: the benchmark, as NAME or NAME:FACET.
    :param protocol: by which answers are read; None: strictly.
    :param workers: number of processes for slow verifiers; None: one per core.
    :param out: folder of a run that stores the samples. The same call resumes it.
    :param samples_out: file that gets a JSON line for each completion.
    :param progress: called with the number of newly scored completions and that of all.
    :raises KkwarmError: a row is damaged, the benchmark lacks an id, or a file cannot be written.
    """
    from kkwarm.plugins import registry

    reg = registry()
    benchmark = reg.benchmark(name)
    check_protocols(protocol, [benchmark.name])
    chosen = reg.protocol(benchmark, protocol or reg.saved_protocol(benchmark))
    path = Path(file) if isinstance(file, str | Path) else None
    where = "the rows" if path is None else str(path)
    if samples_out is not None:
        _check_writable(samples_out, path)
    rows = read_rows(path) if path is not None else parse_rows(file, where)  # type: ignore[arg-type]
    examples = match_examples(rows, benchmark, where)
    replaced = _check_references(reg, rows, examples, benchmark, where)
    notes = [_describe_replaced(rows, replaced, benchmark.name, where)] if replaced else []
    for note in notes:
        warn(note)
    start = time.perf_counter()
    with _open_run(out, file if path is None else path, benchmark, chosen) as run:
        scored = _score(rows, examples, benchmark, chosen, workers, run, replaced, progress)
        verifier = reg.verifier_of(benchmark, chosen).name
        figures = _finish(scored, benchmark, verifier, run, notes, all(row.has_reference for row in rows))
    if samples_out is not None:
        _write_samples(samples_out, scored, examples, reg.reward_of(benchmark))
    seconds = round(time.perf_counter() - start, 3)
    stored = None if run is None else str(run.path)
    shown = None if path is None else str(path)
    return ScoreResult(figures, tuple(scored.samples), shown, chosen.name, verifier, tuple(notes), seconds, stored)


def _finish(
    scored: Scored, benchmark: Benchmark, verifier: str, run: Run | None, notes: list[str], all_referenced: bool
) -> dict[str, dict[str, Any]]:
    """The figures, which the run records, with a mark where the benchmark's data was used and is not the published
    data.
    """
    from kkwarm.data.pins import find_unpinned

    figures = {benchmark.name: {**scored.figures, "verifier": verifier}}
    unpinned = None if all_referenced else find_unpinned(benchmark)
    if unpinned is not None:
        figures[benchmark.name]["unpinned"] = unpinned
    if run is not None:
        marks = {} if unpinned is None else {benchmark.name: unpinned}
        run.finish(results={"benchmarks": figures}, notes=notes, unpinned=marks)
    return figures


def _check_references(
    reg: Registry, rows: Sequence[Row], examples: Sequence[Example], benchmark: Benchmark, where: str
) -> frozenset[int]:
    """Checks the references; returns the positions of rows that have the id of one of the benchmark's questions, and
    another answer than the benchmark's own.
    """
    base = benchmark.name if benchmark.name in reg.tasks else benchmark.name.rpartition(":")[0]
    task = reg.tasks.get(base)
    verifier, protocol = reg.verifier(benchmark.verifier), reg.protocol(benchmark if task is None else task)
    if task is not None:
        check_references(rows, examples, task, verifier, protocol, where)
    return find_replaced_answers(rows, examples, benchmark, task, verifier, protocol)


def _describe_replaced(rows: Sequence[Row], replaced: frozenset[int], name: str, where: str) -> str:
    first = rows[min(replaced)]
    text = json.dumps(first.reference, ensure_ascii=False)[:60]
    return (
        f"{where}: {len(replaced):,} of {len(rows):,} completions have the id of a question of {name} and a reference "
        f"that differs from its answer, such as line {first.line} ({first.id}: {text}); they are scored against their "
        f"references, so the figures are not those of {name}"
    )


@contextmanager
def _open_run(
    out: Path | str | None, source: Path | Any, benchmark: Benchmark, protocol: Protocol
) -> Iterator[Run | None]:
    """The run that stores the samples; None without `out`."""
    if out is None:
        yield None
        return
    from kkwarm.verify.source import verifier_provenance

    config = {"benchmark": benchmark.name, "protocol": protocol.name}
    is_file = isinstance(source, Path)
    inputs = {"outputs": file_hash(source)} if is_file else {"rows": config_hash({"rows": source})}
    with Run.open(out, kind="score", config=config, inputs=inputs) as run:
        from kkwarm.plugins import registry

        reg = registry()
        verifier, reward = reg.verifier_of(benchmark, protocol), reg.reward_of(benchmark).function
        now = verifier_provenance(verifier, protocol, reward)
        then = run.manifest.verifiers.get(benchmark.name)
        if then and any(then.get(key) != now.get(key) for key in ("name", "code")):
            hint = f"run `kkwarm rescore {out}`, or use another --out"
            raise KkwarmError(f"the verdicts in {out} come from another version of the verifier", hint=hint)
        run.record(file=str(source) if is_file else "")
        run.record_verifiers({benchmark.name: now})
        yield run


def _score(
    rows: Sequence[Row],
    examples: Sequence[Example],
    benchmark: Benchmark,
    protocol: Protocol,
    workers: int | None,
    run: Run | None,
    replaced: frozenset[int],
    progress: Callable[[int, int], None],
) -> Scored:
    from kkwarm.plugins import registry

    reg = registry()
    storage: dict[str, Any] = {"replaced": replaced, "reward": reg.reward_of(benchmark)}
    if run is not None:
        storage |= {"stored": {(s.id, s.index): s for s in run.samples()}, "keep": run.append}
    verifier = reg.verifier_of(benchmark, protocol)
    return score_rows(
        rows,
        examples,
        benchmark,
        verifier,
        protocol,
        workers=workers,
        progress=lambda new: progress(new, len(rows)),
        **storage,
    )


def _check_writable(path: Path, source: Path | None) -> None:
    """Reports an unwritable file before the work rather than after it."""
    if path.exists() and source is not None and source.exists() and path.samefile(source):
        raise KkwarmError(f"--samples-out {path} is the file to score", hint="use another --samples-out")
    problem = ""
    if path.is_dir():
        problem = "Is a directory"
    elif not path.exists():
        folder = path.resolve().parent
        problem = (
            ""
            if os.access(folder, os.W_OK)
            else "Permission denied"
            if folder.exists()
            else "No such file or directory"
        )
    elif not os.access(path, os.W_OK):
        problem = "Permission denied"
    if problem:
        raise KkwarmError(f"{path} cannot be written: {problem}", hint="use another --samples-out")


def _write_samples(path: Path, scored: Scored, examples: Sequence[Example], reward_of: TaskReward) -> None:
    """Writes the file completely or not at all, unless it is a pipe or device such as /dev/stdout."""
    from kkwarm.files import write_file

    lines = []
    rewards = reward_of([(e, s.completion, s.verdict) for e, s in zip(examples, scored.samples, strict=True)])
    for id_, sample, reward in zip(scored.ids, scored.samples, rewards, strict=True):
        verdict = sample.verdict
        row: dict[str, Any] = {
            "id": id_,
            "status": verdict.status.value,
            "answer": verdict.answer,
            "reward": reward.total,
            "reason": verdict.reason,
        }
        if reward.parts:
            row["rewards"] = dict(reward.parts)
        if verdict.metrics:
            row["metrics"] = dict(verdict.metrics)
        if sample.meta.get(REFERENCE_DIFFERS):
            row[REFERENCE_DIFFERS] = True
        lines.append(json.dumps(row) + "\n")
    write_file(path, lines, follow=True, hint="free space and score again")
