"""Pretrain the miniature's base checkpoint: one seeded run that resumes after a kill.

    python benchmarks/studies/mini_pretrain.py --seed 0 --out runs/mini-base-0 --json runs/mini-base-0.json

On a CPU: two data-parallel processes of one thread each; on CUDA: one process. bf16 autocast, torch.compile,
documents packed under a document mask, Muon for the matrices and AdamW for the rest. The checkpoint is selected on
validation prompts only; test prompts are never read.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from kkwarm_mini.domains import DOMAINS, SAMPLING, generate_examples
from kkwarm_mini.protocol import MINI, make_prompt
from mini_documents import (
    MIXTURE,
    REASONING_RATE,
    RECALL_WEIGHT,
    VOCABULARY,
    build_tokenizer,
    generate_documents,
)
from muon import Muon, ProcessGroup

from kkwarm.types import Completion

SAVE_EVERY = 50  # steps between two saved states; a killed run resumes from the last one


@dataclass(frozen=True)
class Plan:
    """The settings that decide the result. `tokens` counts positions, padding included."""

    seed: int = 0
    tokens: int = 12_000_000
    length: int = 192  # positions per row
    rows: int = 16  # rows per step, over all processes
    processes: int = 2
    hidden: int = 192
    layers: int = 4
    heads: int = 4
    mlp: int = 512
    muon_lr: float = 0.015
    adam_lr: float = 2e-3
    prompt_weight: float = 0.1  # loss weight of the question's tokens; the response's tokens have weight 1
    warmup: float = 0.02  # fraction of the steps
    n_valid: int = 200  # validation prompts per domain

    @property
    def steps(self) -> int:
        return math.ceil(self.tokens / (self.length * self.rows))


def build_model(plan: Plan) -> Any:
    """A plain Llama with tied embeddings, initialized from the seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(plan.seed)
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=plan.hidden,
        intermediate_size=plan.mlp,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=True,
        pad_token_id=VOCABULARY.index("<pad>"),
        bos_token_id=None,
        eos_token_id=VOCABULARY.index("<eos>"),
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")  # compiled and on such short rows nearly twice as fast as the fused kernel
    return model


# ---- data


def packed_rows(plan: Plan, seed: str) -> Iterator[tuple[list[int], list[float], list[int], list[int]]]:
    """Yields rows of token ids, loss weights, document numbers (padding: -1), and positions in the document."""
    ids = {word: i for i, word in enumerate(VOCABULARY)}
    rows: list[tuple[list[int], list[float], list[int], list[int]]] = []
    for number, document in enumerate(generate_documents(seed)):
        prompt = [ids[w] for w in document.prompt.split()]
        response = [ids[w] for w in f"{document.completion} <eos>".split()]
        size = len(prompt) + len(response)
        weights = [plan.prompt_weight] * len(prompt) + [document.first_word_weight] + [1.0] * (len(response) - 1)
        weights[0] = 0.0  # the first token is not predicted
        row = next((r for r in rows if len(r[0]) + size <= plan.length), None)
        if row is None:
            if len(rows) == 12:  # enough open rows to fill the gaps: yield the fullest one
                fullest = max(rows, key=lambda r: len(r[0]))
                rows.remove(fullest)
                n_free = plan.length - len(fullest[0])
                for part, padding in zip(fullest, (ids["<pad>"], 0.0, -1, 0), strict=True):
                    part.extend([padding] * n_free)  # type: ignore[list-item]
                yield fullest
            row = ([], [], [], [])
            rows.append(row)
        row[0].extend(prompt + response)
        row[1].extend(weights)
        row[2].extend([number] * size)
        row[3].extend(range(size))


def batches(plan: Plan, rank: int, block: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """The batches of one process from one saved state on: ids, weights, documents, positions, each (rows, length)."""
    rows = packed_rows(plan, f"{plan.seed} {rank} {block}")
    share = plan.rows // plan.processes
    while True:
        batch = [next(rows) for _ in range(share)]
        ids, weights, numbers, positions = (list(part) for part in zip(*batch, strict=True))
        yield torch.tensor(ids), torch.tensor(weights), torch.tensor(numbers), torch.tensor(positions)


def loss_sum(
    model: Any, ids: torch.Tensor, weights: torch.Tensor, numbers: torch.Tensor, positions: torch.Tensor
) -> Any:
    """The weighted sum of the next-token losses of a batch. Attention stays inside each document."""
    length = ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
    visible = (numbers[:, :, None] == numbers[:, None, :]) & causal
    mask = torch.where(visible, 0.0, -1e4).to(torch.bfloat16)[:, None]
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    losses = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
    return (losses * weights[:, 1:].flatten()).sum()


# ---- validation


@torch.no_grad()
def generate(model: Any, tokenizer: Any, prompts: list[str]) -> list[str]:
    """One sampled completion for each prompt, up to the end of its answer."""
    stops = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("</answer>")]
    batch = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False).to(model.device)
    out = model.generate(
        **batch, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=SAMPLING.max_tokens,
        eos_token_id=stops, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return [t.replace("<pad>", "").strip() for t in tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :])]


