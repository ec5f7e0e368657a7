"""Warm-up: SFT on traces by trl's SFTTrainer, with the loss on the completion only."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.limits import affordable
from kkwarm.plugins import registry
from kkwarm.store import Run, file_hash
from kkwarm.train import distributed
from kkwarm.train.config import WarmupConfig, identity
from kkwarm.train.contamination_check import contamination_check, decontaminate
from kkwarm.train.engine import CHECKPOINT
from kkwarm.train.launch import launch, layout
from kkwarm.train.loop import done_before, opened
from kkwarm.train.progress import say
from kkwarm.train.traces import read_traces, traces_file
from kkwarm.types import Trace

__all__ = ["Rows", "plan_warmup", "warmup"]

IGNORED = -100  # labels that the loss passes over


@dataclass
class Rows:
    """Traces as token ids, the order in which they are trained on, and the steps this takes."""

    config: WarmupConfig
    ids: list[list[int]]
    prompt: list[int]  # how many of the ids are the prompt's
    dropped: int = 0
    limit: int = 0
    contaminated_items: list[str] = field(default_factory=list)  # ids of traces left out: they ask what is evaluated
    unread: str = ""  # what to tell where the tokenizer cannot read some trace
    lengths: list[list[int]] = field(default_factory=list)  # of the traces in each row, where packed

    @property
    def labels(self) -> list[list[int]]:
        """The ids with prompts masked."""
        return [[IGNORED] * p + ids[p:] for ids, p in zip(self.ids, self.prompt, strict=True)]

    def order(self, rows: int) -> list[int]:
        """Rows of all epochs in the order of training: each epoch shuffled anew, by the seed."""
        out: list[int] = []
        need = self.steps(rows) * self.config.batch_size
        total = min(need, math.ceil(rows * self.config.epochs)) if self.config.max_steps is None else need
        epoch = 0
        while len(out) < total:
            one = list(range(rows))
            random.Random(f"{self.config.seed}:{epoch}").shuffle(one)
            out += one
            epoch += 1
        return out[:total]

    def steps(self, rows: int) -> int:
        """Optimiser steps."""
        if self.config.max_steps is not None:
            return self.config.max_steps
        affordable(rows * self.config.epochs, "traces")
        return max(1, math.ceil(rows * self.config.epochs / self.config.batch_size))

    def sizes(self) -> dict[str, int]:
        """What decides the memory of a step: tokens of its longest row, rows of a pass, sequences of a step."""
        longest = self.limit if self.config.packing else max(map(len, self.ids))
        step = self.config.batch_size
        return {"tokens": longest, "rows": self.config.micro_batch_size or self.config.batch_size, "step": step}

    @cached_property
    def tokens(self) -> int:
        """Tokens of one epoch, prompts included."""
        return sum(map(len, self.ids))


def plan_warmup(model: str | Path, traces: Path | str, config: WarmupConfig) -> tuple[list[Trace], Rows]:
    """What `warmup` would train on; loads the tokenizer only.

    :raises KkwarmError: no checkpoint, a broken file of traces, a trace of an unknown domain, or no trace that is left
        or fits.
    """
    from kkwarm.backends.checkpoint import load_tokenizer, read_config
    from kkwarm.backends.text import check_token_ids, unknown_token_warning

    listed, contaminated_items = read_traces(traces), []
    if config.drop_contaminated:
        kept = decontaminate(listed, sorted({t.domain for t in listed}), config.decontaminate_against)
        stay = {id(t) for t in kept}
        contaminated_items, listed = [t.id for t in listed if id(t) not in stay], kept
        if not listed:
            raise KkwarmError(
                f"all {len(contaminated_items)} traces ask what is evaluated", hint="see --decontaminate-against"
            )
    tokenizer = load_tokenizer(model)
    text = read_config(model).get_text_config()
    context = int(getattr(text, "max_position_embeddings", None) or 2**31)
    limit = min(config.max_length or context, context)
    rendered = _rendered(listed, config, tokenizer, traces_file(traces))
    rows = _tokenised(rendered, tokenizer, config, limit)
    rows.contaminated_items = contaminated_items
    rows.unread = unknown_token_warning(tokenizer, [prompt + completion for prompt, completion in rendered], "traces")
    if not rows.ids:
        raise KkwarmError(
            f"none of {len(listed)} traces fits into {limit} tokens", hint="raise --max-length, or use a longer context"
        )
    check_token_ids(str(traces_file(traces)), [max(ids) for ids in rows.ids], text.vocab_size)
    return listed, rows


def _rendered(traces: Sequence[Trace], config: WarmupConfig, tokenizer: Any, file: Path) -> list[tuple[str, str]]:
    """Prompt and completion of each trace, by the format of its domain."""
    reg = registry()
    formats = {}
    pairs = []
    for number, t in enumerate(traces, 1):
        if t.domain not in formats:
            try:
                formats[t.domain] = reg.format(config.format or reg.task(t.domain).format)
            except KkwarmError as err:
                raise KkwarmError(f"{file}, trace {number}: {err.message}", hint=err.hint) from None
        fmt = formats[t.domain]
        pairs.append((fmt.render(t.question, tokenizer), fmt.compose(t.reasoning, t.answer)))
    return pairs


def _tokenised(pairs: Sequence[tuple[str, str]], tokenizer: Any, config: WarmupConfig, limit: int) -> Rows:
    """Token ids: those of the prompt are exactly the ones that generation starts from, and eos ends the completion."""
    from kkwarm.backends.text import encode, token_ids

    prompts = token_ids(tokenizer, [p for p, _ in pairs])
    whole = token_ids(tokenizer, [p + c for p, c in pairs])
    alone = encode(tokenizer, [c for _, c in pairs], special=False)
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    rows = Rows(config, [], [], limit=limit)
    for prompt, both, completion in zip(prompts, whole, alone, strict=True):
        # Where tokens would merge across the border, the completion is tokenised alone: generation cannot merge either.
        rest = both[len(prompt) :] if both[: len(prompt)] == prompt else completion
        ids = prompt + rest + ([] if rest[-1:] == end else end)
        if len(ids) > limit:
            rows.dropped += 1
            continue
        rows.ids.append(ids)
        rows.prompt.append(len(prompt))
    return rows


def warmup(
    model: str | Path,
    traces: Path | str,
    out: Path | str,
    config: WarmupConfig,
    *,
    labels: dict[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Trains `model` on `traces`; goes on where it was stopped, with the same final weights.

    Leaves in `out`: ``checkpoint/`` (a Hugging Face folder), ``log.jsonl`` (one line a step: ``step, loss, lr,
    grad_norm, accuracy`` of tokens, ``tokens`` so far, ``seconds``) and the manifest with results.

    :param traces: a distill run, or a file of traces.
    :param labels: kept in the manifest; they say what the run is to a study.
    :raises KkwarmError: as `plan_warmup`; another run in `out`; the loss is not finite.
    :raises ContaminationError: traces ask what `config.decontaminate_against` evaluates.
    """
    from kkwarm.backends.checkpoint import fingerprint
    from kkwarm.train.engine import needs

    out = Path(out)
    inputs = {"checkpoint": fingerprint(model), "traces": file_hash(traces_file(traces))}
    settings = identity(config)
    if (done := done_before(out, kind="warmup", config=settings, inputs=inputs, product=CHECKPOINT)) is not None:
        return done
    needs(config)
    if (several := layout(config)) is not None:
        job = {"model": str(model), "traces": str(traces), "out": str(out), "labels": labels, "progress": progress}
        launch(several, "warmup", config, **job)
        return Run.read(out)
    listed, rows = plan_warmup(model, traces, config)
    with opened(out, kind="warmup", config=settings, inputs=inputs) as run:
        warnings = [rows.unread] if rows.unread else []
        gone, before = rows.contaminated_items, run.manifest.contaminated
        if before is not None and gone != before:
            raise KkwarmError(
                f"{out} left out other traces when it began: what is evaluated has changed",
                hint="choose another folder, or remove this one",
            )
        if gone:
            warnings.append(f"{len(gone)} of {len(gone) + len(listed)} traces ask what is evaluated and are left out")
        if rows.dropped:
            warnings.append(
                f"{rows.dropped} of {len(listed)} traces are longer than {rows.limit} tokens and are left out"
            )
        for warning in warnings:
            say(warning)
        run.record(
            labels=labels or {}, model={"checkpoint": str(model)}, traces=str(traces_file(traces)), warnings=warnings
        )
        run.record(contaminated=gone)
        contamination_check(
            run,
            listed,
            sorted({t.domain for t in listed}),
            config.decontaminate_against,
            allow=config.allow_contamination,
        )
        _train(run, model, rows, config, progress)
        return run


