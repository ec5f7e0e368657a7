"""RLVR: GRPO by trl's GRPOTrainer, with a domain's verifier as the reward."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kkwarm.data import fingerprint as fingerprint_examples
from kkwarm.errors import KkwarmError
from kkwarm.limits import affordable
from kkwarm.plugins import registry
from kkwarm.store import Run
from kkwarm.train import distributed
from kkwarm.train.config import RlvrConfig, identity
from kkwarm.train.contamination_check import contamination_check
from kkwarm.train.distillation import select_training_examples
from kkwarm.train.engine import CHECKPOINT
from kkwarm.train.launch import launch, layout
from kkwarm.train.loop import done_before, opened
from kkwarm.train.progress import say
from kkwarm.types import Example, Format, Sampling, Task, Verifier
from kkwarm.verify import Judge
from kkwarm.verify.source import verifier_provenance

if TYPE_CHECKING:
    from kkwarm.train.in_training_eval import InTrainingEval

__all__ = ["RlvrPlan", "plan_rlvr", "rlvr"]

ROLLOUTS = "rollouts.jsonl"
_TOKENS_GPU, _TOKENS_CPU = 32_768, 24_576  # in a forward pass, where --batch-size is not given


@dataclass(frozen=True)
class RlvrPlan:
    """What a configuration amounts to, before anything is loaded."""

    config: RlvrConfig
    task: Task
    format: Format
    verifier: Verifier
    examples: list[Example]

    @property
    def steps(self) -> int:
        if self.config.steps is not None:
            return self.config.steps
        affordable(len(self.examples) * self.config.epochs, "prompts")
        return max(1, math.floor(len(self.examples) * self.config.epochs / self.config.prompts_per_step))

    @property
    def max_tokens(self) -> int:
        return self.config.max_tokens or self.task.sampling.max_tokens

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.config.temperature, self.config.top_p, self.max_tokens, self.config.seed)

    def order(self) -> list[int]:
        """Examples in the order of training, `prompts_per_step` a step: every epoch shuffled anew, by the seed."""
        out: list[int] = []
        epoch = 0
        while len(out) < self.steps * self.config.prompts_per_step:
            one = list(range(len(self.examples)))
            random.Random(f"{self.config.seed}:{epoch}").shuffle(one)
            # No prompt twice in a step: what an epoch has left over is not enough for one.
            out += one[: len(one) - len(one) % self.config.prompts_per_step]
            epoch += 1
        return out[: self.steps * self.config.prompts_per_step]


def plan_rlvr(config: RlvrConfig) -> RlvrPlan:
    """What `rlvr` would do.

    :raises KkwarmError: unknown domain, or more examples than there are.
    """
    reg = registry()
    task = reg.task(config.domain)
    benchmarks = config.decontaminate_against if config.drop_contaminated else None
    examples = select_training_examples(task, config.examples, config.seed, decontaminate_against=benchmarks)
    if len(examples) < config.prompts_per_step:
        raise KkwarmError(
            f"{config.prompts_per_step} prompts in a step, but only {len(examples)} examples",
            hint=f"--prompts-per-step {len(examples)}",
        )
    return RlvrPlan(config, task, reg.format(config.format or task.format), reg.verifier(task.verifier), examples)


def rlvr(
    model: str | Path,
    config: RlvrConfig,
    out: Path | str,
    *,
    labels: dict[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Trains `model` on at most `config.examples` examples of a domain; goes on where it was stopped, with the same
    final weights (but for vLLM, which draws anew).

    Leaves in `out`: ``checkpoint/``, ``log.jsonl`` (one line a step: ``step, reward, accuracy, status`` (shares),
    ``no_signal`` (share of groups whose rewards are all equal), ``length`` (tokens), ``truncated``, ``loss, lr,
    grad_norm, seconds``), ``rollouts.jsonl`` if kept, and the manifest with results and warnings.

    :raises KkwarmError: no checkpoint, unknown domain, too few examples, another run in `out`, the loss is not finite.
    """
    from kkwarm.backends.checkpoint import fingerprint
    from kkwarm.train.engine import needs

    out = Path(out)
    plan = plan_rlvr(config)
    inputs = {"checkpoint": fingerprint(model), "examples": fingerprint_examples(plan.examples)}
    settings = identity(config)
    if (done := done_before(out, kind="rlvr", config=settings, inputs=inputs, product=CHECKPOINT)) is not None:
        return done
    needs(config)
    if (several := layout(config)) is not None:
        job = {"model": str(model), "out": str(out), "labels": labels, "progress": progress}
        launch(several, "rlvr", config, **job)
        return Run.read(out)
    with opened(out, kind="rlvr", config=settings, inputs=inputs) as run:
        run.record(
            labels=labels or {},
            model={"checkpoint": str(model)},
            example_ids=[e.id for e in plan.examples],
            warnings=[],
        )
        run.record_verifiers({config.domain: verifier_provenance(plan.verifier, plan.format)})
        contamination_check(
            run, plan.examples, [config.domain], config.decontaminate_against, allow=config.allow_contamination
        )
        if config.top_p < 1:
            _warn(run, f"top_p {config.top_p} biases the importance ratio: it is computed without it (1.0 does not)")
        _train(run, model, plan, progress)
        return run


