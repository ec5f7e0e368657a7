"""What today's verdicts change in comparisons: each then (as stored) and today (both sides judged again)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kkwarm.analysis.build import analyse
from kkwarm.analysis.compare import compare
from kkwarm.analysis.load import WITH_SAMPLES, load
from kkwarm.analysis.study_data import MARGIN
from kkwarm.errors import KkwarmError
from kkwarm.plugins import Registry
from kkwarm.scoring.rescore import Rescored, rescore, write_rescored
from kkwarm.store import Run

__all__ = ["Comparison", "comparisons", "partners", "study_again"]

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One paired comparison then and today: ``estimate``, ``ci``, ``p_holm`` and ``verdict`` (gain, loss, tie, ...)."""

    what: str
    baseline: str
    benchmark: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def changed(self) -> bool:
        """Whether its word is another one; a moved estimate alone is no change of what it says."""
        return bool(self.before["verdict"] != self.after["verdict"])

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "changed": self.changed}


def partners(run: Run) -> list[Path]:
    """Stored runs that it is compared with: by its study's plan, else those beside it that asked the same questions."""
    if (found := _of_study(run)) is not None:
        return found
    asked = _asked(run)
    beside = []
    for manifest in sorted(run.path.resolve().parent.glob("*/manifest.json")):
        if manifest.parent == run.path.resolve():
            continue
        with suppress(KkwarmError):
            other = Run.read(manifest.parent)
            if other.done and not other.manifest.rescored_from and asked & _asked(other):
                beside.append(other.path)
    return beside


def comparisons(
    run: Run,
    results: Sequence[Rescored],
    others: Sequence[Path],
    registry: Registry,
    *,
    workers: int | None = None,
    progress: Progress = lambda done: None,
) -> tuple[list[Comparison], list[str]]:
    """The run against each other run, on every benchmark of both; and what could not be compared, with the cause."""
    found: list[Comparison] = []
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        ours = write_rescored(run, results, Path(folder, "ours")).path
        for number, path in enumerate(others):
            try:
                other = Run.read(path)
                again = rescore(other, registry, workers=workers, progress=progress)
                theirs = write_rescored(other, again, Path(folder, f"other{number}")).path
                before = compare(path, run.path, margin=MARGIN, common=True)["benchmarks"]
                after = compare(theirs, ours, margin=MARGIN, common=True)["benchmarks"]
            except KkwarmError as err:
                problems.append(f"{path}: {err}")
                continue
            found += [
                Comparison(run.name, path.name, name, _change(before[name]["change"]), _change(after[name]["change"]))
                for name in before
                if name in after
            ]
    return found, problems


def study_again(
    study: Run, registry: Registry, folder: Path, *, workers: int | None = None, progress: Progress = lambda done: None
) -> tuple[dict[str, list[Rescored]], list[Comparison], list[dict[str, Any]]]:
    """A study with today's verdicts, written to `folder` as a study of its own.

    :returns: what was judged again, by step; every change of its matrix; and every claim: ``id``, ``on``, and ``holds``
        and ``verdict`` before and after.
    """
    shutil.copytree(study.path, folder, ignore=_rest, dirs_exist_ok=True)
    steps: dict[str, list[Rescored]] = {}
    for manifest in sorted((study.path / "steps").glob("*/manifest.json")):
        run = Run.read(manifest.parent)
        target = folder / "steps" / run.name
        if run.manifest.kind == "bench":
            steps[run.name] = rescore(run, registry, workers=workers, progress=progress)
            (target / "manifest.json").unlink()
            write_rescored(run, steps[run.name], target)
    before, after = analyse(load([study.path])), analyse(load([folder]))
    changes = [
        Comparison(name, cell["change"]["baseline"], domain, _change(cell["change"]), _change(now["change"]))
        for name, row in before["matrix"].items()
        for domain, cell in row.items()
        if cell["change"] and (now := after["matrix"][name].get(domain)) and now["change"]
    ]
    claims = [
        {"id": a["id"], "on": a["on"], "text": a["text"]}
        | {key: {"before": a[key], "after": b[key]} for key in ("holds", "verdict", "estimate")}
        for a, b in zip(before["claims"], after["claims"], strict=True)
    ]
    return steps, changes, claims


def _change(change: Mapping[str, Any]) -> dict[str, Any]:
    return {key: change[key] for key in ("estimate", "ci", "p_holm", "verdict")}


def _asked(run: Run) -> set[tuple[str, str]]:
    """What tells that two runs asked the same: hashes of prompts; for scored files the benchmark's name."""
    manifest = run.manifest
    if manifest.kind not in WITH_SAMPLES:
        return set()
    if manifest.kind == "bench":
        return {(k, v) for k, v in manifest.inputs.items() if k.startswith("prompts:")}
    return {("benchmark", str(manifest.config.get("benchmark")))}


def _of_study(run: Run) -> list[Path] | None:
    """For a step of a study: the runs of the same seed that its condition is compared with; None elsewhere."""
    try:
        study = Run.read(run.path.resolve().parent.parent)
    except KkwarmError:
        return None
    plan = study.manifest.plan
    if plan is None:
        return None
    against = {c.name: c.baseline for c in plan.conditions}
    found: list[str] = []
    for name, seeds in plan.rows.items():
        for seed, parts in seeds.items():
            for part in ("bench", "forced"):
                if parts.get(part) != run.path.name:
                    continue
                others = [against[name], *(c for c, of in against.items() if of == name)]
                found += [plan.rows[c][seed][part] for c in others if c and part in plan.rows[c][seed]]
    folders = [run.path.parent / step for step in dict.fromkeys(found)]
    return [f for f in folders if (f / "manifest.json").exists()]


def _rest(folder: str, names: list[str]) -> set[str]:
    """What a report does not read: weights, traces, logs of workers, and samples, which are written anew."""
    kept = {"manifest.json", "log.jsonl", "steps"}
    return {n for n in names if n not in kept and not (Path(folder, n).is_dir() and Path(folder).name == "steps")}
