"""The size of a checkpoint, read from its files without loading weights or torch."""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kkwarm.backends.checkpoint import ADAPTER, CONFIG, resolve_package_path
from kkwarm.backends.gguf import find_gguf
from kkwarm.errors import KkwarmError
from kkwarm.files import expand_path

_NAMED = re.compile(r"(?<![A-Za-z0-9])(\d+(?:\.\d+)?)([bBmM])(?![A-Za-z0-9])")  # Qwen2.5-3B, SmolLM2-135M


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Sizes of a model; None where they are unknown.

    :param context: the most tokens of prompt and completion.
    :param cache_elements: numbers that the key-value cache holds for each token.
    """

    parameters: float | None = None
    context: int | None = None
    cache_elements: int | None = None


def read_size(model: str) -> ModelSize:
    """The size of a checkpoint folder, a run with a checkpoint, a package's checkpoint or a hub id.

    The network is not used: a hub id that is not in the local cache has the number of parameters that its name gives,
    such as ``Qwen2.5-3B``.
    """
    try:
        path = expand_path(resolve_package_path(model))
    except KkwarmError:
        return ModelSize()
    for folder in (path, path / "checkpoint") if path.is_dir() else ():
        if (folder / CONFIG).is_file():
            return _read_folder(folder)
        if (folder / ADAPTER).is_file():
            base = _read_json(folder / ADAPTER).get("base_model_name_or_path")
            return read_size(base) if isinstance(base, str) and base != model else ModelSize()
    if path.exists():
        file = find_gguf(path)
        return ModelSize(_count_gguf(file)) if file is not None else ModelSize()
    cached = cached_folder(model)
    size = _read_folder(cached) if cached is not None else ModelSize()
    return size if size.parameters else ModelSize(_parse_name(model), size.context, size.cache_elements)


def _read_folder(folder: Path) -> ModelSize:
    config = _read_json(folder / CONFIG)
    text = {**config, **config.get("text_config", {})} if isinstance(config.get("text_config"), dict) else config
    shapes = stored_shapes(folder)
    parameters = float(sum(map(math.prod, shapes.values()))) if shapes else _count_by_config(folder)
    context = text.get("max_position_embeddings")
    return ModelSize(parameters, context if isinstance(context, int) else None, _cache_elements(text))


def _cache_elements(config: dict[str, Any]) -> int | None:
    layers, hidden, heads = (config.get(k) for k in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
    if not (isinstance(layers, int) and isinstance(hidden, int) and isinstance(heads, int) and heads):
        return None
    groups, width = config.get("num_key_value_heads") or heads, config.get("head_dim") or hidden // heads
    return 2 * layers * groups * width if isinstance(groups, int) and isinstance(width, int) else None


def stored_shapes(folder: Path) -> dict[str, list[int]]:
    """The shape of each tensor in a folder's safetensors files, from their headers; empty where one is unreadable."""
    shapes: dict[str, list[int]] = {}
    try:
        for file in sorted(folder.glob("*.safetensors")):
            with file.open("rb") as data:
                (length,) = struct.unpack("<Q", data.read(8))
                header = json.loads(data.read(min(length, 1 << 27)))
            shapes |= {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return {}
    return shapes


def _count_gguf(file: Path) -> float | None:
    try:
        from gguf import GGUFReader

        return float(sum(int(tensor.n_elements) for tensor in GGUFReader(file).tensors))
    except Exception:  # not installed, or a damaged file; loading the checkpoint reports it
        return None


def _count_by_config(folder: Path) -> float | None:
    """Of weights in another format: the parameters of a model without memory, built from the configuration."""
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, trust_remote_code=False))
        return float(sum(p.numel() for p in model.parameters()))
    except Exception:  # transformers raises many types; loading the checkpoint reports it
        return None


def cached_folder(model: str) -> Path | None:
    """The folder of a hub id in the local cache; None where it is not there."""
    try:
        from huggingface_hub import try_to_load_from_cache

        file = try_to_load_from_cache(model, CONFIG)
    except Exception:  # the name is no valid id
        return None
    return Path(file).parent if isinstance(file, str) else None


def _parse_name(model: str) -> float | None:
    found = _NAMED.findall(model.rpartition("/")[2])
    if not found:
        return None
    number, unit = found[-1]
    return float(number) * (1e9 if unit in "bB" else 1e6)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
