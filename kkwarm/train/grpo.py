"""RLVR: GRPO by trl's GRPOTrainer, with a domain's verifier as the reward. The rollout itself is in `rollout.py`."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kkwarm.data import fingerprint as fingerprint_examples
from kkwarm.errors import KkwarmError
from kkwarm.plugins import registry
from kkwarm.protocols import PromptRenderer, make_renderer
from kkwarm.protocols.inherit import describe_prompting
from kkwarm.schema.settings import RlvrConfig
from kkwarm.store import Run
from kkwarm.train import distributed
from kkwarm.train.alarms import Alarm
from kkwarm.train.checkpoints import CHECKPOINT, save_checkpoint
from kkwarm.train.contamination_check import contamination_check
from kkwarm.train.distillation import select_training_examples
from kkwarm.train.launch import launch, plan_processes
from kkwarm.train.loop import finish_run, open_run, read_finished, record_environment, summarize, train_to_end
from kkwarm.train.progress import StepLog, print_status
from kkwarm.types import Completion, Example, Protocol, Sampling, Task, Verifier
from kkwarm.verify import Judge
from kkwarm.verify.rewards import TaskReward
from kkwarm.verify.source import verifier_provenance

if TYPE_CHECKING:
    from kkwarm.train.in_training_eval import InTrainingEval
    from kkwarm.train.rollout import Rollout

ROLLOUTS = "rollouts.jsonl"
_TOKENS_GPU, _TOKENS_CPU = 32_768, 24_576  # in a forward pass, where --micro-batch-size is not given
_SUMMARY_FIELDS = ("reward", "accuracy", "length", "at_token_limit")
# Names of trl's metrics in log.jsonl. Entropy (nats) and clipped shares are means over the tokens that the loss uses.
# The importance ratio is between the policy and the engine that sampled (vLLM only).
TRL_METRICS = {
    "entropy": "entropy",
    "kl": "kl",
    "clip_ratio/region_mean": "clip_fraction",
    "clip_ratio/low_mean": "clip_fraction_low",
    "clip_ratio/high_mean": "clip_fraction_high",
    "cispo_clip_ratio": "clip_fraction",
    "sampling/importance_sampling_ratio/mean": "importance_ratio_mean",
    "sampling/importance_sampling_ratio/min": "importance_ratio_min",
    "sampling/importance_sampling_ratio/max": "importance_ratio_max",
}
_ADVICE = {
    "correct": "the examples are too easy for this checkpoint",
    "truncated": "raise --max-tokens",
    "malformed": "warm the checkpoint up first, so that it keeps the tags",
    "unparsed": "warm the checkpoint up first, so that it keeps the tags",
    "error": "the verifier fails: see `kkwarm check`",
}  # by the most frequent status of a run whose rewards never vary


@dataclass(frozen=True)
class RlvrPlan:
    """What a configuration amounts to, before anything is loaded."""

    config: RlvrConfig
    task: Task
    protocol: Protocol
    verifier: Verifier
    examples: list[Example]

    @property
    def steps(self) -> int:
        return self.config.steps_for(len(self.examples))

    @property
    def max_tokens(self) -> int:
        return self.config.max_tokens or self.task.sampling.max_tokens

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.config.temperature, self.config.top_p, self.max_tokens, self.config.seed)

    def order(self) -> list[int]:
        """The numbers of the examples in training order, `prompts_per_step` a step. Each epoch is shuffled anew."""
        order: list[int] = []
        epoch, size = 0, self.config.prompts_per_step
        while len(order) < self.steps * size:
            numbers = list(range(len(self.examples)))
            random.Random(f"{self.config.seed}:{epoch}").shuffle(numbers)
            order += numbers[: len(numbers) - len(numbers) % size]  # so that no prompt comes twice in a step
            epoch += 1
        return order[: self.steps * size]


@dataclass(frozen=True)
class Prompts:
    """The prompts of a plan's examples, as text and token ids, with the tokenizer and the model's context (tokens).

    `renderer` made them; its protocol is the plan's, or its form for text where there is no chat template.
    """

    renderer: PromptRenderer
    tokenizer: Any
    texts: list[str]
    ids: list[list[int]]
    context: int

    @property
    def protocol(self) -> Protocol:
        """The protocol that rendered the prompts."""
        return self.renderer.protocol

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(map(len, self.ids))


def plan_rlvr(config: RlvrConfig) -> RlvrPlan:
    """Plans `rlvr` without loading a model.

    :raises KkwarmError: the domain is unknown or has too few examples, or a part of its reward that has a weight does
        not exist.
    """
    reg = registry()
    task = reg.task(config.domain)
    config.check_benchmarks([config.domain], config.eval_on)
    if config.reward_weights and task.reward is None:
        raise KkwarmError(
            f"the reward of {task.name} has no parts that could have a weight",
            hint="parts are what a domain's reward function returns by name",
        )
    benchmarks = config.decontaminate_against if config.drop_contaminated else None
    examples = select_training_examples(task, config.examples, config.seed, decontaminate_against=benchmarks)
    if len(examples) < config.prompts_per_step:
        raise KkwarmError(
            f"{config.prompts_per_step} prompts in a step, but only {len(examples)} examples",
            hint=f"--prompts-per-step {len(examples)}",
        )
    protocol = reg.protocol(task, config.protocol)
    plan = RlvrPlan(config, task, protocol, reg.verifier_of(task, protocol), examples)
    if config.reward_weights:
        _check_weights(plan)
    return plan


def _check_weights(plan: RlvrPlan) -> None:
    """Computes one reward, of the first example's gold answer, so that an unknown part is found before training."""
    example = plan.examples[0]
    gold = plan.task.gold(example) if plan.task.gold is not None else ""
    completion = Completion(plan.protocol.compose("", gold), finish_reason="stop")
    with Judge(1) as judge:
        (verdict,) = judge.verify(plan.verifier, plan.protocol, [(example, completion)])
    TaskReward.of(plan.task, plan.config.reward_weights)([(example, completion, verdict)])


