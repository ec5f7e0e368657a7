"""Lists runs, and ranks those that share benchmarks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from kkwarm.analysis.cells import pair
from kkwarm.analysis.changes import accuracy_of
from kkwarm.analysis.load import WITH_SAMPLES, load
from kkwarm.analysis.stats.estimates import decide, holm, paired_difference
from kkwarm.analysis.study_data import StudyData
from kkwarm.errors import KkwarmError
from kkwarm.schema.report import Leaderboard, RankedRun, RunSummary
from kkwarm.store import Run
from kkwarm.store.manifest import MANIFEST

MAX_DEPTH = 4  # folders below the one that is searched


def run_folders(folder: Path, *, steps: bool = False) -> Iterator[Path]:
    """The run folders in `folder`, itself included, at most `MAX_DEPTH` folders deep, without following links.

    :param steps: also the steps of studies.
    """
    start = len(folder.parts)
    for path, names, files in os.walk(folder):
        here = Path(path)
        if MANIFEST in files:
            yield here
            names[:] = ["steps"] if steps and "steps" in names else []
        elif len(here.parts) - start >= MAX_DEPTH:
            names.clear()
        names.sort()


def find_runs(folders: Sequence[Path], *, steps: bool = False) -> tuple[list[RunSummary], list[str]]:
    """The runs in the folders, and a line for each manifest that cannot be read."""
    runs: dict[Path, RunSummary] = {}
    problems = []
    for folder in folders:
        for path in run_folders(folder, steps=steps):
            try:
                runs.setdefault(path.resolve(), _summary(Run.read(path)))
            except KkwarmError as err:
                problems.append(str(err))
    return list(runs.values()), problems


def _summary(run: Run) -> RunSummary:
    m = run.manifest
    figures = {name: f for name, f in m.benchmarks.items() if f.get("accuracy") is not None}
    return RunSummary(
        path=str(run.path),
        kind=m.kind,
        state=m.state,
        created=m.created,
        model=m.model.name or m.model.checkpoint if m.model is not None else "",
        labels={key: str(value) for key, value in m.labels.items()},
        accuracy={name: f["accuracy"] for name, f in figures.items()},
        ci={name: tuple(ci) for name, f in figures.items() if (ci := f.get("ci", {}).get("pass@1"))},
        questions={name: f["n"] for name, f in figures.items()},
        tokens=m.generation.get("tokens"),
        seconds=m.generation.get("seconds"),
    )


def rank(
    paths: Sequence[Path], benchmarks: Sequence[str] = (), *, common: bool = False, across_protocols: bool = False
) -> Leaderboard:
    """Ranks runs by their mean accuracy over benchmarks that all have, and groups those that cannot be distinguished.

    Every pair of runs is compared on the same questions; p-values are corrected over all pairs (Holm).

    :param benchmarks: those to rank by; empty: all that every run has.
    :raises KkwarmError: fewer than two runs, no shared benchmark, or two runs that cannot be paired.
    """
    if len(paths) < 2:
        raise KkwarmError("a leaderboard needs at least two runs", hint="name them, or a folder that holds them")
    study = load(paths, across_protocols=across_protocols)
    names = [c.name for c in study.conditions]
    domains = _shared_domains(study, names, benchmarks)
    pairs = {}
    for a, b in combinations(names, 2):
        cells = [(study.cells[a, d], study.cells[b, d]) for d in domains]
        strata = [pair(*two, common=common, across_protocols=across_protocols) for two in cells]
        pairs[a, b] = paired_difference(strata)
    adjusted = dict(zip(pairs, holm([d.p for d in pairs.values()]), strict=True))
    better = {name: set[str]() for name in names}  # the runs that are significantly better than this one
    for (a, b), d in pairs.items():
        verdict = decide(d, study.margin_fraction, adjusted[a, b])
        if verdict in ("gain", "loss"):
            worse, winner = (a, b) if verdict == "gain" else (b, a)
            better[worse].add(winner)
    accuracy = {n: {d: accuracy_of(study.cells[n, d]) for d in domains} for n in names}
    mean = {n: sum(a.accuracy for a in row.values()) / len(domains) for n, row in accuracy.items()}
    order = sorted(names, key=lambda n: -mean[n])
    groups = _groups(order, better)
    paths_of = dict(zip(names, paths, strict=True))
    worse_than = {n: sum(n in above for above in better.values()) for n in names}
    return Leaderboard(
        benchmarks=tuple(domains),
        runs=tuple(
            RankedRun(
                name=n,
                path=str(paths_of[n]),
                labels=dict(next(c.labels for c in study.conditions if c.name == n)),
                mean=mean[n],
                accuracy=accuracy[n],
                best_rank=1 + len(better[n]),
                worst_rank=len(names) - worse_than[n],
                groups="".join(letter for letter, members in groups.items() if n in members),
            )
            for n in order
        ),
        pairs=len(pairs),
        method=f"Mean accuracy over {len(domains)} benchmark{'s' if len(domains) > 1 else ''}; {len(pairs)} "
        f"pair{'s' if len(pairs) > 1 else ''} compared on the same questions, p-values corrected by Holm; runs that "
        "share a letter cannot be distinguished.",
    )


def _shared_domains(study: StudyData, names: Sequence[str], benchmarks: Sequence[str]) -> list[str]:
    shared = [d for d in study.domains if all((n, d) in study.cells for n in names)]
    if missing := [b for b in benchmarks if b not in shared]:
        lacking = [n for n in names if (n, missing[0]) not in study.cells]
        raise KkwarmError(f"{lacking[0]} has no samples of {missing[0]}", hint="leave the run or the benchmark out")
    if not shared:
        raise KkwarmError("no benchmark is in all of these runs", hint="name runs of the same benchmarks")
    return list(benchmarks) or shared


def _groups(order: Sequence[str], better: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """The longest stretches of the ranking in which no run is significantly better than another, with their letters."""
    stretches: list[list[str]] = []
    for i in range(len(order)):
        members = [order[i]]
        for n in order[i + 1 :]:
            if any(m in better[n] or n in better[m] for m in members):
                break
            members.append(n)
        if not stretches or not set(members) <= set(stretches[-1]):
            stretches.append(members)
    return {_letters(number): members for number, members in enumerate(stretches)}


def _letters(number: int) -> str:
    """A, B, ..., Z, then numbers in brackets."""
    return chr(ord("A") + number) if number < 26 else f"[{number + 1}]"


def with_samples(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Finished runs that have samples."""
    return [run for run in runs if run.kind in WITH_SAMPLES and run.state == "done" and run.accuracy]
