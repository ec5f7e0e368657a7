"""Whether a checkpoint is whole: what transformers passes over in silence, or fills with random numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kkwarm.errors import KkwarmError

__all__ = ["check_weights", "check_whole"]

_MEND = "the checkpoint is not whole, or of another architecture than its config says: fetch or save it again"
GENERATION = "generation_config.json"


def check_whole(source: str, model: Any, told: Mapping[str, Any]) -> None:
    """Refuses a model that cannot generate, or is not what its folder holds.

    :param told: transformers' ``output_loading_info``.
    :raises KkwarmError: an encoder; weights that are missing, of another shape, of layers that the config does not
        have, whole numbers without a ``quantization_config``, or not finite; an unreadable ``generation_config.json``.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    config = model.config
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
        hint = "give a causal language model"
        raise KkwarmError(f"{source} is an encoder ({config.model_type}): it cannot generate", hint=hint)
    missing = sorted(told["missing_keys"])
    if missing:
        raise KkwarmError(f"{source} lacks {len(missing)} of its weights, such as {missing[0]}", hint=_MEND)
    if mismatched := sorted(told["mismatched_keys"], key=str):
        name, held, wanted = mismatched[0]
        shapes = f"{name} is of shape {tuple(held)}, by config.json of {tuple(wanted)}"
        raise KkwarmError(f"{source}: {len(mismatched)} weights do not fit its config: {shapes}", hint=_MEND)
    # Other parts' weights (vision towers, old buffers) may be left over; a layer more of the same kind may not.
    kinds = {_numberless(name) for name in model.state_dict()}
    if over := sorted(k for k in told["unexpected_keys"] if re.search(r"\.\d+\.", k) and _numberless(k) in kinds):
        raise KkwarmError(f"{source} has layers that its config does not know: {len(over)} weights, such as {over[0]}",
                          hint=_MEND)  # fmt: skip
    _check_stored(source, model)
    check_weights(source, model)
    file = Path(source, GENERATION)
    if file.exists():  # transformers would go on without it, and so without its end tokens
        try:
            json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as err:
            told_why = getattr(err, "strerror", None) or err
            raise KkwarmError(f"{file} cannot be read: {told_why}", hint="mend or remove it") from None


def _check_stored(source: str, model: Any) -> None:
    from safetensors import safe_open

    if getattr(model.config, "quantization_config", None) is not None:
        return
    known = {name for name, _ in model.named_parameters()}
    for file in sorted(Path(source).glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            kinds = {name: stored.get_slice(name).get_dtype() for name in stored.keys() if name in known}  # noqa: SIM118
        whole = sorted(name for name, kind in kinds.items() if kind[0] in "IU" or kind == "BOOL")
        if whole:  # transformers takes them for the weights themselves
            told = f"holds whole numbers ({kinds[whole[0]]}) for {len(whole)} of its weights, such as {whole[0]}"
            hint = "config.json has no quantization_config to scale them by: save it again in floats"
            raise KkwarmError(f"{file} {told}", hint=hint)


def check_weights(source: str, model: Any) -> None:
    """:raises KkwarmError: a weight is NaN or infinite: every output would be nonsense, and nothing would say so."""
    import torch

    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight.detach().sum(dtype=torch.float64))):
            raise KkwarmError(
                f"{source}: weight {name} is not finite (NaN or infinite)",
                hint="its training diverged, or the file is damaged: take an earlier checkpoint",
            )


def _numberless(name: str) -> str:
    return re.sub(r"\.\d+\.", ".N.", name)
