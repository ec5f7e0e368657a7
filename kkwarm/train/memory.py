"""What a training step will need of a device's memory, from the configurations alone, and what to change if too much.

Counted for a decoder of RMSNorm, grouped-query attention and a gated MLP (Llama, Qwen, Mistral), trained by trl:

- weights, gradients and optimiser states, by the number of parameters (exact: the model is built without memory);
- what the forward pass keeps for the backward one. Of each token and layer, in elements: two norms' input, normalised
  input and, for each matrix that reads it, a copy in the precision of the matrix; query, key, value (repeated for each
  query head, as SDPA with a padding mask needs them), the attention's output; gate, its activation, up and their
  product. With gradient checkpointing the input of each layer, and all of this for one;
- under autocast, the weights once more in bf16;
- the language-model head: trl scores 4,096 tokens x 32,768 entries of the vocabulary at a time and adds up the head's
  gradient in fp32 beside its own;
- RLVR: the copy that generates, a reference model (beta > 0), vLLM's share.

`tests/train/test_memory.py` compares with measured allocations; `benchmarks/gpu/memory.py` does so on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from kkwarm.errors import KkwarmError
from kkwarm.train import distributed
from kkwarm.train.config import RlvrConfig, TrainConfig
from kkwarm.train.progress import say

C = TypeVar("C", bound=TrainConfig)
__all__ = ["Fit", "Need", "Shape", "applied", "fitted", "need", "of_device", "preflight", "shape_of"]

GIB = 1024**3
HEAD_TOKENS, HEAD_COLUMNS = 4096, 32768  # trl.kernels: the tile of logits that exists at a time
_FOLDED = 7  # measured
SPARE = 0.06  # of the device: fragmentation, the CUDA context, buffers of libraries
VLLM_SHARE = 0.3  # trl's default of vllm_gpu_memory_utilization
VLLM_CACHE = 2 * GIB  # keys and values, beside its bf16 weights: the least with which it is worth having


@dataclass(frozen=True)
class Shape:
    """What of a model decides its memory. `linear`: parameters of matrices other than embedding and head."""

    parameters: int
    linear: int
    hidden: int
    layers: int
    heads: int
    head_dim: int
    mlp: int
    vocab: int
    context: int
    tied: bool = True


def shape_of(model: str | Path) -> Shape:
    """The shape of a checkpoint, from its configuration.

    :raises KkwarmError: its configuration cannot be read.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from kkwarm.backends.checkpoint import read_config

    config = read_config(model)
    try:
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config)
    except Exception as err:  # a model's code raises any type for sizes that make no model
        said = " ".join(str(err).split())[:200]
        raise KkwarmError(f"{model}: its config.json describes no model: {type(err).__name__}: {said}") from err
    text = config.get_text_config(decoder=True)
    heads = int(text.num_attention_heads)
    embedding, head = network.get_input_embeddings().weight, network.get_output_embeddings().weight
    return Shape(
        parameters=sum(p.numel() for p in network.parameters()),
        linear=sum(p.numel() for p in network.parameters() if p.ndim > 1 and p is not embedding and p is not head),
        hidden=int(text.hidden_size),
        layers=int(text.num_hidden_layers),
        heads=heads,
        head_dim=int(getattr(text, "head_dim", None) or text.hidden_size // heads),
        mlp=int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size),
        vocab=int(head.shape[0]),
        context=int(getattr(text, "max_position_embeddings", None) or 2**31),
        tied=embedding is head,
    )


@dataclass(frozen=True)
class Need:
    """Bytes on one device at the peak of a step, by what takes them."""

    weights: float
    gradients: float
    optimiser: float
    activations: float  # kept until the backward pass
    working: float  # the larger of the head's buffers and one layer computed again
    copies: float = 0.0
    vllm: float = 0.0

    @property
    def total(self) -> float:
        return float(sum(vars(self).values()))

    def fields(self) -> dict[str, float]:
        """GiB, for people."""
        return {k: round(v / GIB, 3) for k, v in {**vars(self), "total": self.total}.items() if v}


