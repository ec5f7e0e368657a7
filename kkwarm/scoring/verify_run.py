"""Verifies a stored run: against itself, and against the data, prompts, code and weights on this machine.

Nothing is generated and no model is loaded.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError, shorten
from kkwarm.evaluation.lm_eval_index import LM_EVAL_PREFIX
from kkwarm.files import expand_path, is_regular, read_regular
from kkwarm.plugins import Registry
from kkwarm.scoring.rescore import Flip, RescoredBenchmark, protocol_name, rescore_samples
from kkwarm.store import Run, StoredLine, file_hash, run_hash
from kkwarm.types import Sample
from kkwarm.verify.judge import Judge
from kkwarm.verify.source import verifier_provenance

MAX_REGENERATED = 1_000_000  # traces
MAX_NAMED = 5  # ids or lines that a finding names


class State(StrEnum):
    """Result of one comparison."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNCHECKED = "unchecked"  # the other side is not on this machine or was not recorded


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison. `lines` are the lines of ``samples.jsonl`` that it is about, `step` is the step of a study."""

    what: str
    state: State
    detail: str = ""
    lines: tuple[int, ...] = ()
    step: str = ""


def verify_run(
    run: Run, registry: Registry, progress: Callable[[str, int], None] = lambda name, n: None
) -> Iterator[Finding]:
    """Findings on a run; for a study, on each of its steps and on its report.

    :param progress: called with a run's name and the number of completions verified since the last call.
    """
    if run.manifest.kind == "study":
        yield from _check_study(run, registry, progress)
        return
    yield _check_settings(run)
    yield from _check_files(run)
    lines = list(run.lines())
    if lines or run.incomplete_bytes or run.manifest.results:
        yield from _check_lines(run, lines)
    yield from _check_inputs(run, registry, [line.sample for line in lines if line.sample is not None])
    yield from _check_verdicts(run, registry, lines, lambda n: progress(run.name, n))


# -- the run itself ---------------------------------------------------------------------------------------------------


def _check_settings(run: Run) -> Finding:
    """The hash of kind, settings and inputs against the recorded one."""
    m = run.manifest
    now = run_hash(m.kind, m.config, m.inputs)
    if now == m.config_hash:
        return Finding("settings", State.AGREES, f"hash {now}")
    return Finding("settings", State.DIFFERS, f"hash {now}, recorded {m.config_hash}: the manifest was edited")


def _check_files(run: Run) -> Iterator[Finding]:
    """The files of a finished run against their recorded hashes."""
    if not run.manifest.products:
        yield Finding("files", State.UNCHECKED, "no hashes were recorded" if run.done else "the run is not done")
    for name, recorded in run.manifest.products.items():
        path = run.path / name
        if not path.exists():
            yield Finding(f"file {name}", State.DIFFERS, "it is missing")
            continue
        try:
            if path.is_dir():
                from kkwarm.backends.checkpoint import fingerprint

                now = fingerprint(_locate_model(run, str(path)))
            else:
                now = file_hash(path)
        except (KkwarmError, OSError) as err:
            yield Finding(f"file {name}", State.DIFFERS, f"it cannot be read: {err}")
            continue
        yield _compare_hashes(f"file {name}", recorded, now)


def _compare_hashes(what: str, recorded: str, now: str) -> Finding:
    if recorded == now:
        return Finding(what, State.AGREES, f"hash {now}")
    return Finding(what, State.DIFFERS, f"hash {now} today, {recorded} recorded")


def _check_lines(run: Run, lines: Sequence[StoredLine]) -> Iterator[Finding]:
    bad = [line for line in lines if line.sample is None]
    if bad:
        detail = "; ".join(f"line {line.number}: {line.problem}" for line in bad[:MAX_NAMED]) + _more(bad)
        yield Finding("checksums", State.DIFFERS, detail, tuple(line.number for line in bad))
    elif lines:
        yield Finding("checksums", State.AGREES, f"{len(lines):,} lines")
    if run.incomplete_bytes:
        state = State.DIFFERS if run.done else State.UNCHECKED
        detail = f"line {len(lines) + 1} is incomplete ({run.incomplete_bytes:,} bytes)"
        hint = "" if run.done else "; the same command replaces it"
        yield Finding("last line", state, detail + hint, (len(lines) + 1,))
    count = Counter((s.benchmark, s.id, s.index) for line in lines if (s := line.sample) is not None)
    repeated = [line for line in lines if (s := line.sample) is not None and count[s.benchmark, s.id, s.index] > 1]
    if repeated:
        detail = f"{len(repeated):,} lines hold a sample that is stored twice, such as line {repeated[-1].number}"
        yield Finding("samples", State.DIFFERS, detail, tuple(line.number for line in repeated))


# -- verdicts and figures ---------------------------------------------------------------------------------------------


def _check_verdicts(
    run: Run, registry: Registry, lines: Sequence[StoredLine], progress: Callable[[int], None]
) -> Iterator[Finding]:
    """Verdicts, verifier code and figures of each benchmark."""
    stored: dict[str, list[Sample]] = defaultdict(list)
    numbers: dict[tuple[str, str, int], int] = {}
    for line in lines:
        if (s := line.sample) is not None:
            stored[s.benchmark].append(s)
            numbers[s.benchmark, s.id, s.index] = line.number
    figures = run.manifest.benchmarks
    for name, recorded in figures.items():
        if name not in stored and recorded.get("samples") == 0:
            yield Finding(f"figures: {name}", State.UNCHECKED, "lm-eval's figures of whole texts: no samples are kept")
        elif name not in stored:
            yield Finding(
                f"verdicts: {name}", State.DIFFERS, "the manifest has figures for it, but there are no samples"
            )
    with Judge() as judge:
        for name, samples in stored.items():
            if not name.startswith(LM_EVAL_PREFIX):
                yield _check_verifier(run, registry, name)
            try:
                result = rescore_samples(run, registry, judge, name, samples, progress)
            except KkwarmError as err:  # no data, or no sandbox, on this machine
                result = RescoredBenchmark(name, samples, samples, skipped=str(err))
            yield from _compare_verdicts(name, result, numbers)
            if name in figures:
                yield _check_figures(name, figures[name], samples)
            elif run.done and run.manifest.kind in ("bench", "score", "import"):
                yield Finding(
                    f"figures: {name}", State.DIFFERS, "the run is done, but its manifest has no figures for it"
                )


def _compare_verdicts(
    name: str, result: RescoredBenchmark, numbers: Mapping[tuple[str, str, int], int]
) -> Iterator[Finding]:
    what = f"verdicts: {name}"
    if result.skipped:
        yield Finding(what, State.UNCHECKED, result.skipped)
        return
    total = len(result.before) - result.missing
    changed = [*result.flips, *result.other_metrics]
    if changed:
        rows = sorted((numbers[f.before.benchmark, f.before.id, f.before.index], f) for f in changed)
        examples = "; ".join(f"line {n} ({f.before.id}): {_describe_flip(f)}" for n, f in rows[:MAX_NAMED])
        what_changed = "verdicts or rewards" if any(f.before.reward != f.after.reward for f in changed) else "verdicts"
        detail = f"{len(changed):,} of {total:,} {what_changed} changed: {examples}{_more(rows)}"
        yield Finding(what, State.DIFFERS, detail, tuple(n for n, _ in rows))
    elif total:
        yield Finding(what, State.AGREES, f"all {total:,} are the same today")
    if result.missing:
        detail = f"{result.missing:,} samples belong to questions that the benchmark no longer has"
        yield Finding(what, State.DIFFERS if total else State.UNCHECKED, detail)


def _describe_flip(flip: Flip) -> str:
    before, after = flip.before.verdict, flip.after.verdict
    if before.status is after.status and dict(before.metrics) == dict(after.metrics):
        today = "none" if flip.after.reward is None else f"{flip.after.reward:g}"
        return f"{before.status}, reward {flip.before.reward:g} stored, {today} today"
    if before.status is after.status:
        return f"{before.status}, with other metrics"
    return f"{before.status} stored, {after.status} today"


def _check_verifier(run: Run, registry: Registry, name: str) -> Finding:
    what = f"verifier: {name}"
    recorded: Mapping[str, Any] = run.manifest.verifiers.get(name, {})
    if not recorded.get("code"):
        return Finding(what, State.UNCHECKED, "the run does not record which code verified it")
    try:
        benchmark = registry.benchmark(name.removesuffix("+forced"), from_run=True)
        protocol = registry.protocol(benchmark, protocol_name(run, name, registry.saved_protocol(benchmark)))
        verifier, reward = registry.verifier_of(benchmark, protocol), registry.reward_of(benchmark).function
        now = verifier_provenance(verifier, protocol, reward)
    except KkwarmError as err:
        return Finding(what, State.UNCHECKED, str(err))
    differences = [
        f"{library} {version}, {now.get('libraries', {}).get(library, 'none')} today"
        for library, version in recorded.get("libraries", {}).items()
        if now.get("libraries", {}).get(library) != version
    ]
    if recorded["code"] != now.get("code"):
        differences.insert(0, f"code {recorded['code']}, {now.get('code', 'unknown')} today")
    if recorded.get("before"):
        differences.append(f"earlier sessions of the run had other code ({', '.join(recorded['before'])})")
    if differences:
        return Finding(what, State.DIFFERS, "; ".join(differences))
    other = "" if now["name"] == benchmark.verifier else f", of {now['name']}, not of the benchmark's own verifier"
    return Finding(what, State.AGREES, f"code {recorded['code']}{other}")


def _check_figures(name: str, recorded: Mapping[str, Any], samples: Sequence[Sample]) -> Finding:
    """The manifest's figures against those computed from the stored samples."""
    from kkwarm.analysis.metrics import summarize

    what = f"figures: {name}"
    now = json.loads(json.dumps(summarize(samples)))
    keys = [k for k in now if k in recorded and k != "by"]
    wrong = [k for k in keys if not _is_close(recorded[k], now[k])]
    if wrong:
        detail = "; ".join(f"{k} {recorded[k]} recorded, {now[k]} from the samples" for k in wrong[:MAX_NAMED])
        return Finding(what, State.DIFFERS, detail)
    return Finding(what, State.AGREES, f"{len(keys)} figures agree with the samples")