def _train(run: Run, model: str | Path, rows: Rows, config: WarmupConfig, progress: bool) -> None:
    from kkwarm.backends.checkpoint import fingerprint
    from kkwarm.train.engine import load, policy_of, prepare, save, will_shard
    from kkwarm.train.in_training_eval import InTrainingEval, load_eval_benchmarks, transformers_engine
    from kkwarm.train.loop import finished, note_environment, run_steps, summary
    from kkwarm.train.memory import applied

    prepare(config)
    config, batch = applied(run, model, config, **rows.sizes())
    eval_benchmarks = load_eval_benchmarks(config)
    if eval_benchmarks and will_shard():
        raise KkwarmError("--eval-on cannot generate from weights in shards", hint="leave out --eval-on")
    network, tokenizer = load(model, config)
    note_environment(run, config)
    trainer, tokens_at = trainer_of(network, tokenizer, rows, config, run.path, at_most=batch)

    def row(logs: dict[str, float], step: int) -> dict[str, Any]:
        return {
            "loss": logs["loss"],
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "accuracy": logs.get("mean_token_accuracy"),
            "tokens": tokens_at(step),
        }

    engine = transformers_engine(policy_of, tokenizer)
    in_training_eval = InTrainingEval(run, config, eval_benchmarks, tokenizer, None, engine)
    log = run_steps(run, trainer, row, config, in_training_eval, progress=progress)
    save(trainer, tokenizer, run.path)
    if not distributed.is_main():
        return
    last = log[-max(1, len(log) // 10) :]
    run.finish(
        products={CHECKPOINT: fingerprint(run.path / CHECKPOINT), **in_training_eval.products()},
        results={
            **summary(log),
            "loss": sum(r["loss"] for r in last) / len(last),
            "first_loss": log[0]["loss"],
            "tokens": log[-1]["tokens"],
            "traces": len(rows.ids),
            "left_out": rows.dropped + len(rows.contaminated_items),
            **in_training_eval.results(),
        },
    )
    finished(run, in_training_eval, log[-1]["step"])


def trainer_of(
    network: Any, tokenizer: Any, rows: Rows, config: WarmupConfig, out: Path, *, at_most: int | None = None
) -> tuple[Any, Any]:
    """The SFTTrainer, and a function from a step to the tokens trained on up to it.

    :param at_most: rows of a forward pass; None: the configuration's.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer
    from trl.data_utils import pack_dataset

    from kkwarm.train.engine import arguments, build, lora, refusals
    from kkwarm.train.loop import quietly

    data = Dataset.from_dict({"input_ids": rows.ids, "labels": rows.labels})
    if config.packing:
        data = pack_dataset(data, rows.limit, "bfd")
    order = rows.order(len(data))
    step = config.batch_size
    batch, accumulation = distributed.share(step, at_most or config.batch_size)
    settings = arguments(config, out, steps=rows.steps(len(data))) | {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "train_sampling_strategy": "sequential",  # `order` is the order, so that a resumed run has only to skip
        "packing": config.packing,
        "max_length": rows.limit if config.packing else None,
        "completion_only_loss": True,
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
    args = build(SFTConfig, settings, config.trl)
    with refusals():
        trainer = quietly(SFTTrainer)(
            model=network,
            args=args,
            train_dataset=data.select(order),
            processing_class=tokenizer,
            peft_config=lora(config),
        )
    lengths = [len(ids) for ids in data["input_ids"]]
    return trainer, lambda k: sum(lengths[i] for i in order[: k * step])
