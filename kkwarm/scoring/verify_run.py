"""Does a stored run still agree with itself, and with the data, prompts, code and weights that are on this machine?

Nothing is generated and no model is loaded. Every finding says what was compared, and whether it agrees, differs, or
could not be checked here, and why not.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.plugins import Registry
from kkwarm.scoring import provenance
from kkwarm.scoring.findings import SHOWN, Finding, State
from kkwarm.scoring.rescore import Flip, Rescored, format_name, judged_again
from kkwarm.store import Run, StoredLine, config_hash, file_hash
from kkwarm.types import Sample
from kkwarm.verify.judge import Judge
from kkwarm.verify.source import verifier_provenance

__all__ = ["agreement"]

Key = tuple[str, str, int]


def agreement(
    run: Run, registry: Registry, progress: Callable[[str, int], None] = lambda name, n: None
) -> Iterator[Finding]:
    """Findings on one run; on a study, on each of its steps and its report as well.

    :param progress: called with the run's name and the number of completions judged since the last call.
    """
    if run.manifest.kind == "study":
        yield from _study(run, registry, progress)
        return
    yield _settings(run)
    yield from _products(run)
    lines = list(run.lines())
    if lines or run.incomplete_bytes or run.manifest.results:
        yield from _samples(run, lines)
    yield from provenance.findings(run, registry, [line.sample for line in lines if line.sample is not None])
    yield from _verdicts(run, registry, lines, lambda n: progress(run.name, n))


# -- the run against itself -------------------------------------------------------------------------------------------


def _settings(run: Run) -> Finding:
    """The manifest's hash covers kind, settings (sampling, seed, format, limit) and the hashes of all inputs."""
    m = run.manifest
    now = config_hash({"kind": m.kind, "config": m.config, "inputs": m.inputs})
    if now == m.config_hash:
        return Finding("settings", State.AGREES, f"hash {now}")
    return Finding("settings", State.DIFFERS, f"hash {now}, stored {m.config_hash}: the manifest was changed")


def _products(run: Run) -> Iterator[Finding]:
    """Files of a finished run against the hashes it was finished with."""
    made: Mapping[str, str] = run.manifest.products
    if not made:
        why = "the run is not done" if not run.done else "the run is older than these hashes"
        yield Finding("files", State.UNCHECKED, why)
    for name, then in made.items():
        path = run.path / name
        if not path.exists():
            yield Finding(f"file {name}", State.DIFFERS, "it is missing")
            continue
        if path.is_dir():
            from kkwarm.backends.checkpoint import fingerprint

            now = fingerprint(path)
        else:
            now = file_hash(path)
        same = now == then
        says = f"hash {now}" if same else f"hash {now}, {then} when the run was finished"
        yield Finding(f"file {name}", State.AGREES if same else State.DIFFERS, says)


def _samples(run: Run, lines: Sequence[StoredLine]) -> Iterator[Finding]:
    bad = [line for line in lines if line.sample is None]
    if bad:
        says = "; ".join(f"line {line.number}: {line.problem}" for line in bad[:SHOWN]) + _more(bad)
        yield Finding("checksums", State.DIFFERS, says, tuple(line.number for line in bad))
    elif lines:
        yield Finding("checksums", State.AGREES, f"{len(lines):,} lines")
    if run.incomplete_bytes:
        state = State.DIFFERS if run.done else State.UNCHECKED
        says = f"line {len(lines) + 1} is cut short ({run.incomplete_bytes:,} bytes)"
        hint = "" if run.done else "; the same command goes on in its place"
        yield Finding("last line", state, says + hint, (len(lines) + 1,))
    count = Counter((s.benchmark, s.id, s.index) for line in lines if (s := line.sample) is not None)
    twice = [line for line in lines if (s := line.sample) is not None and count[s.benchmark, s.id, s.index] > 1]
    if twice:
        says = f"{len(twice):,} lines hold a sample that stands there twice, such as line {twice[-1].number}"
        yield Finding("samples", State.DIFFERS, says, tuple(line.number for line in twice))


def _verdicts(
    run: Run, registry: Registry, lines: Sequence[StoredLine], progress: Callable[[int], None]
) -> Iterator[Finding]:
    """Verdicts, their code and their figures, by benchmark."""
    stored: dict[str, list[Sample]] = defaultdict(list)
    places: dict[Key, int] = {}
    for line in lines:
        if (s := line.sample) is not None:
            stored[s.benchmark].append(s)
            places[s.benchmark, s.id, s.index] = line.number
    figures = run.manifest.benchmarks
    for name in figures:
        if name not in stored:
            yield Finding(f"verdicts: {name}", State.DIFFERS, "there are figures of it, but no samples")
    with Judge() as judge:
        for name, samples in stored.items():
            yield _code(run, registry, name)
            try:
                again = judged_again(run, registry, judge, name, samples, progress)
            except KkwarmError as err:  # no data, or no sandbox, on this machine
                again = Rescored(name, samples, samples, skipped=str(err))
            yield from _replayed(name, again, places)
            if name in figures:
                yield _figures(name, figures[name], samples)
            elif run.done and run.manifest.kind in ("bench", "score", "import"):
                yield Finding(f"figures: {name}", State.DIFFERS, "the run is done, and its manifest has none of it")