def _train(run: Run, model: str | Path, plan: RlvrPlan, progress: bool) -> None:
    from kkwarm.backends.text import unknown_token_warning
    from kkwarm.train import vllm
    from kkwarm.train.engine import load, policy_of, prepare, save
    from kkwarm.train.in_training_eval import (
        InTrainingEval,
        load_eval_benchmarks,
        longest_eval_sequence,
        transformers_engine,
    )
    from kkwarm.train.loop import finished, note_environment, run_steps
    from kkwarm.train.memory import applied
    from kkwarm.train.step_log import StepLog

    config = plan.config
    prepare(config)
    eval_benchmarks = load_eval_benchmarks(config)
    sizes = sizes_of(plan, model)
    config, batch = applied(run, model, config, **sizes)
    plan = replace(plan, config=config)
    network, tokenizer = load(model, config)
    note_environment(run, config)
    prompts = [plan.format.render(e.question, tokenizer) for e in plan.examples]
    if said := unknown_token_warning(tokenizer, prompts, "prompts"):
        _warn(run, said)
    kept: list[StepLog] = []

    def open_rollouts(at: int) -> None:
        if config.keep_rollouts and distributed.is_main():
            kept.append(StepLog(run.path / ROLLOUTS, at))

    with Judge() as judge:
        more: dict[str, Any] = {"at_most": batch, "watched": longest_eval_sequence(eval_benchmarks, tokenizer)}
        trainer, reward = trainer_of(network, tokenizer, plan, run.path, judge, **more)

        def row(logs: dict[str, float], step: int) -> dict[str, Any]:
            assert reward.last is not None
            if reward.last.no_signal == 1.0:
                _warn(run, "in a step no prompt gave a signal: the rewards of each group were all equal")
            if reward.errors:
                _warn(run, reward.errors)
            for file in kept:
                file.write(*({"step": step, **r} for r in reward.kept))
            reward.kept.clear()
            more = {
                "loss": logs["loss"],
                "learning_rate": logs.get("learning_rate"),
                "grad_norm": logs.get("grad_norm"),
            }
            return {**reward.last.fields(), **more}

        args = trainer.args
        every = args.steps_per_generation * args.num_iterations
        stride = every // math.gcd(every, args.gradient_accumulation_steps)  # resuming needs a fresh generation
        rollouts = reward.rollouts
        if rollouts is None:
            draws = vllm.live(tokenizer)
        else:
            draws = transformers_engine(lambda trainer: rollouts.refreshed(policy_of(trainer)), tokenizer)
        in_training_eval = InTrainingEval(run, config, eval_benchmarks, tokenizer, config.domain, draws)
        log = run_steps(
            run, trainer, row, config, in_training_eval, progress=progress, stride=stride, also=open_rollouts
        )
    save(trainer, tokenizer, run.path)
    for file in kept:
        file.close()
    if not distributed.is_main():
        return
    _finish(run, plan, log, in_training_eval)
    finished(run, in_training_eval, log[-1]["step"])


def trainer_of(
    network: Any,
    tokenizer: Any,
    plan: RlvrPlan,
    out: Path,
    judge: Judge,
    *,
    at_most: int | None = None,
    watched: int = 0,
) -> tuple[Any, Any]:
    """The GRPO trainer and its reward function.

    :param at_most: completions in a forward pass; None: the configuration's, or as many as are usual.
    :param watched: tokens of the longest row that the in-training evaluation asks a colocated engine for.
    """
    from datasets import Dataset
    from trl import GRPOConfig

    from kkwarm.train import vllm
    from kkwarm.train.engine import arguments, build, copied, lora, refusals
    from kkwarm.train.policy import Policy
    from kkwarm.train.rollout import Rollouts

    config = plan.config
    prompts = [plan.format.render(e.question, tokenizer) for e in plan.examples]
    longest = _longest(plan, prompts, tokenizer, network.config)
    at_most = at_most or config.micro_batch_size or _fitting(config, longest + plan.max_tokens)
    context = getattr(network.config.get_text_config(), "max_position_embeddings", None) or 2**31
    rollouts_by = vllm.settings(config, plan.format.stop, min(context, max(longest + plan.max_tokens, watched)))
    settings = arguments(config, out, steps=plan.steps) | _settings(plan, at_most) | rollouts_by
    if config.trl.get("mask_truncated_completions"):
        raise KkwarmError("mask_truncated_completions does not know stop strings", hint="see `truncated` in log.jsonl")
    args = build(GRPOConfig, settings, config.trl)
    vllm.check(args)
    rollouts = None
    if config.vllm == "none":
        rollouts = Rollouts(network, tokenizer, plan.sampling, plan.format.stop, config.generations, copied(config))
    reward = _reward(network, tokenizer, plan, judge, rollouts)
    order = plan.order()
    with refusals():
        trainer = Policy(
            model=network,
            reward_funcs=reward,
            args=args,
            train_dataset=Dataset.from_dict({"prompt": [prompts[i] for i in order], "example": order}),
            processing_class=tokenizer,
            peft_config=lora(config),
            rollout_func=rollouts,
        )
    trainer.examples = plan.examples
    return trainer, reward