def _is_close(a: Any, b: Any) -> bool:
    """Whether all values of `a` are in `b`, up to rounding of floats."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return set(a) <= set(b) and all(_is_close(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_is_close, a, b))
    if isinstance(a, float) and isinstance(b, float | int):
        return abs(a - b) <= 1e-9 * max(1.0, abs(a))
    return bool(a == b)


def _more(rows: Sequence[Any]) -> str:
    return f"; and {len(rows) - MAX_NAMED:,} more" if len(rows) > MAX_NAMED else ""


# -- inputs: questions, prompts, training examples, traces, checkpoints -----------------------------------------------


def _check_inputs(run: Run, registry: Registry, samples: Sequence[Sample]) -> Iterator[Finding]:
    """A finding for each recorded input of the run."""
    inputs, config, kind = run.manifest.inputs, run.manifest.config, run.manifest.kind
    if kind == "bench":
        yield from _check_questions(run, registry, samples)
    if kind in ("rlvr", "distill") and "examples" in inputs:
        yield _check_examples(run, registry, inputs["examples"])
    if kind == "distill" and not inputs:
        yield _check_teacher(run, registry)
    if "traces" in inputs:
        yield _check_file("traces", run, run.manifest.traces, inputs["traces"])
    if "outputs" in inputs:
        yield _check_file("outputs", run, run.manifest.file, inputs["outputs"])
    if "checkpoint" in inputs:
        yield _check_checkpoint("checkpoint", run, _checkpoint(run), inputs["checkpoint"])
    if "teacher" in inputs:
        yield _check_checkpoint("teacher", run, config.get("teacher"), inputs["teacher"])


def _check_questions(run: Run, registry: Registry, samples: Sequence[Sample]) -> Iterator[Finding]:
    from kkwarm.backends.checkpoint import load_tokenizer
    from kkwarm.evaluation.plan import make_eval_task
    from kkwarm.schema.settings import BenchConfig

    inputs, config = run.manifest.inputs, run.manifest.config
    protocols = config.get("protocols", {})
    for name in config.get("benchmarks", ()):
        if name.startswith(LM_EVAL_PREFIX):
            yield Finding(f"data: {name}", State.UNCHECKED, "its data and prompts come from lm-eval")
            continue
        protocol = next((protocols[key] for key in (name, f"{name}+forced") if key in protocols), None)
        prompting = dict(config.get("prompting", {}).get(name, {}))
        chat = bool(prompting.pop("chat", False))
        if "api" in prompting:
            prompting["backend"] = "openai"
        try:
            registry.benchmark(name, from_run=True)
            settings = BenchConfig(
                **prompting
                | {
                    "limit": config.get("limit"),
                    "protocol": protocol,
                    "force": bool(config.get("force")),
                    "seed": config.get("seed", 0),
                    "chat": "on" if chat else "off",
                }
            )
            local = chat and "api" not in prompting
            tokenizer = load_tokenizer(_locate_model(run, str(_checkpoint(run)))) if local else None
            today = make_eval_task(name, registry, settings, tokenizer)
        except KkwarmError as err:
            yield Finding(f"data: {name}", State.UNCHECKED, str(err))
            continue
        for key, now in today.fingerprints().items():
            what, _, benchmark = key.partition(":")
            if key not in inputs:
                yield Finding(f"{what}: {benchmark}", State.UNCHECKED, "the run records no hash of it")
                continue
            finding = _compare_hashes(f"{what}: {benchmark}", inputs[key], now)
            if finding.state is State.DIFFERS:
                hashes = {i.example.id: i.prompt_hash for i in today.items}
                changes = _describe_changes(hashes, [s for s in samples if s.benchmark == benchmark])
                finding = replace(finding, detail=finding.detail + changes)
            yield finding


def _describe_changes(hashes: Mapping[str, str], samples: Sequence[Sample]) -> str:
    """Names questions that no longer exist or have another prompt. `hashes`: question id -> hash of today's prompt."""
    missing = list(dict.fromkeys(s.id for s in samples if s.id not in hashes))
    changed = list(dict.fromkeys(s.id for s in samples if s.id in hashes and s.prompt_hash not in ("", hashes[s.id])))
    return "".join(
        f"; {len(ids):,} questions {how}: {', '.join(ids[:MAX_NAMED])}{', …' if len(ids) > MAX_NAMED else ''}"
        for ids, how in ((missing, "no longer exist"), (changed, "have a different prompt"))
        if ids
    )