def _replayed(name: str, again: Rescored, places: Mapping[Key, int]) -> Iterator[Finding]:
    what = f"verdicts: {name}"
    if again.skipped:
        yield Finding(what, State.UNCHECKED, again.skipped)
        return
    total = len(again.before) - again.gone
    changed = [
        Flip(b, a)
        for b, a in zip(again.before, again.after, strict=True)
        if b.verdict.status is not a.verdict.status or dict(b.verdict.metrics) != dict(a.verdict.metrics)
    ]
    if changed:
        named = sorted((places[f.before.benchmark, f.before.id, f.before.index], f) for f in changed)
        says = "; ".join(f"line {n} ({f.before.id}): {_flip(f)}" for n, f in named[:SHOWN]) + _more(named)
        says = f"{len(changed):,} of {total:,} are others today: {says}"
        yield Finding(what, State.DIFFERS, says, tuple(n for n, _ in named))
    elif total:
        yield Finding(what, State.AGREES, f"all {total:,} are the same today")
    if again.gone:
        says = f"{again.gone:,} samples are of questions that it no longer has"
        yield Finding(what, State.DIFFERS if total else State.UNCHECKED, says)


def _flip(flip: Flip) -> str:
    before, after = flip.before.verdict, flip.after.verdict
    if before.status is after.status:
        return f"{before.status}, with other metrics"
    return f"{before.status} stored, {after.status} today"


def _code(run: Run, registry: Registry, name: str) -> Finding:
    what = f"verifier: {name}"
    then: Mapping[str, Any] = run.manifest.verifiers.get(name, {})
    if not then.get("code"):
        return Finding(what, State.UNCHECKED, "the run does not say what code judged it")
    try:
        benchmark = registry.benchmark(name.removesuffix("+forced"))
        fmt = registry.format(format_name(run, name, benchmark))
        now = verifier_provenance(registry.verifier(benchmark.verifier), fmt)
    except KkwarmError as err:
        return Finding(what, State.UNCHECKED, str(err))
    differs = [
        f"{library} {version}, {now['libraries'].get(library, 'none')} today"
        for library, version in then.get("libraries", {}).items()
        if now.get("libraries", {}).get(library) != version
    ]
    if then["code"] != now.get("code"):
        differs.insert(0, f"code {then['code']}, {now.get('code', 'unknown')} today")
    if then.get("before"):
        differs.append(f"earlier sessions of the run had other code ({', '.join(then['before'])})")
    return (
        Finding(what, State.DIFFERS, "; ".join(differs))
        if differs
        else Finding(what, State.AGREES, f"code {then['code']}")
    )


def _figures(name: str, stored: Mapping[str, Any], samples: Sequence[Sample]) -> Finding:
    """The manifest's figures against those that the stored samples give."""
    from kkwarm.analysis.metrics import summarize

    what = f"figures: {name}"
    now = json.loads(json.dumps(summarize(samples)))
    keys = [k for k in now if k in stored and k != "by"]
    wrong = [k for k in keys if not _alike(stored[k], now[k])]
    if wrong:
        says = "; ".join(f"{k} {stored[k]} stored, {now[k]} by the samples" for k in wrong[:SHOWN])
        return Finding(what, State.DIFFERS, says)
    return Finding(what, State.AGREES, f"{len(keys)} figures follow from the samples")


def _alike(a: Any, b: Any) -> bool:
    """Whether all that is stored (`a`) comes out again, but for the last digits of numbers."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return set(a) <= set(b) and all(_alike(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, float) and isinstance(b, float | int):
        return abs(a - b) <= 1e-9 * max(1.0, abs(a))
    return bool(a == b)


def _more(listed: Sequence[Any]) -> str:
    return f"; and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else ""


# -- studies ----------------------------------------------------------------------------------------------------------


def _study(study: Run, registry: Registry, progress: Callable[[str, int], None]) -> Iterator[Finding]:
    yield _settings(study)
    for step in study.manifest.plan.steps if study.manifest.plan is not None else ():
        folder = study.path / "steps" / step
        try:
            found = list(agreement(Run.read(folder), registry, progress))
        except KkwarmError as err:
            state = State.UNCHECKED if not study.done else State.DIFFERS
            found = [Finding("run", state, str(err))]
        yield from (replace(f, step=step) for f in found)
    yield _report(study)


def _report(study: Run) -> Finding:
    """The report kept with the study against one computed anew from its samples."""
    path: Path = study.path / "report.json"
    if not path.exists():
        return Finding("report.json", State.UNCHECKED, "the study is not done" if not study.done else "it is missing")
    from kkwarm.analysis.build import analyse
    from kkwarm.analysis.load import load

    try:
        stored = json.loads(path.read_text("utf-8"))
        now = json.loads(json.dumps(analyse(load([study.path]))))
    except ValueError as err:
        return Finding("report.json", State.DIFFERS, f"it is no JSON: {err}")
    except KkwarmError as err:
        return Finding("report.json", State.UNCHECKED, str(err))
    parts = ("conditions", "domains", "matrix", "claims", "curves", "problems", "contamination", "method")
    wrong = [p for p in parts if not _alike(stored.get(p), now.get(p))]
    if wrong:
        return Finding(
            "report.json", State.DIFFERS, f"computed anew from the samples, {', '.join(wrong)} come out otherwise"
        )
    return Finding("report.json", State.AGREES, "computed anew from the samples, it is the same")
