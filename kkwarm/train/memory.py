"""Predicts the peak memory of a training step from configurations alone, and fits the step to the device.

Counted for a decoder with RMSNorm, grouped-query attention and a gated MLP (Llama, Qwen, Mistral), trained by trl:

- weights, gradients and optimizer states, from the exact number of parameters;
- what the forward pass keeps for the backward pass. Per token and layer, in elements: two norms' input and normalized
  input and, for each matrix that reads it, a copy in the precision of the matrix; query, key, value (repeated for each
  query head, as SDPA with a padding mask needs them) and the attention's output; gate, its activation, up and their
  product. With gradient checkpointing: the input of each layer, and all of this for one layer;
- under autocast, the weights once more in bf16;
- the language-model head: trl scores 4,096 tokens x 32,768 entries of the vocabulary at a time, and accumulates the
  head's gradient in fp32 beside its own;
- RLVR: the copy that generates, a reference model (beta > 0), vLLM's share.

`tests/train/test_memory.py` compares this with measured allocations; `benchmarks/gpu/memory.py` does so on a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from kkwarm.backends.memory import free_memory
from kkwarm.errors import KkwarmError
from kkwarm.schema.settings import RlvrConfig, TrainConfig
from kkwarm.train import distributed
from kkwarm.train.progress import print_status

C = TypeVar("C", bound=TrainConfig)
GIB = 1024**3
CPU_ACTIVATIONS = 2.0**30  # bytes; on a CPU a forward pass with more rows takes longer than several with fewer
HEAD_TOKENS, HEAD_COLUMNS = 4096, 32768  # trl.kernels: the tile of logits that exists at a time
_CPU_HEAD_COPIES = 7  # measured
RESERVE = 0.06  # of the device: fragmentation, the CUDA context, libraries' buffers
VLLM_SHARE = 0.3  # trl's default of vllm_gpu_memory_utilization
VLLM_CACHE = 2 * GIB  # the smallest useful KV cache, in addition to bf16 weights


@dataclass(frozen=True)
class Device:
    """What one process computes on. `memory`: bytes it may use; `bf16`: whether activations are bf16."""

    memory: float
    cuda: bool
    bf16: bool

    @classmethod
    def of(cls, config: TrainConfig) -> Device:
        """The device of this process: its GPU, or its share of the machine's free memory."""
        from kkwarm.train.trainer_setup import uses_bf16, uses_cuda

        cuda = uses_cuda(config)
        return cls(available_memory(cuda=cuda, processes=_processes(config)), cuda, uses_bf16(config))


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model that determine its memory. `linear`: parameters of matrices except embedding and head."""

    parameters: int
    linear: int
    hidden: int
    layers: int
    heads: int
    head_dim: int
    mlp: int
    vocab: int
    context: int


def read_shape(model: str | Path) -> ModelShape:
    """The shape of a checkpoint, from its configuration and the headers of its weights."""
    from kkwarm.backends.checkpoint import read_text_config

    text = read_text_config(model)
    weights = _read_weights(model, text) or _build_weights(model)
    heads = int(text.num_attention_heads)
    return ModelShape(
        **weights,
        hidden=int(text.hidden_size),
        layers=int(text.num_hidden_layers),
        heads=heads,
        head_dim=int(getattr(text, "head_dim", None) or text.hidden_size // heads),
        mlp=int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size),
        context=int(getattr(text, "max_position_embeddings", None) or 2**31),
    )


def _read_weights(model: str | Path, text: Any) -> dict[str, int]:
    """Parameters, those of matrices, and the vocabulary: from the headers of a plain decoder's safetensors files. Empty
    where they do not tell its embedding and head.
    """
    from kkwarm.backends.checkpoint import resolve
    from kkwarm.backends.sizes import stored_shapes

    table = [text.vocab_size, text.hidden_size]
    shapes = stored_shapes(Path(resolve(model)))
    tables = [name for name, shape in shapes.items() if shape == table]
    if not isinstance(text, SimpleNamespace) or len(tables) not in (1, 2):
        return {}
    twice = len(tables) == 2 and getattr(text, "tie_word_embeddings", False)  # a tied matrix, stored for both uses
    return {
        "parameters": sum(map(math.prod, shapes.values())) - twice * math.prod(table),
        "linear": sum(math.prod(s) for name, s in shapes.items() if len(s) > 1 and name not in tables),
        "vocab": text.vocab_size,
    }


def _build_weights(model: str | Path) -> dict[str, int]:
    """As `_read_weights`, of a model that is built from its configuration, without memory."""
    import torch
    from transformers import AutoModelForCausalLM

    from kkwarm.backends.checkpoint import read_config

    config = read_config(model)
    try:
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config)
    except Exception as err:  # a model's code raises any type for sizes that make no model
        cause = f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"
        raise KkwarmError(f"{model}: no model can be built from its config.json: {cause}") from err
    embedding, head = network.get_input_embeddings().weight, network.get_output_embeddings().weight
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "linear": sum(p.numel() for p in network.parameters() if p.ndim > 1 and p is not embedding and p is not head),
        "vocab": int(head.shape[0]),
    }


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one device at the peak of a step, by use."""

    weights: float
    gradients: float
    optimizer: float
    activations: float  # kept until the backward pass
    working: float  # the larger of the head's buffers and one recomputed layer
    copies: float = 0.0
    vllm: float = 0.0

    @property
    def total(self) -> float:
        return float(sum(vars(self).values()))

    def fields(self) -> dict[str, float]:
        """In GiB, without zeros."""
        return {k: round(v / GIB, 3) for k, v in {**vars(self), "total": self.total}.items() if v}


