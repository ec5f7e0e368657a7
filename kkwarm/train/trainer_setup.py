"""What both trainers are built from: device and precision, the loaded network, trl's arguments."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.schema.settings import RlvrConfig, TrainConfig
from kkwarm.tracking import check_trackers
from kkwarm.train import distributed
from kkwarm.train.checkpoints import STEPS

_OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}
_PAD_MULTIPLE = 64  # on a GPU, because cuDNN's attention plans anew for every width
_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


def prepare_process(config: TrainConfig) -> None:
    """Sets the number of threads, and silences the libraries' progress bars, advice and telemetry."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import datasets
    import torch
    import transformers

    if distributed.world_size() > 1:  # accelerate calls its CPU device cpu:0, which torch.load does not know
        torch.serialization.register_package(
            0, lambda _: None, lambda storage, location: storage if location.startswith("cpu:") else None
        )
    if shards_weights() and not uses_cuda(config):
        distributed.enable_cpu_sharding()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("trl", "accelerate", "peft"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(transformers|trl|torch|accelerate|peft)\b")


def uses_cuda(config: TrainConfig) -> bool:
    """Whether the run trains on CUDA."""
    import torch

    if config.device == "cuda" and not torch.cuda.is_available():
        build = "" if torch.version.cuda else f"; torch {torch.__version__} is built without it"
        raise KkwarmError(f"--device cuda: no CUDA device is available{build}", hint="see `kkwarm doctor`")
    return config.device != "cpu" and torch.cuda.is_available()


def uses_bf16(config: TrainConfig) -> bool:
    """Whether activations are computed in bf16."""
    import torch

    if config.precision != "auto":
        return config.precision == "bf16"
    if uses_cuda(config):
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def shards_weights() -> bool:
    """Whether the launcher asked for sharded weights: one GPU need not hold all of them then."""
    return any(os.environ.get(f"ACCELERATE_USE_{kind}") == "true" for kind in ("FSDP", "DEEPSPEED"))


def load_network(model: str | Path, config: TrainConfig) -> Any:
    """Loads the network in fp32; in bf16 where LoRA freezes the weights and the GPU has bf16; in 4 bits for QLoRA."""
    import torch

    from kkwarm.backends.checkpoint import load_model

    cuda = uses_cuda(config)
    attention = _attention(config, cuda=cuda)
    gpu = f"cuda:{distributed.local_rank()}"
    if config.qlora:
        return load_model(model, device=gpu if cuda else "cpu", attention=attention, four_bit=True)
    device = gpu if cuda and not shards_weights() else "cpu"
    dtype = torch.bfloat16 if config.lora and cuda and uses_bf16(config) else torch.float32
    return load_model(model, device=device, dtype=dtype, attention=attention, check=config.memory_check)


def _attention(config: TrainConfig, *, cuda: bool) -> str | None:
    """transformers' name of the attention implementation; None lets transformers choose (SDPA)."""
    from importlib.util import find_spec

    available = find_spec("flash_attn") is not None and cuda
    if config.attention == "flash" and not available:
        problem = "flash-attn is not installed" if cuda else "there is no CUDA device"
        raise KkwarmError(f"--attention flash: {problem}", hint="--attention sdpa, or pip install flash-attn")
    if config.attention == "flash" or (config.attention == "auto" and available and uses_bf16(config)):
        return "flash_attention_2"
    return None if config.attention == "auto" else config.attention


def check_requirements(config: TrainConfig) -> None:
    """Checks that the device and the libraries that the options need are available, before anything is loaded."""
    from importlib.util import find_spec

    uses_cuda(config)
    requirements = {
        "--liger": (config.liger, "liger_kernel", "liger-kernel"),
        "--optim adamw_8bit": (config.optim == "adamw_8bit", "bitsandbytes", "bitsandbytes"),
        "--qlora": (config.qlora, "bitsandbytes", "bitsandbytes"),
    }
    for flag, (enabled, module, package) in requirements.items():
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"  # triton then runs on a CPU, for tests
        if enabled and module == "liger_kernel" and not (uses_cuda(config) or interpreted):
            raise KkwarmError(f"{flag} needs CUDA, and there is no CUDA device", hint=f"leave out {flag}")
        if enabled and find_spec(module) is None:
            raise KkwarmError(f"{flag} needs {package}", hint=f"pip install {package}")
    check_trackers(config.track)
    if isinstance(config, RlvrConfig) and (config.vllm != "none" or find_spec("vllm") is not None):
        from kkwarm.backends.vllm import import_vllm

        import_vllm(
            "or leave out --vllm" if config.vllm != "none" else "or uninstall it: trl imports it wherever it is"
        )
    if config.qlora and shards_weights():
        raise KkwarmError("--qlora cannot be combined with sharded weights", hint="leave out --accelerate-config")


def lora_config(config: TrainConfig) -> Any:
    """peft's configuration, or None where every weight is trained."""
    if not config.lora:
        return None
    try:
        from peft import LoraConfig
    except ImportError:
        raise KkwarmError("LoRA needs peft", hint="pip install 'kkwarm[lora]'") from None
    rank = config.lora_rank
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def trl_arguments(config: TrainConfig, out: Path, *, steps: int) -> dict[str, Any]:
    """The arguments that SFTConfig and GRPOConfig share."""
    cpu = not uses_cuda(config)
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
        "logging_nan_inf_filter": False,  # otherwise a NaN is logged as the mean of the steps before it
        "save_strategy": "no",  # `callback.RunCallback` decides when to save
        "save_total_limit": 2,
        "report_to": "none",  # `callback.RunCallback` reports to trackers
        "disable_tqdm": True,
        "dataloader_pin_memory": not cpu,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
        "use_liger_kernel": config.liger,
        "optim": _OPTIMIZERS[config.optim],
        "pad_to_multiple_of": None if cpu else _PAD_MULTIPLE,
    }


def build_trl_config(cls: Any, settings: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
    """An SFTConfig or GRPOConfig.

    :param extra: the arguments of ``--trl``.
    """
    from kkwarm.errors import unknown_name

    names = set(cls.__dataclass_fields__)
    for name in extra:
        if name not in names:
            raise unknown_name(f"argument of trl's {cls.__name__}", name, names)
    with translate_trl_errors():
        return cls(**{**settings, **extra})


@contextmanager
def translate_trl_errors() -> Iterator[None]:
    """Turns trl's rejection of a setting into a KkwarmError."""
    try:
        yield
    except (ValueError, TypeError, ImportError, NotImplementedError) as err:
        raise KkwarmError(f"trl rejects the settings: {' '.join(str(err).split())[:400]}") from err


def unwrap_policy(trainer: Any) -> Any:
    """The network that a trainer trains, without its wrappers; a LoRA base computes with its adapter."""
    network = trainer.accelerator.unwrap_model(trainer.model)
    return network.get_base_model() if hasattr(network, "get_base_model") else network


class QuietTrainer:
    """Mixin for trl's trainers: no model card at every save, and no telemetry."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None: ...

    def _send_telemetry(self) -> None: ...