def _check_examples(run: Run, registry: Registry, recorded: str) -> Finding:
    from kkwarm.data import fingerprint
    from kkwarm.train.distillation import select_training_examples

    config = run.manifest.config
    count = config.get("examples" if run.manifest.kind == "rlvr" else "n")
    if not count or "domain" not in config:
        return Finding("examples", State.UNCHECKED, "the run does not record which examples it selected")
    try:
        task = registry.task(config["domain"], from_run=True)
        benchmarks = config.get("decontaminate_against", []) if config.get("drop_contaminated") else None
        for name in benchmarks or ():
            if not name.startswith(LM_EVAL_PREFIX):
                registry.benchmark(name, from_run=True)
        examples = select_training_examples(task, count, config.get("seed", 0), decontaminate_against=benchmarks)
    except KkwarmError as err:
        return Finding("examples", State.UNCHECKED, str(err))
    return _compare_hashes("examples", recorded, fingerprint(examples))


def _check_teacher(run: Run, registry: Registry) -> Finding:
    """The traces against those that the registered teacher gives today."""
    from kkwarm.train.traces import TRACES, read_traces

    config = run.manifest.config
    n = config.get("n", 0)
    unfiltered = not config.get("verified_only") and not config.get("drop_contaminated")
    try:
        stored = [json.dumps(asdict(t), sort_keys=True) for t in read_traces(run.path / TRACES)]
        if unfiltered and n != len(stored):
            return Finding("traces", State.DIFFERS, f"{len(stored):,} traces, of {n:,} that were to be generated")
        if not len(stored) <= n <= MAX_REGENERATED:
            return Finding("traces", State.UNCHECKED, f"{n:,} traces are not generated again")
        teacher = registry.teacher(config.get("domain", ""), config.get("teacher", ""))
        today = [json.dumps(asdict(t), sort_keys=True) for t in teacher.traces(n, config.get("seed", 0))]
    except KkwarmError as err:
        return Finding("traces", State.UNCHECKED, str(err))
    expected = set(today)
    other = [number for number, trace in enumerate(stored, 1) if trace not in expected]
    if other or (unfiltered and stored != today):
        where = f", such as line {other[0]}" if other else ""
        detail = f"{len(other):,} of {len(stored):,} traces differ from what the teacher gives today{where}"
        return Finding("traces", State.DIFFERS, detail)
    return Finding("traces", State.AGREES, f"the teacher gives the same {len(stored):,} traces")