def _reward(network: Any, tokenizer: Any, plan: RlvrPlan, judge: Judge, rollouts: Any) -> Any:
    from kkwarm.backends.text import end_tokens
    from kkwarm.train.rollout import Reward

    config = plan.config
    ends = end_tokens(tokenizer, network, max(len(tokenizer), network.get_output_embeddings().weight.shape[0]))
    return Reward(
        plan.examples,
        plan.verifier,
        plan.format,
        plan.task.rewards,
        judge,
        tokenizer,
        config.generations,
        plan.max_tokens,
        rollouts,
        frozenset(int(i) for i in ends.nonzero()[0]),
        keep=config.keep_rollouts,
    )


def _settings(plan: RlvrPlan, at_most: int) -> dict[str, Any]:
    config = plan.config
    batch, passes = distributed.share(config.completions, at_most)
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
        "shuffle_dataset": False,  # `RlvrPlan.order` is the order, so that a resumed run has only to skip
    }


def _longest(plan: RlvrPlan, prompts: list[str], tokenizer: Any, model_config: Any) -> int:
    """Tokens of the longest prompt.

    :raises KkwarmError: it leaves no room for a completion.
    """
    from kkwarm.backends.text import check_token_ids, token_ids

    text = model_config.get_text_config()
    listed = token_ids(tokenizer, prompts)
    for e, ids in zip(plan.examples, listed, strict=True):
        check_token_ids(e.id, ids, text.vocab_size)
    lengths = [len(ids) for ids in listed]
    context = getattr(text, "max_position_embeddings", None) or 2**31
    longest = max(lengths)
    if longest >= context:
        e = plan.examples[lengths.index(longest)]
        raise KkwarmError(
            f"{e.id}: its prompt has {longest} tokens, the model's context {context}", hint="leave it out"
        )
    return longest


def sizes_of(plan: RlvrPlan, model: str | Path) -> dict[str, int]:
    """What decides the memory of a step: tokens of its longest row, completions of a pass and of a step."""
    from kkwarm.backends.checkpoint import load_tokenizer, read_config

    tokenizer = load_tokenizer(model)
    prompts = [plan.format.render(e.question, tokenizer) for e in plan.examples]
    tokens = _longest(plan, prompts, tokenizer, read_config(model)) + plan.max_tokens
    rows = plan.config.micro_batch_size or _fitting(plan.config, tokens)
    return {"tokens": tokens, "rows": rows, "step": plan.config.completions}


def _fitting(config: RlvrConfig, width: int) -> int:
    """Completions that fit into a forward pass."""
    from kkwarm.train.engine import on_cuda

    return max(1, (_TOKENS_GPU if on_cuda(config) else _TOKENS_CPU) // max(1, width))


def _warn(run: Run, message: str) -> None:
    known = run.manifest.warnings
    if message in known:
        return
    run.record(warnings=[*known, message])
    say(message)


def _finish(run: Run, plan: RlvrPlan, log: list[dict[str, Any]], in_training_eval: InTrainingEval) -> None:
    from kkwarm.backends.checkpoint import fingerprint
    from kkwarm.train.loop import summary

    tail = log[-max(1, len(log) // 10) :]
    signal = any(r["no_signal"] < 1.0 for r in log)
    if not signal:
        what = max(log[-1]["status"].items(), key=lambda kv: kv[1])[0]
        _warn(run, f"the reward never varied within a group (mostly {what}): nothing was learnt; {_remedy(what)}")
    run.finish(
        products={CHECKPOINT: fingerprint(run.path / CHECKPOINT), **in_training_eval.products()},
        results={
            **summary(log),
            "examples": len(plan.examples),
            "completions": len(log) * plan.config.completions,
            "signal": signal,
            "no_signal": sum(r["no_signal"] for r in log) / len(log),
            "first": {k: log[0][k] for k in ("reward", "accuracy", "length", "truncated")},
            **in_training_eval.results(),
            "last": {k: sum(r[k] for r in tail) / len(tail) for k in ("reward", "accuracy", "length", "truncated")},
        },
    )


def _remedy(status: str) -> str:
    return {
        "correct": "the examples are too easy for this checkpoint",
        "truncated": "raise --max-tokens",
        "malformed": "warm the checkpoint up first, so that it keeps the format",
        "unparsed": "warm the checkpoint up first, so that it keeps the format",
        "error": "the verifier fails: see `kkwarm check`",
    }.get(status, "take easier examples, more --generations, or warm the checkpoint up first")
