"""What warm-up and RLVR share: device, trl's arguments, loading, saving."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.train import ranks
from kkwarm.train.config import TrainConfig

__all__ = [
    "CHECKPOINT",
    "STEPS",
    "arguments",
    "build",
    "copied",
    "explained",
    "load",
    "lora",
    "on_cuda",
    "prepare",
    "refusals",
    "save",
    "sharded",
    "uses_bf16",
    "will_shard",
]

CHECKPOINT, ADAPTER, STEPS = "checkpoint", "adapter", "steps"
_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


def prepare(config: TrainConfig) -> None:
    """Threads, and silence: the libraries print bars and advice, and one of them counts its users over the net."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import datasets
    import torch
    import transformers

    if ranks.world() > 1:  # accelerate calls its CPU device cpu:0, which torch.load does not know
        torch.serialization.register_package(0, lambda _: None, lambda held, at: held if at.startswith("cpu:") else None)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("trl", "accelerate", "peft"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(transformers|trl|torch|accelerate|peft)\b")


def on_cuda(config: TrainConfig) -> bool:
    """Whether the run trains on CUDA.

    :raises KkwarmError: it is asked for and not there.
    """
    import torch

    if config.device == "cuda" and not torch.cuda.is_available():
        built = "" if torch.version.cuda else f"; torch {torch.__version__} is built without it"
        raise KkwarmError(f"--device cuda: no CUDA device is available{built}", hint="see `kkwarm doctor`")
    return config.device != "cpu" and torch.cuda.is_available()


def uses_bf16(config: TrainConfig) -> bool:
    """Whether activations are bf16."""
    import torch

    if config.precision != "auto":
        return config.precision == "bf16"
    if on_cuda(config):
        return bool(torch.cuda.is_bf16_supported())
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def load(model: str | Path, config: TrainConfig) -> tuple[Any, Any]:
    """Model and tokenizer. Weights are fp32, unless they are frozen under LoRA and the GPU has bf16.

    :raises KkwarmError: `model` is no checkpoint.
    """
    import torch

    from kkwarm.backends.checkpoint import load_model, load_tokenizer

    tokenizer = load_tokenizer(model)
    cuda = on_cuda(config)
    frozen = bool(config.lora) and cuda and uses_bf16(config)
    device = f"cuda:{ranks.local()}" if cuda and not will_shard() else "cpu"
    network = load_model(model, device=device, dtype=torch.bfloat16 if frozen else torch.float32)
    return network, tokenizer


def will_shard() -> bool:
    """Whether the launcher asked for weights in shards: a GPU need not hold all of them then."""
    return any(os.environ.get(f"ACCELERATE_USE_{kind}") == "true" for kind in ("FSDP", "DEEPSPEED"))


def copied(config: TrainConfig) -> Any:
    """(dtype, device) of the copy of the policy that generates, or None where the policy itself does.

    A copy in bf16 is faster than fp32 weights under autocast; weights in shards cannot generate at all.
    """
    import torch

    if will_shard():
        return (torch.bfloat16 if uses_bf16(config) else torch.float32), f"cuda:{ranks.local()}"
    if on_cuda(config) and uses_bf16(config) and not config.lora:
        return torch.bfloat16, f"cuda:{ranks.local()}"
    return None


def sharded(accelerator: Any) -> bool:
    """Whether each process holds a part of the weights only."""
    return str(accelerator.distributed_type).rpartition(".")[2] in ("FSDP", "DEEPSPEED")


def lora(config: TrainConfig) -> Any:
    """peft's configuration, or None where every weight is trained."""
    if not config.lora:
        return None
    try:
        from peft import LoraConfig
    except ImportError:
        raise KkwarmError("LoRA needs peft", hint="pip install 'kkwarm[lora]'") from None
    rank = config.lora_rank
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def arguments(config: TrainConfig, out: Path, *, steps: int) -> dict[str, Any]:
    """Arguments of trl's config that both trainers take."""
    cpu = not on_cuda(config)
    return {
        "output_dir": str(out / STEPS),
        "run_name": out.name,
        "max_steps": steps,
        "learning_rate": config.lr,
        "lr_scheduler_type": _SCHEDULES[config.schedule],
        "warmup_steps": config.warmup_steps,
        "adam_beta1": config.betas[0],
        "adam_beta2": config.betas[1],
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.clip,
        "seed": config.seed,
        "data_seed": config.seed,
        "use_cpu": cpu,
        "bf16": uses_bf16(config),
        "gradient_checkpointing": config.checkpointing,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # else a NaN is logged as the mean of what went before
        "save_strategy": "no",  # `steps.Recorder` decides when
        "save_total_limit": 2,
        "report_to": list(config.track) or "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": not cpu,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
    }


def build(cls: Any, settings: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
    """trl's config object.

    :raises KkwarmError: trl refuses an argument (one passed through by ``--trl``, as a rule).
    """
    from kkwarm.errors import unknown

    known = set(cls.__dataclass_fields__)
    for name in extra:
        if name not in known:
            raise unknown(f"argument of trl's {cls.__name__}", name, known)
    with refusals():
        return cls(**{**settings, **extra})


@contextmanager
def refusals() -> Iterator[None]:
    """Turns trl's refusal of a setting into an error for the user."""
    try:
        yield
    except (ValueError, TypeError, ImportError, NotImplementedError) as err:
        raise KkwarmError(f"trl refuses the settings: {' '.join(str(err).split())[:400]}") from err


def save(trainer: Any, tokenizer: Any, out: Path) -> None:
    """Writes ``checkpoint/`` whole or not at all; a LoRA adapter is kept in ``adapter/`` and merged into it.

    All processes call it together; one writes.
    """
    accelerator = trainer.accelerator
    shards = accelerator.get_state_dict(trainer.model) if sharded(accelerator) else None
    if not ranks.main():
        return
    model = accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        _replace(out / ADAPTER, lambda folder: model.save_pretrained(folder))
        model = model.merge_and_unload()
    model.config.use_cache = True

    def write(folder: Path) -> None:
        model.save_pretrained(folder, state_dict=shards)
        tokenizer.save_pretrained(folder)

    _replace(out / CHECKPOINT, write)


def _replace(folder: Path, write: Any) -> None:
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        write(temporary)
    except OSError as err:
        raise KkwarmError(
            f"{folder} cannot be written: {err.strerror or err}", hint="free space; the run resumes"
        ) from err
    if folder.exists():
        shutil.rmtree(folder)
    temporary.replace(folder)


def explained(err: Exception, path: Path) -> KkwarmError | None:
    """Memory or disk that ran out, for the user to mend; None where `err` is something else."""
    told = " ".join(str(err).split())
    low = told.lower()
    if isinstance(err, MemoryError) or "out of memory" in low or "can't allocate" in low:
        hint = "lower --batch-size, or add --checkpointing or --lora, with another -o"
        return KkwarmError(f"out of memory: {told[:200]}", hint=hint)
    full = isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
    if full or "no space left" in low or "os error 28" in low or "pytorchstreamwriter" in low:
        return KkwarmError(f"{path} cannot be written: {told[:200]}", hint="free space; the same command then goes on")
    return None