def estimate_memory(
    shape: ModelShape, config: TrainConfig, device: Device, *, tokens: int, rows: int
) -> MemoryEstimate:
    """The peak memory of a step.

    :param tokens: of a row of a forward pass, padding included; a pass has `rows` rows.
    """
    from kkwarm.train.trainer_setup import shards_weights

    bf16, cuda = device.bf16, device.cuda
    parts = _processes(config) if config.accelerate or shards_weights() else 1
    trained = _adapter_parameters(shape, config.lora_rank) if config.lora else shape.parameters
    frozen = shape.parameters if config.lora else 0
    weights = 4.0 * trained + (2.0 if bf16 and cuda else 4.0) * frozen
    if config.qlora:  # 4 bits and scales of about half a bit for matrices; embedding and norms in bf16
        weights = 4.0 * trained + 0.56 * shape.linear + 2.0 * (shape.parameters - shape.linear)
    cast = 2.0 * shape.linear if bf16 and not (config.lora and cuda) else 0.0
    if config.gradient_checkpointing:
        cast /= shape.layers
    n = rows * tokens
    layer = n * _layer_bytes(shape, config, tokens, bf16)
    kept = n * 4.0 * shape.hidden * shape.layers if config.gradient_checkpointing else layer * shape.layers
    head = _head_bytes(shape, n, device, trained=not config.lora)
    return MemoryEstimate(
        weights=weights / parts,
        gradients=4.0 * trained / parts,
        optimizer=(2.0 if config.optim == "adamw_8bit" else 8.0) * trained / parts,
        activations=kept + cast,
        working=max(head, layer) if config.gradient_checkpointing else head,
        copies=_copy_bytes(shape, config, device),
        vllm=_vllm_share(config) * device.memory,
    )


def _processes(config: TrainConfig) -> int:
    return max(distributed.world_size(), config.nproc)


def _layer_bytes(shape: ModelShape, config: TrainConfig, width: int, bf16: bool) -> float:
    """Bytes that one layer keeps of one token, in rows of `width` tokens."""
    residual, inner = 4.0 * shape.hidden, float(shape.heads * shape.head_dim)
    if bf16:  # norms compute in fp32; q, k, v, gate and up each cast their input
        total = 4 * residual + 2.0 * (5 * shape.hidden + 4 * inner + 4 * shape.mlp) + 2.0 * width
    else:
        total = 6 * residual + 4.0 * (4 * inner + 4 * shape.mlp) + 4.0 * width
    if config.lora:  # each of seven matrices casts its input for the adapter, and keeps `rank` numbers
        total += (5 * shape.hidden + inner + shape.mlp) * (2.0 if bf16 else 0.0) + 7 * 4.0 * config.lora_rank
    return total + 4.0 * (2 + shape.heads)


