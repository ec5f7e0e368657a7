"""Attention of decode steps on a GPU: each group of query heads against its keys, as they lie in the cache.

With rows of different lengths transformers' SDPA copies keys and values for every query head, and cuDNN, which torch
prefers, plans anew for every length that a cache reaches: most of a step's time (`benchmarks/gpu/decode.py`).
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

__all__ = ["NAME", "attend", "supports_decode_attention", "use_decode_attention"]

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
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' interface of attention. One new token for each row is done here, anything else by SDPA.

    :param query: [rows, heads, new, size].
    :param key, value: [rows, groups, columns, size]; a value may have another size than a key.
    :param attention_mask: [rows, 1, new, columns]: booleans, or numbers to add; None: all columns are seen.
    :returns: [rows, new, heads, a value's size].
    """
    rows, heads, new, size = query.shape
    of_heads = attention_mask is not None and attention_mask.shape[1] != 1
    training = torch.is_grad_enabled()
    if training or new != 1 or of_heads or more.get("position_bias") is not None:
        with nullcontext() if training else sdpa_kernel(_PREFILL):
            done: tuple[torch.Tensor, None] = sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout, scaling, **more
            )
        return done
    grouped = query.view(rows, key.shape[1], heads // key.shape[1], size)
    scores = torch.matmul(grouped * (size**-0.5 if scaling is None else scaling), key.transpose(2, 3))
    if attention_mask is not None:
        seen = attention_mask.dtype == torch.bool
        scores = scores.masked_fill(~attention_mask, -torch.inf) if seen else scores + attention_mask
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
    return torch.matmul(weights, value).reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def supports_decode_attention(model: Any) -> bool:
    """Whether a model gains by `attend`: on a GPU, with SDPA, through transformers' interface of attention."""
    exchangeable = getattr(model, "_can_set_attn_implementation", bool)
    return bool(model.device.type == "cuda" and model.config._attn_implementation == "sdpa" and exchangeable())


@contextmanager
def use_decode_attention(model: Any) -> Iterator[None]:
    """Lets `model` use `attend` meanwhile, where that supports_decode_attention it."""
    own = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not supports_decode_attention(own):
        yield
        return
    before = own.config._attn_implementation
    try:
        own.set_attn_implementation(NAME)
        yield
    finally:
        own.set_attn_implementation(before)