def render_prompts(plan: RlvrPlan, model: str | Path, *, dry_run: bool = False) -> Prompts:
    """Renders the prompt of each example with the model's tokenizer; a dry run does not load all of it."""
    from kkwarm.backends.checkpoint import LazyTokenizer, load_tokenizer, read_text_config, trust_remote_code
    from kkwarm.backends.text import check_token_ids, token_ids

    if plan.config.trust_remote_code:
        trust_remote_code(model)
    tokenizer = LazyTokenizer.of(model) if dry_run else load_tokenizer(model)
    text_config = read_text_config(model)
    context = int(getattr(text_config, "max_position_embeddings", None) or 2**31)
    render = make_renderer(plan.protocol, tokenizer, plan.config.prompt_options, plan.task)
    texts = [render(e) for e in plan.examples]
    prompts = Prompts(render, tokenizer, texts, token_ids(tokenizer, texts), context)
    for example, ids in zip(plan.examples, prompts.ids, strict=True):
        check_token_ids(example.id, ids, text_config.vocab_size)
        if len(ids) >= context:
            message = f"{example.id}: its prompt has {len(ids)} tokens, but the model's context is {context}"
            raise KkwarmError(message, hint="leave it out")
    return prompts


def step_size(plan: RlvrPlan, prompts: Prompts) -> dict[str, int]:
    """What determines the memory of a step: tokens of its longest row, completions of a forward pass and of a step."""
    from kkwarm.train.trainer_setup import uses_cuda

    tokens = prompts.longest + plan.max_tokens
    rows = (_TOKENS_GPU if uses_cuda(plan.config) else _TOKENS_CPU) // tokens
    return {"tokens": tokens, "rows": plan.config.micro_batch_size or max(1, rows), "step": plan.config.completions}