def _head_bytes(shape: ModelShape, n: int, device: Device, *, trained: bool) -> float:
    """The tile of logits, the hidden states of `n` tokens with their gradient, the head's own gradient in fp32."""
    size = 2.0 if device.bf16 else 4.0
    tile = min(n, HEAD_TOKENS) * HEAD_COLUMNS * size  # of full width, however small the vocabulary
    if not device.cuda:  # without triton, torch reduces the tile in fp32 and with temporary copies
        tile += _CPU_HEAD_COPIES * 4.0 * min(n, HEAD_TOKENS) * min(shape.vocab, HEAD_COLUMNS)
    return tile + 4.0 * 4 * n * shape.hidden + (4.0 * shape.vocab * shape.hidden if trained else 0.0)


def _adapter_parameters(shape: ModelShape, rank: int) -> int:
    """Parameters of a LoRA adapter on all matrices of a layer (key and value counted as wide as query)."""
    inner = shape.heads * shape.head_dim
    return shape.layers * rank * (4 * (shape.hidden + inner) + 3 * (shape.hidden + shape.mlp))


def _copy_bytes(shape: ModelShape, config: TrainConfig, device: Device) -> float:
    """The bf16 copy that generates, and the reference model."""
    if not isinstance(config, RlvrConfig) or config.lora:
        return 0.0
    generates = config.vllm == "none" and device.cuda and device.bf16
    return (2.0 * generates + 4.0 * (config.beta > 0)) * shape.parameters


def _vllm_share(config: TrainConfig) -> float:
    """The share of the device that a colocated vLLM keeps while the policy trains."""
    if not isinstance(config, RlvrConfig) or config.vllm != "colocate" or config.trl.get("vllm_enable_sleep_mode"):
        return 0.0
    return float(config.trl.get("vllm_gpu_memory_utilization", VLLM_SHARE))


def available_memory(*, cuda: bool, processes: int) -> float:
    """Bytes that one process may use: of its GPU, or of the machine's free memory shared by its processes."""
    if cuda:
        import torch

        return float(torch.cuda.get_device_properties(distributed.local_rank()).total_memory)
    return free_memory() / processes


@dataclass(frozen=True)
class Fit:
    """The settings that fit: rows of a forward pass, gradient checkpointing, vLLM's share of the device."""

    rows: int
    gradient_checkpointing: bool
    vllm_share: float | None
    estimate: MemoryEstimate
    device: float  # bytes
    changes: str = ""  # a sentence on what was changed and why

    def fields(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "gradient_checkpointing": self.gradient_checkpointing,
            "gib": self.estimate.fields(),
            "device_gib": round(self.device / GIB, 2),
        }


def fit_config(run: Any, model: str | Path, config: C, *, tokens: int, rows: int, step: int) -> tuple[C, int]:
    """The configuration that fits the device and its rows of a forward pass. Records the estimate as ``memory``."""
    if not config.memory_check:
        return config, rows
    fit = preflight(model, config, tokens=tokens, rows=rows, step=step)
    run.record(memory=fit.fields())
    if fit.changes:
        run.record(warnings=[*run.manifest.warnings, fit.changes])
        print_status(fit.changes)
    fitting: C = config.replace(gradient_checkpointing=fit.gradient_checkpointing)
    if fit.vllm_share is not None and "vllm_gpu_memory_utilization" not in config.trl:
        fitting = fitting.replace(trl={**config.trl, "vllm_gpu_memory_utilization": round(fit.vllm_share, 3)})
    return fitting, fit.rows


def preflight(model: str | Path, config: TrainConfig, *, tokens: int, rows: int, step: int) -> Fit:
    """Predicts a step's peak and fits it to the device: by fewer rows in a forward pass (the step stays the same), then
    by gradient checkpointing, then by a smaller share for vLLM.

    :param tokens: of the longest row of a forward pass.
    :param rows: of a forward pass, at most; `step`: sequences of all processes in a step.
    :raises KkwarmError: nothing fits. The message names the options that would help.
    """
    own = step // _processes(config)
    return fit_to_device(read_shape(model), config, Device.of(config), tokens=tokens, rows=rows, step=own)


