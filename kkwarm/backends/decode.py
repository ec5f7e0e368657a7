"""Attention of decode steps: each group of query heads attends to its keys as they lie in the cache.

With rows of different lengths, transformers' SDPA copies keys and values for every query head. On a GPU cuDNN, which
torch prefers, also makes a new plan for every length of the cache. Both take most of a step's time
(`benchmarks/gpu/decode.py`, `benchmarks/real/speed.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "kkwarm_decode"
_PREFILL = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]  # they need no plan


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers. It computes steps of one new token per row; SDPA computes the rest.

    :param query: [rows, heads, new, size].
    :param key, value: [rows, groups, columns, size]; the sizes of key and value may differ.
    :param attention_mask: [rows, 1, new, columns], booleans or numbers to add; None: all columns are visible.
    :returns: [rows, new, heads, size of a value].
    """
    rows, heads, new, size = query.shape
    mask_per_head = attention_mask is not None and attention_mask.shape[1] != 1
    training = torch.is_grad_enabled()
    if training or new != 1 or mask_per_head or kwargs.get("position_bias") is not None:
        with nullcontext() if training else sdpa_kernel(_PREFILL):
            output: tuple[torch.Tensor, None] = sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout, scaling, **kwargs
            )
        return output
    grouped = query.view(rows, key.shape[1], heads // key.shape[1], size)
    scores = torch.matmul(grouped * (size**-0.5 if scaling is None else scaling), key.transpose(2, 3))
    if attention_mask is not None:
        is_boolean = attention_mask.dtype == torch.bool
        scores = scores.masked_fill(~attention_mask, -torch.inf) if is_boolean else scores + attention_mask
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
    return torch.matmul(weights, value).reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def supports_decode_attention(model: Any) -> bool:
    """Whether `attend` speeds up a model: it uses SDPA through transformers' attention interface, and is on a GPU or
    shares keys and values between query heads, which SDPA on a CPU copies for every head.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    shared = heads != (getattr(config, "num_key_value_heads", None) or heads)
    exchangeable = getattr(model, "_can_set_attn_implementation", bool)
    used = model.config._attn_implementation == "sdpa" and exchangeable()
    return bool(used and (model.device.type == "cuda" or shared))


@contextmanager
def use_decode_attention(model: Any) -> Iterator[None]:
    """Switches `model` to `attend` temporarily, if it supports it."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not supports_decode_attention(base):
        yield
        return
    before = base.config._attn_implementation
    try:
        base.set_attn_implementation(NAME)
        yield
    finally:
        base.set_attn_implementation(before)
