"""Warm-up: SFT on traces by trl's SFTTrainer, with the loss on the completion only."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.protocols import PromptRenderer, make_renderer
from kkwarm.protocols.inherit import describe_prompting
from kkwarm.schema.settings import WarmupConfig
from kkwarm.store import Run, file_hash
from kkwarm.train import distributed
from kkwarm.train.checkpoints import CHECKPOINT, save_checkpoint
from kkwarm.train.contamination_check import contamination_check, decontaminate
from kkwarm.train.launch import launch, plan_processes
from kkwarm.train.loop import finish_run, open_run, read_finished, record_environment, summarize, train_to_end
from kkwarm.train.progress import print_status
from kkwarm.train.traces import read_traces, traces_file
from kkwarm.types import Example, Trace

IGNORED = -100  # the label of tokens that the loss leaves out


@dataclass
class WarmupPlan:
    """Traces as token ids, their training order, and the number of steps.

    A row is a sequence of a forward pass: one trace, or several where they are packed.

    :param prompt_lengths: tokens of each trace's prompt, which its ids begin with.
    :param dropped: number of traces longer than `limit` tokens, which are left out.
    :param contaminated: ids of traces that are left out because they contain evaluated questions.
    :param tokenizer_warning: set where the tokenizer cannot represent some trace.
    :param notes: what the user should know about the prompts.
    """

    config: WarmupConfig
    traces: list[Trace]
    ids: list[list[int]]
    prompt_lengths: list[int]
    limit: int = 0
    dropped: int = 0
    contaminated: list[str] = field(default_factory=list)
    tokenizer_warning: str = ""
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> list[list[int]]:
        """The ids, with prompts masked."""
        return [[IGNORED] * n + ids[n:] for ids, n in zip(self.ids, self.prompt_lengths, strict=True)]

    def order(self, rows: int) -> list[int]:
        """The numbers of the rows of all epochs in training order. Each epoch is shuffled anew."""
        total = self.steps(rows) * self.config.batch_size
        if self.config.max_steps is None:
            total = min(total, math.ceil(rows * self.config.epochs))
        order: list[int] = []
        epoch = 0
        while len(order) < total:
            numbers = list(range(rows))
            random.Random(f"{self.config.seed}:{epoch}").shuffle(numbers)
            order += numbers
            epoch += 1
        return order[:total]

    def steps(self, rows: int) -> int:
        """Number of optimizer steps."""
        return self.config.steps_for(rows)

    def step_size(self) -> dict[str, int]:
        """What determines the memory of a step: tokens of its longest row, rows of a forward pass and of a step."""
        longest = self.limit if self.config.packing else max(map(len, self.ids))
        step = self.config.batch_size
        return {"tokens": longest, "rows": self.config.micro_batch_size or step, "step": step}

    @cached_property
    def tokens(self) -> int:
        """Tokens of one epoch, prompts included."""
        return sum(map(len, self.ids))


def plan_warmup(model: str | Path, traces: Path | str, config: WarmupConfig, *, dry_run: bool = False) -> WarmupPlan:
    """Plans `warmup`; loads the tokenizer only, and in a dry run not all of it."""
    from kkwarm.backends.checkpoint import LazyTokenizer, load_tokenizer, read_text_config, trust_remote_code
    from kkwarm.backends.text import check_token_ids, unknown_token_warning

    selected, contaminated = read_traces(traces), []
    if config.drop_contaminated:
        clean = decontaminate(selected, sorted({t.domain for t in selected}), config.decontaminate_against)
        clean_objects = {id(t) for t in clean}
        contaminated, selected = [t.id for t in selected if id(t) not in clean_objects], clean
        if not selected:
            raise KkwarmError(
                f"all {len(contaminated)} traces contain evaluated questions", hint="see --decontaminate-against"
            )
    if config.trust_remote_code:
        trust_remote_code(model)
    tokenizer = LazyTokenizer.of(model) if dry_run else load_tokenizer(model)
    text_config = read_text_config(model)
    context = int(getattr(text_config, "max_position_embeddings", None) or 2**31)
    plan = WarmupPlan(config, selected, [], [], min(config.max_length or context, context), contaminated=contaminated)
    renderers = _renderers(selected, config, tokenizer, traces_file(traces))
    pairs = _render(selected, renderers)
    plan.notes = tuple(dict.fromkeys(note for render in renderers.values() for note in render.notes))
    _tokenize(pairs, tokenizer, plan)
    plan.tokenizer_warning = unknown_token_warning(
        tokenizer, [prompt + completion for prompt, completion in pairs], "traces"
    )
    if not plan.ids:
        message = f"none of {len(selected)} traces fits into {plan.limit} tokens"
        raise KkwarmError(message, hint="raise --max-length, or use a model with a longer context")
    check_token_ids(str(traces_file(traces)), [max(ids) for ids in plan.ids], text_config.vocab_size)
    return plan


def _renderers(traces: Sequence[Trace], config: WarmupConfig, tokenizer: Any, file: Path) -> dict[str, PromptRenderer]:
    """The renderer of each domain of the traces, by the domain's protocol."""
    reg = registry()
    config.check_benchmarks(dict.fromkeys(t.domain for t in traces), config.eval_on)
    renderers: dict[str, PromptRenderer] = {}
    for number, t in enumerate(traces, 1):
        if t.domain not in renderers:
            try:
                task = reg.task(t.domain, from_run=True)
                protocol = reg.protocol(task, config.protocol)
                renderers[t.domain] = make_renderer(protocol, tokenizer, config.prompt_options, task)
            except KkwarmError as err:
                raise KkwarmError(f"{file}, trace {number}: {err.message}", hint=err.hint) from None
    return renderers


