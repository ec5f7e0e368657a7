"""Checkpoints of a training run: the final one, LoRA adapters, and step checkpoints to resume from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError
from kkwarm.train import distributed

CHECKPOINT, ADAPTER, STEPS = "checkpoint", "adapter", "steps"  # folders of a run
COMPLETE = "complete.json"  # written last into a step checkpoint: the sizes of its files
_SHARD_FILES = {"FSDP": "pytorch_model_fsdp*", "DEEPSPEED": "global_step*"}  # in a step checkpoint
_PRESET_OF = {"FSDP": "fsdp2", "DEEPSPEED": "zero3", None: ""}


def save_checkpoint(trainer: Any, tokenizer: Any, out: Path) -> None:
    """Writes ``checkpoint/`` atomically. A LoRA adapter is kept in ``adapter/`` and merged into it.

    All processes call this together; rank 0 writes.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if not hasattr(model, "merge_and_unload"):
        with replace_folder(out / CHECKPOINT) as folder:
            write_weights(trainer, tokenizer, folder)
        return
    with replace_folder(out / ADAPTER) as folder:
        write_weights(trainer, tokenizer, folder)
    if distributed.is_main():
        merged = _merge_adapter(model, out / ADAPTER)
        merged.config.use_cache = True
        with replace_folder(out / CHECKPOINT) as folder:
            merged.save_pretrained(folder)
            tokenizer.save_pretrained(folder)


def write_weights(trainer: Any, tokenizer: Any, folder: Path) -> None:
    """Writes the current weights and the tokenizer into `folder`; with LoRA only the adapter.

    All processes call this together; rank 0 writes.
    """
    accelerator = trainer.accelerator
    sharded = distributed_type(accelerator) in _SHARD_FILES
    weights = accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    if not distributed.is_main():
        return
    model = accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        base = Path(model.peft_config["default"].base_model_name_or_path)
        if base.is_dir():  # absolute, because the adapter may be loaded from another working directory
            model.peft_config["default"].base_model_name_or_path = str(base.absolute())
        model.save_pretrained(folder)
    else:
        if weights is not None:  # gathered weights hold a tied matrix twice, which transformers does not notice
            weights = {name: value for name, value in weights.items() if name not in model.all_tied_weights_keys}
        use_cache, model.config.use_cache = model.config.use_cache, True  # training may have switched it off
        try:
            model.save_pretrained(folder, state_dict=weights)
        finally:
            model.config.use_cache = use_cache
    tokenizer.save_pretrained(folder)


def _merge_adapter(model: Any, adapter: Path) -> Any:
    """Merges the adapter into its base; a 4-bit base is read from disk again in bf16."""
    if not getattr(model, "is_loaded_in_4bit", False):
        return model.merge_and_unload()
    import torch

    from kkwarm.backends.checkpoint import load_model

    return load_model(adapter, device="cpu", dtype=torch.bfloat16)


@contextmanager
def replace_folder(folder: Path, move_old: Callable[[], None] | None = None) -> Iterator[Path]:
    """Yields a temporary folder that takes the place of `folder` once it is written.

    :param move_old: moves the previous folder away; without it, the previous folder is deleted.
    """
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
    if move_old is not None:
        move_old()
    if folder.exists():
        shutil.rmtree(folder)
    temporary.replace(folder)


def find_last_checkpoint(folder: Path) -> Path | None:
    """The newest complete step checkpoint in `folder`; incomplete ones are removed."""
    candidates: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        number = path.name.rpartition("-")[2]
        if not number.isdecimal():
            continue
        if _is_complete(path):
            candidates.append((int(number), path))
        else:
            shutil.rmtree(path)
    return max(candidates)[1] if candidates else None


def mark_complete(checkpoint: Path) -> None:
    """Marks a step checkpoint as completely written."""
    sizes = _file_sizes(checkpoint)
    temporary = checkpoint / f".{COMPLETE}"
    temporary.write_text(json.dumps(sizes))
    temporary.replace(checkpoint / COMPLETE)


def _is_complete(checkpoint: Path) -> bool:
    try:
        return bool(json.loads((checkpoint / COMPLETE).read_text()) == _file_sizes(checkpoint))
    except (OSError, ValueError):
        return False


def _file_sizes(path: Path) -> dict[str, int]:
    files = (f for f in path.rglob("*") if f.is_file() and f.name != COMPLETE)
    return {str(f.relative_to(path)): f.stat().st_size for f in files}


def distributed_type(accelerator: Any) -> str:
    """accelerate's name of how processes share the work: ``NO``, ``MULTI_GPU``, ``FSDP``, ``DEEPSPEED``, ..."""
    return str(accelerator.distributed_type).rpartition(".")[2]


def check_sharding(checkpoint: Path, kind: str) -> None:
    """Checks that a step checkpoint is sharded in the way in which this run reads it, or not at all.

    :param kind: this run's `distributed_type`.
    """
    stored = next((kind for kind, files in _SHARD_FILES.items() if any(checkpoint.glob(files))), None)
    if stored == (kind if kind in _SHARD_FILES else None):
        return
    preset = _PRESET_OF[stored]
    content = f"sharded weights ({preset})" if stored else "unsharded weights"
    hint = f"resume with --accelerate-config {preset}" if stored else "resume without --accelerate-config"
    raise KkwarmError(f"{checkpoint} holds {content} and cannot be read in another way", hint=f"{hint}, as before")
