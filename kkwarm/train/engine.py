"""What warm-up and RLVR share: device, trl's arguments, loading, saving."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.train import distributed
from kkwarm.train.config import RlvrConfig, TrainConfig
from kkwarm.train.cpu_sharding import shard_on_cpu

__all__ = [
    "CHECKPOINT",
    "STEPS",
    "arguments",
    "build",
    "copied",
    "explained",
    "kind_of",
    "load",
    "lora",
    "needs",
    "on_cuda",
    "policy_of",
    "prepare",
    "refusals",
    "replaced",
    "save",
    "sharded",
    "uses_bf16",
    "will_shard",
    "write_weights",
]

CHECKPOINT, ADAPTER, STEPS = "checkpoint", "adapter", "steps"
_OPTIMISERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}
_TRACKERS = ("tensorboard", "trackio", "wandb")
_WIDTHS = 64  # on a GPU batches are padded to a multiple: cuDNN's attention plans anew for every width
_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


def prepare(config: TrainConfig) -> None:
    """Threads, and silence: the libraries print bars and advice, and one of them counts its users over the net."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import datasets
    import torch
    import transformers

    if distributed.world_size() > 1:  # accelerate calls its CPU device cpu:0, which torch.load does not know
        torch.serialization.register_package(
            0, lambda _: None, lambda held, at: held if at.startswith("cpu:") else None
        )
    if will_shard() and not on_cuda(config):
        shard_on_cpu()
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
    attention = _attention(config, cuda=cuda)
    frozen = bool(config.lora) and cuda and uses_bf16(config)
    device = f"cuda:{distributed.local_rank()}" if cuda and not will_shard() else "cpu"
    if config.qlora:
        return _load_in_4_bits(model, attention, f"cuda:{distributed.local_rank()}" if cuda else "cpu"), tokenizer
    dtype = torch.bfloat16 if frozen else torch.float32
    return load_model(model, device=device, dtype=dtype, attention=attention, check=config.memory_check), tokenizer


def _attention(config: TrainConfig, *, cuda: bool) -> str | None:
    """transformers' name of the attention; None: its own choice, SDPA."""
    from importlib.util import find_spec

    there = find_spec("flash_attn") is not None and cuda
    if config.attention == "flash" and not there:
        what = "flash-attn is not installed" if cuda else "there is no CUDA device"
        raise KkwarmError(f"--attention flash: {what}", hint="--attention sdpa, or pip install flash-attn")
    if config.attention == "flash" or (config.attention == "auto" and there and uses_bf16(config)):
        return "flash_attention_2"
    return None if config.attention == "auto" else config.attention


def needs(config: TrainConfig) -> None:
    """Checks that the device and the options' libraries are there, before anything is loaded.

    :raises KkwarmError: a library or CUDA is missing.
    """
    from importlib.util import find_spec

    on_cuda(config)
    asked = {
        "--liger": (config.liger, "liger_kernel", "liger-kernel"),
        "--optim adamw_8bit": (config.optim == "adamw_8bit", "bitsandbytes", "bitsandbytes"),
        "--qlora": (config.qlora, "bitsandbytes", "bitsandbytes"),
    }
    for flag, (wanted, module, package) in asked.items():
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"  # triton then runs on a CPU, for tests
        if wanted and module == "liger_kernel" and not (on_cuda(config) or interpreted):
            raise KkwarmError(f"{flag} needs CUDA, and there is no CUDA device", hint=f"leave out {flag}")
        if wanted and find_spec(module) is None:
            raise KkwarmError(f"{flag} needs {package}", hint=f"pip install {package}")
    for tracker in config.track:
        if tracker in _TRACKERS and find_spec(tracker) is None:
            raise KkwarmError(f"--track {tracker} needs {tracker}", hint="pip install 'kkwarm[track]'")
    if isinstance(config, RlvrConfig) and (config.vllm != "none" or find_spec("vllm") is not None):
        from kkwarm.backends.vllm import import_vllm

        import_vllm(
            "or leave out --vllm" if config.vllm != "none" else "or uninstall it: trl imports it wherever it is"
        )
    if config.qlora and will_shard():
        raise KkwarmError("--qlora cannot be combined with weights in shards", hint="leave out --accelerate-config")


def _load_in_4_bits(model: str | Path, attention: str | None, device: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from kkwarm.backends.checkpoint import resolve

    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return AutoModelForCausalLM.from_pretrained(
        resolve(model),
        quantization_config=how,
        device_map={"": device},
        dtype=torch.bfloat16,
        attn_implementation=attention,
    )


def will_shard() -> bool:
    """Whether the launcher asked for weights in shards: a GPU need not hold all of them then."""
    return any(os.environ.get(f"ACCELERATE_USE_{kind}") == "true" for kind in ("FSDP", "DEEPSPEED"))


def copied(config: TrainConfig) -> Any:
    """(dtype, device) of the copy of the policy that generates, or None where the policy itself does.

    A copy in bf16 is faster than fp32 weights under autocast; weights in shards cannot generate at all.
    """
    import torch

    if will_shard():
        device = f"cuda:{distributed.local_rank()}" if on_cuda(config) else "cpu"
        return (torch.bfloat16 if uses_bf16(config) else torch.float32), device
    if on_cuda(config) and uses_bf16(config) and not config.lora:
        return torch.bfloat16, f"cuda:{distributed.local_rank()}"
    return None


def kind_of(accelerator: Any) -> str:
    """accelerate's name of how processes share the work: ``NO``, ``MULTI_GPU``, ``FSDP``, ``DEEPSPEED``, ..."""
    return str(accelerator.distributed_type).rpartition(".")[2]


def sharded(accelerator: Any) -> bool:
    """Whether each process holds a part of the weights only."""
    return kind_of(accelerator) in ("FSDP", "DEEPSPEED")


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
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": _SCHEDULES[config.schedule],
        "warmup_steps": config.warmup_steps,
        "adam_beta1": config.betas[0],
        "adam_beta2": config.betas[1],
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "data_seed": config.seed,
        "use_cpu": cpu,
        "bf16": uses_bf16(config),
        "gradient_checkpointing": config.gradient_checkpointing,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # else a NaN is logged as the mean of what went before
        "save_strategy": "no",  # `steps.Recorder` decides when
        "save_total_limit": 2,
        "report_to": list(config.track) or "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": not cpu,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
        "use_liger_kernel": config.liger,
        "optim": _OPTIMISERS[config.optim],
        "pad_to_multiple_of": None if cpu else _WIDTHS,
    }


