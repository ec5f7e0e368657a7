"""Compares runs before and after rescoring: with the stored verdicts, and with today's verdicts on both sides."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kkwarm.analysis.build import build_report
from kkwarm.analysis.compare import compare
from kkwarm.analysis.load import WITH_SAMPLES, load
from kkwarm.errors import KkwarmError
from kkwarm.plugins import Registry
from kkwarm.schema.report import Change
from kkwarm.scoring.rescore import RescoredBenchmark, rescore, write_rescored
from kkwarm.store import Run

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired comparison before and after: ``estimate``, ``ci``, ``p_holm`` and ``verdict`` (gain, loss, tie, ...)."""

    what: str
    baseline: str
    benchmark: str
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def changed(self) -> bool:
        """Whether the verdict differs. An estimate that differs alone does not count."""
        return bool(self.before["verdict"] != self.after["verdict"])

    def document(self) -> dict[str, Any]:
        """The comparison as JSON data."""
        return {**asdict(self), "changed": self.changed}


def find_comparable_runs(run: Run) -> list[Path]:
    """The runs that the study of `run` compares it with; outside a study, runs beside it with the same questions."""
    if (folders := _find_in_study(run)) is not None:
        return folders
    questions = _questions(run)
    siblings = []
    for manifest in sorted(run.path.resolve().parent.glob("*/manifest.json")):
        if manifest.parent == run.path.resolve():
            continue
        with suppress(KkwarmError):
            other = Run.read(manifest.parent)
            if other.done and not other.manifest.rescored_from and questions & _questions(other):
                siblings.append(other.path)
    return siblings


def compare_rescored(
    run: Run,
    results: Sequence[RescoredBenchmark],
    others: Sequence[Path],
    registry: Registry,
    *,
    protocol: str | None = None,
    workers: int | None = None,
    progress: Progress = lambda done: None,
) -> tuple[list[Comparison], list[str]]:
    """Compares a rescored run with others, which are rescored too, by the same protocol.

    :returns: the comparisons on all shared benchmarks, and a message for each run that could not be compared.
    """
    comparisons: list[Comparison] = []
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        ours = write_rescored(run, results, Path(folder, "ours")).path
        for number, path in enumerate(others):
            try:
                other = Run.read(path)
                rescored = rescore(other, registry, protocol=protocol, workers=workers, progress=progress)
                theirs = write_rescored(other, rescored, Path(folder, f"other{number}")).path
                before = compare(path, run.path, common=True).benchmarks
                after = compare(theirs, ours, common=True).benchmarks
            except KkwarmError as err:
                problems.append(f"{path}: {err}")
                continue
            comparisons += [
                Comparison(run.name, path.name, name, _fields(before[name].change), _fields(after[name].change))
                for name in before
                if name in after
            ]
    return comparisons, problems


def rescore_study(
    study: Run,
    registry: Registry,
    folder: Path,
    *,
    protocol: str | None = None,
    workers: int | None = None,
    progress: Progress = lambda done: None,
) -> tuple[dict[str, list[RescoredBenchmark]], list[Comparison], list[dict[str, Any]]]:
    """Rescores a study and writes it to `folder` as a study with today's verdicts.

    :returns: the results by step; every comparison of its matrix; and every claim: ``id``, ``on``, ``text``, and
        ``holds``, ``verdict`` and ``estimate`` before and after.
    """
    try:
        shutil.copytree(study.path, folder, ignore=_ignore, dirs_exist_ok=True)
    except shutil.Error as err:
        source, _, cause = err.args[0][0]
        raise KkwarmError(f"{source} cannot be copied: {cause}") from None
    steps: dict[str, list[RescoredBenchmark]] = {}
    for manifest in sorted((study.path / "steps").glob("*/manifest.json")):
        run = Run.read(manifest.parent)
        target = folder / "steps" / run.name
        if run.manifest.kind == "bench":
            steps[run.name] = rescore(run, registry, protocol=protocol, workers=workers, progress=progress)
            (target / "manifest.json").unlink()
            write_rescored(run, steps[run.name], target)
    before, after = build_report(load([study.path])), build_report(load([folder]))
    changes = [
        Comparison(name, cell.change.baseline, domain, _fields(cell.change), _fields(now.change))
        for name, row in before.matrix.items()
        for domain, cell in row.items()
        if cell.change and (now := after.matrix[name].get(domain)) and now.change
    ]
    claims = [
        {"id": a.id, "on": a.on, "text": a.text}
        | {key: {"before": getattr(a, key), "after": getattr(b, key)} for key in ("holds", "verdict", "estimate")}
        for a, b in zip(before.claims, after.claims, strict=True)
    ]
    return steps, changes, claims


def _fields(change: Change) -> dict[str, Any]:
    return change.model_dump(mode="json", include={"estimate", "ci", "p_holm", "verdict"})


def _questions(run: Run) -> set[tuple[str, str]]:
    """Identifies the questions of a run: hashes of prompts; for scored and imported outputs the benchmark's name."""
    manifest = run.manifest
    if manifest.kind not in WITH_SAMPLES:
        return set()
    if manifest.kind == "bench":
        return {(k, v) for k, v in manifest.inputs.items() if k.startswith("prompts:")}
    return {("benchmark", str(manifest.config.get("benchmark")))}


def _find_in_study(run: Run) -> list[Path] | None:
    """For a step of a study, the runs of the same seed that its condition is compared with; None for other runs."""
    try:
        study = Run.read(run.path.resolve().parent.parent)
    except KkwarmError:
        return None
    plan = study.manifest.plan
    if plan is None:
        return None
    baselines = {c.name: c.baseline for c in plan.conditions}
    steps: list[str] = []
    for name, seeds in plan.rows.items():
        for seed, parts in seeds.items():
            for part in ("bench", "forced"):
                if parts.get(part) != run.path.name:
                    continue
                others = [baselines[name], *(c for c, baseline in baselines.items() if baseline == name)]
                steps += [plan.rows[c][seed][part] for c in others if c and part in plan.rows[c][seed]]
    folders = [run.path.parent / step for step in dict.fromkeys(steps)]
    return [f for f in folders if (f / "manifest.json").exists()]


def _ignore(folder: str, names: list[str]) -> set[str]:
    """Files that a report does not read (weights, traces, logs of workers), and samples, which are written again."""
    copied = {"manifest.json", "log.jsonl", "steps"}
    return {n for n in names if n not in copied and not (Path(folder, n).is_dir() and Path(folder).name == "steps")}
