"""Warm-up traces from a registered teacher, a checkpoint or a server."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kkwarm.data import content_hash, fingerprint
from kkwarm.errors import KkwarmError
from kkwarm.paths import expand_path
from kkwarm.plugins import Registry, registry
from kkwarm.store import Run
from kkwarm.train.config import DistillConfig, identity
from kkwarm.train.contamination_check import contamination_check, decontaminate
from kkwarm.train.loop import done_before, opened
from kkwarm.train.progress import Progress, say
from kkwarm.train.traces import TRACES, write_traces
from kkwarm.types import Completion, Example, Format, Sample, Sampling, Task, Teacher, Trace, Verifier
from kkwarm.verify import Judge
from kkwarm.verify.source import verifier_provenance

__all__ = ["Plan", "chosen", "distill", "plan_distill"]

WAVE = 64  # completions judged and stored at a time
WAIT = 5.0  # seconds after which fewer are, so that little is lost by a kill


class Plan:
    """What a configuration of distill amounts to, before anything is generated."""

    def __init__(
        self,
        config: DistillConfig,
        *,
        base_url: str | None = None,
        backend: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        reg = registry()
        self.config, self.base_url = config, base_url
        self.teacher: Teacher | None = None
        self.examples: list[Example] = []
        self.backend = "teacher"
        for name in config.decontaminate_against:  # before a model is loaded
            if not name.startswith("lm_eval:"):
                reg.benchmark(name)
        if base_url is None and backend is None and (config.domain, config.teacher) in reg.teachers:
            self.teacher = reg.teacher(config.domain, config.teacher)
            _no_model(config, options)
            return
        self.task = reg.task(config.domain)
        self.backend = backend or ("openai" if base_url is not None else "hf")
        if self.backend != "openai" and not _is_checkpoint(config.teacher):
            if (config.domain, config.teacher) in reg.teachers:
                raise KkwarmError(
                    f"{config.teacher} is a registered teacher of {config.domain}: no backend runs it",
                    hint="leave out --backend",
                )
            reg.teacher(config.domain, config.teacher)  # raises, with near names
        apart_from = config.decontaminate_against if config.drop_contaminated else None
        self.examples = chosen(self.task, config.n, config.seed, apart_from=apart_from)
        self.format = reg.format(config.format or self.task.format)
        self.verifier = reg.verifier(self.task.verifier)

    @property
    def completions(self) -> int:
        """Completions that a model has to write; 0 for a registered teacher."""
        return len(self.examples) * self.config.samples

    @property
    def sampling(self) -> Sampling:
        c = self.config
        return Sampling(c.temperature, c.top_p, c.max_tokens or self.task.sampling.max_tokens, c.seed)


def plan_distill(
    config: DistillConfig,
    *,
    base_url: str | None = None,
    backend: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """What `distill` would do.

    :raises KkwarmError: unknown domain or teacher, more questions than there are, or a setting that only a model has
        for a registered teacher.
    """
    return Plan(config, base_url=base_url, backend=backend, options=options)


def _no_model(config: DistillConfig, options: Mapping[str, Any] | None) -> None:
    """:raises KkwarmError: a setting of models is given to a registered teacher, which would pass over it.

    :param options: None for a recipe's traces: whoever puts another teacher there cannot take the rest back.
    """
    if config.samples != 1:
        raise KkwarmError(
            "a registered teacher gives one trace for a question", hint="leave out --samples, or --preset paper"
        )
    if options is None:
        return
    usual = DistillConfig(config.domain, config.teacher, config.n)
    models = ("temperature", "top_p", "max_tokens", "format")
    given = [name for name in models if getattr(config, name) != getattr(usual, name)]
    given += [name for name, value in options.items() if value is not None]
    if given:
        who, one = f"{config.teacher} is a registered teacher of {config.domain}", len(given) == 1
        told = f"{', '.join(given)} {'is' if one else 'are'} for models"
        raise KkwarmError(f"{who}: {told}", hint=f"leave {'it' if one else 'them'} out")


def chosen(task: Task, n: int, seed: int, *, apart_from: Sequence[str] | None = None) -> list[Example]:
    """`n` training examples, chosen by their content and the seed only: the first 50 of 100 are the 50.

    :param apart_from: benchmarks whose questions are passed over (none: the task's own); None: whatever comes is taken.
    :raises KkwarmError: there are fewer; says how many.
    """
    examples = list(task.load())
    if n > len(examples):
        raise KkwarmError(
            f"{task.name} has {len(examples)} training examples, not {n}", hint=f"ask for {len(examples)}"
        )

    def rank(e: Example) -> tuple[str, str]:
        return hashlib.sha256(f"{seed}:{content_hash(e)}".encode()).hexdigest(), e.id

    ranked = sorted(examples, key=rank)
    if apart_from is None:
        return ranked[:n]
    taken: list[Example] = []
    for at in range(0, len(ranked), n):
        taken += decontaminate(ranked[at : at + n], [task.name], apart_from)
        if len(taken) >= n:
            return taken[:n]
    raise KkwarmError(
        f"{task.name} has {len(taken)} training examples that are not evaluated, not {n}", hint=f"ask for {len(taken)}"
    )


def distill(
    config: DistillConfig,
    out: Path | str,
    *,
    base_url: str | None = None,
    backend: str | None = None,
    options: dict[str, Any] | None = None,
    labels: dict[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Writes ``traces.jsonl`` into the run folder `out`; goes on where it was stopped.

    A model's completions are all stored (``samples.jsonl``, with verdicts); those that its format can split become
    traces. Only `verified_only` looks at the verdict.

    :param base_url: of an OpenAI-compatible server whose model is `config.teacher`.
    :param backend: ``hf``, ``vllm`` or ``openai``; None: by the kind of teacher.
    :param options: further arguments of the backend.
    :raises KkwarmError: unknown domain or teacher, too few questions, no trace left, unreadable checkpoint.
    """
    plan = plan_distill(config, base_url=base_url, backend=backend, options=options)
    if plan.teacher is not None:
        return _from_teacher(plan, plan.teacher, Path(out), labels, progress)
    return _from_model(plan, Path(out), options or {}, labels, progress)


def _from_teacher(plan: Plan, teacher: Teacher, out: Path, labels: dict[str, Any] | None, progress: bool) -> Run:
    config = plan.config
    settings = identity(config)
    if (done := done_before(out, kind="distill", config=settings, inputs={}, product=TRACES)) is not None:
        return done
    with opened(out, kind="distill", config=settings, inputs={}) as run:
        run.record(labels=labels or {}, provenance=_origin(registry(), teacher))
        traces = []
        with Progress("distill", config.n, show=progress) as bar:
            for trace in teacher.traces(config.n, config.seed):
                traces.append(trace)
                bar.advance()
        if len(traces) < config.n:
            raise KkwarmError(f"teacher {teacher.name} gave {len(traces)} traces, not {config.n}", hint="ask for fewer")
        asked = len(traces)
        if config.drop_contaminated:
            traces = decontaminate(traces, [config.domain], config.decontaminate_against)
        contamination_check(
            run, traces, [config.domain], config.decontaminate_against, allow=config.allow_contamination
        )
        status: Counter[str] = Counter()
        if config.verified_only:
            traces = list(_verified(traces, registry().task(config.domain), status))
        _finish(run, traces, asked, status)
        return run


def _from_model(plan: Plan, out: Path, options: dict[str, Any], labels: dict[str, Any] | None, progress: bool) -> Run:
    from kkwarm.backends import open_backend
    from kkwarm.backends.text import unread

    config = plan.config
    if plan.base_url is not None:
        options = {**options, "base_url": plan.base_url}
    engine = open_backend(plan.backend, config.teacher, **options)
    try:
        inputs = {"teacher": engine.fingerprint, "examples": fingerprint(plan.examples)}
        settings = identity(config)
        if (done := done_before(out, kind="distill", config=settings, inputs=inputs, product=TRACES)) is not None:
            return done
        with opened(out, kind="distill", config=settings, inputs=inputs) as run:
            run.record(labels=labels or {}, provenance={"backend": engine.name, "checkpoint": engine.checkpoint})
            contamination_check(
                run, plan.examples, [config.domain], config.decontaminate_against, allow=config.allow_contamination
            )
            run.record_verifiers({plan.task.name: verifier_provenance(plan.verifier, plan.format)})
            if run.truncated_bytes:
                say(f"{run.path}: the last sample was cut short by a crash; it is generated again")
            if engine.tokenizer is not None:
                prompts = [plan.format.render(e.question, engine.tokenizer) for e in plan.examples]
                if told := unread(engine.tokenizer, prompts, "prompts"):
                    run.record(warnings=[told])
                    say(told)
            _generate(plan, run, engine, progress)
            samples = {(s.id, s.index): s for s in run.samples()}
            ordered = [samples[e.id, k] for e in plan.examples for k in range(config.samples)]
            traces = list(_traces(plan, ordered))
            _finish(run, traces, len(ordered), Counter(s.verdict.status.value for s in ordered))
            return run
    finally:
        engine.close()


def _generate(plan: Plan, run: Run, engine: Any, progress: bool) -> None:
    """Asks for the completions that the run lacks, judges and stores them in waves."""
    from kkwarm.backends.base import Request

    have = {(s.id, s.index) for s in run.samples()}
    requests = []
    for e in plan.examples:
        missing = tuple(k for k in range(plan.config.samples) if (e.id, k) not in have)
        if missing:
            requests.append(Request(e.id, plan.format.render(e.question, engine.tokenizer), missing, plan.format.stop))
    by_id = {e.id: e for e in plan.examples}
    wave: list[tuple[Example, int, Completion]] = []
    since = time.monotonic()
    with Progress("distill", plan.completions, done=len(have), show=progress) as bar, Judge() as judge:

        def store() -> None:
            verdicts = judge.verify(plan.verifier, plan.format, [(e, c) for e, _, c in wave])
            pairs = zip(wave, verdicts, strict=True)
            run.append(Sample(plan.task.name, e.id, k, c, v) for (e, k, c), v in pairs)
            wave.clear()

        try:
            for request, index, completion in engine.generate(requests, plan.sampling):
                wave.append((by_id[request.key], index, completion))
                bar.advance()
                if len(wave) >= WAVE or time.monotonic() - since > WAIT:
                    store()
                    since = time.monotonic()
        finally:
            store()


def _traces(plan: Plan, samples: Sequence[Sample]) -> Iterator[Trace]:
    examples = {e.id: e for e in plan.examples}
    for s in samples:
        response = plan.format.split(s.completion)
        if response.answer is None or response.problem or (plan.config.verified_only and not s.verdict.correct):
            continue
        yield Trace(
            f"{s.id}#{s.index}",
            plan.config.domain,
            examples[s.id].question,
            response.reasoning,
            response.answer,
            plan.config.teacher,
            {"status": s.verdict.status.value, "tokens": s.completion.n_tokens, "seed": plan.config.seed},
        )


def _verified(traces: Iterable[Trace], task: Task, status: Counter[str]) -> Iterator[Trace]:
    """The traces that the verifier accepts, against the gold answer of ``meta["gold"]`` or of the same question."""
    reg = registry()
    verifier: Verifier = reg.verifier(task.verifier)
    fmt: Format = reg.format(task.format)
    listed = list(traces)
    known = {} if all("gold" in t.meta for t in listed) else {content_hash(e): e for e in task.load()}
    pairs = []
    for t in listed:
        example = Example(t.id, t.question, t.meta.get("gold"), "train", t.meta)
        if "gold" not in t.meta:
            if content_hash(example) not in known:
                raise KkwarmError(
                    f"trace {t.id} cannot be verified: neither its meta nor {task.name} holds a gold answer for it",
                    hint="leave out --verified-only",
                )
            example = replace(known[content_hash(example)], id=t.id)
        pairs.append((example, Completion(fmt.compose(t.reasoning, t.answer), finish_reason="stop")))
    with Judge() as judge:
        for t, verdict in zip(listed, judge.verify(verifier, fmt, pairs), strict=True):
            status[verdict.status.value] += 1
            if verdict.correct:
                yield t


def _finish(run: Run, traces: Sequence[Trace], asked: int, status: Counter[str]) -> None:
    if not traces:
        counts = ", ".join(f"{n} {name}" for name, n in status.most_common())
        stored = run.path / "samples.jsonl"
        what = "completions" if stored.exists() else "traces of the teacher"
        hint = f"see {stored}; other settings, such as a larger --max-tokens, need another folder (-o)"
        if not stored.exists():
            hint = "leave out --verified-only, or take another teacher"
        raise KkwarmError(f"none of {asked} {what} became a trace ({counts})", hint=hint)
    n = write_traces(run.path / TRACES, traces)
    run.finish(results={"traces": n, "left_out": asked - n, "status": dict(status)})


def _origin(reg: Registry, teacher: Teacher) -> dict[str, str]:
    plugin = reg.origin.get(("teacher", f"{teacher.domain}/{teacher.name}"))
    found = {"teacher": teacher.name}
    if plugin is not None:
        found |= {"plugin": plugin.name, "distribution": plugin.distribution, "version": plugin.version}
    return found


def _is_checkpoint(name: str) -> bool:
    from kkwarm.backends.checkpoint import shipped

    return "/" in name or expand_path(shipped(name)).exists()
