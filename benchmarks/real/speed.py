"""Compares kkwarm with plain scripts on SmolLM2-135M-Instruct, in CPU-seconds.

    python benchmarks/real/speed.py bench|sft|grpo [--model FOLDER] [--threads 1] [-o FILE]

The data are K&K puzzles of 3 and 4 people from kkwarm's symbolic teacher, which needs no network.

`bench`: questions with K samples each; kkwarm's `bench` against transformers' `generate` (which shares no prefill,
so a prompt's rows are computed K times) and against lm-eval's own `hf` model. The sides differ in the number of sampled
tokens by chance, so the figure is CPU-seconds for 1,000 generated tokens. The time of kkwarm and lm-eval covers
everything after the model is loaded: prompts, generation, verdicts, figures, and on kkwarm's side the store.

`sft`: an optimizer step of `kkwarm warmup` against a plain script with trl's SFTTrainer, on the same tokens.

`grpo`: an optimizer step of `kkwarm rlvr` against a plain script with trl's GRPOTrainer: the same prompts, the same
number of completions of the same length (the limit), and a reward that splits every group (the parity of a hash of the
text). kkwarm leaves completions without an advantage out of the update; here none is without.

Each side runs at its fastest batch size of those given: the first round tries all, later rounds repeat the fastest.
Sides alternate, each run in its own process with a fixed number of threads. CPU-seconds are those of the process and
its children (user and system), so that other programs on the machine affect them little. Peak memory is the largest
resident set. The first step of training is left out, because it warms up.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))
from paired import RESULTS, peak_mb, ratio, summarize, write_results

TRACE_TOKENS = 1024


def cpu_seconds() -> float:
    """User and system time of this process and of its finished children."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


# -- bench -------------------------------------------------------------------------------------------------------------


def eval_task(args: argparse.Namespace, tokenizer: Any) -> Any:
    from kkwarm import plugins
    from kkwarm.evaluation.plan import make_eval_task

    install_domains(args)
    return make_eval_task("puzzles", plugins.registry(), bench_config(args), tokenizer)


def bench_config(args: argparse.Namespace) -> Any:
    from kkwarm.evaluation import BenchConfig

    return BenchConfig(samples=args.samples, limit=args.questions, max_tokens=args.tokens, temperature=1.0, top_p=1.0)


def bench_kkwarm(args: argparse.Namespace, batch: int) -> dict[str, Any]:
    from kkwarm.backends import open_backend
    from kkwarm.evaluation import bench
    from kkwarm.evaluation.lm import evaluate_tasks  # noqa: F401 (importing lm-eval counts as start-up on both sides)

    install_domains(args)
    backend = open_backend("hf", str(args.model), batch_size=batch or None)
    with tempfile.TemporaryDirectory() as folder:
        began = cpu_seconds()
        run = bench(
            str(args.model), ["puzzles"], Path(folder) / "run", bench_config(args), progress=False, backend=backend
        )
        seconds = cpu_seconds() - began
    return per_token(seconds, run.manifest.generation["tokens"])