def rlvr(
    model: str | Path,
    config: RlvrConfig,
    out: Path | str,
    *,
    labels: dict[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Trains `model` on at most `config.examples` examples of a domain. An interrupted run resumes, and ends with the
    same weights (except with vLLM, which samples anew).

    Writes to `out`: ``checkpoint/``, ``log.jsonl`` (one line per step: ``step``, the fields of
    `kkwarm.train.rollout.StepMetrics`, ``loss``, ``learning_rate``, ``grad_norm``, those of `TRL_METRICS` that trl
    measured, ``seconds``), ``rollouts.jsonl`` with ``keep_rollouts``, and the manifest with results, warnings, alarms.

    :param labels: recorded in the manifest; a study uses them to find the run.
    :raises KkwarmError: no checkpoint, an unknown domain, too few examples, another run in `out`, or a loss that is not
        finite.
    """
    from kkwarm.backends.checkpoint import fingerprint
    from kkwarm.train.trainer_setup import check_requirements

    out = Path(out)
    plan = plan_rlvr(config)
    inputs = {"checkpoint": fingerprint(model), "examples": fingerprint_examples(plan.examples)}
    settings = config.dump()
    if (run := read_finished(out, kind="rlvr", config=settings, inputs=inputs, product=CHECKPOINT)) is not None:
        return run
    check_requirements(config)
    if (processes := plan_processes(config)) is not None:
        job = {"model": str(model), "out": str(out), "labels": labels, "progress": progress}
        launch(processes, "rlvr", config, **job)
        return Run.read(out)
    with open_run(out, kind="rlvr", config=settings, inputs=inputs) as run:
        ids = [e.id for e in plan.examples]
        run.record(labels=labels or {}, model={"checkpoint": str(model)}, example_ids=ids, warnings=[])
        run.record(prompting=describe_prompting(config, [config.domain]))
        run.record_verifiers({config.domain: verifier_provenance(plan.verifier, plan.protocol, plan.task.reward)})
        contamination_check(run, plan.examples, [config.domain], config)
        if config.top_p < 1:
            _warn(run, f"top_p {config.top_p} biases the importance ratio, which is computed without it; 1.0 does not")
        _train(run, model, plan, progress)
        return run


def _train(run: Run, model: str | Path, plan: RlvrPlan, progress: bool) -> None:
    from kkwarm.backends.text import unknown_token_warning
    from kkwarm.train import vllm
    from kkwarm.train.in_training_eval import (
        InTrainingEval,
        load_eval_benchmarks,
        longest_eval_sequence,
        transformers_engine,
    )
    from kkwarm.train.memory import fit_config
    from kkwarm.train.trainer_setup import load_network, prepare_process, unwrap_policy

    prepare_process(plan.config)
    benchmarks = load_eval_benchmarks(plan.config)
    prompts = render_prompts(plan, model)
    tokenizer = prompts.tokenizer
    config, micro_batch = fit_config(run, model, plan.config, **step_size(plan, prompts))
    plan = replace(plan, config=config)
    network = load_network(model, config)
    record_environment(run, config)
    unknown = unknown_token_warning(tokenizer, prompts.texts, "prompts")
    for warning in (*prompts.renderer.notes, unknown or prompts.renderer.lost_tags_warning()):
        if warning:
            _warn(run, warning)
    with Judge() as judge:
        trainer, rollout = build_trainer(
            *(network, plan, prompts, run.path, judge),
            micro_batch=micro_batch,
            eval_tokens=longest_eval_sequence(benchmarks, tokenizer),
        )
        if config.vllm == "none":
            engine = transformers_engine(lambda trainer: rollout.generator(unwrap_policy(trainer)), tokenizer)
        else:
            engine = vllm.policy_engine(tokenizer)
        in_training_eval = InTrainingEval(run, config, benchmarks, tokenizer, config.domain, engine)
        log = _train_steps(run, trainer, rollout, config, in_training_eval, progress)
    save_checkpoint(trainer, tokenizer, run.path)
    if distributed.is_main():
        _finish(run, plan, log, in_training_eval)
        finish_run(run, in_training_eval, log[-1]["step"])


def _train_steps(
    run: Run, trainer: Any, rollout: Rollout, config: RlvrConfig, in_training_eval: InTrainingEval, progress: bool
) -> list[dict[str, Any]]:
    """Trains to the end; returns the step log."""
    rollouts_log: StepLog | None = None
    rollout.note = in_training_eval.note

    def open_rollouts_log(start: int) -> None:
        nonlocal rollouts_log
        if config.keep_rollouts and distributed.is_main():
            rollouts_log = StepLog(run.path / ROLLOUTS, start)

    def log_fields(logs: dict[str, float], step: int) -> dict[str, Any]:
        assert rollout.metrics is not None
        if rollout.metrics.no_signal == 1.0:
            _warn(run, "in a step no prompt gave a signal: the rewards of each group were all equal")
        if rollout.first_error:
            _warn(run, rollout.first_error)
        records = rollout.take_records()
        if rollouts_log is not None:
            rollouts_log.write(*({"step": step, **record.fields()} for record in records))
        optimization = {"loss": logs["loss"], **{k: logs.get(k) for k in ("learning_rate", "grad_norm")}}
        measured = {name: round(logs[key], 6) for key, name in TRL_METRICS.items() if logs.get(key) is not None}
        return {**rollout.metrics.fields(), **optimization, **measured}

    args = trainer.args
    generation_steps = args.steps_per_generation * args.num_iterations
    # A resumed run starts with a generation, so only steps before one may be saved.
    save_stride = generation_steps // math.gcd(generation_steps, args.gradient_accumulation_steps)
    log = train_to_end(
        *(run, trainer, log_fields, config, in_training_eval),
        progress=progress,
        save_stride=save_stride,
        on_start=open_rollouts_log,
    )
    if rollouts_log is not None:
        rollouts_log.close()
    return log


def build_trainer(
    network: Any,
    plan: RlvrPlan,
    prompts: Prompts,
    out: Path,
    judge: Judge,
    *,
    micro_batch: int | None = None,
    eval_tokens: int = 0,
) -> tuple[Any, Rollout]:
    """The GRPO trainer and its rollout.

    :param micro_batch: completions in a forward pass, at most; None: as `step_size` gives it.
    :param eval_tokens: tokens of the longest prompt and completion of in-training evaluation.
    :raises KkwarmError: trl rejects the settings, or no vLLM server responds.
    """
    from datasets import Dataset
    from trl import GRPOConfig

    from kkwarm.train import vllm
    from kkwarm.train.grpo_trainer import RlvrTrainer
    from kkwarm.train.rollout import Rollout
    from kkwarm.train.trainer_setup import build_trl_config, lora_config, translate_trl_errors, trl_arguments

    config = plan.config
    size = step_size(plan, prompts)
    width = min(prompts.context, max(size["tokens"], eval_tokens))
    settings = trl_arguments(config, out, steps=plan.steps) | _grpo_arguments(plan, micro_batch or size["rows"])
    settings |= vllm.vllm_arguments(config, prompts.protocol.stop, width)
    if config.trl.get("mask_truncated_completions"):
        raise KkwarmError(
            "mask_truncated_completions does not know stop strings", hint="see `at_token_limit` in log.jsonl"
        )
    args = build_trl_config(GRPOConfig, settings, config.trl)
    vllm.check_server(args)
    rollout = Rollout(plan, prompts, judge, network)
    order = plan.order()
    with translate_trl_errors():
        trainer = RlvrTrainer(
            model=network,
            reward_funcs=rollout.reward,
            args=args,
            train_dataset=Dataset.from_dict({"prompt": [prompts.texts[i] for i in order], "example": order}),
            processing_class=prompts.tokenizer,
            peft_config=lora_config(config),
            rollout_func=rollout.generate if config.vllm == "none" else None,
        )
    return trainer, rollout


def _grpo_arguments(plan: RlvrPlan, micro_batch: int) -> dict[str, Any]:
    config = plan.config
    batch, passes = distributed.split_step(config.completions, micro_batch)
    return {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": passes,
        "num_generations": config.generations,
        "max_completion_length": plan.max_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": 0,
        "beta": config.beta,
        "loss_type": config.loss_type,
        "scale_rewards": config.scale_rewards,
        "epsilon": config.epsilon,
        "shuffle_dataset": False,  # `RlvrPlan.order` has shuffled, so a resumed run only has to skip
    }


def _warn(run: Run, message: str) -> None:
    if message not in run.manifest.warnings:
        run.record(warnings=[*run.manifest.warnings, message])
        print_status(message)


def _finish(run: Run, plan: RlvrPlan, log: list[dict[str, Any]], in_training_eval: InTrainingEval) -> None:
    from kkwarm.backends.checkpoint import fingerprint

    last = log[-max(1, len(log) // 10) :]
    signal = any(row["no_signal"] < 1.0 for row in log)
    if not signal:
        status = max(log[-1]["status"].items(), key=lambda item: item[1])[0]
        advice = _ADVICE.get(status, "take easier examples, more --generations, or warm the checkpoint up first")
        text = f"the reward never varied within a group (mostly {status}); {advice}"
        in_training_eval.record_alarms([Alarm("nothing learned", log[-1]["step"], text)])
    run.finish(
        products={CHECKPOINT: fingerprint(run.path / CHECKPOINT), **in_training_eval.products()},
        results={
            **summarize(log),
            "examples": len(plan.examples),
            "completions": len(log) * plan.config.completions,
            "signal": signal,
            "no_signal": sum(row["no_signal"] for row in log) / len(log),
            "first": {name: log[0][name] for name in _SUMMARY_FIELDS},
            **in_training_eval.results(),
            "last": {name: sum(row[name] for row in last) / len(last) for name in _SUMMARY_FIELDS},
        },
    )