def _render(traces: Sequence[Trace], renderers: Mapping[str, PromptRenderer]) -> list[tuple[str, str]]:
    """(prompt, completion) of each trace."""
    pairs = []
    for t in traces:
        render = renderers[t.domain]
        prompt = render(Example(t.id, t.question, t.answer, "train", t.meta))
        pairs.append((prompt, render.compose(prompt, t.reasoning, t.answer)))
    return pairs


def _tokenize(pairs: Sequence[tuple[str, str]], tokenizer: Any, plan: WarmupPlan) -> None:
    """Adds token ids to the plan. A prompt has the same ids as in generation, and EOS ends the completion."""
    from kkwarm.backends.text import encode, token_ids

    prompts = token_ids(tokenizer, [p for p, _ in pairs])
    texts = token_ids(tokenizer, [p + c for p, c in pairs])
    completions = encode(tokenizer, [c for _, c in pairs], special=False)
    eos = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    for prompt, text, completion in zip(prompts, texts, completions, strict=True):
        # Where a token would span prompt and completion, take the completion's own ids: generation cannot merge either.
        rest = text[len(prompt) :] if text[: len(prompt)] == prompt else completion
        ids = prompt + rest + ([] if rest[-1:] == eos else eos)
        if len(ids) > plan.limit:
            plan.dropped += 1
            continue
        plan.ids.append(ids)
        plan.prompt_lengths.append(len(prompt))