def _check_file(what: str, run: Run, name: str, recorded: str) -> Finding:
    if not name:
        return Finding(what, State.UNCHECKED, "the run does not record where the file was")
    try:
        path = Path(_locate(run, name))
        if not is_regular(path) or path.resolve().is_relative_to("/proc"):
            return Finding(what, State.UNCHECKED, f"{name} is not on this machine")
        return _compare_hashes(what, recorded, file_hash(path))
    except (KkwarmError, OSError) as err:
        return Finding(what, State.UNCHECKED, str(err))


def _check_checkpoint(what: str, run: Run, model: Any, recorded: str) -> Finding:
    from kkwarm.backends.checkpoint import fingerprint

    backend = run.manifest.config.get("backend") or run.manifest.provenance.get("backend")
    if backend not in (None, "hf", "vllm"):
        return Finding(what, State.UNCHECKED, f"backend {backend} gives no access to the weights")
    if not isinstance(model, str):
        return Finding(what, State.UNCHECKED, "the run does not record which checkpoint it was")
    try:
        return _compare_hashes(what, recorded, fingerprint(_locate_model(run, model)))
    except (KkwarmError, OSError) as err:
        return Finding(what, State.UNCHECKED, str(err))


def _checkpoint(run: Run) -> str | None:
    return run.manifest.model.checkpoint if run.manifest.model is not None else None