def need(
    shape: Shape, config: TrainConfig, *, tokens: int, rows: int, bf16: bool, cuda: bool, device: float = 0.0
) -> Need:
    """Bytes at the peak.

    :param tokens: of a row of a forward pass, padding included; `rows` of them make the pass.
    :param bf16: of the activations (weights stay fp32, unless LoRA freezes them on a GPU).
    :param device: bytes of the device, of which vLLM takes its share.
    """
    from kkwarm.train.engine import will_shard

    parts = max(distributed.world_size(), config.nproc) if config.accelerate or will_shard() else 1
    trained = _adapter(shape, config.lora_rank) if config.lora else shape.parameters
    frozen = 0 if not config.lora else shape.parameters
    weights = 4.0 * trained + (2.0 if bf16 and cuda else 4.0) * frozen
    if config.qlora:  # 4 bits, and scales of about half a bit, for matrices; embedding and norms in bf16
        weights = 4.0 * trained + 0.56 * shape.linear + 2.0 * (shape.parameters - shape.linear)
    cast = 2.0 * shape.linear if bf16 and not (config.lora and cuda) else 0.0
    if config.gradient_checkpointing:
        cast /= shape.layers
    n = rows * tokens
    layer = n * _layer(shape, config, tokens, bf16)
    kept = n * 4.0 * shape.hidden * shape.layers if config.gradient_checkpointing else layer * shape.layers
    head = _head(shape, n, bf16=bf16, cuda=cuda, trained=not config.lora)
    return Need(
        weights=weights / parts,
        gradients=4.0 * trained / parts,
        optimiser=(2.0 if config.optim == "adamw_8bit" else 8.0) * trained / parts,
        activations=kept + cast,
        working=max(head, layer) if config.gradient_checkpointing else head,
        copies=_copies(shape, config, bf16=bf16, cuda=cuda),
        vllm=_vllm(config, device),
    )


def _layer(shape: Shape, config: TrainConfig, width: int, bf16: bool) -> float:
    """Bytes that one layer keeps of one token, in rows of `width`."""
    residual, inner = 4.0 * shape.hidden, float(shape.heads * shape.head_dim)
    if bf16:  # norms compute in fp32; q, k, v, gate and up each cast their input
        found = 4 * residual + 2.0 * (5 * shape.hidden + 4 * inner + 4 * shape.mlp) + 2.0 * width
    else:
        found = 6 * residual + 4.0 * (4 * inner + 4 * shape.mlp) + 4.0 * width
    if config.lora:  # each of seven matrices casts its input for the adapter, and keeps `rank` numbers
        found += (5 * shape.hidden + inner + shape.mlp) * (2.0 if bf16 else 0.0) + 7 * 4.0 * config.lora_rank
    return found + 4.0 * (2 + shape.heads)


def _head(shape: Shape, n: int, *, bf16: bool, cuda: bool, trained: bool) -> float:
    """The tile of logits, the hidden states with their gradient, the head's own gradient in fp32."""
    size = 2.0 if bf16 else 4.0
    tile = min(n, HEAD_TOKENS) * HEAD_COLUMNS * size  # made whole, however small the vocabulary
    if not cuda:  # without triton the tile is folded by torch, in fp32 and with temporaries
        tile += _FOLDED * 4.0 * min(n, HEAD_TOKENS) * min(shape.vocab, HEAD_COLUMNS)
    return tile + 4.0 * 4 * n * shape.hidden + (4.0 * shape.vocab * shape.hidden if trained else 0.0)


def _adapter(shape: Shape, rank: int) -> int:
    """Parameters of a LoRA adapter of `rank` on all matrices of a layer (key and value counted as wide as query)."""
    inner = shape.heads * shape.head_dim
    return shape.layers * rank * (4 * (shape.hidden + inner) + 3 * (shape.hidden + shape.mlp))


def _copies(shape: Shape, config: TrainConfig, *, bf16: bool, cuda: bool) -> float:
    if not isinstance(config, RlvrConfig):
        return 0.0
    found = 0.0
    if config.vllm == "none" and cuda and bf16 and not config.lora:
        found += 2.0 * shape.parameters
    if config.beta > 0 and not config.lora:
        found += 4.0 * shape.parameters
    return found


def _vllm(config: TrainConfig, device: float) -> float:
    if not isinstance(config, RlvrConfig) or config.vllm != "colocate" or config.trl.get("vllm_enable_sleep_mode"):
        return 0.0
    return device * float(config.trl.get("vllm_gpu_memory_utilization", VLLM_SHARE))


def of_device(*, cuda: bool, processes: int) -> float:
    """Bytes that one process may use: of its GPU; of the machine's free memory, shared by its processes."""
    if cuda:
        import torch

        return float(torch.cuda.get_device_properties(distributed.local_rank()).total_memory)
    import psutil

    return float(psutil.virtual_memory().available) / processes


@dataclass(frozen=True)
class Fit:
    """What fits: rows of a forward pass, gradient checkpointing, vLLM's share of the device."""

    rows: int
    gradient_checkpointing: bool
    vllm_share: float | None
    need: Need
    device: float
    changed: str = ""  # what was changed and why, for people

    def fields(self) -> dict[str, Any]:
        return {"rows": self.rows, "gradient_checkpointing": self.gradient_checkpointing, "gib": self.need.fields()} | {
            "device_gib": round(self.device / GIB, 2)
        }