def warmup(
    model: str | Path,
    traces: Path | str,
    out: Path | str,
    config: WarmupConfig,
    *,
    labels: dict[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Trains `model` on `traces`. An interrupted run resumes, and ends with the same weights.

    Writes to `out`: ``checkpoint/`` (a Hugging Face folder), ``log.jsonl`` (one line per step: ``step``, ``loss``,
    ``learning_rate``, ``grad_norm``, ``token_accuracy``, ``tokens`` so far, ``seconds``) and the manifest with
    results.

    :param traces: a distill run, or a file of traces.
    :param labels: recorded in the manifest; a study uses them to find the run.
    :raises KkwarmError: as `plan_warmup`; another run in `out`; a loss that is not finite.
    :raises ContaminationError: traces contain questions of `config.decontaminate_against`.
    """
    from kkwarm.backends.checkpoint import fingerprint
    from kkwarm.train.trainer_setup import check_requirements

    out = Path(out)
    inputs = {"checkpoint": fingerprint(model), "traces": file_hash(traces_file(traces))}
    settings = config.dump()
    if (run := read_finished(out, kind="warmup", config=settings, inputs=inputs, product=CHECKPOINT)) is not None:
        return run
    check_requirements(config)
    if (processes := plan_processes(config)) is not None:
        job = {"model": str(model), "traces": str(traces), "out": str(out), "labels": labels, "progress": progress}
        launch(processes, "warmup", config, **job)
        return Run.read(out)
    plan = plan_warmup(model, traces, config)
    with open_run(out, kind="warmup", config=settings, inputs=inputs) as run:
        if run.manifest.contaminated not in (None, plan.contaminated):
            raise KkwarmError(
                f"{out} left out other traces when it started: the evaluated questions have changed",
                hint="use another --out, or delete it",
            )
        warnings = _warnings(plan)
        for warning in warnings:
            print_status(warning)
        source = {"model": {"checkpoint": str(model)}, "traces": str(traces_file(traces))}
        run.record(labels=labels or {}, **source, warnings=warnings, contaminated=plan.contaminated)
        domains = sorted({t.domain for t in plan.traces})
        run.record(prompting=describe_prompting(config, domains))
        contamination_check(run, plan.traces, domains, config)
        _train(run, model, plan, progress)
        return run


def _warnings(plan: WarmupPlan) -> list[str]:
    warnings = [*plan.notes, *([plan.tokenizer_warning] if plan.tokenizer_warning else [])]
    n, contaminated = len(plan.traces), len(plan.contaminated)
    if contaminated:
        warnings.append(f"{contaminated} of {contaminated + n} traces contain evaluated questions and are left out")
    if plan.dropped:
        warnings.append(f"{plan.dropped} of {n} traces are longer than {plan.limit} tokens and are left out")
    return warnings


def _train(run: Run, model: str | Path, plan: WarmupPlan, progress: bool) -> None:
    from kkwarm.backends.checkpoint import fingerprint, load_tokenizer
    from kkwarm.throughput import record_throughput
    from kkwarm.train.in_training_eval import InTrainingEval, load_eval_benchmarks, transformers_engine
    from kkwarm.train.memory import fit_config
    from kkwarm.train.trainer_setup import load_network, prepare_process, shards_weights, unwrap_policy, uses_cuda

    prepare_process(plan.config)
    config, micro_batch = fit_config(run, model, plan.config, **plan.step_size())
    benchmarks = load_eval_benchmarks(config)
    if benchmarks and shards_weights():
        raise KkwarmError("--eval-on cannot generate with sharded weights", hint="leave out --eval-on")
    tokenizer, network = load_tokenizer(model), load_network(model, config)
    record_environment(run, config)
    plan.config = config
    trainer, tokens_until = build_trainer(network, tokenizer, plan, run.path, micro_batch=micro_batch)

    def log_fields(logs: dict[str, float], step: int) -> dict[str, Any]:
        return {
            "loss": logs["loss"],
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "token_accuracy": logs.get("mean_token_accuracy"),
            "tokens": tokens_until(step),
        }

    engine = transformers_engine(unwrap_policy, tokenizer)
    in_training_eval = InTrainingEval(run, config, benchmarks, tokenizer, None, engine)
    log = train_to_end(run, trainer, log_fields, config, in_training_eval, progress=progress)
    save_checkpoint(trainer, tokenizer, run.path)
    if not distributed.is_main():
        return
    last = log[-max(1, len(log) // 10) :]
    seconds = sum(row["seconds"] for row in log)
    record_throughput(str(model), "train", log[-1]["tokens"], seconds, cuda=uses_cuda(config), threads=config.threads)
    run.finish(
        products={CHECKPOINT: fingerprint(run.path / CHECKPOINT), **in_training_eval.products()},
        results={
            **summarize(log),
            "loss": sum(row["loss"] for row in last) / len(last),
            "first_loss": log[0]["loss"],
            "tokens": log[-1]["tokens"],
            "traces": len(plan.ids),
            "left_out": plan.dropped + len(plan.contaminated),
            **in_training_eval.results(),
        },
    )
    finish_run(run, in_training_eval, log[-1]["step"])


def build_trainer(
    network: Any, tokenizer: Any, plan: WarmupPlan, out: Path, *, micro_batch: int | None = None
) -> tuple[Any, Callable[[int], int]]:
    """The SFT trainer, and a function from a step to the number of tokens trained on until its end.

    :param micro_batch: rows in a forward pass, at most; None: the whole step.
    :raises KkwarmError: trl rejects the settings.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer
    from trl.data_utils import pack_dataset

    from kkwarm.train.trainer_setup import (
        QuietTrainer,
        build_trl_config,
        lora_config,
        translate_trl_errors,
        trl_arguments,
    )

    class WarmupTrainer(QuietTrainer, SFTTrainer):  # type: ignore[misc]
        pass

    config = plan.config
    data = Dataset.from_dict({"input_ids": plan.ids, "labels": plan.labels})
    if config.packing:
        data = pack_dataset(data, plan.limit, "bfd")
    order = plan.order(len(data))
    batch, accumulation = distributed.split_step(config.batch_size, micro_batch or config.batch_size)
    settings = trl_arguments(config, out, steps=plan.steps(len(data))) | {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "train_sampling_strategy": "sequential",  # `order` has shuffled, so a resumed run only has to skip
        "packing": config.packing,
        "max_length": plan.limit if config.packing else None,
        "completion_only_loss": True,
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
    args = build_trl_config(SFTConfig, settings, config.trl)
    with translate_trl_errors():
        trainer = WarmupTrainer(
            model=network,
            args=args,
            train_dataset=data.select(order),
            processing_class=tokenizer,
            peft_config=lora_config(config),
        )
    lengths = [len(ids) for ids in data["input_ids"]]
    return trainer, lambda step: sum(lengths[i] for i in order[: step * config.batch_size])
