"""Pretrain the miniature's base checkpoint: one uninterrupted, seeded run (a kill costs at most the current block).

    python benchmarks/studies/mini_pretrain.py --seed 0 --out runs/mini-base-0 --json runs/mini-base-0.json

On a CPU: two data-parallel processes of one thread each; on CUDA: one process. bf16 autocast, torch.compile,
documents packed under a document mask, Muon for the matrices and AdamW for the rest. The checkpoint is chosen on
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
from kkwarm_mini.domains import SAMPLING, examples
from kkwarm_mini.format import MINI
from kkwarm_mini.mixture import MIXTURE, RECALL, SHOWN, documents
from kkwarm_mini.vocab import VOCABULARY, build_tokenizer
from muon import Muon, Peers

from kkwarm.types import Completion

BLOCK = 50  # steps between two points at which a killed run can go on


@dataclass(frozen=True)
class Plan:
    """Everything that decides the outcome. `tokens` counts positions seen, padding included."""

    seed: int = 0
    tokens: int = 12_000_000
    length: int = 192  # positions in a row
    rows: int = 16  # rows in a step, over all processes
    processes: int = 2
    hidden: int = 192
    layers: int = 4
    heads: int = 4
    mlp: int = 512
    muon_lr: float = 0.015
    adam_lr: float = 2e-3
    prompt_weight: float = 0.1  # of the loss on the question's tokens; 1 on the response
    warmup: float = 0.02  # share of the steps
    n_valid: int = 200  # validation prompts for each domain

    @property
    def steps(self) -> int:
        return math.ceil(self.tokens / (self.length * self.rows))


def build_model(plan: Plan) -> Any:
    """A plain Llama with tied embeddings, made from the seed."""
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
    model.set_attn_implementation("eager")  # compiled, on rows this short, nearly twice as fast as the fused kernel
    return model


# ---- data


def packed_rows(plan: Plan, seed: str) -> Iterator[tuple[list[int], list[float], list[int], list[int]]]:
    """Rows of (token ids, loss weight of each token, document number (padding -1), position in the document)."""
    ids = {word: i for i, word in enumerate(VOCABULARY)}
    rows: list[tuple[list[int], list[float], list[int], list[int]]] = []
    for number, document in enumerate(documents(seed)):
        prompt = [ids[w] for w in document.prompt.split()]
        response = [ids[w] for w in f"{document.completion} <eos>".split()]
        size = len(prompt) + len(response)
        weights = [plan.prompt_weight] * len(prompt) + [document.first_word_weight] + [1.0] * (len(response) - 1)
        weights[0] = 0.0  # nothing comes before it
        row = next((r for r in rows if len(r[0]) + size <= plan.length), None)
        if row is None:
            if len(rows) == 12:  # enough open rows to fill the gaps; send off the fullest
                fullest = max(rows, key=lambda r: len(r[0]))
                rows.remove(fullest)
                left = plan.length - len(fullest[0])
                for part, fill in zip(fullest, (ids["<pad>"], 0.0, -1, 0), strict=True):
                    part.extend([fill] * left)  # type: ignore[list-item]
                yield fullest
            row = ([], [], [], [])
            rows.append(row)
        row[0].extend(prompt + response)
        row[1].extend(weights)
        row[2].extend([number] * size)
        row[3].extend(range(size))


def batches(plan: Plan, rank: int, block: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """The batches of one process for one block: ids, weights, documents, positions, each (rows, length)."""
    rows = packed_rows(plan, f"{plan.seed} {rank} {block}")
    share = plan.rows // plan.processes
    while True:
        taken = [next(rows) for _ in range(share)]
        ids, weights, numbers, positions = (list(part) for part in zip(*taken, strict=True))
        yield torch.tensor(ids), torch.tensor(weights), torch.tensor(numbers), torch.tensor(positions)


def loss_sum(
    model: Any, ids: torch.Tensor, weights: torch.Tensor, numbers: torch.Tensor, positions: torch.Tensor
) -> Any:
    """The weighted sum of the next-token losses of a batch; attention stays inside each document."""
    length = ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
    seen = (numbers[:, :, None] == numbers[:, None, :]) & causal
    mask = torch.where(seen, 0.0, -1e4).to(torch.bfloat16)[:, None]
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
    """For each domain, on `n` validation prompts at T = 1: accuracy when answering directly, when forced to work and
    as the model likes (from these two), and P(works): the probability of `<think>` after the question."""
    from kkwarm_mini.domains import DOMAINS

    model.eval()
    torch.manual_seed(seed)
    result = {}
    for domain in DOMAINS:
        asked = examples(domain.name, "valid", n)
        prompts = [MINI.render(e.question) for e in asked]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False).to(model.device)
        first = model(**batch).logits[:, -1].float().softmax(-1)
        works = first[:, tokenizer.convert_tokens_to_ids("<think>")].mean().item()
        accuracy = {}
        for way, start in (("direct", "<answer>"), ("forced", MINI.force)):
            right = 0
            for example, text in zip(asked, generate(model, tokenizer, [p + start for p in prompts]), strict=True):
                response = MINI.split(Completion(f"{start} {text}"))
                if response.answer is not None:
                    verdict = domain.verifier(example, response)  # type: ignore[operator]
                    right += verdict.correct
            accuracy[way] = right / n
        natural = (1 - works) * accuracy["direct"] + works * accuracy["forced"]
        result[domain.name] = {**accuracy, "works": works, "natural": natural}
    model.train()
    return {d: {k: round(v, 4) for k, v in r.items()} for d, r in result.items()}


def score(measured: dict[str, dict[str, float]]) -> float:
    """What the checkpoint is chosen by: mean accuracy when forced to work."""
    return sum(r["forced"] for r in measured.values()) / len(measured)


# ---- the run


def learning_rate(plan: Plan, step: int) -> float:
    """A factor: up linearly, then down linearly to zero."""
    rise = max(1, round(plan.warmup * plan.steps))
    return min((step + 1) / rise, (plan.steps - step) / (plan.steps - rise))


def mean_gradients(parameters: list[Any], total: torch.Tensor, weight: torch.Tensor, peers: Peers) -> torch.Tensor:
    """Replaces each gradient by its mean over the weights of all processes; returns the loss, a mean likewise."""
    flat = peers.add_up(torch.cat([p.grad.flatten() for p in parameters] + [total[None], weight[None]]))
    flat = flat / flat[-1]
    at = 0
    for p in parameters:
        p.grad.copy_(flat[at : at + p.numel()].view_as(p))
        at += p.numel()
    return flat[-2]


def work(rank: int, plan: Plan, out: Path, device: str, buffers: torch.Tensor, barrier: Any) -> None:
    """One process of the run."""
    if device == "cpu":
        torch.set_num_threads(1)
    peers = Peers(rank, buffers, barrier)
    tokenizer = build_tokenizer()
    model = build_model(plan).to(device)
    named = dict(model.named_parameters())
    matrices = [p for n, p in named.items() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in named.items() if p.ndim != 2 or "embed" in n]
    muon = Muon(matrices, peers)
    adam = torch.optim.AdamW(rest, learning_rate=plan.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
    state_file = out / "state.pt"
    start, seconds, history = resumed(state_file, plan, model, adam, muon, device)
    compiled = torch.compile(model, dynamic=False)
    began = time.perf_counter()
    looked_at = {round(plan.steps * share) for share in (0.15, 0.3, 0.45, 0.6, 0.8, 0.9, 1.0)}
    source = batches(plan, rank, start // BLOCK)
    for step in range(start, plan.steps):
        if step % BLOCK == 0:
            source = batches(plan, rank, step // BLOCK)
        ids, weights, numbers, positions = (t.to(device) for t in next(source))
        with torch.autocast(device, torch.bfloat16):
            total = loss_sum(compiled, ids, weights, numbers, positions)
        total.backward()
        loss = mean_gradients(list(named.values()), total.detach(), weights[:, 1:].sum(), peers)
        factor = learning_rate(plan, step)
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        for group in adam.param_groups:
            group["learning_rate"] = plan.adam_lr * factor
        muon.step(plan.muon_lr * factor)
        adam.step()
        for p in named.values():
            p.grad.zero_()
        done = step + 1
        if rank:
            continue
        spent = time.perf_counter() - began
        if done % 20 == 0:
            per_step = spent / (done - start)
            tokens_per_s = plan.length * plan.rows / per_step
            warn(
                f"step {done}/{plan.steps}  loss {loss.item():.3f}  {tokens_per_s:,.0f} tokens/s  "
                f"ETA {(plan.steps - done) * per_step / 60:.1f} min"
            )
        if done in looked_at:
            torch.set_num_threads(plan.processes if device == "cpu" else torch.get_num_threads())
            measured = measure(model, tokenizer, plan.n_valid, plan.seed)
            torch.set_num_threads(1 if device == "cpu" else torch.get_num_threads())
            history.append({"step": done, "seconds": round(seconds + time.perf_counter() - began), "valid": measured})
            warn(json.dumps(history[-1]))
            if score(measured) >= max(score(h["valid"]) for h in history):
                save(model, tokenizer, out / "best")
        if done % BLOCK == 0 or done == plan.steps:
            elapsed = seconds + time.perf_counter() - began
            keep(state_file, plan, model, adam, muon, (done, elapsed, history))


Progress = tuple[int, float, list[dict[str, Any]]]  # steps done, seconds, validations


def resumed(file: Path, plan: Plan, model: Any, adam: Any, muon: Muon, device: str) -> Progress:
    """Loads what `keep` wrote, if anything; a run of other settings is refused."""
    if not file.exists():
        return 0, 0.0, []
    state = torch.load(file, map_location=device, weights_only=False)
    if state["plan"] != asdict(plan):
        raise SystemExit(f"{file.parent} holds a run with other settings: {state['plan']}")
    model.load_state_dict(state["model"])
    adam.load_state_dict(state["adam"])
    muon.buffers = state["muon"]
    return state["progress"]


def keep(file: Path, plan: Plan, model: Any, adam: Any, muon: Muon, progress: Progress) -> None:
    """Writes everything that going on needs, at once or not at all."""
    weights, moments = model.state_dict(), adam.state_dict()
    state = {"plan": asdict(plan), "model": weights, "adam": moments, "muon": muon.buffers, "progress": progress}
    torch.save(state, file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)


def warn(line: str) -> None:
    """One line of progress, on stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """The checkpoint as transformers loads it: config.json, model.safetensors and the tokenizer's files."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def environment() -> dict[str, Any]:
    """The machine and the versions that a figure belongs to."""
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
    """Parse the flags, train, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=Plan.tokens)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; the checkpoint is in its `best`")
    parser.add_argument("--json", type=Path, help="file for the figures of the run")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    processes = 1 if device == "cuda" else min(2, os.cpu_count() or 1)
    plan = Plan(seed=args.seed, tokens=args.tokens, processes=processes)
    args.out.mkdir(parents=True, exist_ok=True)
    size = sum(p.numel() for p in build_model(plan).parameters()) + 2
    buffers = torch.zeros(processes, size).share_memory_()
    barrier = mp.get_context("spawn").Barrier(processes)
    # glibc would give every large tensor back to the kernel and fault it in again: a fifth of the time.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 << 20))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(4 << 30))
    mp.spawn(work, (plan, args.out, device, buffers, barrier), nprocs=processes)
    state = torch.load(args.out / "state.pt", map_location="cpu", weights_only=False)
    _, seconds, history = state["progress"]
    chosen = max(history, key=lambda h: (score(h["valid"]), h["step"]))
    report = {
        "command": f"python {Path(sys.argv[0]).name} --seed {args.seed} --tokens {args.tokens}",
        "environment": environment(), "device": device, "plan": asdict(plan), "shown": SHOWN, "recall": RECALL,
        "mixture": {name: asdict(share) for name, share in MIXTURE.items()},
        "parameters": sum(p.numel() for p in build_model(plan).parameters()),
        "steps": plan.steps, "seconds": round(seconds), "chosen_step": chosen["step"],
        "valid": chosen["valid"], "history": history,
    }  # fmt: skip
    text = json.dumps(report, indent=1)
    if args.json:
        args.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
