"""Warm-up traces from a registered teacher, a checkpoint or a server."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kkwarm.backends.base import Backend
from kkwarm.data import content_hash, fingerprint
from kkwarm.errors import KkwarmError
from kkwarm.evaluation.collect import RunSink, SampleRequest, SampleRequests, collect
from kkwarm.evaluation.lm_eval_index import LM_EVAL_PREFIX, find_lm_eval_task
from kkwarm.files import expand_path
from kkwarm.plugins import Registry, registry
from kkwarm.progress import GenerationProgress
from kkwarm.protocols import PromptRenderer, make_renderer
from kkwarm.schema.settings import DistillConfig
from kkwarm.store import Run
from kkwarm.train.contamination_check import contamination_check, decontaminate
from kkwarm.train.loop import open_run, read_finished
from kkwarm.train.progress import Progress, print_status
from kkwarm.train.traces import TRACES, write_traces
from kkwarm.types import Completion, Example, Sample, Sampling, Task, Teacher, Trace
from kkwarm.verify import Judge
from kkwarm.verify.rewards import TaskReward
from kkwarm.verify.source import verifier_provenance


class DistillPlan:
    """What a configuration of distill asks for, before anything is generated."""

    def __init__(
        self,
        config: DistillConfig,
        *,
        base_url: str | None = None,
        backend: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        reg = registry()
        config.check_benchmarks([config.domain])
        self.config, self.base_url = config, base_url
        self.teacher: Teacher | None = None
        self.examples: list[Example] = []
        self.backend = "teacher"
        for name in config.decontaminate_against:  # report an unknown benchmark before a model is loaded
            find_lm_eval_task(name) if name.startswith(LM_EVAL_PREFIX) else reg.benchmark(name)
        is_registered = config.teacher in reg.teachers_of(config.domain)
        if base_url is None and backend is None and is_registered:
            self.teacher = reg.teacher(config.domain, config.teacher)
            _refuse_model_settings(config, options)
            return
        self.task = reg.task(config.domain)
        self.backend = backend or ("openai" if base_url is not None else "hf")
        if self.backend != "openai" and config.api != "auto":
            raise KkwarmError("--api is for servers: the other backends have no endpoints", hint="leave it out")
        if self.backend != "openai" and not _is_checkpoint(config.teacher):
            if is_registered:
                raise KkwarmError(
                    f"{config.teacher} is a registered teacher of {config.domain}: no backend runs it",
                    hint="leave out --backend",
                )
            reg.teacher(config.domain, config.teacher)  # raises with similar names
        benchmarks = config.decontaminate_against if config.drop_contaminated else None
        self.examples = select_training_examples(self.task, config.n, config.seed, decontaminate_against=benchmarks)
        self.protocol = reg.protocol(self.task, config.protocol)
        self.verifier = reg.verifier_of(self.task, self.protocol)

    @property
    def completions(self) -> int:
        """Completions that a model has to generate; 0 for a registered teacher."""
        return len(self.examples) * self.config.samples

    @property
    def sampling(self) -> Sampling:
        c = self.config
        max_tokens = c.max_tokens or self.task.sampling.max_tokens
        return Sampling(c.temperature, c.top_p, max_tokens, c.seed, c.top_k, c.min_p, c.repetition_penalty)


def _refuse_model_settings(config: DistillConfig, options: Mapping[str, Any] | None) -> None:
    """Checks that a registered teacher, which would ignore them, is given no settings of a model.

    :param options: the backend's; None (from a recipe) allows settings, because a recipe may replace the teacher only.
    """
    if config.samples != 1:
        raise KkwarmError(
            "a registered teacher gives one trace for each question", hint="leave out --samples, or --preset paper"
        )
    if options is None:
        return
    default = DistillConfig(domain=config.domain, teacher=config.teacher, n=config.n)
    sampling = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens")
    settings = (*sampling, "protocol", "chat", "system", "shots", "chat_template_args", "think_tags", "api")
    names = [name for name in settings if getattr(config, name) != getattr(default, name)]
    names += [name for name, value in options.items() if value is not None]
    if names:
        single = len(names) == 1
        raise KkwarmError(
            f"{config.teacher} is a registered teacher of {config.domain}: "
            f"{', '.join(names)} {'is' if single else 'are'} for models",
            hint=f"leave {'it' if single else 'them'} out",
        )


def select_training_examples(
    task: Task, n: int, seed: int, *, decontaminate_against: Sequence[str] | None = None
) -> list[Example]:
    """`n` training examples, ranked by a hash of content and seed: the first 50 of 100 equal a selection of 50.

    :param decontaminate_against: benchmarks whose questions are skipped (empty: the task's own); None skips nothing.
    :raises KkwarmError: there are fewer than `n`.
    """
    examples = list(task.load())
    if n > len(examples):
        raise KkwarmError(
            f"{task.name} has {len(examples)} training examples, not {n}", hint=f"ask for {len(examples)}"
        )

    def rank(e: Example) -> tuple[str, str]:
        return hashlib.sha256(f"{seed}:{content_hash(e)}".encode()).hexdigest(), e.id

    ranked = sorted(examples, key=rank)
    if decontaminate_against is None:
        return ranked[:n]
    selected: list[Example] = []
    for start in range(0, len(ranked), n):
        selected += decontaminate(ranked[start : start + n], [task.name], decontaminate_against)
        if len(selected) >= n:
            return selected[:n]
    raise KkwarmError(
        f"{task.name} has {len(selected)} training examples that are not evaluated, not {n}",
        hint=f"ask for {len(selected)}",
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
    """Writes ``traces.jsonl`` into the run folder `out`; resumes an interrupted run.

    All completions of a model are stored with their verdicts (``samples.jsonl``). Those that its protocol can split
    become traces; only `verified_only` requires a correct verdict.

    :param base_url: of an OpenAI-compatible server whose model is `config.teacher`.
    :param backend: ``hf``, ``vllm`` or ``openai``; None: by the kind of teacher.
    :param options: further options of the backend.
    :raises KkwarmError: unknown domain or teacher, too few questions, no trace, or an unreadable checkpoint.
    """
    plan = DistillPlan(config, base_url=base_url, backend=backend, options=options)
    if plan.teacher is not None:
        return _distill_from_teacher(plan, plan.teacher, Path(out), labels, progress)
    return _distill_from_model(plan, Path(out), options or {}, labels, progress)


def _distill_from_teacher(
    plan: DistillPlan, teacher: Teacher, out: Path, labels: dict[str, Any] | None, progress: bool
) -> Run:
    config = plan.config
    settings = config.dump()
    if (done := read_finished(out, kind="distill", config=settings, inputs={}, product=TRACES)) is not None:
        return done
    with open_run(out, kind="distill", config=settings, inputs={}) as run:
        run.record(labels=labels or {}, provenance=_teacher_provenance(registry(), teacher))
        traces = []
        with Progress("distill", config.n, show=progress) as bar:
            for trace in teacher.traces(config.n, config.seed):
                traces.append(trace)
                bar.advance()
        if len(traces) < config.n:
            raise KkwarmError(f"teacher {teacher.name} gave {len(traces)} traces, not {config.n}", hint="ask for fewer")
        total = len(traces)
        if config.drop_contaminated:
            traces = decontaminate(traces, [config.domain], config.decontaminate_against)
        contamination_check(run, traces, [config.domain], config)
        status: Counter[str] = Counter()
        if config.verified_only:
            traces = list(_verified_traces(traces, registry().task(config.domain), status))
        _finish(run, traces, total, status)
        return run


def _distill_from_model(
    plan: DistillPlan, out: Path, options: dict[str, Any], labels: dict[str, Any] | None, progress: bool
) -> Run:
    from kkwarm.backends import open_backend
    from kkwarm.backends.text import unknown_token_warning

    config = plan.config
    if plan.base_url is not None:
        options = {**options, "base_url": plan.base_url}
    if config.trust_remote_code and plan.backend in ("hf", "vllm"):
        options = {**options, "trust_remote_code": True}
    backend = open_backend(plan.backend, config.teacher, **options)
    try:
        inputs = {"teacher": backend.fingerprint, "examples": fingerprint(plan.examples)}
        settings = config.dump()
        if (done := read_finished(out, kind="distill", config=settings, inputs=inputs, product=TRACES)) is not None:
            return done
        with open_run(out, kind="distill", config=settings, inputs=inputs) as run:
            run.record(labels=labels or {}, provenance={"backend": backend.name, "checkpoint": backend.checkpoint})
            contamination_check(run, plan.examples, [config.domain], config)
            run.record_verifiers({plan.task.name: verifier_provenance(plan.verifier, plan.protocol, plan.task.reward)})
            if run.truncated_bytes:
                print_status(f"{run.path}: the last sample was cut short by a crash; it is generated again")
            api = config.api if plan.backend == "openai" else None
            render = make_renderer(plan.protocol, backend.tokenizer, config.prompt_options, plan.task, api)
            prompts = [render(e) for e in plan.examples]
            warnings = list(render.notes)
            if backend.tokenizer is not None:
                unknown = unknown_token_warning(backend.tokenizer, prompts, "prompts")
                warnings += [text for text in (unknown or render.lost_tags_warning(),) if text]
            run.record(warnings=warnings)
            for warning in warnings:
                print_status(warning)
            samples = _generate(plan, run, backend, render, prompts, progress)
            status = Counter(s.verdict.status.value for s in samples)
            _finish(run, list(_make_traces(plan, samples)), len(samples), status)
            return run
    finally:
        backend.close()


def _generate(
    plan: DistillPlan, run: Run, backend: Backend, render: PromptRenderer, prompts: Sequence[str], progress: bool
) -> list[Sample]:
    """All samples in the order of the examples, after generating those that the run lacks."""
    name, count = plan.task.name, plan.config.samples
    with GenerationProgress(progress) as bars, Judge() as judge:
        sink = RunSink(run, bars.add_samples)
        bars.start("distill", plan.completions, len(sink.samples), plan.sampling.max_tokens)
        requests = [
            SampleRequest(example.id, example, prompt, indices, chat=render.chat_prompt(example))
            for example, prompt in zip(plan.examples, prompts, strict=True)
            if (indices := sink.missing(name, example.id, count))
        ]
        how = (render.protocol, plan.verifier, plan.sampling, requests)
        group = SampleRequests(name, *how, split_reasoning=render.split_reasoning, reward=TaskReward.of(plan.task))
        collect([group], backend, judge, sink, on_tokens=bars.add_tokens)
    return [sink.samples[name, e.id, k] for e in plan.examples for k in range(count)]


def _make_traces(plan: DistillPlan, samples: Sequence[Sample]) -> Iterator[Trace]:
    examples = {e.id: e for e in plan.examples}
    for s in samples:
        response = plan.protocol.split(s.completion)
        if response.answer is None or response.problem or (plan.config.verified_only and not s.verdict.correct):
            continue
        reasoning, answer = response.reasoning, response.answer
        if not response.tagged and s.verdict.answer:  # the text is the reasoning; the verifier found the answer in it
            reasoning, answer = response.answer, s.verdict.answer
        yield Trace(
            f"{s.id}#{s.index}",
            plan.config.domain,
            examples[s.id].question,
            reasoning,
            answer,
            plan.config.teacher,
            {"status": s.verdict.status.value, "tokens": s.completion.n_tokens, "seed": plan.config.seed},
        )


def _verified_traces(traces: Iterable[Trace], task: Task, status: Counter[str]) -> Iterator[Trace]:
    """The traces that the verifier accepts, by the gold answer in ``meta["gold"]`` or that of the same question."""
    reg = registry()
    verifier, protocol = reg.verifier(task.verifier), reg.protocol(task)
    traces = list(traces)
    by_content = {} if all("gold" in t.meta for t in traces) else {content_hash(e): e for e in task.load()}
    pairs = []
    for t in traces:
        example = Example(t.id, t.question, t.meta.get("gold"), "train", t.meta)
        if "gold" not in t.meta:
            if content_hash(example) not in by_content:
                raise KkwarmError(
                    f"trace {t.id} cannot be verified: neither its meta nor {task.name} holds a gold answer for it",
                    hint="leave out --verified-only",
                )
            example = replace(by_content[content_hash(example)], id=t.id)
        pairs.append((example, Completion(protocol.compose(t.reasoning, t.answer), finish_reason="stop")))
    with Judge() as judge:
        for t, verdict in zip(traces, judge.verify(verifier, protocol, pairs), strict=True):
            status[verdict.status.value] += 1
            if verdict.correct:
                yield t


def _finish(run: Run, traces: Sequence[Trace], total: int, status: Counter[str]) -> None:
    if not traces:
        counts = ", ".join(f"{n} {name}" for name, n in status.most_common())
        stored = run.path / "samples.jsonl"
        kind = "completions" if stored.exists() else "traces of the teacher"
        hint = f"see {stored}; other settings, such as a larger --max-tokens, need another folder (-o)"
        if not stored.exists():
            hint = "leave out --verified-only, or use another teacher"
        raise KkwarmError(f"none of {total} {kind} became a trace ({counts})", hint=hint)
    n = write_traces(run.path / TRACES, traces)
    run.finish(results={"traces": n, "left_out": total - n, "status": dict(status)})


def _teacher_provenance(reg: Registry, teacher: Teacher) -> dict[str, str]:
    plugin = reg.origin.get(("teacher", f"{teacher.domain}/{teacher.name}"))
    provenance = {"teacher": teacher.name}
    if plugin is not None:
        provenance |= {"plugin": plugin.name, "distribution": plugin.distribution, "version": plugin.version}
    return provenance


def _is_checkpoint(name: str) -> bool:
    from kkwarm.backends.checkpoint import resolve_package_path

    return "/" in name or expand_path(resolve_package_path(name)).exists()
