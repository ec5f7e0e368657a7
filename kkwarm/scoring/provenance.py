"""What a run was made from, against what is on this machine: data, prompts, training examples, traces, checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.paths import expand_path
from kkwarm.plugins import Registry
from kkwarm.scoring.findings import SHOWN, Finding, State
from kkwarm.store import Run, file_hash
from kkwarm.types import Sample

__all__ = ["findings"]


def findings(run: Run, registry: Registry, samples: Sequence[Sample]) -> Iterator[Finding]:
    """One finding for each recorded input of the run."""
    inputs: Mapping[str, str] = run.manifest.inputs
    config: Mapping[str, Any] = run.manifest.config
    kind = run.manifest.kind
    if kind == "bench":
        yield from _benchmarks(run, registry, inputs, samples)
    if kind in ("rlvr", "distill") and "examples" in inputs:
        yield _examples(registry, config, inputs["examples"], int(config["examples" if kind == "rlvr" else "n"]))
    if kind == "distill" and not inputs:
        yield _teacher(run, registry, config)
    if "traces" in inputs:
        yield _file("traces", run, run.manifest.traces, inputs["traces"])
    if "outputs" in inputs:
        yield _file("outputs", run, run.manifest.file, inputs["outputs"])
    for name in ("checkpoint", "teacher"):
        if name in inputs:
            yield _checkpoint(name, run, config, inputs[name])


def _compared(what: str, then: str, now: str) -> Finding:
    if then == now:
        return Finding(what, State.AGREES, f"hash {now}")
    return Finding(what, State.DIFFERS, f"hash {now} today, {then} when it ran")


# -- questions and prompts --------------------------------------------------------------------------------------------


def _benchmarks(
    run: Run, registry: Registry, inputs: Mapping[str, str], samples: Sequence[Sample]
) -> Iterator[Finding]:
    from kkwarm.evaluation.config import BenchConfig
    from kkwarm.evaluation.plan import LM_EVAL_PREFIX, make_eval_task

    config = run.manifest.config
    for name in config.get("benchmarks", ()):
        if name.startswith(LM_EVAL_PREFIX):
            yield Finding(f"data: {name}", State.UNCHECKED, "its data and prompts are lm-eval's own")
            continue
        fmt = next((config["formats"][k] for k in (name, f"{name}+forced") if k in config.get("formats", {})), None)
        settings = BenchConfig(limit=config.get("limit"), format=fmt, force=bool(config.get("force")))
        try:
            chat = registry.format(fmt).chat if fmt else False
            today = make_eval_task(name, registry, settings, _tokenizer(run) if chat else None)
        except KkwarmError as err:
            yield Finding(f"data: {name}", State.UNCHECKED, str(err))
            continue
        for key, now in today.fingerprints().items():
            what, _, shown = key.partition(":")
            if key not in inputs:
                yield Finding(f"{what}: {shown}", State.UNCHECKED, "the run keeps no hash of it")
                continue
            found = _compared(f"{what}: {shown}", inputs[key], now)
            if found.state is State.DIFFERS:
                asked = {i.example.id: i.prompt_hash for i in today.items}
                moved = _moved(asked, [s for s in samples if s.benchmark == shown])
                found = Finding(found.what, found.state, f"{found.says}{moved}")
            yield found


def _moved(asked: Mapping[str, str], samples: Sequence[Sample]) -> str:
    """Which questions are gone or are asked in other words, by the hash that each sample keeps of its prompt."""
    gone = list(dict.fromkeys(s.id for s in samples if s.id not in asked))
    other = list(dict.fromkeys(s.id for s in samples if s.id in asked and s.prompt_hash not in ("", asked[s.id])))
    return "".join(
        f"; {len(ids):,} questions are {how}: {', '.join(ids[:SHOWN])}{', …' if len(ids) > SHOWN else ''}"
        for ids, how in ((gone, "no longer there"), (other, "asked in other words"))
        if ids
    )


def _tokenizer(run: Run) -> Any:
    from kkwarm.backends.checkpoint import load_tokenizer

    return load_tokenizer(_place(run, str(_model(run))))


# -- what was trained on ----------------------------------------------------------------------------------------------


def _examples(registry: Registry, config: Mapping[str, Any], then: str, n: int) -> Finding:
    from kkwarm.data import fingerprint
    from kkwarm.train.distillation import select_training_examples

    try:
        task, benchmarks = registry.task(config["domain"]), config.get("drop_contaminated")
        found = select_training_examples(task, n, int(config["seed"]), decontaminate_against=benchmarks)
    except KkwarmError as err:
        return Finding("examples", State.UNCHECKED, str(err))
    return _compared("examples", then, fingerprint(found))


def _teacher(run: Run, registry: Registry, config: Mapping[str, Any]) -> Finding:
    """A registered teacher gives the same traces again."""
    from kkwarm.train.traces import TRACES, read_traces

    try:
        stored = [json.dumps(asdict(t), sort_keys=True) for t in read_traces(run.path / TRACES)]
        teacher = registry.teacher(config["domain"], config["teacher"])
        again = [json.dumps(asdict(t), sort_keys=True) for t in teacher.traces(int(config["n"]), int(config["seed"]))]
    except KkwarmError as err:
        return Finding("traces", State.UNCHECKED, str(err))
    known = set(again)
    other = [i for i, trace in enumerate(stored, 1) if trace not in known]
    whole = not config.get("verified_only") and "drop_contaminated" not in config
    if other or (whole and stored != again):
        where = f", such as line {other[0]}" if other else ""
        says = f"{len(other):,} of {len(stored):,} are not what the teacher gives today{where}"
        return Finding("traces", State.DIFFERS, says)
    return Finding("traces", State.AGREES, f"the teacher gives the same {len(stored):,} again")


# -- files and checkpoints --------------------------------------------------------------------------------------------


def _file(what: str, run: Run, named: Any, then: str) -> Finding:
    if not isinstance(named, str):
        return Finding(what, State.UNCHECKED, "the run does not say where they were")
    path = Path(_place(run, named))
    if not path.is_file():
        return Finding(what, State.UNCHECKED, f"{named} is not on this machine")
    return _compared(what, then, file_hash(path))


def _checkpoint(what: str, run: Run, config: Mapping[str, Any], then: str) -> Finding:
    from kkwarm.backends.checkpoint import fingerprint

    model = config.get("teacher") if what == "teacher" else _model(run)
    backend = config.get("backend") or run.manifest.provenance.get("backend")
    if backend not in (None, "hf", "vllm"):
        return Finding(what, State.UNCHECKED, f"the weights behind backend {backend} cannot be seen from here")
    if not isinstance(model, str):
        return Finding(what, State.UNCHECKED, "the run does not say which it was")
    try:
        return _compared(what, then, fingerprint(_place(run, model)))
    except KkwarmError as err:
        return Finding(what, State.UNCHECKED, str(err))


def _model(run: Run) -> str | None:
    return run.manifest.model.checkpoint if run.manifest.model is not None else None


def _place(run: Run, named: str) -> str:
    """Where something stands now: as named, or, if a study was moved, beside the run under the same last name."""
    path = expand_path(named)
    if path.exists():
        return named
    parts = path.parts
    for take in (1, 2):
        beside = run.path.parent.joinpath(*parts[-take:])
        if len(parts) > take and beside.exists():
            return str(beside)
    return named