def build(cls: Any, settings: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
    """trl's config object.

    :raises KkwarmError: trl refuses an argument (one passed through by ``--trl``, as a rule).
    """
    from kkwarm.errors import unknown_name

    known = set(cls.__dataclass_fields__)
    for name in extra:
        if name not in known:
            raise unknown_name(f"argument of trl's {cls.__name__}", name, known)
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
    model = trainer.accelerator.unwrap_model(trainer.model)
    if not hasattr(model, "merge_and_unload"):
        with replaced(out / CHECKPOINT) as folder:
            write_weights(trainer, tokenizer, folder)
        return
    with replaced(out / ADAPTER) as folder:
        write_weights(trainer, tokenizer, folder)
    if distributed.is_main():
        merged = _merged(model, out / ADAPTER)
        merged.config.use_cache = True
        with replaced(out / CHECKPOINT) as folder:
            merged.save_pretrained(folder)
            tokenizer.save_pretrained(folder)


def write_weights(trainer: Any, tokenizer: Any, folder: Path) -> None:
    """Writes the weights as they are now into `folder`, to be loaded from there; of LoRA, the adapter alone.

    All processes call it together; one writes.
    """
    accelerator = trainer.accelerator
    shards = accelerator.get_state_dict(trainer.model_wrapped) if sharded(accelerator) else None
    if not distributed.is_main():
        return
    model = accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        base = Path(model.peft_config["default"].base_model_name_or_path)
        if base.is_dir():  # the adapter names it, and may be loaded from elsewhere
            model.peft_config["default"].base_model_name_or_path = str(base.absolute())
        model.save_pretrained(folder)
    else:
        if shards is not None:  # put together, a tied matrix is there twice, and transformers cannot see that it is one
            shards = {name: value for name, value in shards.items() if name not in model.all_tied_weights_keys}
        cached, model.config.use_cache = model.config.use_cache, True  # training may have switched it off
        try:
            model.save_pretrained(folder, state_dict=shards)
        finally:
            model.config.use_cache = cached
    tokenizer.save_pretrained(folder)


def _merged(model: Any, adapter: Path) -> Any:
    """The adapter folded into its base; for a base in 4 bits, into the base as it was read from disk."""
    if not getattr(model, "is_loaded_in_4bit", False):
        return model.merge_and_unload()
    import torch

    from kkwarm.backends.checkpoint import load_model

    return load_model(adapter, device="cpu", dtype=torch.bfloat16)


def policy_of(trainer: Any) -> Any:
    """The network that a trainer trains, out of its wrappers; an adapter's base computes with the adapter."""
    network = trainer.accelerator.unwrap_model(trainer.model)
    return network.get_base_model() if hasattr(network, "get_base_model") else network


@contextmanager
def replaced(folder: Path, aside: Callable[[], None] | None = None) -> Iterator[Path]:
    """A folder to write into, which then takes the place of `folder`; what was there goes, or `aside` moves it."""
    temporary = folder.with_name(f".{folder.name}.new")
    if distributed.is_main():
        shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
    except OSError as err:
        raise KkwarmError(
            f"{folder} cannot be written: {err.strerror or err}", hint="free space; the run resumes"
        ) from err
    if not distributed.is_main():
        return
    if aside is not None:
        aside()
    if folder.exists():
        shutil.rmtree(folder)
    temporary.replace(folder)


def explained(err: Exception, path: Path, *, rows: int = 1) -> KkwarmError | None:
    """Memory or disk that ran out, for the user to mend; None where `err` is something else.

    :param rows: of the forward passes that were tried.
    """
    told = " ".join(str(err).split())
    low = told.lower()
    if isinstance(err, MemoryError) or "out of memory" in low or "can't allocate" in low:
        fewer = f"--micro-batch-size {rows // 2}" if rows > 1 else "--gradient-checkpointing"
        hint = f"add {fewer}: the same command then goes on; or --lora, with another -o"
        return KkwarmError(f"out of memory with {rows} rows in a forward pass: {told[:200]}", hint=hint)
    full = isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
    if full or "no space left" in low or "os error 28" in low or "pytorchstreamwriter" in low:
        return KkwarmError(f"{path} cannot be written: {told[:200]}", hint="free space; the same command then goes on")
    return None
