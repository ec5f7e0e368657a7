"""Validates that a checkpoint is complete: transformers ignores some faults, or fills in random numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError

_HINT = "the checkpoint is incomplete, or of another architecture than its config says: fetch or save it again"
GENERATION = "generation_config.json"


def check_checkpoint(source: str, model: Any, loading_info: Mapping[str, Any]) -> None:
    """Refuses a model that cannot generate, or that differs from its folder.

    :param loading_info: transformers' ``output_loading_info``.
    :raises KkwarmError: the model is an encoder; weights are missing, have another shape, belong to layers that the
        config lacks, are integers without a ``quantization_config``, or are not finite; or ``generation_config.json``
        is unreadable.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    config = model.config
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
        raise KkwarmError(
            f"{source} is an encoder ({config.model_type}): it cannot generate", hint="give a causal language model"
        )
    if missing := sorted(loading_info["missing_keys"]):
        raise KkwarmError(f"{source} lacks {len(missing)} of its weights, such as {missing[0]}", hint=_HINT)
    if mismatched := sorted(loading_info["mismatched_keys"], key=str):
        name, actual, expected = mismatched[0]
        shapes = f"{name} is of shape {tuple(actual)}, by config.json of {tuple(expected)}"
        raise KkwarmError(f"{source}: {len(mismatched)} weights do not fit its config: {shapes}", hint=_HINT)
    # Weights of other parts (vision towers, old buffers) may be left over, but not further layers of the same kind.
    names = {_without_layer_numbers(name) for name in model.state_dict()}
    unexpected = sorted(
        key
        for key in loading_info["unexpected_keys"]
        if re.search(r"\.\d+\.", key) and _without_layer_numbers(key) in names
    )
    if unexpected:
        raise KkwarmError(
            f"{source} has layers that its config does not have: {len(unexpected)} weights, such as {unexpected[0]}",
            hint=_HINT,
        )
    _check_stored_dtypes(source, model)
    check_weights(source, model)
    file = Path(source, GENERATION)
    if file.exists():  # transformers would continue without it, and so without its end tokens
        try:
            json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as err:
            reason = getattr(err, "strerror", None) or err
            raise KkwarmError(f"{file} cannot be read: {reason}", hint="correct or remove it") from None


def _check_stored_dtypes(source: str, model: Any) -> None:
    """:raises KkwarmError: weights are stored as integers that transformers would use as they are."""
    from safetensors import safe_open

    if getattr(model.config, "quantization_config", None) is not None:
        return
    parameters = {name for name, _ in model.named_parameters()}
    for file in sorted(Path(source).glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            names = [name for name in stored.keys() if name in parameters]  # noqa: SIM118
            dtypes = {name: stored.get_slice(name).get_dtype() for name in names}
        integers = sorted(name for name, dtype in dtypes.items() if dtype[0] in "IU" or dtype == "BOOL")
        if integers:
            raise KkwarmError(
                f"{file} holds integers ({dtypes[integers[0]]}) for {len(integers)} of its weights, such as "
                f"{integers[0]}",
                hint="config.json has no quantization_config to scale them by: save it again in floats",
            )


def check_weights(source: str, model: Any) -> None:
    """:raises KkwarmError: a weight is NaN or infinite, so that every output would silently be nonsense."""
    import torch

    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight.detach().sum(dtype=torch.float64))):
            raise KkwarmError(
                f"{source}: weight {name} is not finite (NaN or infinite)",
                hint="its training diverged, or the file is damaged: use an earlier checkpoint",
            )


def _without_layer_numbers(name: str) -> str:
    return re.sub(r"\.\d+\.", ".N.", name)