def _locate(run: Run, name: str) -> str:
    """The path as recorded or, if a study is elsewhere now, the path of the same name beside the run."""
    path = expand_path(name)
    with contextlib.suppress(OSError):  # a name that is too long
        if path.exists():
            return name
        parts = path.parts
        for count in (1, 2):
            sibling = run.path.parent.joinpath(*parts[-count:])
            if len(parts) > count and ".." not in parts[-count:] and sibling.exists():
                return str(sibling)
    return name


def _locate_model(run: Run, model: str) -> str:
    """The checkpoint as `_locate` finds it.

    :raises KkwarmError: the run names ``package:ATTRIBUTE`` of a package that is no plugin: nothing else is imported
        because a run says so. Or the folder holds something that is no file.
    """
    from kkwarm.plugins import registry

    package, colon, _ = model.partition(":")
    plugins = {plugin.module.partition(":")[0].partition(".")[0] for plugin in registry().plugins}
    if colon and package.isidentifier() and package not in plugins:
        raise KkwarmError(f"the checkpoint {shorten(model)} belongs to no installed plugin")
    located = _locate(run, model)
    folder = expand_path(located)
    for path in (folder, folder / "checkpoint"):
        if special := [p.name for p in path.glob("*") if not p.is_dir() and not is_regular(p)]:
            raise KkwarmError(f"{path / special[0]} is no regular file")
    return located


# -- studies ----------------------------------------------------------------------------------------------------------


def _check_study(study: Run, registry: Registry, progress: Callable[[str, int], None]) -> Iterator[Finding]:
    yield _check_settings(study)
    for step in study.manifest.plan.steps if study.manifest.plan is not None else ():
        folder = study.path / "steps" / step
        try:
            run = Run.read(folder)
            if run.manifest.kind == "study":  # perhaps a link to this one
                raise KkwarmError(f"the step {step} is a study")
            findings = list(verify_run(run, registry, progress))
        except KkwarmError as err:
            findings = [Finding("run", State.DIFFERS if study.done else State.UNCHECKED, str(err))]
        yield from (replace(f, step=step) for f in findings)
    yield _check_report(study)


def _check_report(study: Run) -> Finding:
    """The stored report against one computed from the samples."""
    path: Path = study.path / "report.json"
    if not path.exists():
        return Finding("report.json", State.UNCHECKED, "it is missing" if study.done else "the study is not done")
    from kkwarm.analysis.build import build_report
    from kkwarm.analysis.load import load
    from kkwarm.schema.report import parse_report

    try:
        stored = parse_report(read_regular(path)).model_dump(mode="json")
        now = build_report(load([study.path])).model_dump(mode="json")
    except ValueError as err:
        return Finding("report.json", State.DIFFERS, f"it cannot be read: {err}")
    except KkwarmError as err:
        return Finding("report.json", State.UNCHECKED, str(err))
    parts = ("conditions", "domains", "matrix", "claims", "curves", "problems", "contamination", "method")
    wrong = [p for p in parts if not _is_close(stored.get(p), now.get(p))]
    if wrong:
        return Finding("report.json", State.DIFFERS, f"{', '.join(wrong)} differ when computed from the samples")
    return Finding("report.json", State.AGREES, "it is the same when computed from the samples")
