"""Compares a GRPO step of `kkwarm rlvr` with a plain trl script of the same configuration, on the shipped base.

    OMP_NUM_THREADS=2 python benchmarks/speed/grpo_trl.py [-o benchmarks/results/grpo_trl.json]

Both sides use the same prompts in the same order, batch size, generations, sampling, loss, learning rate and
precision. The reward of both is the domain's verifier, and both end a completion at the format's stop string, which
is one token of this tokenizer. The trl script follows trl's documentation: GRPOTrainer with a reward function and
generation by transformers. The learning rate is the paper's, so that both sides sample from nearly the same
distribution at all steps and completion lengths differ by chance only; the lengths are recorded. A step is
generation, reward and update (for kkwarm: the time between two lines of its log). The median step excludes the first
one, which warms up. Runs alternate, each in its own process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_lm_eval import checkpoint
from paired import RESULTS, peak_mb, ratio, run_alternating, summarize, write_results

DOMAIN, RATE = "mini_code", 1e-6


def settings(args: argparse.Namespace) -> Any:
    from kkwarm.train import RlvrConfig

    return RlvrConfig(
        domain=DOMAIN,
        examples=100,
        learning_rate=RATE,
        steps=args.steps,
        prompts_per_step=args.prompts,
        generations=args.generations,
        micro_batch_size=args.prompts * args.generations,
        precision="fp32",
    )


def run_kkwarm(args: argparse.Namespace) -> dict[str, Any]:
    import datasets  # noqa: F401 (imports count as start-up on both sides)
    import trl.trainer.grpo_trainer  # noqa: F401

    from kkwarm.train import rlvr

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = rlvr(checkpoint(), settings(args), Path(folder) / "run", progress=False)
        whole = time.perf_counter() - began
        rows = [json.loads(line) for line in (run.path / "log.jsonl").read_text("utf-8").splitlines()]
    return figures(whole, [r["seconds"] for r in rows], [r["length"] for r in rows], [r["reward"] for r in rows])


def configuration(folder: str, args: argparse.Namespace, max_tokens: int) -> Any:
    """trl's configuration for the same step as kkwarm's."""
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=folder,
        max_steps=args.steps,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        per_device_train_batch_size=args.prompts * args.generations,
        num_generations=args.generations,
        max_completion_length=max_tokens,
        temperature=1.0,
        top_k=0,
        beta=0.0,
        loss_type="dr_grpo",
        scale_rewards="none",
        shuffle_dataset=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
    )


def run_trl(args: argparse.Namespace) -> dict[str, Any]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOTrainer

    from kkwarm.protocols import make_renderer
    from kkwarm.train.grpo import plan_rlvr
    from kkwarm.types import Completion
    from kkwarm.verify import Judge

    plan = plan_rlvr(settings(args))
    stop = plan.protocol.stop[0]
    step_seconds: list[float] = []

    class Timer(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.at = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            step_seconds.append(time.perf_counter() - self.at)

    def reward(prompts: list[str], completions: list[str], example: list[int], **_: Any) -> list[float]:
        pairs = [(plan.examples[i], Completion(text)) for i, text in zip(example, completions, strict=True)]
        return [plan.task.rewards.for_status(v.status) for v in judge.verify(plan.verifier, plan.protocol, pairs)]

    with tempfile.TemporaryDirectory() as folder, Judge() as judge:
        began = time.perf_counter()
        tokenizer = AutoTokenizer.from_pretrained(checkpoint(), padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(checkpoint())
        ends = [tokenizer.eos_token_id, *tokenizer(stop, add_special_tokens=False)["input_ids"]]
        model.generation_config.eos_token_id = ends  # the stop string is one token
        render = make_renderer(plan.protocol, tokenizer)
        rows = [{"prompt": render(plan.examples[i]), "example": i} for i in plan.order()]
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=configuration(folder, args, plan.max_tokens),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[Timer()],
        )
        trainer.train()
        trainer.save_model(folder)
        whole = time.perf_counter() - began
    log = [row for row in trainer.state.log_history if "reward" in row]
    return figures(whole, step_seconds, [r["completions/mean_length"] for r in log], [r["reward"] for r in log])


def figures(whole: float, steps: list[float], lengths: list[float], rewards: list[float]) -> dict[str, Any]:
    return {
        "seconds": statistics.median(steps[1:] or steps),
        "whole_s": whole,
        "length": statistics.mean(lengths),
        "reward": [round(rewards[0], 3), round(rewards[-1], 3)],
        "peak_mb": peak_mb(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "grpo_trl.json")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--side", choices=["kkwarm", "trl"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side = run_kkwarm if args.side == "kkwarm" else run_trl
        print(json.dumps(side(args)))  # noqa: T201
        return
    sizes = [f"--{name}={getattr(args, name)}" for name in ("steps", "prompts", "generations")]
    found = run_alternating({name: [__file__, *sizes, "--side", name] for name in ("kkwarm", "trl")}, args.repeats)
    seconds = {name: [run["seconds"] for run in runs] for name, runs in found.items()}
    result = {
        "what": "a GRPO step on the shipped base: kkwarm rlvr and a plain trl script of the same configuration",
        "step": {"prompts": args.prompts, "generations": args.generations, "steps": args.steps, "domain": DOMAIN},
        "seconds_per_step": {name: summarize(s) for name, s in seconds.items()},
        "whole_s": {name: summarize([run["whole_s"] for run in runs]) for name, runs in found.items()},
        "mean_length": {name: summarize([run["length"] for run in runs]) for name, runs in found.items()},
        "length_against_trl": ratio(*([run["length"] for run in found[name]] for name in ("kkwarm", "trl"))),
        "reward_first_last": {name: [run["reward"] for run in runs] for name, runs in found.items()},
        "peak_memory_mb": {name: max(run["peak_mb"] for run in runs) for name, runs in found.items()},
        "time_against_trl": ratio(seconds["kkwarm"], seconds["trl"]),
        "target": 1.0,
    }
    write_results(args.out, result)
    print(f"{result['time_against_trl']['median']:g}x the time of trl (target 1x)", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
