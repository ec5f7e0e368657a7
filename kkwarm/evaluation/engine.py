"""One benchmark run, from names to figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from kkwarm import plugins
from kkwarm.backends import open_backend
from kkwarm.backends.base import Backend
from kkwarm.backends.checkpoint import display_name, fingerprint, load_tokenizer, resolve
from kkwarm.backends.text import unread
from kkwarm.errors import KkwarmError, warn
from kkwarm.evaluation.collect import SampleCollector
from kkwarm.evaluation.config import BenchConfig
from kkwarm.evaluation.early_stopping import EarlyStopping, rule_of
from kkwarm.evaluation.plan import KNOWN, Entry, entry, named
from kkwarm.evaluation.progress import Bars
from kkwarm.evaluation.results import figures
from kkwarm.limits import affordable
from kkwarm.plugins import Registry
from kkwarm.schema.manifest import Manifest
from kkwarm.store import Run, config_hash, read_contamination, runs_home
from kkwarm.store.run import PROTOCOL
from kkwarm.verify import Judge
from kkwarm.verify.source import verifier_provenance

__all__ = ["Prepared", "prepare", "run_bench"]

_OWN_BACKENDS = ("hf", "vllm")  # those that read the checkpoint themselves, so that it is known before they are opened


@dataclass(slots=True)
class Prepared:
    """What is to be run, known before any model is loaded."""

    model: str
    config: BenchConfig
    registry: Registry
    entries: list[Entry]
    known: list[str]
    settings: dict[str, Any]
    inputs: dict[str, str]
    out: Path
    given: Backend | None = None
    opened: Backend | None = None
    tokenizer: Any = None  # of a checkpoint that is read here

    def backend(self) -> Backend:
        """The backend, opened at the first call."""
        if self.given is not None:
            return self.given
        if self.opened is None:
            own = (
                {"device": self.config.device, "batch_size": self.config.batch_size}
                if self.config.backend == "hf"
                else {}
            )
            server = {"base_url": self.config.base_url} if self.config.backend == "openai" else {}
            self.opened = open_backend(self.config.backend, self.model, **{**own, **server, **self.config.engine})
        return self.opened

    def close(self) -> None:
        """Closes the backend that this opened; one that was given stays open."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None


def prepare(
    model: str, benchmarks: Sequence[str], out: Path | str | None, config: BenchConfig, backend: Backend | None = None
) -> Prepared:
    """Resolves names, loads questions, renders prompts, fingerprints the checkpoint.

    :raises KkwarmError: unknown benchmark, format or backend; no checkpoint; nobody answers at the server.
    """
    names = named(benchmarks)
    registry = plugins.registry()
    own = [n for n in names if not n.startswith(KNOWN)]
    known = [n for n in names if n.startswith(KNOWN)]
    for name in own:  # a typing error is said before anything heavy is imported
        registry.benchmark(name)
    if known and config.backend not in _OWN_BACKENDS:
        raise KkwarmError(f"{known[0]} runs with --backend hf or vllm only, not {config.backend}")
    prepared = Prepared(model, config, registry, [], known, {}, {}, Path(), backend)
    name = config.backend if backend is None else backend.name
    if backend is None and name in _OWN_BACKENDS:
        resolve(model)
        checkpoint, tokenizer = fingerprint(model), load_tokenizer(model)
        prepared.tokenizer = tokenizer
    else:
        engine = prepared.backend()
        checkpoint, tokenizer = engine.fingerprint, engine.tokenizer
    try:
        prepared.entries = [entry(n, registry, config, tokenizer) for n in own]
        affordable(sum(len(e.items) for e in prepared.entries) * config.samples, "completions")
    except BaseException:
        prepared.close()
        raise
    prepared.settings = {
        "benchmarks": names,
        "samples": config.samples,
        "limit": config.limit,
        "backend": name,
        "formats": {e.name: e.format.name for e in prepared.entries},
        "sampling": {e.name: asdict(e.sampling) for e in prepared.entries},
        "seed": config.seed,
        "force": config.force,
    }
    if "dtype" in config.engine:  # the other options do not decide what is drawn, but for rounding
        prepared.settings["dtype"] = config.engine["dtype"]
    prepared.inputs = {"checkpoint": checkpoint}
    for e in prepared.entries:
        prepared.inputs.update(e.inputs())
    identity = config_hash({"config": prepared.settings, "inputs": prepared.inputs})
    default = runs_home() / "bench" / f"{display_name(model)}-{identity}"
    prepared.out = Path(out) if out is not None else default
    return prepared