def bench_generate(args: argparse.Namespace, batch: int) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    prompts = [item.prompt for item in eval_task(args, tokenizer).items]
    torch.manual_seed(0)
    began, tokens, size = cpu_seconds(), 0, max(1, batch // args.samples)
    for first in range(0, len(prompts), size):
        inputs = tokenizer(prompts[first : first + size], return_tensors="pt", padding=True)
        with torch.inference_mode():
            rows = model.generate(
                **inputs,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                max_new_tokens=args.tokens,
                num_return_sequences=args.samples,
            )
        new = rows[:, inputs["input_ids"].shape[1] :]
        tokenizer.batch_decode(new, skip_special_tokens=True)
        ended = (new == tokenizer.eos_token_id).int()
        tokens += sum(int(row.argmax()) + 1 if row.any() else len(row) for row in ended)
    return per_token(cpu_seconds() - began, tokens)


def bench_lm_eval(args: argparse.Namespace, batch: int) -> dict[str, Any]:
    import torch
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    from kkwarm.evaluation.lm import LmEvalTask
    from kkwarm.types import Completion
    from kkwarm.verify import Judge

    lm = HFLM(pretrained=str(args.model), device="cpu", dtype="float32", batch_size=batch)
    texts: list[str] = []

    class Task(LmEvalTask):
        """The same documents and requests, with sampling options in the request and verdicts on plain texts."""

        def __init__(self, task: Any, judge: Judge) -> None:
            self.judge = judge
            super().__init__(task, args.samples)
            options = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_gen_toks": args.tokens}
            self.config.generation_kwargs |= options

        def _mean_scores(self, doc: Any, results: list[list[str]]) -> dict[str, float]:  # type: ignore[override]
            texts.extend(results[0])
            pairs = [(self.task.items[doc["row"]].example, Completion(text)) for text in results[0]]
            verdicts = self.judge.verify(self.task.verifier, self.task.protocol, pairs)
            return {"accuracy": sum(v.correct for v in verdicts) / len(verdicts)}

    torch.manual_seed(0)
    began = cpu_seconds()
    with Judge() as judge:
        evaluate(lm, {"puzzles": Task(eval_task(args, lm.tokenizer), judge)}, bootstrap_iters=2, log_samples=False)
    seconds = cpu_seconds() - began
    return per_token(seconds, sum(len(lm.tokenizer(text)["input_ids"]) + 1 for text in texts))


def per_token(seconds: float, tokens: int) -> dict[str, Any]:
    return {"value": 1000 * seconds / tokens, "cpu_s": seconds, "tokens": tokens}


# -- training ----------------------------------------------------------------------------------------------------------


class StepTimer:
    """CPU-seconds of each optimizer step of transformers' Trainer, for both sides alike."""

    def __init__(self) -> None:
        from transformers.trainer_callback import CallbackHandler

        self.steps: list[float] = []
        begin, end = CallbackHandler.on_step_begin, CallbackHandler.on_step_end

        def on_step_begin(handler: Any, *args: Any, **kwargs: Any) -> Any:
            self._began = cpu_seconds()
            return begin(handler, *args, **kwargs)

        def on_step_end(handler: Any, *args: Any, **kwargs: Any) -> Any:
            self.steps.append(cpu_seconds() - self._began)
            return end(handler, *args, **kwargs)

        CallbackHandler.on_step_begin, CallbackHandler.on_step_end = on_step_begin, on_step_end

    def figures(self, **more: Any) -> dict[str, Any]:
        steps = self.steps[1:] or self.steps
        return {"value": statistics.mean(steps), "steps": [round(s, 2) for s in self.steps], **more}


def write_puzzles(args: argparse.Namespace, folder: Path) -> Path:
    """The first traces of the data."""
    traces = folder / "traces.jsonl"
    lines = args.data.read_text("utf-8").splitlines()[: args.traces * args.steps]
    traces.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return traces


def sft_kkwarm(args: argparse.Namespace, batch: int) -> dict[str, Any]:
    from kkwarm.train import WarmupConfig, warmup

    timer = StepTimer()
    with tempfile.TemporaryDirectory() as folder:
        traces = write_puzzles(args, Path(folder))
        config = WarmupConfig(
            batch_size=args.traces,
            epochs=1.0,
            max_length=TRACE_TOKENS,
            micro_batch_size=batch or None,
            threads=args.threads,
        )
        run = warmup(args.model, traces, Path(folder) / "run", config, progress=False)
        tokens = run.manifest.results["tokens"]
        losses = [json.loads(line)["loss"] for line in (run.path / "log.jsonl").read_text("utf-8").splitlines()]
    return timer.figures(tokens=tokens, losses=[round(x, 4) for x in losses])


def sft_trl(args: argparse.Namespace, batch: int) -> dict[str, Any]:
    """As trl's documentation has it, on kkwarm's token ids and order, in the precision that trl chooses (bf16)."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from kkwarm.train import WarmupConfig
    from kkwarm.train.sft import plan_warmup

    timer = StepTimer()
    with tempfile.TemporaryDirectory() as folder:
        config = WarmupConfig(batch_size=args.traces, epochs=1.0, max_length=TRACE_TOKENS)
        plan = plan_warmup(args.model, write_puzzles(args, Path(folder)), config)
        order = plan.order(len(plan.ids))
        data = Dataset.from_dict({"input_ids": plan.ids, "labels": plan.labels}).select(order)
        settings = SFTConfig(
            output_dir=folder,
            max_steps=plan.steps(len(plan.ids)),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=args.traces // batch,
            learning_rate=config.learning_rate,
            train_sampling_strategy="sequential",
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
            logging_steps=1,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(args.model),
            args=settings,
            train_dataset=data,
            processing_class=AutoTokenizer.from_pretrained(args.model),
        )
        trainer.train()
    losses = [round(row["loss"], 4) for row in trainer.state.log_history if "loss" in row]
    return timer.figures(tokens=sum(map(len, data["input_ids"])), losses=losses)


def is_even(text: str) -> bool:
    """A coin of the text: about half of each group is correct, whatever the model writes."""
    return hashlib.sha256(text.strip().encode()).digest()[0] % 2 == 0


def grpo_questions(args: argparse.Namespace) -> list[str]:
    """Puzzles with the beginning of a solution, so that nearly all completions reach the limit of tokens."""
    lines = args.data.read_text("utf-8").splitlines()[: args.prompts]
    return [f"{json.loads(line)['question']}\n\nLet's think step by step. Suppose that" for line in lines]


def install_domains(args: argparse.Namespace) -> None:
    """Registers `puzzles` (to evaluate on) and `parity` (to train on)."""
    import kkwarm.plugins
    from kkwarm.plugins import hookimpl
    from kkwarm.types import Domain, Example

    traces = [json.loads(line) for line in args.data.read_text("utf-8").splitlines()]
    puzzles = [Example(t["id"], t["question"], t["answer"]) for t in traces]
    coins = [Example(f"parity/{i}", text, "", "train") for i, text in enumerate(grpo_questions(args))]

    class Plugin:
        @hookimpl
        def kkwarm_domains(self) -> list[Domain]:
            return [
                Domain("puzzles", lambda: puzzles, lambda example, response: response.answer == example.answer),
                Domain("parity", lambda: coins, lambda example, response: is_even(response.text), protocol="plain"),
            ]

    load = kkwarm.plugins.load
    kkwarm.plugins.load = lambda extra=(): load([*extra, ("speed", Plugin())])  # type: ignore[assignment]
    kkwarm.plugins.registry.cache_clear()


def grpo_settings(args: argparse.Namespace, batch: int) -> Any:
    from kkwarm.train import RlvrConfig

    return RlvrConfig(
        domain="parity",
        examples=args.prompts,
        learning_rate=1e-6,
        steps=args.steps,
        prompts_per_step=args.prompts,
        generations=args.generations,
        max_tokens=args.tokens,
        micro_batch_size=batch or None,
        threads=args.threads,
    )


def grpo_kkwarm(args: argparse.Namespace, batch: int) -> dict[str, Any]:
    from kkwarm.train import rlvr

    install_domains(args)
    timer = StepTimer()
    with tempfile.TemporaryDirectory() as folder:
        run = rlvr(args.model, grpo_settings(args, batch), Path(folder) / "run", progress=False)
        rows = [json.loads(line) for line in (run.path / "log.jsonl").read_text("utf-8").splitlines()]
    return timer.figures(
        length=[r["length"] for r in rows], reward=[r["reward"] for r in rows], precision=run.manifest.precision
    )


def grpo_trl(args: argparse.Namespace, batch: int) -> dict[str, Any]:
    """As trl's documentation has it: a reward function, generation by transformers, trl's choice of precision."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    completions = args.prompts * args.generations
    timer = StepTimer()
    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder,
            max_steps=args.steps,
            learning_rate=1e-6,
            lr_scheduler_type="constant",
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=completions // batch,
            num_generations=args.generations,
            max_completion_length=args.tokens,
            temperature=1.0,
            top_k=0,
            beta=0.0,
            loss_type="dr_grpo",
            scale_rewards="none",
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(args.model),
            reward_funcs=lambda prompts, completions, **_: [2.0 if is_even(text) else -0.5 for text in completions],
            args=settings,
            train_dataset=Dataset.from_list([{"prompt": text} for text in grpo_questions(args)]),
            processing_class=AutoTokenizer.from_pretrained(args.model, padding_side="left"),
        )
        trainer.train()
    log = [row for row in trainer.state.log_history if "reward" in row]
    return timer.figures(length=[r["completions/mean_length"] for r in log], reward=[r["reward"] for r in log])


