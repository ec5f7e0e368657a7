"""Calls a network of transformers: the arguments of its `forward`, the size of its cache, and its context length."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from kkwarm.backends.memory import is_out_of_memory
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    import torch

_SHORT = 4  # tokens; shorter than any attention window
# Names of `forward`'s cache argument: up to transformers 5.23, from 5.24 on, and Mamba's up to 5.23.
_CACHES = ("past_key_values", "cache", "cache_params")
_OTHER_BACKENDS = "try --backend vllm, or a server (--backend openai)"


@dataclass(frozen=True, slots=True)
class Network:
    """A causal language model of transformers that generates with a cache.

    :param full_cache: every layer caches all keys and values: no sliding window, no recurrent state.
    :param cache_argument: the name of `forward`'s argument for the cache.
    :param takes_positions: `forward` has ``position_ids``.
    :param takes_logits_to_keep: `forward` has ``logits_to_keep``.
    :param embedded: number of tokens that have embeddings; the tokenizer may have more.
    """

    model: Any
    full_cache: bool
    cache_argument: str
    takes_positions: bool
    takes_logits_to_keep: bool
    embedded: int

    @classmethod
    def inspect(cls, model: Any) -> Self:
        """Inspects a loaded model, or a LoRA adapter on one.

        :raises KkwarmError: its cache is of a kind whose rows cannot be batched.
        """
        from kkwarm.backends.kv_cache import has_full_cache

        base = model.get_base_model() if hasattr(model, "get_base_model") else model  # peft's forward hides arguments
        arguments = inspect.signature(base.forward).parameters
        cache = next((name for name in _CACHES if name in arguments), None)
        if cache is None or not getattr(base, "_supports_default_dynamic_cache", lambda: True)():
            raise KkwarmError(
                f"{type(base).__name__} has its own kind of cache, which --backend hf cannot use", hint=_OTHER_BACKENDS
            )
        return cls(
            model,
            has_full_cache(base),
            cache,
            "position_ids" in arguments,
            "logits_to_keep" in arguments,
            int(base.get_input_embeddings().weight.shape[0]),
        )

    def __call__(self, ids: Any, mask: Any, positions: Any, cache: Any, padded: bool, cached: bool) -> torch.Tensor:
        """Logits [rows, vocabulary] of the next token.

        :param ids, positions: [rows, new tokens].
        :param mask: [rows, columns], False before a row's start.
        :param padded: some row starts later than others.
        :param cached: the cache holds the tokens before `ids`.
        :raises KkwarmError: the model fails, other than for lack of memory.
        """
        # A recurrent state has no columns: its padding is masked while the prompt is read, and not needed afterwards.
        is_recurrent = self.cache_argument == "cache_params"
        masked = not (cached and is_recurrent) and (padded or not self.full_cache)
        arguments = {self.cache_argument: cache, "use_cache": True}
        if self.takes_logits_to_keep:
            arguments["logits_to_keep"] = 1
        return self._forward(ids, mask if masked else None, positions, **arguments)[:, -1]

    def all_logits(self, ids: Any, mask: Any, positions: Any, last: int | None = None) -> torch.Tensor:
        """Logits [rows, columns, vocabulary] of complete texts; arguments as in `__call__`.

        :param last: compute only the logits of so many columns at the end, where the model can.
        """
        if last is None:
            return self._forward(ids, mask, positions)
        arguments = {"logits_to_keep": last, "use_cache": False} if self.takes_logits_to_keep else {}
        return self._forward(ids, mask, positions, **arguments)[:, -last:]

    def _forward(self, ids: Any, mask: Any, positions: Any, **arguments: Any) -> torch.Tensor:
        import torch

        device = self.model.device
        arguments |= {"input_ids": ids.to(device), "attention_mask": None if mask is None else mask.to(device)}
        if self.takes_positions:
            arguments["position_ids"] = positions.to(device)
        with torch.inference_mode():
            try:
                logits: torch.Tensor = self.model(**arguments).logits
            except Exception as err:
                if is_out_of_memory(err):
                    raise
                cause = f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"
                raise KkwarmError(f"{type(self.model).__name__} cannot be run: {cause}", hint=_OTHER_BACKENDS) from err
            return logits

    def cache_bytes(self) -> tuple[int, int]:
        """Bytes of the cache for a row, and for each of its tokens. They are measured: configurations describe them in
        too many ways, some separately for each layer.
        """
        import torch
        from transformers.cache_utils import DynamicCache

        sizes = []
        for length in (_SHORT, 2 * _SHORT):
            cache = DynamicCache(config=self.model.config)
            ids = torch.zeros(1, length, dtype=torch.long)
            self(ids, torch.ones_like(ids, dtype=torch.bool), torch.arange(length)[None, :], cache, False, False)
            sizes.append(sum(_layer_bytes(layer) for layer in cache.layers))
        per_token = (sizes[1] - sizes[0]) // _SHORT
        return sizes[0] - _SHORT * per_token, per_token

    @property
    def vocabulary(self) -> int:
        """Columns of the logits."""
        head = self.model.get_output_embeddings()
        return int((head if head is not None else self.model.get_input_embeddings()).weight.shape[0])

    @property
    def context(self) -> int:
        """Maximum number of tokens of a text."""
        config = self.model.config.get_text_config(decoder=True)
        return int(getattr(config, "max_position_embeddings", None) or 2**31)


def _layer_bytes(layer: Any) -> int:
    """Bytes of the tensors in one layer of a cache: keys and values, or numbered states."""
    import torch

    values = [x for value in vars(layer).values() for x in (value.values() if isinstance(value, dict) else [value])]
    return sum(x.numel() * x.element_size() for x in values if isinstance(x, torch.Tensor))