def run_bench(
    model: str,
    benchmarks: Sequence[str],
    out: Path | str | None,
    config: BenchConfig,
    *,
    labels: Mapping[str, str] | None = None,
    progress: bool = True,
    backend: Backend | None = None,
) -> Run:
    """See `kkwarm.evaluation.bench`."""
    prepared = prepare(model, benchmarks, out, config, backend)
    try:
        manifest = Manifest(kind="bench", protocol=PROTOCOL, config=prepared.settings)
        until = rule_of(config, prepared.entries, prepared.known, manifest)
        with Run.open(prepared.out, kind="bench", config=prepared.settings, inputs=prepared.inputs) as run:
            run.record(labels=dict(labels or {}), model={"name": display_name(model), "checkpoint": str(model)})
            run.record(contamination=read_contamination(model))
            if run.truncated_bytes:
                click.echo(f"{run.path}: the last sample was cut short by a crash; it is generated again", err=True)
            if _whole(prepared, run):
                run.record(state="done", results=run.manifest.results | {"labels": run.manifest.labels})
                return run
            _warn(prepared, run)
            run.record(state="running")  # it may be done as far as a rule let it come
            run.record_verifiers({e.name: verifier_provenance(e.verifier, e.format) for e in prepared.entries})
            _complete(prepared, run, progress, until)
            prepared.registry.call_hook("kkwarm_run_finished", run=run)
            return run
    finally:
        prepared.close()


def _warn(prepared: Prepared, run: Run) -> None:
    """Records and tells where the tokenizer cannot read a benchmark's prompts."""
    if prepared.tokenizer is None:
        return
    warnings = [
        f"{e.name}: {said}"
        for e in prepared.entries
        if (said := unread(prepared.tokenizer, [item.prompt for item in e.items], "prompts"))
    ]
    run.record(warnings=warnings)
    for warning in warnings:
        warn(warning)


def _whole(prepared: Prepared, run: Run) -> bool:
    """Whether an earlier session finished the run, and its samples are all still there."""
    if not run.manifest.results:
        return False
    held = Counter(sample.benchmark for sample in run.samples())
    own = all(held[e.name] == len(e.items) * prepared.config.samples for e in prepared.entries)
    return own and all(held[name] == run.manifest.benchmarks[name]["samples"] for name in prepared.known)


def _complete(prepared: Prepared, run: Run, progress: bool, until: EarlyStopping | None) -> None:
    config = prepared.config
    results: dict[str, Any] = {}
    stopped: dict[str, Any] = {}
    entries = prepared.entries
    with Judge() as judge, Bars(progress) as bars:
        collector = SampleCollector(run, prepared.backend, config.samples, judge, prepared.registry, bars)
        before = dict(run.manifest.generation)
        try:
            if until is not None:
                entries, stopped = until(entries, collector)
            if entries:
                results |= _own(entries, config.samples, collector)
        finally:  # an interrupted run keeps its throughput too
            run.record(generation=_generation(before, collector))
        prepared.close()
        for name in prepared.known:
            from kkwarm.evaluation.lm_eval_tasks import run_known

            results[name] = run_known(name, prepared.model, config, run, bars)
    _mark_contamination(results, run.manifest.contamination, entries)
    generation = run.manifest.generation
    seconds = generation["seconds"]
    throughput = generation | {
        "tokens_per_s": generation["tokens"] / seconds if seconds and generation["tokens"] else None
    }
    for name, why in stopped.items():
        results[name]["stopped"] = why
    run.finish(
        stopped=stopped,
        results={
            "benchmarks": results,
            "model": display_name(prepared.model),
            "checkpoint": str(prepared.model),
            "labels": run.manifest.labels,
            "throughput": throughput,
            "run": str(run.path),
        },
    )


def _mark_contamination(
    results: dict[str, Any], overlaps: Sequence[Mapping[str, Any]], entries: Sequence[Entry]
) -> None:
    """``leaked`` in a benchmark's figures: how many of its questions the checkpoint was trained on, if any."""
    for e in entries:
        trained = {k["id"] for k in overlaps if k["domain"] in (e.benchmark.name, e.benchmark.name.partition(":")[0])}
        if shared := len(trained.intersection(i.example.id for i in e.items)):
            results[e.name]["leaked"] = shared


def _own(entries: Sequence[Entry], samples: int, collector: SampleCollector) -> dict[str, Any]:
    """Figures of kkwarm's benchmarks; lm-eval's must agree with them."""
    from kkwarm.evaluation.lm import evaluated

    theirs = evaluated(entries, samples, collector)
    results = {}
    for e in entries:
        order = [(e.name, i.example.id, k) for i in e.items for k in range(samples)]
        ours = figures(e, [collector.stored[key] for key in order])
        if abs(ours["accuracy"] - float(theirs[e.name]["accuracy"])) > 1e-9:
            raise RuntimeError(f"{e.name}: accuracy is {ours['accuracy']}, by lm-eval {theirs[e.name]['accuracy']}")
        results[e.name] = ours
    return results


def _generation(before: Mapping[str, Any], collector: SampleCollector) -> dict[str, Any]:
    """Tokens and seconds of all sessions of the run."""
    return {
        "tokens": int(before.get("tokens", 0)) + collector.tokens,
        "seconds": round(float(before.get("seconds", 0.0)) + collector.seconds, 3),
        "tokens_known": bool(before.get("tokens_known", True)) and collector.counted,
    }