def fit_to_device(shape: ModelShape, config: TrainConfig, device: Device, *, tokens: int, rows: int, step: int) -> Fit:
    """As `preflight`, for a given device; `step`: sequences of one process."""
    limit = device.memory * (1 - RESERVE)
    share = _vllm_share(config) if device.memory else 0.0

    def estimate(batch: int, gradient_checkpointing: bool, share: float) -> MemoryEstimate:
        candidate = config.replace(gradient_checkpointing=gradient_checkpointing)
        result = estimate_memory(shape, candidate, device, tokens=tokens, rows=batch)
        return replace(result, vllm=share * device.memory)

    sizes = [d for d in range(min(rows, step), 0, -1) if step % d == 0]
    if not device.cuda and config.micro_batch_size is None:
        small = (d for d in sizes if estimate(d, config.gradient_checkpointing, share).activations <= CPU_ACTIVATIONS)
        sizes = sizes[sizes.index(next(small, 1)) :]
    requested = estimate(sizes[0], config.gradient_checkpointing, share)
    least = (2.0 * shape.parameters + VLLM_CACHE) / device.memory if share else 0.0
    for vllm in sorted({share, min(share, least)}, reverse=True):
        for gradient_checkpointing in sorted({config.gradient_checkpointing, True}):
            for batch in sizes:
                result = estimate(batch, gradient_checkpointing, vllm)
                if result.total <= limit:
                    if vllm < share:  # vLLM gets all that is left
                        vllm = (limit - result.total) / device.memory + vllm
                    result = replace(result, vllm=vllm * device.memory)
                    fit = Fit(batch, gradient_checkpointing, vllm or None, result, device.memory)
                    if requested.total <= limit:
                        return fit
                    return replace(fit, changes=_describe_changes(fit, requested, sizes[0], config))
    raise _too_large(estimate(1, True, 0.0), shape, config, device, tokens)


def _describe_changes(fit: Fit, requested: MemoryEstimate, rows: int, config: TrainConfig) -> str:
    changes = []
    if fit.rows < rows:
        changes.append(f"{fit.rows} rows in a forward pass, not {rows}")
    if fit.gradient_checkpointing and not config.gradient_checkpointing:
        changes.append("gradient checkpointing")
    if _vllm_share(config) > (fit.vllm_share or 0.0):
        changes.append(f"{fit.vllm_share or 0.0:.2f} of the GPU for vLLM")
    sizes = f"{requested.total / GIB:.1f} GiB predicted, {fit.device / GIB:.1f} GiB available"
    return f"memory: {sizes}; changed to {', '.join(changes)}"


def _too_large(
    least: MemoryEstimate, shape: ModelShape, config: TrainConfig, device: Device, tokens: int
) -> KkwarmError:
    parts = ", ".join(f"{k} {v:.1f}" for k, v in least.fields().items() if k != "total" and v >= 0.05)
    hints = []
    if not config.lora:
        lora = config.replace(lora=True, gradient_checkpointing=True)
        total = estimate_memory(shape, lora, device, tokens=tokens, rows=1).total
        hints.append(f"--lora needs about {total / GIB:.1f} GiB")
    elif config.lora_rank > max(32, shape.hidden):
        hints.append(f"--lora-rank {config.lora_rank} exceeds the model's hidden size of {shape.hidden}: use 32")
    if device.cuda and not config.accelerate:
        hints.append("--accelerate-config fsdp2 shards the weights over GPUs")
    limit = "--max-tokens" if isinstance(config, RlvrConfig) else "--max-length"
    hints.append(f"{limit} below {tokens} tokens a row, or a smaller model")
    return KkwarmError(
        f"too large: about {least.total / GIB:.1f} GiB with one row at a time and gradient checkpointing ({parts}), "
        f"but {device.memory / GIB:.1f} GiB are available",
        hint="; ".join(hints) + "; --no-memory-check tries anyway",
    )