@torch.no_grad()
def measure(model: Any, tokenizer: Any, n: int, seed: int) -> dict[str, dict[str, float]]:
    """Figures of each domain on `n` validation prompts at T = 1.

    These are accuracy with direct answers, accuracy with forced reasoning, the reasoning rate (the probability of
    `<think>` after the question), and the accuracy that follows from the three.
    """
    model.eval()
    torch.manual_seed(seed)
    result = {}
    for domain in DOMAINS:
        examples = generate_examples(domain.name, "valid", n)
        prompts = [make_prompt(e.question) for e in examples]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False).to(model.device)
        first = model(**batch).logits[:, -1].float().softmax(-1)
        reasoning_rate = first[:, tokenizer.convert_tokens_to_ids("<think>")].mean().item()
        accuracy = {}
        for mode, start in (("direct", "<answer>"), ("forced", MINI.force)):
            n_correct = 0
            for example, text in zip(examples, generate(model, tokenizer, [p + start for p in prompts]), strict=True):
                response = MINI.split(Completion(f"{start} {text}"))
                if response.answer is not None:
                    verdict = domain.verifier(example, response)  # type: ignore[operator]
                    n_correct += verdict.correct
            accuracy[mode] = n_correct / n
        overall = (1 - reasoning_rate) * accuracy["direct"] + reasoning_rate * accuracy["forced"]
        result[domain.name] = {**accuracy, "reasoning_rate": reasoning_rate, "overall": overall}
    model.train()
    return {d: {k: round(v, 4) for k, v in r.items()} for d, r in result.items()}


def selection_score(figures: dict[str, dict[str, float]]) -> float:
    """Mean accuracy with forced reasoning; the checkpoint with the highest score is kept."""
    return sum(r["forced"] for r in figures.values()) / len(figures)


# ---- the run


def learning_rate_factor(plan: Plan, step: int) -> float:
    """The factor on the peak learning rate: linear warm-up, then linear decay to zero."""
    n_warmup = max(1, round(plan.warmup * plan.steps))
    return min((step + 1) / n_warmup, (plan.steps - step) / (plan.steps - n_warmup))


def mean_gradients(
    parameters: list[Any], total: torch.Tensor, weight: torch.Tensor, group: ProcessGroup
) -> torch.Tensor:
    """Replaces each gradient by its weighted mean over all processes. Returns the mean loss."""
    flat = group.all_reduce(torch.cat([p.grad.flatten() for p in parameters] + [total[None], weight[None]]))
    flat = flat / flat[-1]
    start = 0
    for p in parameters:
        p.grad.copy_(flat[start : start + p.numel()].view_as(p))
        start += p.numel()
    return flat[-2]