# -- the comparison ----------------------------------------------------------------------------------------------------

# Sides of each part, with the batch sizes that they try; 0 leaves the choice to kkwarm.
SIDES: Mapping[str, Mapping[str, Any]] = {
    "bench": {
        "kkwarm": (bench_kkwarm, (0, 16)),
        "generate": (bench_generate, (16, 48)),
        "lm_eval": (bench_lm_eval, (16, 48)),
    },
    "sft": {"kkwarm": (sft_kkwarm, (0,)), "trl": (sft_trl, (1, 2, 8))},
    "grpo": {"kkwarm": (grpo_kkwarm, (0,)), "trl": (grpo_trl, (4, 16))},
}
UNITS = {"bench": "CPU-seconds for 1,000 tokens", "sft": "CPU-seconds a step", "grpo": "CPU-seconds a step"}


def measure(args: argparse.Namespace, side: str, batch: int) -> dict[str, Any]:
    """One run of a side in a process of its own."""
    names = ("model", "data", "threads", "samples", "questions", "tokens", "traces", "steps", "prompts", "generations")
    options = [f"--{name}={getattr(args, name)}" for name in names]
    threads = {"OMP_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, __file__, args.part, *options, "--side", f"{side}:{batch}"]
    began = time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads)
    if process.returncode:
        raise SystemExit(f"{side} failed ({process.returncode}):\n{process.stderr[-4000:]}")
    figures = json.loads(process.stdout.strip().splitlines()[-1])
    figures |= {"batch": batch, "wall_s": round(time.perf_counter() - began, 1), "load": os.getloadavg()[0]}
    print(f"{side}, batch {batch}: {figures['value']:.3f} {UNITS[args.part]}", file=sys.stderr, flush=True)  # noqa: T201
    return dict(figures)