def applied(run: Any, model: str | Path, config: C, *, tokens: int, rows: int, step: int) -> tuple[C, int]:
    """The configuration as it fits, and its rows of a pass; keeps the prediction in the run's manifest (``memory``)."""
    if not config.memory_check:
        return config, rows
    fit = preflight(model, config, tokens=tokens, rows=rows, step=step)
    run.record(memory=fit.fields())
    if fit.changed:
        run.record(warnings=[*run.manifest.warnings, fit.changed])
        say(fit.changed)
    made: C = replace(config, gradient_checkpointing=fit.gradient_checkpointing)
    if fit.vllm_share is not None and "vllm_gpu_memory_utilization" not in config.trl:
        made = replace(made, trl={**config.trl, "vllm_gpu_memory_utilization": round(fit.vllm_share, 3)})
    return made, fit.rows


def preflight(model: str | Path, config: TrainConfig, *, tokens: int, rows: int, step: int) -> Fit:
    """Predicts a step's peak and fits it to the device: fewer rows in a pass first (the step stays the same), then
    gradient checkpointing, then a smaller share for vLLM.

    :param tokens: of the longest row of a forward pass.
    :param rows: of a pass, at most; `step`: sequences of all processes in a step.
    :raises KkwarmError: nothing fits; says which flag would help.
    """
    from kkwarm.train.engine import on_cuda, uses_bf16

    cuda, bf16 = on_cuda(config), uses_bf16(config)
    processes = max(distributed.world_size(), config.nproc)
    device = of_device(cuda=cuda, processes=processes)
    return fitted(
        *(shape_of(model), config),
        tokens=tokens,
        rows=rows,
        step=step // processes,
        bf16=bf16,
        cuda=cuda,
        device=device,
    )


def fitted(
    shape: Shape, config: TrainConfig, *, tokens: int, rows: int, step: int, bf16: bool, cuda: bool, device: float
) -> Fit:
    """As `preflight`, for a device of so many bytes; `step`: sequences of one process."""
    room = device * (1 - SPARE)
    share = _vllm(config, device) / device if device else 0.0

    def of(batch: int, gradient_checkpointing: bool, share: float) -> Need:
        made = replace(config, gradient_checkpointing=gradient_checkpointing)
        found = need(shape, made, tokens=tokens, rows=batch, bf16=bf16, cuda=cuda)
        return replace(found, vllm=share * device)

    first = of(min(rows, step), config.gradient_checkpointing, share)
    least = (2.0 * shape.parameters + VLLM_CACHE) / device if share else 0.0
    for vllm in sorted({share, min(share, least)}, reverse=True):
        for gradient_checkpointing in sorted({config.gradient_checkpointing, True}):
            for batch in (d for d in range(min(rows, step), 0, -1) if step % d == 0):
                found = of(batch, gradient_checkpointing, vllm)
                if found.total <= room:
                    if vllm < share:  # all that is left over is vLLM's
                        vllm = (room - found.total) / device + vllm
                    fit = Fit(batch, gradient_checkpointing, vllm or None, replace(found, vllm=vllm * device), device)
                    return replace(fit, changed=_changed(fit, first, rows, config, share))
    raise _too_large(of, shape, config, device, {"tokens": tokens, "bf16": bf16, "cuda": cuda})


def _changed(fit: Fit, first: Need, rows: int, config: TrainConfig, share: float) -> str:
    what = [f"{fit.rows} rows in a forward pass, not {rows}"] * (first.total > fit.need.total and fit.rows < rows)
    what += ["gradient checkpointing"] * (fit.gradient_checkpointing and not config.gradient_checkpointing)
    what += [f"{fit.vllm_share or 0.0:.2f} of the GPU for vLLM"] * (share > (fit.vllm_share or 0.0))
    if not what:
        return ""
    return f"memory: {first.total / GIB:.1f} GiB predicted, {fit.device / GIB:.1f} there; so {', '.join(what)}"


def _too_large(of: Any, shape: Shape, config: TrainConfig, device: float, pass_: dict[str, Any]) -> KkwarmError:
    least = of(1, True, 0.0)
    parts = ", ".join(f"{k} {v:.1f}" for k, v in least.fields().items() if k != "total" and v >= 0.05)
    hints = []
    if not config.lora:
        lora = need(shape, replace(config, lora=True, gradient_checkpointing=True), rows=1, **pass_).total
        hints.append(f"--lora needs about {lora / GIB:.1f} GiB")
    elif config.lora_rank > max(32, shape.hidden):
        hints.append(f"--lora-rank {config.lora_rank} is more than the {shape.hidden} of the model: take 32")
    if pass_["cuda"] and not config.accelerate:
        hints.append("--accelerate-config fsdp2 spreads the weights over GPUs")
    limit = "--max-tokens" if isinstance(config, RlvrConfig) else "--max-length"
    hints.append(f"{limit} below {pass_['tokens']} tokens a row, or a smaller model")
    return KkwarmError(
        f"too large: about {least.total / GIB:.1f} GiB with one row at a time and gradient checkpointing ({parts}), "
        f"but {device / GIB:.1f} GiB are there",
        hint="; ".join(hints) + "; --no-memory-check tries nevertheless",
    )