def train(rank: int, plan: Plan, out: Path, device: str, buffers: torch.Tensor, barrier: Any) -> None:
    """One process of the run."""
    if device == "cpu":
        torch.set_num_threads(1)
    group = ProcessGroup(rank, buffers, barrier)
    tokenizer = build_tokenizer()
    model = build_model(plan).to(device)
    named = dict(model.named_parameters())
    matrices = [p for n, p in named.items() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in named.items() if p.ndim != 2 or "embed" in n]
    muon = Muon(matrices, group)
    adam = torch.optim.AdamW(rest, lr=plan.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
    state_file = out / "state.pt"
    start, seconds, history = load_state(state_file, plan, model, adam, muon, device)
    compiled = torch.compile(model, dynamic=False)
    began = time.perf_counter()
    validation_steps = {round(plan.steps * share) for share in (0.15, 0.3, 0.45, 0.6, 0.8, 0.9, 1.0)}
    source = batches(plan, rank, start // SAVE_EVERY)
    for step in range(start, plan.steps):
        if step % SAVE_EVERY == 0:
            source = batches(plan, rank, step // SAVE_EVERY)
        ids, weights, numbers, positions = (t.to(device) for t in next(source))
        with torch.autocast(device, torch.bfloat16):
            total = loss_sum(compiled, ids, weights, numbers, positions)
        total.backward()
        loss = mean_gradients(list(named.values()), total.detach(), weights[:, 1:].sum(), group)
        factor = learning_rate_factor(plan, step)
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        for parameter_group in adam.param_groups:
            parameter_group["lr"] = plan.adam_lr * factor
        muon.step(plan.muon_lr * factor)
        adam.step()
        for p in named.values():
            p.grad.zero_()
        done = step + 1
        if rank:
            continue
        elapsed = time.perf_counter() - began
        if done % 20 == 0:
            per_step = elapsed / (done - start)
            tokens_per_s = plan.length * plan.rows / per_step
            log(
                f"step {done}/{plan.steps}  loss {loss.item():.3f}  {tokens_per_s:,.0f} tokens/s  "
                f"ETA {(plan.steps - done) * per_step / 60:.1f} min"
            )
        if done in validation_steps:
            torch.set_num_threads(plan.processes if device == "cpu" else torch.get_num_threads())
            figures = measure(model, tokenizer, plan.n_valid, plan.seed)
            torch.set_num_threads(1 if device == "cpu" else torch.get_num_threads())
            history.append({"step": done, "seconds": round(seconds + time.perf_counter() - began), "valid": figures})
            log(json.dumps(history[-1]))
            if selection_score(figures) >= max(selection_score(h["valid"]) for h in history):
                save_checkpoint(model, tokenizer, out / "best")
        if done % SAVE_EVERY == 0 or done == plan.steps:
            total_s = seconds + time.perf_counter() - began
            save_state(state_file, plan, model, adam, muon, (done, total_s, history))


Progress = tuple[int, float, list[dict[str, Any]]]  # steps done, seconds, validations


def load_state(file: Path, plan: Plan, model: Any, adam: Any, muon: Muon, device: str) -> Progress:
    """Loads what `save_state` wrote, if anything. Refuses a run with other settings."""
    if not file.exists():
        return 0, 0.0, []
    state = torch.load(file, map_location=device, weights_only=False)
    if state["plan"] != asdict(plan):
        raise SystemExit(f"{file.parent} holds a run with different settings: {state['plan']}. Use another --out.")
    model.load_state_dict(state["model"])
    adam.load_state_dict(state["adam"])
    muon.buffers = state["muon"]
    return state["progress"]


def save_state(file: Path, plan: Plan, model: Any, adam: Any, muon: Muon, progress: Progress) -> None:
    """Writes everything that resuming needs, atomically."""
    weights, moments = model.state_dict(), adam.state_dict()
    state = {"plan": asdict(plan), "model": weights, "adam": moments, "muon": muon.buffers, "progress": progress}
    torch.save(state, file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)


def log(line: str) -> None:
    """Writes one line of progress to stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def save_checkpoint(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a transformers checkpoint: config.json, model.safetensors and the tokenizer's files."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def environment() -> dict[str, Any]:
    """The machine and the versions that the figures were measured with."""
    import transformers

    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), cpu)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": cpu, "cores": os.cpu_count(), "gpu": gpu, "python": platform.python_version(),
        "torch": torch.__version__, "transformers": transformers.__version__,
    }  # fmt: skip


def main() -> None:
    """Parses the options, trains, and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=Plan.tokens)
    parser.add_argument(
        "--out", type=Path, required=True, help="Folder of the run. The checkpoint is in its subfolder `best`."
    )
    parser.add_argument("--json", type=Path, help="File for the figures of the run.")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    processes = 1 if device == "cuda" else min(2, os.cpu_count() or 1)
    plan = Plan(seed=args.seed, tokens=args.tokens, processes=processes)
    args.out.mkdir(parents=True, exist_ok=True)
    size = sum(p.numel() for p in build_model(plan).parameters()) + 2
    buffers = torch.zeros(processes, size).share_memory_()
    barrier = mp.get_context("spawn").Barrier(processes)
    # Otherwise glibc returns every large tensor to the kernel and faults it in again, which takes a fifth of the time.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 << 20))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(4 << 30))
    mp.spawn(train, (plan, args.out, device, buffers, barrier), nprocs=processes)
    state = torch.load(args.out / "state.pt", map_location="cpu", weights_only=False)
    _, seconds, history = state["progress"]
    best = max(history, key=lambda h: (selection_score(h["valid"]), h["step"]))
    report = {
        "command": f"python {Path(sys.argv[0]).name} --seed {args.seed} --tokens {args.tokens}",
        "environment": environment(), "device": device, "plan": asdict(plan), "reasoning_rate": REASONING_RATE,
        "recall_weight": RECALL_WEIGHT,
        "mixture": {name: asdict(weight) for name, weight in MIXTURE.items()},
        "parameters": sum(p.numel() for p in build_model(plan).parameters()),
        "steps": plan.steps, "seconds": round(seconds), "selected_step": best["step"],
        "valid": best["valid"], "history": history,
    }  # fmt: skip
    text = json.dumps(report, indent=1)
    if args.json:
        args.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