def write_data(folder: Path) -> Path:
    """Traces of the symbolic teacher, the shortest first."""
    from kkwarm import plugins

    traces = [t for t in plugins.registry().teacher("kk", "symbolic").traces(150, 0) if t.meta["people"] <= 4]
    traces.sort(key=lambda t: len(t.question) + len(t.reasoning or ""))
    rows = [{f: getattr(t, f) for f in ("id", "domain", "question", "reasoning", "answer", "teacher")} for t in traces]
    data = folder / "traces.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return data


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Alternating runs: the first round tries every batch size of a side, later rounds repeat its fastest."""
    sides = SIDES[args.part]
    runs: dict[str, list[dict[str, Any]]] = {}
    tried: dict[str, dict[int, float]] = {}  # side -> batch size -> value of the first round
    for side, (_, batches) in sides.items():
        largest = {"sft": args.traces, "grpo": args.prompts * args.generations}.get(args.part, max(batches))
        first = [measure(args, side, batch) for batch in batches if batch <= largest]
        tried[side] = {run["batch"]: round(run["value"], 4) for run in first}
        runs[side] = [min(first, key=lambda run: run["value"])]
    for round_ in range(1, args.repeats):
        for side in list(sides)[:: -1 if round_ % 2 else 1]:
            runs[side].append(measure(args, side, runs[side][0]["batch"]))
    values = {side: [run["value"] for run in found] for side, found in runs.items()}
    return {
        "what": f"kkwarm and plain scripts on SmolLM2-135M-Instruct: {args.part}",
        "unit": UNITS[args.part],
        "command": " ".join(["python benchmarks/real/speed.py", *sys.argv[1:]]),
        "threads": args.threads,
        "batch_sizes_tried": tried,
        "values": {side: summarize(found) for side, found in values.items()},
        "peak_memory_mb": {side: max(run["peak_mb"] for run in found) for side, found in runs.items()},
        "times_faster": {side: ratio(values[side], values["kkwarm"]) for side in sides if side != "kkwarm"},
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=SIDES)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent / "smollm2-135m-instruct")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--samples", type=int, default=4, help="bench: samples of a question")
    parser.add_argument("--questions", type=int, default=12, help="bench: questions")
    parser.add_argument("--tokens", type=int, default=128, help="bench, grpo: tokens of a completion, at most")
    parser.add_argument("--traces", type=int, default=8, help="sft: traces in a step")
    parser.add_argument("--steps", type=int, default=3, help="sft, grpo: steps")
    parser.add_argument("--prompts", type=int, default=2, help="grpo: prompts in a step")
    parser.add_argument("--generations", type=int, default=8, help="grpo: completions of a prompt")
    parser.add_argument("--data", type=Path, help="traces of an earlier run; by default they are generated")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        side, _, batch = args.side.partition(":")
        import torch

        torch.set_num_threads(args.threads)
        figures = SIDES[args.part][side][0](args, int(batch))
        print(json.dumps({**figures, "peak_mb": peak_mb()}))  # noqa: T201
        return
    with tempfile.TemporaryDirectory() as folder:
        args.data = args.data or write_data(Path(folder))
        result = compare(args)
    write_results(args.out or RESULTS / f"smollm2_{args.part}_speed.json", result)
    for side, found in result["times_faster"].items():
        print(f"{args.part}: {found['median']:g}x faster than {side}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
